//! Reading server-sent events as they come in: their number, the mock's stamps, how the stream ends.

use memchr::{memchr, memmem};

const SENT: &[u8] = b"\"mock_sent_ns\":";
const NUMBER: &[u8] = b"\"mock_event\":";

/// What was found in a stream so far.
#[derive(Debug, Default)]
pub struct EventScan {
    /// The start of a line whose end has not come.
    carry: Vec<u8>,
    /// Events with data, but for the terminator.
    pub events: u64,
    /// Number in the last stamp.
    last_number: Option<u64>,
    /// Did stamped events come twice or in the wrong order?
    pub disordered: bool,
    pub done: bool,
    pub message_stop: bool,
    pub error: bool,
}

impl EventScan {
    /// Forgets the last stream, keeps the memory.
    pub fn reset(&mut self) {
        let mut carry = std::mem::take(&mut self.carry);
        carry.clear();
        *self = Self { carry, ..Self::default() };
    }

    /// Reads on; `stamped` gets the send stamp of every event that carries one.
    pub fn feed(&mut self, mut bytes: &[u8], mut stamped: impl FnMut(u64)) {
        while let Some(end) = memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end);
            if self.carry.is_empty() {
                self.line(line, &mut stamped);
            } else {
                let mut carry = std::mem::take(&mut self.carry);
                carry.extend_from_slice(line);
                self.line(&carry, &mut stamped);
                carry.clear();
                self.carry = carry;
            }
            bytes = rest.get(1..).unwrap_or_default();
        }
        self.carry.extend_from_slice(bytes);
    }

    fn line(&mut self, line: &[u8], stamped: &mut impl FnMut(u64)) {
        let Some(data) = line.strip_prefix(b"data:") else {
            return;
        };
        let data = data.trim_ascii();
        if data == b"[DONE]" {
            self.done = true;
            return;
        }
        self.events += 1;
        if data.starts_with(b"{\"error\"") || memmem::find(data, b"\"type\":\"error\"").is_some() {
            self.error = true;
        }
        // Both at the end of a stream and rare enough that looking for it in each event would be dear.
        if data.len() < 160 && memmem::find(data, b"\"type\":\"message_stop\"").is_some() {
            self.message_stop = true;
        }
        if let Some(sent) = number_after(data, SENT) {
            stamped(sent);
        }
        if let Some(number) = number_after(data, NUMBER) {
            self.disordered |= self.last_number.is_some_and(|last| number <= last);
            self.last_number = Some(number);
        }
    }
}

/// The number that follows a key.
pub fn number_after(data: &[u8], key: &[u8]) -> Option<u64> {
    let at = memmem::find(data, key)? + key.len();
    let digits = data.get(at..)?.trim_ascii_start();
    let size = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(digits.get(..size)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "data: {\"mock_sent_ns\":10,\"mock_event\":0,\"x\":1}\r\n\r\n: note\n\nevent: ping\n\
        data: {\"mock_sent_ns\":25,\"mock_event\":1}\n\ndata: {\"x\":2}\n\ndata: [DONE]\n\n";

    #[test]
    fn any_split_reads_the_same() {
        for first in 0..=STREAM.len() {
            for second in first..=STREAM.len() {
                let mut scan = EventScan::default();
                let mut stamps = Vec::new();
                for piece in [&STREAM[..first], &STREAM[first..second], &STREAM[second..]] {
                    scan.feed(piece.as_bytes(), |stamp| stamps.push(stamp));
                }
                assert_eq!((scan.events, scan.done, scan.error, scan.disordered), (3, true, false, false));
                assert_eq!(stamps, [10, 25]);
            }
        }
    }

    #[test]
    fn notices_disorder_errors_and_the_other_terminator() {
        let mut scan = EventScan::default();
        scan.feed(b"data: {\"mock_event\":1}\n\ndata: {\"mock_event\":1}\n\n", |_| {});
        assert!(scan.disordered && !scan.done);
        scan.reset();
        scan.feed(b"data: {\"type\":\"message_stop\"}\n\ndata: {\"error\":{}}\n\n", |_| {});
        assert!(scan.message_stop && scan.error && !scan.disordered);
    }
}
