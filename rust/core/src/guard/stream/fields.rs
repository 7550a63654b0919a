//! Which strings of an event continue a text of events before, in any dialect.
//!
//! A string below a member `delta`, or among the parts of one of Google's candidates, grows; which text it belongs to is
//! told by the names on its path and by the `index` numbers of the objects around it. Every other string stands for itself.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;

use smallvec::SmallVec;

use crate::endpoint::{Dialect, Operation};
use crate::guard::walk::{Frame, Kind, Visitor, place, walk};
use crate::wire::json::scan_object;

/// A string of an event.
pub(super) struct Text {
    /// Its content in the event's data.
    pub raw: Range<usize>,
    /// The growing text it belongs to.
    pub grows: Option<u64>,
    pub choice: u64,
    pub name: String,
}

/// The strings of an event.
pub(super) struct Found {
    pub texts: SmallVec<[Text; 4]>,
    /// The event ends the texts of this choice.
    pub ended: bool,
    pub choice: Option<u64>,
}

/// Names of numbers that tell texts apart.
const INDICES: [&[u8]; 3] = [b"index", b"output_index", b"content_index"];
/// Events behind which a text does not go on.
const ENDS: [&[u8]; 4] =
    [b"content_block_stop", b"response.output_text.done", b"response.output_item.done", b"message_stop"];

/// `None`: the data is not JSON.
pub(super) fn texts(data: &[u8]) -> Option<Found> {
    let scan = scan_object(data, &["type"]).ok()?;
    let kind = scan.fields[0].map(|value| value.raw(data)).unwrap_or_default();
    let kind = kind.strip_prefix(b"\"").and_then(|kind| kind.strip_suffix(b"\"")).unwrap_or_default();
    let mut collect = Collect { data, strings: SmallVec::new(), indices: SmallVec::new(), finished: None };
    walk(data, false, &mut collect).ok()?;
    let Collect { strings, indices, finished, .. } = collect;
    let index = |id: u32| {
        let own = indices.iter().filter(|(container, _)| *container == id);
        own.fold(None, |sum: Option<u64>, (_, index)| Some(sum.unwrap_or(0) * 4096 + index))
    };
    let texts = strings
        .into_iter()
        .map(|string| {
            let choice = string.path.iter().find_map(|step| index(step.0)).unwrap_or(0);
            let grows = string.grows.then(|| {
                let mut hasher = DefaultHasher::new();
                for (id, array, place, name) in &string.path {
                    match (array, index(*id)) {
                        // An element says by itself which one it is, where it can.
                        (true, _) => {}
                        (false, Some(index)) => index.hash(&mut hasher),
                        (false, None) => place.hash(&mut hasher),
                    }
                    name.hash(&mut hasher);
                }
                hasher.finish()
            });
            Text { raw: string.raw, grows, choice, name: string.name }
        })
        .collect();
    let top = index(0);
    let ended = finished.is_some() || ENDS.contains(&kind);
    let choice = match finished {
        Some(container) => index(container),
        None if kind == b"message_stop" => None,
        None => top,
    };
    Some(Found { texts, ended, choice })
}

/// Container, whether it is an array, the place of the array element it is, and the member's name.
type Step = (u32, bool, u32, Vec<u8>);

struct Seen {
    raw: Range<usize>,
    grows: bool,
    path: SmallVec<[Step; 8]>,
    name: String,
}

struct Collect<'d> {
    data: &'d [u8],
    strings: SmallVec<[Seen; 4]>,
    indices: SmallVec<[(u32, u64); 4]>,
    finished: Option<u32>,
}

impl Collect<'_> {
    fn key(&self, frame: &Frame) -> &[u8] {
        self.data.get(frame.key.clone()).unwrap_or_default()
    }
}

impl Visitor for Collect<'_> {
    fn text(&mut self, kind: Kind, path: &[Frame], raw: Range<usize>) {
        if kind != Kind::Text {
            return;
        }
        let below = |name: &[u8]| path.iter().any(|frame| !frame.array && self.key(frame) == name);
        let grows =
            below(b"delta") || (below(b"parts") && below(b"candidates")) || (below(b"choices") && !below(b"message"));
        // A name of a tool or a finish reason is complete where it stands.
        let last = path.last().map(|frame| self.key(frame).to_vec()).unwrap_or_default();
        let grows = grows && !matches!(last.as_slice(), b"name" | b"role" | b"type" | b"id" | b"finish_reason");
        let mut element = 0;
        let steps = path.iter().map(|frame| {
            let step = (frame.id, frame.array, element, if grows { self.key(frame).to_vec() } else { Vec::new() });
            element = if frame.array { frame.place + 1 } else { 0 };
            step
        });
        let path_steps = steps.collect();
        let name = place(self.data, path);
        self.strings.push(Seen { raw, grows, path: path_steps, name });
    }

    fn number(&mut self, path: &[Frame], name: &[u8], raw: Range<usize>) {
        let Some(frame) = path.last().filter(|frame| !frame.array) else { return };
        if INDICES.contains(&name)
            && let Some(index) =
                std::str::from_utf8(self.data.get(raw).unwrap_or_default()).ok().and_then(|text| text.parse().ok())
        {
            self.indices.push((frame.id, index));
        }
    }

    fn identifier(&mut self, path: &[Frame], name: &[u8]) {
        if name == b"finish_reason" || name == b"finishReason" {
            self.finished = path.last().map(|frame| frame.id);
        }
    }
}

/// What a dialect says before its error event when an answer is stopped.
pub(super) fn ending(dialect: Dialect, operation: Operation) -> &'static [u8] {
    match (dialect, operation) {
        (Dialect::OpenAi, Operation::Chat) => {
            b"data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"content_filter\"}]}\n\n"
        }
        (Dialect::OpenAi, Operation::Completions) => {
            b"data: {\"object\":\"text_completion\",\"choices\":[{\"index\":0,\"text\":\"\",\"finish_reason\":\"content_filter\"}]}\n\n"
        }
        (Dialect::Anthropic, _) => {
            b"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"refusal\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":0}}\n\n"
        }
        (Dialect::Gemini, _) => {
            b"data: {\"candidates\":[{\"index\":0,\"content\":{\"role\":\"model\",\"parts\":[]},\"finishReason\":\"SAFETY\"}]}\n\n"
        }
        _ => b"",
    }
}
