//! Reading one HTTP/1.1 response from pieces of any size. By hand, because the generator shares a core with the mock
//! and may cost some ten microseconds a request, and because it must notice what a library would repair.

use memchr::{memchr, memmem};

use super::events::EventScan;

/// Bytes of a whole body that are kept to look for the expected content.
const KEPT: usize = 256 * 1024;
const MAX_HEAD: usize = 64 * 1024;
const MAX_HEADERS: usize = 64;

/// How far a response has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Head,
    /// So many bytes are left.
    Length(u64),
    /// Until the connection ends.
    ToEnd,
    ChunkSize,
    Chunk(u64),
    /// The line end after a chunk.
    ChunkEnd,
    Trailer,
    Complete,
}

/// The response is no HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// One response while it comes in; reused for the next one.
#[derive(Debug)]
pub struct Response {
    phase: Phase,
    /// Head, or the current line of the chunked framing.
    text: Vec<u8>,
    pub status: u16,
    pub keep_alive: bool,
    pub is_stream: bool,
    /// The mock's own time, in ns.
    pub service_ns: Option<u64>,
    pub body_bytes: u64,
    /// The start of a whole body.
    pub body: Vec<u8>,
    pub scan: EventScan,
}

impl Default for Response {
    fn default() -> Self {
        Self {
            phase: Phase::Head,
            text: Vec::new(),
            status: 0,
            keep_alive: true,
            is_stream: false,
            service_ns: None,
            body_bytes: 0,
            body: Vec::new(),
            scan: EventScan::default(),
        }
    }
}

impl Response {
    /// Ready for the next response.
    pub fn reset(&mut self) {
        self.phase = Phase::Head;
        self.text.clear();
        self.status = 0;
        self.keep_alive = true;
        self.is_stream = false;
        self.service_ns = None;
        self.body_bytes = 0;
        self.body.clear();
        self.scan.reset();
    }

    /// Has nothing come yet?
    pub fn is_untouched(&self) -> bool {
        self.phase == Phase::Head && self.text.is_empty()
    }

    pub fn is_complete(&self) -> bool {
        self.phase == Phase::Complete
    }

    /// The connection ended: true if that completes the response.
    pub fn end(&mut self) -> bool {
        if self.phase == Phase::ToEnd {
            self.phase = Phase::Complete;
        }
        self.is_complete()
    }

    /// Reads on; `stamped` gets the stamps of streamed events. Bytes after the response make it malformed.
    pub fn feed(&mut self, mut bytes: &[u8], mut stamped: impl FnMut(u64)) -> Result<(), Malformed> {
        while !bytes.is_empty() {
            bytes = match self.phase {
                Phase::Head => self.head(bytes)?,
                Phase::Length(left) => {
                    let (body, rest) = bytes.split_at(bytes.len().min(left as usize));
                    self.content(body, &mut stamped);
                    let left = left - body.len() as u64;
                    self.phase = if left == 0 { Phase::Complete } else { Phase::Length(left) };
                    rest
                }
                Phase::ToEnd => {
                    self.content(bytes, &mut stamped);
                    &[]
                }
                Phase::Chunk(left) => {
                    let (body, rest) = bytes.split_at(bytes.len().min(left as usize));
                    self.content(body, &mut stamped);
                    let left = left - body.len() as u64;
                    self.phase = if left == 0 { Phase::ChunkEnd } else { Phase::Chunk(left) };
                    rest
                }
                Phase::ChunkSize | Phase::ChunkEnd | Phase::Trailer => self.framing(bytes)?,
                Phase::Complete => return Err(Malformed),
            };
        }
        Ok(())
    }

    fn content(&mut self, body: &[u8], stamped: &mut impl FnMut(u64)) {
        self.body_bytes += body.len() as u64;
        if self.is_stream {
            self.scan.feed(body, stamped);
        } else if self.body.len() < KEPT {
            self.body.extend_from_slice(body);
        }
    }

    /// One line of the chunked framing.
    fn framing<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Malformed> {
        let Some(end) = memchr(b'\n', bytes) else {
            self.text.extend_from_slice(bytes);
            return if self.text.len() > MAX_HEAD { Err(Malformed) } else { Ok(&[]) };
        };
        self.text.extend_from_slice(bytes.get(..end).unwrap_or_default());
        let line = self.text.trim_ascii_end();
        self.phase = match self.phase {
            Phase::ChunkEnd if line.is_empty() => Phase::ChunkSize,
            Phase::ChunkEnd => return Err(Malformed),
            Phase::Trailer if line.is_empty() => Phase::Complete,
            Phase::Trailer => Phase::Trailer,
            _ => {
                let size = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
                let size = std::str::from_utf8(size).map_err(|_| Malformed)?;
                match u64::from_str_radix(size, 16).map_err(|_| Malformed)? {
                    0 => Phase::Trailer,
                    size => Phase::Chunk(size),
                }
            }
        };
        self.text.clear();
        Ok(bytes.get(end + 1..).unwrap_or_default())
    }

