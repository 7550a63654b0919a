//! What one answer shall do: `key=value` pairs separated by `;` or `&`, values percent-decoded. The README lists the keys.
//!
//! A script reaches the provider by several carriers, later ones override earlier ones: the instance's defaults, a path
//! segment `mock:SCRIPT`, the model name `NAME?SCRIPT`, the query parameter `mock=SCRIPT` and the header `x-mock: SCRIPT`.

mod parse;

use std::time::Duration;

pub use self::parse::percent_decode;
use super::delay::Delay;

/// When a stream tells its usage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UsageMode {
    /// As the real API: in every whole answer, in a stream when the request asks for it.
    #[default]
    Normal,
    /// Never, not even in whole answers.
    None,
    /// Always, also in streams that were not asked to.
    Always,
}

/// What happens when a cut is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutKind {
    /// RST (SO_LINGER 0).
    Reset,
    /// FIN without ending the answer.
    Close,
    /// Nothing more is sent, the connection stays open.
    Stall,
}

/// Where a cut happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutAt {
    /// Before the status line.
    Head,
    /// After so many bytes of the body.
    Byte(u64),
    /// After so many content events of a stream.
    Event(u64),
}

/// An answer broken off on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    pub kind: CutKind,
    pub at: CutAt,
}

/// What the body holds instead of the proper answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyKind {
    #[default]
    Proper,
    /// Bytes that are neither JSON nor UTF-8.
    Garbage,
    /// The first half of the proper answer, correctly framed.
    Truncated,
    Empty,
    /// The HTML page of some proxy in between.
    Html,
    /// Megabytes of blanks, compressed to kilobytes.
    Bomb,
}

/// A content-length that is stated instead of the true one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatedLength {
    Exactly(u64),
    Off(i64),
}

/// How the body is cut into writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Split {
    #[default]
    Whole,
    /// Writes of so many bytes.
    Every(usize),
    /// Writes that end at these body offsets, ascending.
    At(Vec<u64>),
}

/// The line end of server-sent events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Newline {
    #[default]
    Lf,
    CrLf,
    Cr,
}

/// Token counts told instead of the computed ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    pub input: Option<u64>,
    pub output: Option<u64>,
    pub cached: u64,
    pub cache_write: u64,
    pub reasoning: u64,
}

/// Everything an answer can be told to do; `Script::default()` is a proper answer at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    pub latency: Option<Delay>,
    /// So many requests of an id are worked at at a time; the others wait, first come first served.
    pub slots: Option<usize>,
    pub ttft: Option<Delay>,
    pub gap: Option<Delay>,
    pub events: Option<u64>,
    pub bytes: Option<usize>,
    pub text: Option<String>,
    pub echo: bool,
    /// What the model thinks aloud before it answers.
    pub think: Option<String>,
    /// Tool calls in one answer, where there is one.
    pub calls: u64,
    /// A source (URL) of what is said.
    pub cite: Option<String>,
    pub usage: UsageMode,
    pub tokens: Tokens,
    pub finish: Option<String>,
    pub model: Option<String>,
    pub tool: Option<bool>,
    pub headers: Vec<(String, String)>,
    pub status: Option<u16>,
    pub retry_after: Option<String>,
    pub error_type: Option<String>,
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    pub fail_first: Option<u64>,
    pub id: String,
    pub cut: Option<Cut>,
    pub body: BodyKind,
    pub content_length: Option<StatedLength>,
    pub slow_head: Option<Duration>,
    pub split: Split,
    pub split_gap: Option<Duration>,
    pub gzip: bool,
    pub chunked: bool,
    pub close: bool,
    pub idle_close: Option<Duration>,
    pub hangup_next: bool,
    pub newline: Newline,
    pub bom: bool,
    pub comments: bool,
    pub error_at_event: Option<u64>,
    pub garbage_at_event: Option<u64>,
    pub done: bool,
    pub stamp: bool,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            latency: None,
            slots: None,
            ttft: None,
            gap: None,
            events: None,
            bytes: None,
            text: None,
            echo: false,
            think: None,
            calls: 1,
            cite: None,
            usage: UsageMode::Normal,
            tokens: Tokens::default(),
            finish: None,
            model: None,
            tool: None,
            headers: Vec::new(),
            status: None,
            retry_after: None,
            error_type: None,
            error_code: None,
            error_message: None,
            fail_first: None,
            id: String::new(),
            cut: None,
            body: BodyKind::Proper,
            content_length: None,
            slow_head: None,
            split: Split::Whole,
            split_gap: None,
            gzip: false,
            chunked: false,
            close: false,
            idle_close: None,
            hangup_next: false,
            newline: Newline::Lf,
            bom: false,
            comments: false,
            error_at_event: None,
            garbage_at_event: None,
            done: true,
            stamp: false,
        }
    }
}

impl Script {
    /// Does the head or the framing on the wire need to be written by hand?
    #[must_use]
    pub fn breaks_the_wire(&self) -> bool {
        self.cut.is_some() || self.content_length.is_some() || self.slow_head.is_some()
    }

    /// Is this a script that makes the answer fail? (`fail_first` limits those to the first requests.)
    #[must_use]
    pub fn fails(&self) -> bool {
        self.status.is_some_and(|status| status >= 400)
            || self.cut.is_some()
            || self.content_length.is_some()
            || self.body != BodyKind::Proper
            || self.error_at_event.is_some()
            || self.garbage_at_event.is_some()
    }

    /// Takes back all that makes the answer fail.
    pub fn heal(&mut self) {
        self.status = None;
        self.cut = None;
        self.content_length = None;
        self.body = BodyKind::Proper;
        self.error_at_event = None;
        self.garbage_at_event = None;
    }
}
