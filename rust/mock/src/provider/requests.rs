//! What the provider saw: the last requests with their heads and bodies, for tests to look at.

use std::collections::VecDeque;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Bodies up to this size are kept, of larger ones only length and hash.
const BODY_KEPT: usize = 64 * 1024;

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The whole answer was handed to the kernel.
    Done,
    /// The caller left before that.
    ClientGone,
    /// The script reset the connection.
    Reset,
    /// The script closed the connection early.
    Closed,
}

impl End {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::ClientGone => "client_gone",
            Self::Reset => "reset",
            Self::Closed => "closed",
        }
    }
}

/// How an exchange went, told when it is over.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    pub status: u16,
    pub end: End,
    pub end_ns: u64,
    pub events_out: u64,
    pub bytes_out: u64,
}

/// One request as it came in. The head is kept as text, with the request line first.
#[derive(Default)]
struct Seen {
    connection: u64,
    received_ns: u64,
    head: Vec<u8>,
    body: Vec<u8>,
    body_len: usize,
    body_sha256: Option<[u8; 32]>,
    outcome: Option<Outcome>,
}

/// The last requests. Slots are reused, so keeping them costs a copy and no allocation.
#[derive(Default)]
pub struct Requests {
    ring: VecDeque<Seen>,
    capacity: usize,
    /// Number of the oldest one kept.
    first: u64,
    next: u64,
}

impl Requests {
    /// Keeps the last `capacity` requests.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, ..Self::default() }
    }

    /// Forgets all; numbers go on, so that the end of an old exchange is not taken for that of a new one.
    pub fn clear(&mut self) {
        self.ring.clear();
        self.first = self.next;
    }

    /// Notes a request and gives it its number, from 0.
    pub fn begin(&mut self, connection: u64, received_ns: u64, head: &[u8], body: &[u8]) -> u64 {
        let number = self.next;
        self.next += 1;
        if self.capacity == 0 {
            return number;
        }
        let mut slot = if self.ring.len() >= self.capacity { self.ring.pop_front() } else { None }.unwrap_or_default();
        slot.connection = connection;
        slot.received_ns = received_ns;
        slot.outcome = None;
        slot.head.clear();
        slot.head.extend_from_slice(head);
        slot.body.clear();
        slot.body_len = body.len();
        slot.body_sha256 = None;
        if body.len() <= BODY_KEPT {
            slot.body.extend_from_slice(body);
        } else {
            slot.body_sha256 = Some(Sha256::digest(body).into());
        }
        self.ring.push_back(slot);
        self.first = self.next - self.ring.len() as u64;
        number
    }

    /// Notes how a request ended; one that is no longer kept is passed over.
    pub fn finish(&mut self, number: u64, outcome: Outcome) {
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(seen) = index.and_then(|index| self.ring.get_mut(index)) {
            seen.outcome = Some(outcome);
        }
    }

    /// The last `count` requests, oldest first.
    pub fn last(&self, count: usize) -> Value {
        let skip = self.ring.len().saturating_sub(count);
        let numbered = self.ring.iter().zip(self.first..).skip(skip);
        Value::Array(numbered.map(|(seen, number)| seen.to_json(number)).collect())
    }
}

impl Seen {
    fn to_json(&self, number: u64) -> Value {
        let head = String::from_utf8_lossy(&self.head);
        let mut lines = head.split("\r\n");
        let mut request_line = lines.next().unwrap_or_default().split(' ');
        let method = request_line.next().unwrap_or_default();
        let target = request_line.next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let headers: Vec<[&str; 2]> =
            lines.filter_map(|line| line.split_once(':')).map(|(name, value)| [name.trim(), value.trim()]).collect();
        let hash = self.body_sha256.unwrap_or_else(|| Sha256::digest(&self.body).into());
        let body = (self.body.len() == self.body_len).then(|| std::str::from_utf8(&self.body).ok()).flatten();
        let outcome = self.outcome.as_ref();
        json!({
            "number": number,
            "connection": self.connection,
            "received_ns": self.received_ns,
            "method": method,
            "path": path,
            "query": query,
            "version": request_line.next(),
            "headers": headers,
            "body_len": self.body_len,
            "body_sha256": hex(&hash),
            "body": body,
            "status": outcome.map(|outcome| outcome.status),
            "end": outcome.map(|outcome| outcome.end.name()),
            "end_ns": outcome.map(|outcome| outcome.end_ns),
            "events_out": outcome.map(|outcome| outcome.events_out),
            "bytes_out": outcome.map(|outcome| outcome.bytes_out),
        })
    }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_last_ones_and_their_ends() {
        let mut requests = Requests::new(2);
        for body in ["a", "b", "c"] {
            requests.begin(1, 5, b"POST /v1/x?y=1 HTTP/1.1\r\nA: b\r\n", body.as_bytes());
        }
        let outcome = Outcome { status: 200, end: End::Reset, end_ns: 9, events_out: 3, bytes_out: 7 };
        requests.finish(0, outcome);
        requests.finish(2, outcome);
        let last = requests.last(10);
        assert_eq!(last.as_array().unwrap().len(), 2);
        assert_eq!((&last[0]["number"], &last[0]["body"], &last[0]["end"]), (&json!(1), &json!("b"), &Value::Null));
        assert_eq!((&last[1]["end"], &last[1]["events_out"]), (&json!("reset"), &json!(3)));
        assert_eq!(
            (&last[1]["path"], &last[1]["query"], &last[1]["headers"]),
            (&json!("/v1/x"), &json!("y=1"), &json!([["A", "b"]]))
        );
    }

    #[test]
    fn large_bodies_leave_length_and_hash() {
        let mut requests = Requests::new(1);
        let body = vec![b'x'; BODY_KEPT + 1];
        requests.begin(0, 0, b"POST / HTTP/1.1\r\n", &body);
        let last = requests.last(1);
        assert_eq!((&last[0]["body"], &last[0]["body_len"]), (&Value::Null, &json!(BODY_KEPT + 1)));
        assert_eq!(last[0]["body_sha256"], json!(hex(&Sha256::digest(&body))));
    }
}
