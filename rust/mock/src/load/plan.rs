//! What a run does: where to, how fast, which request, and what is a right answer.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// When requests are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// So many connections, each sends when it has its answer.
    Closed { connections: usize },
    /// A fixed schedule that no slow answer delays; latencies count from it.
    Open { rate: f64, poisson: bool },
}

/// Which dialect's streams are expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminator {
    /// `data: [DONE]`
    Done,
    /// Anthropic's `message_stop`
    MessageStop,
    /// Not looked at.
    Any,
}

/// What a right answer looks like.
#[derive(Clone, Debug)]
pub struct Expect {
    pub status: u16,
    /// Bytes that must occur in a whole body.
    pub contains: Vec<u8>,
    /// A stream has at least so many events before its terminator.
    pub events: u64,
    pub terminator: Terminator,
}

/// Readers that take their time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slow {
    pub fraction: f64,
    pub bytes_per_second: u64,
}

/// When a leaving client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaveAfter {
    Time(Duration),
    Events(u64),
}

/// Clients that leave before their answer is over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Leave {
    pub fraction: f64,
    pub after: LeaveAfter,
}

/// One run of the generator.
#[derive(Clone, Debug)]
pub struct Plan {
    pub target: SocketAddr,
    pub template: Template,
    pub pace: Pace,
    /// Measured time; the warm-up comes before it.
    pub duration: Duration,
    pub warmup: Duration,
    /// End after so many requests, if that is earlier.
    pub requests: Option<u64>,
    pub timeout: Duration,
    pub threads: usize,
    pub max_connections: usize,
    pub expect: Expect,
    pub slow: Option<Slow>,
    pub leave: Option<Leave>,
    pub log: Option<PathBuf>,
    pub seed: u64,
}

/// The digits that replace `{seq}`.
const SEQ_DIGITS: usize = 12;

/// A request, ready but for its number and key.
#[derive(Clone, Debug)]
pub struct Template {
    /// Request line and headers, without the last empty line.
    head: Vec<u8>,
    /// `authorization` values to take in turn.
    keys: Vec<String>,
    body: Vec<u8>,
    /// Where numbers go in the body.
    numbers: Vec<usize>,
}

impl Template {
    /// A POST of `body`. Every `{seq}` in the body becomes the request's number in twelve digits.
    pub fn new(authority: &str, path: &str, headers: &[String], keys: Vec<String>, body: &str) -> Self {
        let mut rendered = Vec::with_capacity(body.len());
        let mut numbers = Vec::new();
        for (index, piece) in body.split("{seq}").enumerate() {
            if index > 0 {
                numbers.push(rendered.len());
                rendered.extend_from_slice(&[b'0'; SEQ_DIGITS]);
            }
            rendered.extend_from_slice(piece.as_bytes());
        }
        let mut head = format!("POST {path} HTTP/1.1\r\nhost: {authority}\r\ncontent-length: {}\r\n", rendered.len());
        for header in headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        Self { head: head.into_bytes(), keys, body: rendered, numbers }
    }

    /// Renders request number `seq`, in place of what `out` held.
    pub fn render(&self, out: &mut Vec<u8>, seq: u64) {
        out.clear();
        out.extend_from_slice(&self.head);
        if !self.keys.is_empty()
            && let Some(key) = self.keys.get((seq % self.keys.len() as u64) as usize)
        {
            out.extend_from_slice(b"authorization: Bearer ");
            out.extend_from_slice(key.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
        let start = out.len();
        out.extend_from_slice(&self.body);
        for at in &self.numbers {
            if let Some(digits) = out.get_mut(start + at..start + at + SEQ_DIGITS) {
                let mut rest = seq;
                for digit in digits.iter_mut().rev() {
                    *digit = b'0' + (rest % 10) as u8;
                    rest /= 10;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_keys_take_turns() {
        let keys = vec!["a".to_owned(), "b".to_owned()];
        let template = Template::new("h:1", "/x", &["k: v".to_owned()], keys, "<{seq}|{seq}>");
        let mut out = Vec::new();
        template.render(&mut out, 41);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "POST /x HTTP/1.1\r\nhost: h:1\r\ncontent-length: 27\r\nk: v\r\nauthorization: Bearer b\r\n\r\n\
             <000000000041|000000000041>"
        );
    }
}
