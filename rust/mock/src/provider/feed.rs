//! Hands out an answer's body piece by piece, when it is due, cut as the script says. Both ways to the wire (hyper's
//! body and the hand-written one) poll this.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Sleep};

use super::answer::Content;
use super::script::{Cut, CutAt, CutKind, Script, Split};
use super::stream::{RunningStream, Step};

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Fed {
    Data(Bytes),
    /// The script breaks the answer off here.
    Cut(CutKind),
    End,
}

/// The body of one answer on its way.
pub struct Feed {
    stream: Option<Box<RunningStream>>,
    cut: Option<Cut>,
    split: Split,
    split_gap: Option<Duration>,
    /// Rendered, not yet handed out.
    pending: Bytes,
    /// Hand out nothing before this, then look again.
    sleep: Option<Pin<Box<Sleep>>>,
    /// A write was handed out that must not be joined with the next.
    breathe: bool,
    sent_bytes: u64,
    sent_events: u64,
}

impl Feed {
    /// The body of an answer, to be sent as `script` says; the first delay starts to run now.
    pub fn new(content: Content, script: &Script, random: fastrand::Rng) -> Self {
        let (stream, pending) = match content {
            Content::Whole(body) => (None, body),
            Content::Events(stream) => (Some(Box::new(RunningStream::new(*stream, script, random))), Bytes::new()),
        };
        Self {
            stream,
            cut: script.cut,
            split: script.split.clone(),
            split_gap: script.split_gap,
            pending,
            sleep: None,
            breathe: false,
            sent_bytes: 0,
            sent_events: 0,
        }
    }

    /// Body bytes handed out so far.
    pub const fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// Content events handed out so far.
    pub const fn sent_events(&self) -> u64 {
        self.sent_events
    }

    /// Bytes of a whole body that are still to come; None for a stream.
    pub fn known_length(&self) -> Option<u64> {
        self.stream.is_none().then_some(self.pending.len() as u64)
    }

    /// Has everything been handed out?
    pub fn is_over(&self) -> bool {
        let streamed = self.stream.as_ref().is_none_or(|stream| stream.step() == Step::Over);
        streamed && self.pending.is_empty() && self.cut.is_none()
    }

    /// The next piece, the cut or the end. Nothing may follow a cut.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Fed> {
        loop {
            if let Some(sleep) = &mut self.sleep {
                ready!(sleep.as_mut().poll(cx));
                self.sleep = None;
            }
            if let Some(Cut { kind, at: CutAt::Byte(at) }) = self.cut
                && at == self.sent_bytes
            {
                return Poll::Ready(Fed::Cut(kind));
            }
            if self.pending.is_empty() {
                match self.refill() {
                    Some(end) => return Poll::Ready(end),
                    None => continue,
                }
            }
            if !std::mem::take(&mut self.breathe) {
                return Poll::Ready(Fed::Data(self.take_piece()));
            }
            if let Some(gap) = self.split_gap {
                self.sleep = Some(Box::pin(tokio::time::sleep(gap)));
                continue;
            }
            // Not ready for a moment, so that the piece before is written out on its own.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
    }

    /// Takes from the pending bytes what goes into one write.
    fn take_piece(&mut self) -> Bytes {
        let mut size = self.pending.len() as u64;
        let next_split = match &self.split {
            Split::Whole => None,
            Split::Every(step) => Some(*step as u64 - self.sent_bytes % *step as u64),
            Split::At(offsets) => offsets.iter().find(|at| **at > self.sent_bytes).map(|at| at - self.sent_bytes),
        };
        if let Some(next) = next_split.filter(|next| *next <= size) {
            size = next;
            self.breathe = true;
        }
        if let Some(Cut { at: CutAt::Byte(at), .. }) = self.cut {
            size = size.min(at.saturating_sub(self.sent_bytes));
        }
        self.sent_bytes += size;
        self.pending.split_to(size as usize)
    }

