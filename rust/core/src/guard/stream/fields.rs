//! Which strings of an event continue a text of events before, in any dialect.
//!
//! A string below a member `delta` or `choices`, or a text among the parts of one of Google's candidates, grows; which text
//! it belongs to is told by the names on its path and by the numbers of blocks and choices around it, not by its place in
//! a list: providers cut the same text into parts as they like. Every other string stands for itself.

use std::ops::Range;

use smallvec::SmallVec;

use crate::guard::walk::{Frame, Kind, Visitor, place, walk};
use crate::wire::json::scan_object;

/// A string of an event.
pub(in crate::guard) struct Text {
    pub kind: Kind,
    /// Its content in the event's data.
    pub raw: Range<usize>,
    /// The growing text it belongs to.
    pub grows: Option<u64>,
    pub choice: u64,
    /// JSON in a string.
    pub nested: bool,
}

/// What an event is to the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::guard) enum Class {
    #[default]
    Other,
    /// The answer begins.
    Begin,
    /// A block begins.
    Start,
    /// A block ends.
    Stop,
    /// An item has been told as a whole.
    Item,
    /// The answer has its finish reason.
    Finish,
}

/// A choice that an event speaks of, and the finish reason it is given: the bytes between its quotes.
pub(in crate::guard) type Choice = (u64, Option<Range<usize>>);

/// The strings of an event.
pub(in crate::guard) struct Found {
    pub texts: SmallVec<[Text; 4]>,
    pub class: Class,
    /// The block, the item.
    pub index: Option<u64>,
    /// It is a block of a tool.
    pub tool: bool,
    /// The texts of all choices end, or those of a block.
    pub ends: Option<Option<u64>>,
    pub choices: SmallVec<[Choice; 2]>,
}

/// Names of numbers that tell texts apart.
const INDICES: [&[u8]; 6] =
    [b"index", b"output_index", b"contentBlockIndex", b"content_index", b"summary_index", b"content_block_index"];
/// Those among them that number blocks, items and choices.
const OUTER: usize = 3;
/// Members of a growing object that are complete where they stand.
const COMPLETE: [&[u8]; 7] = [b"name", b"role", b"type", b"id", b"finish_reason", b"stop_reason", b"stop_sequence"];
/// Objects below which nothing grows.
const APART: [&[u8]; 8] = [
    b"citation",
    b"citations",
    b"annotations",
    b"annotation",
    b"sources",
    b"documents",
    b"logprobs",
    b"logprobsResult",
];

fn class(kind: &[u8]) -> (Class, bool) {
    match kind {
        b"message_start" | b"message-start" | b"messageStart" | b"response.created" => (Class::Begin, false),
        b"content_block_start" | b"content-start" | b"tool-call-start" | b"contentBlockStart" => (Class::Start, false),
        b"content_block_stop" | b"content-end" | b"tool-call-end" | b"contentBlockStop" => (Class::Stop, true),
        b"response.output_text.done"
        | b"response.refusal.done"
        | b"response.reasoning_text.done"
        | b"response.reasoning_summary_text.done"
        | b"response.function_call_arguments.done"
        | b"response.mcp_call_arguments.done"
        | b"response.custom_tool_call_input.done"
        | b"response.text.done"
        | b"response.audio_transcript.done"
        | b"response.output_audio_transcript.done" => (Class::Other, true),
        b"response.output_item.done" => (Class::Item, true),
        b"message_delta"
        | b"message-end"
        | b"messageStop"
        | b"message_stop"
        | b"response.completed"
        | b"response.incomplete"
        | b"response.done"
        | b"response.failed" => (Class::Finish, true),
        _ => (Class::Other, false),
    }
}