    /// Collects the head; usually it comes in one piece and is read where it lies.
    fn head<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Malformed> {
        if self.text.is_empty()
            && let Some(end) = memmem::find(bytes, b"\r\n\r\n")
        {
            let (head, rest) = bytes.split_at(end + 4);
            self.read_head(head)?;
            return Ok(rest);
        }
        let before = self.text.len();
        self.text.extend_from_slice(bytes);
        let from = before.saturating_sub(3);
        let Some(end) = memmem::find(self.text.get(from..).unwrap_or_default(), b"\r\n\r\n") else {
            return if self.text.len() > MAX_HEAD { Err(Malformed) } else { Ok(&[]) };
        };
        let head = std::mem::take(&mut self.text);
        let end = from + end + 4;
        self.read_head(head.get(..end).unwrap_or_default())?;
        Ok(bytes.get(end - before..).unwrap_or_default())
    }

    fn read_head(&mut self, head: &[u8]) -> Result<(), Malformed> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        response.parse(head).map_err(|_| Malformed)?;
        self.status = response.code.ok_or(Malformed)?;
        if (100..200).contains(&self.status) {
            return Ok(());
        }
        self.phase = if matches!(self.status, 204 | 304) { Phase::Complete } else { Phase::ToEnd };
        self.keep_alive = response.version == Some(1);
        for header in response.headers.iter() {
            self.read_header(header.name, header.value)?;
        }
        Ok(())
    }

    fn read_header(&mut self, name: &str, value: &[u8]) -> Result<(), Malformed> {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
        match name.len() {
            10 if is("connection") => self.keep_alive = !value.eq_ignore_ascii_case(b"close"),
            12 if is("content-type") => self.is_stream = value.starts_with(b"text/event-stream"),
            14 if is("content-length") && self.phase != Phase::ChunkSize => {
                let length = std::str::from_utf8(value).ok().and_then(|value| value.trim().parse().ok());
                self.phase = match length.ok_or(Malformed)? {
                    0 => Phase::Complete,
                    length => Phase::Length(length),
                };
            }
            17 if is("transfer-encoding") => self.phase = Phase::ChunkSize,
            17 if is("x-mock-service-us") => {
                let time = std::str::from_utf8(value).ok().and_then(|value| value.trim().parse::<f64>().ok());
                self.service_ns = time.map(|us| (us * 1e3) as u64);
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_all_splits(text: &str, status: u16, body: &str) {
        for split in 0..=text.len() {
            let mut response = Response::default();
            let (first, second) = text.as_bytes().split_at(split);
            response.feed(first, |_| {}).unwrap();
            response.feed(second, |_| {}).unwrap();
            assert!(response.is_complete(), "{split}");
            assert_eq!((response.status, String::from_utf8_lossy(&response.body).as_ref()), (status, body));
            assert_eq!(response.body_bytes, body.len() as u64);
        }
    }

    #[test]
    fn lengths_chunks_and_interim_heads() {
        check_all_splits("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Mock-Service-Us: 12.5\r\n\r\nhello", 200, "hello");
        check_all_splits(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nA: b\r\n\r\n",
            200,
            "hello",
        );
        check_all_splits("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 429 Slow\r\ncontent-length: 2\r\n\r\nno", 429, "no");
        check_all_splits("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, "");
    }

    #[test]
    fn ends_and_wrong_answers() {
        let mut response = Response::default();
        assert!(response.is_untouched());
        response.feed(b"HTTP/1.0 200 OK\r\nx-mock-service-us: 12.5\r\n\r\nabc", |_| {}).unwrap();
        assert_eq!((response.service_ns, response.keep_alive), (Some(12_500), false));
        assert!(!response.is_complete() && response.end());
        assert_eq!(response.feed(b"more", |_| {}), Err(Malformed));
        response.reset();
        assert_eq!(response.feed(b"\x00\x01garbage\r\n\r\n", |_| {}), Err(Malformed));
        response.reset();
        response.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", |_| {}).unwrap();
        assert!(!response.end());
    }
}