    /// Renders the next event or sets the alarm for it; a cut or the end otherwise.
    fn refill(&mut self) -> Option<Fed> {
        let Some(stream) = &mut self.stream else {
            return Some(Fed::End);
        };
        match stream.step() {
            Step::Over => return Some(Fed::End),
            Step::Delta(index) => {
                if let Some(Cut { kind, at: CutAt::Event(at) }) = self.cut
                    && index >= at.min(stream.deltas())
                {
                    return Some(Fed::Cut(kind));
                }
            }
            _ => {}
        }
        if stream.due() > Instant::now() {
            self.sleep = Some(Box::pin(tokio::time::sleep_until(stream.due())));
            return None;
        }
        let mut out = Vec::with_capacity(320);
        self.sent_events += u64::from(stream.write_next(&mut out));
        self.pending = Bytes::from(out);
        None
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::provider::answer::{Event, EventStream};
    use crate::provider::text::Pieces;

    fn stream() -> Content {
        let event = |data: &str| Event { name: None, data: data.to_owned() };
        Content::Events(Box::new(EventStream {
            frames: false,
            opening: vec![event("{}")],
            delta_name: None,
            delta_templates: vec![("{\"d\":\"".to_owned(), "\"}".to_owned())],
            pieces: Pieces::Parts(vec!["a".to_owned(), "\"".to_owned()]),
            closing: vec![event("{\"stop\":1}")],
            terminator: Some(event("[DONE]")),
            error: event("{\"error\":1}"),
        }))
    }

    fn run(content: Content, script: &str) -> (Vec<String>, Fed) {
        let script = Script::parse(script).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut feed = Feed::new(content, &script, fastrand::Rng::with_seed(1));
            let mut pieces = Vec::new();
            loop {
                match poll_fn(|cx| feed.poll_next(cx)).await {
                    Fed::Data(data) => pieces.push(String::from_utf8_lossy(&data).into_owned()),
                    end => return (pieces, end),
                }
            }
        })
    }

    #[test]
    fn a_stream_in_order() {
        let (pieces, end) = run(stream(), "");
        let expected = [
            "data: {}\n\n",
            "data: {\"d\":\"a\"}\n\n",
            "data: {\"d\":\"\\\"\"}\n\n",
            "data: {\"stop\":1}\n\n",
            "data: [DONE]\n\n",
        ];
        assert_eq!((pieces.iter().map(String::as_str).collect::<Vec<_>>(), end), (expected.to_vec(), Fed::End));
        assert_eq!(run(stream(), "done=0").0.len(), 4);
    }

    #[test]
    fn cuts_by_event_and_by_byte() {
        let (pieces, end) = run(stream(), "reset_at_event=1");
        assert_eq!((pieces.len(), end), (2, Fed::Cut(CutKind::Reset)));
        let (pieces, end) = run(stream(), "stall_at_event=99");
        assert_eq!((pieces.len(), end), (3, Fed::Cut(CutKind::Stall)));
        let (pieces, end) = run(stream(), "close_at_byte=12");
        assert_eq!((pieces.concat().len(), end), (12, Fed::Cut(CutKind::Close)));
        let (pieces, end) = run(Content::Whole("hello".into()), "close_at_byte=0");
        assert_eq!((pieces.len(), end), (0, Fed::Cut(CutKind::Close)));
    }

    #[test]
    fn errors_and_garbage_in_mid_stream() {
        let (pieces, end) = run(stream(), "error_at_event=1");
        assert_eq!((pieces.last().map(String::as_str), end), (Some("data: {\"error\":1}\n\n"), Fed::End));
        assert_eq!(pieces.len(), 3);
        let (pieces, _) = run(stream(), "garbage_at_event=1");
        assert!(pieces[2].contains('\u{fffd}') && pieces.len() == 6);
    }

    #[test]
    fn splits_keep_the_bytes() {
        let whole = run(stream(), "").0.concat();
        for step in 1..=whole.len() {
            let (pieces, _) = run(stream(), &format!("split={step}"));
            assert_eq!(pieces.concat(), whole);
            assert!(pieces.iter().all(|piece| piece.len() <= step));
        }
        let (pieces, _) = run(Content::Whole("0123456789".into()), "split=1,4");
        assert_eq!(pieces, ["0", "123", "456789"]);
    }
}