/// Strings of an event's data. `kind`: what its frame says it is; else its member `type` does. `None`: it is not JSON.
pub(in crate::guard) fn texts(data: &[u8], kind: Option<&[u8]>) -> Option<Found> {
    let scan = scan_object(data, &["type"]).ok()?;
    let said = scan.fields[0].map(|value| value.raw(data)).unwrap_or_default();
    let said = said.strip_prefix(b"\"").and_then(|kind| kind.strip_suffix(b"\"")).unwrap_or_default();
    let kind = kind.unwrap_or(said);
    let mut collect = Collect::new(data, kind);
    walk(data, false, &mut collect).ok()?;
    let (class, ends) = class(kind);
    let index = collect.outer(0);
    let texts = collect.strings.iter().map(|seen| collect.text_of(seen)).collect();
    let choices: SmallVec<[Choice; 2]> = collect
        .choices
        .iter()
        .map(|id| {
            let finish = collect.finished.iter().find(|(container, _)| container == id).map(|(_, raw)| raw.clone());
            (collect.outer(*id).unwrap_or(0), finish)
        })
        .collect();
    let ends = match class {
        _ if !ends => None,
        Class::Finish => Some(None),
        _ => Some(index),
    };
    let tool = matches!(kind, b"tool-call-start" | b"tool-call-delta");
    Some(Found { texts, class, index, tool, ends, choices })
}

/// Where the string with this content stands, for people.
pub(super) fn name_of(data: &[u8], raw: &Range<usize>) -> String {
    struct Find<'d>(&'d [u8], usize, String);
    impl Visitor for Find<'_> {
        fn text(&mut self, _: Kind, path: &[Frame], raw: Range<usize>) {
            if raw.start == self.1 {
                self.2 = place(self.0, path);
            }
        }
    }
    let mut find = Find(data, raw.start, String::new());
    let _ = walk(data, false, &mut find);
    find.2
}

/// Container, the place in the list that tells it from others where no number does, and the hash of the member's name.
type Step = (u32, Option<u32>, u64);

struct Seen {
    kind: Kind,
    raw: Range<usize>,
    grows: bool,
    nested: bool,
    path: SmallVec<[Step; 8]>,
}

struct Collect<'d> {
    data: &'d [u8],
    kind: &'d [u8],
    strings: SmallVec<[Seen; 4]>,
    /// Container, which of [`INDICES`], and the number.
    indices: SmallVec<[(u32, usize, u64); 4]>,
    finished: SmallVec<[(u32, Range<usize>); 2]>,
    /// Containers that are choices or candidates.
    choices: SmallVec<[u32; 2]>,
    /// Parts that are thoughts.
    thoughts: SmallVec<[u32; 2]>,
}

