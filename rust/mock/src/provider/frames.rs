//! Frames of Amazon's event stream.

use flate2::Crc;

/// Appends one frame: an event of this name, or an exception where the name ends like one.
pub fn write(out: &mut Vec<u8>, name: &str, payload: &[&str]) {
    let exception = name.ends_with("Exception");
    let (kind, message) = if exception { (":exception-type", "exception") } else { (":event-type", "event") };
    let mut headers = Vec::with_capacity(96);
    for (name, value) in [(kind, name), (":content-type", "application/json"), (":message-type", message)] {
        headers.push(name.len() as u8);
        headers.extend_from_slice(name.as_bytes());
        headers.push(7);
        headers.extend_from_slice(&(value.len() as u16).to_be_bytes());
        headers.extend_from_slice(value.as_bytes());
    }
    let body: usize = payload.iter().map(|part| part.len()).sum();
    let start = out.len();
    out.extend_from_slice(&((headers.len() + body + 16) as u32).to_be_bytes());
    out.extend_from_slice(&(headers.len() as u32).to_be_bytes());
    checksum(out, start);
    out.extend_from_slice(&headers);
    for part in payload {
        out.extend_from_slice(part.as_bytes());
    }
    checksum(out, start);
}

fn checksum(out: &mut Vec<u8>, start: usize) {
    let mut crc = Crc::new();
    crc.update(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&crc.sum().to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_checksums() {
        let mut out = Vec::new();
        write(&mut out, "messageStart", &["{}"]);
        let word = |at: usize| u32::from_be_bytes(out[at..at + 4].try_into().unwrap());
        assert_eq!(word(0) as usize, out.len());
        let mut crc = Crc::new();
        crc.update(&out[..8]);
        assert_eq!(word(8), crc.sum());
        assert_eq!(&out[out.len() - 6..out.len() - 4], b"{}");
    }
}
