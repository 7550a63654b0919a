//! Anthropic's events as Amazon sends them, made the server-sent events they are elsewhere.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::CHUNK;
use crate::wire::eventstream::{Frame, Framer};
use crate::wire::json::{self, scan_object};

/// Takes envelopes off, as they come.
#[derive(Debug)]
pub struct Chunks(Framer);

impl Chunks {
    pub fn new(longest: usize) -> Self {
        Chunks(Framer::new(longest))
    }

    /// The events in what has come; nothing while a frame is incomplete.
    ///
    /// # Errors
    /// Says what is wrong with the stream.
    pub fn feed(&mut self, data: Bytes) -> Result<Bytes, String> {
        let batch = self.0.push(data).map_err(|error| error.to_string())?;
        let mut out = Vec::with_capacity(batch.bytes.len());
        for frame in batch.events() {
            let frame = Frame::parse(frame).map_err(|error| error.to_string())?;
            match frame.text(":event-type") {
                Some(CHUNK) => event(frame.payload, &mut out)?,
                // Events that nobody knows yet.
                Some(_) => {}
                None => exception(&frame, &mut out),
            }
        }
        Ok(out.into())
    }
}

/// One event: its name is a line of its own elsewhere.
fn event(payload: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let bytes = scan_object(payload, &["bytes"]).ok().and_then(|scan| json::string(payload, scan.fields[0]?));
    let data = bytes.and_then(|bytes| STANDARD.decode(bytes.as_bytes()).ok());
    let mut data = data.ok_or("a chunk without bytes")?;
    let kind = scan_object(&data, &["type"]).ok().and_then(|scan| json::string(&data, scan.fields[0]?));
    if let Some(kind) = kind {
        out.extend_from_slice(b"event: ");
        out.extend(kind.bytes().filter(|byte| !byte.is_ascii_control()));
        out.push(b'\n');
    }
    // Line breaks in JSON are white space only.
    data.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(&data);
    out.extend_from_slice(b"\n\n");
    Ok(())
}

/// An exception, as Anthropic tells errors.
fn exception(frame: &Frame<'_>, out: &mut Vec<u8>) {
    let kind = frame.text(":exception-type").or_else(|| frame.text(":error-code")).unwrap_or_default();
    let kind = match kind {
        "throttlingException" => "rate_limit_error",
        "serviceUnavailableException" => "overloaded_error",
        "validationException" => "invalid_request_error",
        _ => "api_error",
    };
    let told =
        scan_object(frame.payload, &["message"]).ok().and_then(|scan| json::string(frame.payload, scan.fields[0]?));
    let said = told.as_deref().or_else(|| frame.text(":error-message")).unwrap_or("The provider's stream failed.");
    let event = serde_json::json!({"type": "error", "error": {"type": kind, "message": said}});
    out.extend_from_slice(b"event: error\ndata: ");
    out.extend_from_slice(event.to_string().as_bytes());
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::bedrock_converse::failure_frame;
    use crate::wire::eventstream;

    fn stream() -> Vec<u8> {
        let mut out = Vec::new();
        for data in ["{\"type\":\"ping\"}", "{\n\"type\":\"message_stop\"}"] {
            let headers = [(":event-type", CHUNK), (":message-type", "event")];
            let payload = format!("{{\"bytes\":\"{}\",\"p\":\"abc\"}}", STANDARD.encode(data));
            eventstream::write(&mut out, &headers, |out| out.extend_from_slice(payload.as_bytes()));
        }
        failure_frame("throttlingException", "slow \"down\"", &mut out);
        out
    }

    #[test]
    fn events_come_out_however_they_were_split() {
        let stream = stream();
        let expected = "event: ping\ndata: {\"type\":\"ping\"}\n\nevent: message_stop\ndata: { \"type\":\"message_stop\"}\n\n\
            event: error\ndata: {\"error\":{\"message\":\"slow \\\"down\\\"\",\"type\":\"rate_limit_error\"},\"type\":\"error\"}\n\n";
        for cut in 0..=stream.len() {
            let (head, tail) = stream.split_at(cut);
            let mut chunks = Chunks::new(1 << 20);
            let read = |chunks: &mut Chunks, part: &[u8]| chunks.feed(Bytes::copy_from_slice(part)).expect("sound");
            let told = [read(&mut chunks, head), read(&mut chunks, tail)].concat();
            assert_eq!(String::from_utf8(told).expect("text"), expected);
        }
    }

    #[test]
    fn damage_is_told() {
        let mut broken = stream();
        let last = broken.len() - 1;
        broken[last] ^= 1;
        assert!(Chunks::new(1 << 20).feed(broken.into()).is_err());
        let mut out = Vec::new();
        let headers = [(":event-type", CHUNK), (":message-type", "event")];
        eventstream::write(&mut out, &headers, |out| out.extend_from_slice(b"{\"bytes\":\"%\"}"));
        assert!(Chunks::new(1 << 20).feed(out.into()).is_err());
    }
}