const SEED: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a: names of members are the provider's, nobody gains by making two alike.
fn mixed(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

impl<'d> Collect<'d> {
    fn new(data: &'d [u8], kind: &'d [u8]) -> Self {
        Collect {
            data,
            kind,
            strings: SmallVec::new(),
            indices: SmallVec::new(),
            finished: SmallVec::new(),
            choices: SmallVec::new(),
            thoughts: SmallVec::new(),
        }
    }

    fn key(&self, frame: &Frame) -> &'d [u8] {
        self.data.get(frame.key.clone()).unwrap_or_default()
    }

    /// The number of the block, item or choice that a container is.
    fn outer(&self, id: u32) -> Option<u64> {
        let own = self.indices.iter().filter(|(container, which, _)| *container == id && *which < OUTER);
        own.min_by_key(|(_, which, _)| *which).map(|(_, _, number)| *number)
    }

    fn text_of(&self, seen: &Seen) -> Text {
        let choice = seen.path.iter().find_map(|step| self.outer(step.0)).unwrap_or(0);
        let grows = seen.grows.then(|| {
            let mut hash = SEED;
            for (id, place, name) in &seen.path {
                let mut numbered = false;
                for (which, number) in (0..INDICES.len()).filter_map(|which| {
                    let own = self.indices.iter().find(|(container, known, _)| container == id && *known == which)?;
                    Some((which, own.2))
                }) {
                    numbered = true;
                    hash = mixed(mixed(hash, &[which as u8]), &number.to_le_bytes());
                }
                if let Some(place) = place.filter(|_| !numbered) {
                    hash = mixed(mixed(hash, &[0]), &u64::from(place).to_le_bytes());
                }
                if self.thoughts.contains(id) {
                    hash = mixed(hash, b"thought");
                }
                hash = mixed(hash, &name.to_le_bytes());
            }
            if seen.path.len() == 1 {
                // Of a top-level `delta`, the event says what it is a part of.
                hash = mixed(hash, self.kind);
            }
            hash
        });
        Text { kind: seen.kind, raw: seen.raw.clone(), grows, choice, nested: seen.nested }
    }

    /// Whether a text goes on in events to come, and whether it is JSON.
    fn nature(&self, path: &[Frame]) -> (bool, bool) {
        let (mut delta, mut choices, mut message, mut candidate, mut part, mut partial) =
            (false, false, false, false, false, false);
        let (mut last, mut before): (&[u8], &[u8]) = (b"", b"");
        for frame in path.iter().filter(|frame| !frame.array) {
            let key = self.key(frame);
            match key {
                b"delta" | b"content_block" => delta = true,
                b"choices" => choices = true,
                b"message" => message = true,
                b"candidates" => candidate = true,
                b"parts" => part = true,
                b"partialArgs" => partial = true,
                key if APART.contains(&key) => return (false, false),
                _ => {}
            }
            (before, last) = (last, key);
        }
        let nested = matches!(last, b"arguments" | b"partial_json")
            || (last == b"input" && before == b"toolUse")
            || (last == b"delta" && self.kind.ends_with(b"call_arguments.delta"));
        let grows = if candidate {
            part && (last == b"text" || (partial && last == b"stringValue"))
        } else {
            delta || (choices && !message)
        };
        (grows && !COMPLETE.contains(&last), nested)
    }
}

impl Visitor for Collect<'_> {
    fn text(&mut self, kind: Kind, path: &[Frame], raw: Range<usize>) {
        let (grows, nested) = if kind == Kind::Text { self.nature(path) } else { (false, false) };
        let mut listed = None;
        let mut distinct = false;
        let steps = path.iter().map(|frame| {
            let key = if frame.array { b"".as_slice() } else { self.key(frame) };
            let name = if key == b"content_block" { b"delta".as_slice() } else { key };
            let step = (frame.id, listed, if grows { mixed(SEED, name) } else { 0 });
            listed = (frame.array && distinct).then_some(frame.place);
            distinct = matches!(key, b"choices" | b"candidates");
            step
        });
        let path = steps.collect();
        self.strings.push(Seen { kind, raw, grows, nested, path });
    }

    fn number(&mut self, path: &[Frame], name: &[u8], raw: Range<usize>) {
        let Some(frame) = path.last().filter(|frame| !frame.array) else { return };
        if let Some(which) = INDICES.iter().position(|index| *index == name)
            && let Some(number) =
                std::str::from_utf8(self.data.get(raw).unwrap_or_default()).ok().and_then(|text| text.parse().ok())
        {
            self.indices.push((frame.id, which, number));
            if which == 0 && self.is_choice(path) {
                self.choice(frame.id);
            }
        }
    }

    fn identifier(&mut self, path: &[Frame], name: &[u8], raw: Range<usize>) {
        // Providers write an empty reason into events that finish nothing.
        if !raw.is_empty() && (name == b"finish_reason" || name == b"finishReason") && self.is_choice(path) {
            let Some(frame) = path.last() else { return };
            self.finished.push((frame.id, raw));
            self.choice(frame.id);
        }
    }

    fn flag(&mut self, path: &[Frame], name: &[u8]) {
        if name == b"thought"
            && let Some(frame) = path.last()
        {
            self.thoughts.push(frame.id);
        }
    }
}

impl Collect<'_> {
    fn choice(&mut self, id: u32) {
        if !self.choices.contains(&id) {
            self.choices.push(id);
        }
    }

    /// Whether the innermost container is one of the choices or candidates.
    fn is_choice(&self, path: &[Frame]) -> bool {
        let [list, element, _] = path else { return false };
        element.array && matches!(self.key(list), b"choices" | b"candidates")
    }
}
