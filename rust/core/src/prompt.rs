//! The prompt of a request in any format: its last message, and what came with it.

use std::ops::Range;

use crate::guard::walk::{Frame, Kind, Visitor, decode, walk};
use crate::kernel::features::{Prompt, TEXT_MAX};

/// Members of a body that hold messages or a prompt.
const ROOTS: [&[u8]; 6] = [b"messages", b"input", b"contents", b"prompt", b"query", b"message"];

/// Reads a body that was validated.
pub fn read(body: &[u8]) -> Prompt {
    let mut reader = Reader { body, prompt: Prompt::default(), text: String::new(), at: None };
    // A key that stands twice is somebody else's matter.
    let _ = walk(body, false, &mut reader);
    reader.prompt.text = reader.text.into_bytes();
    reader.prompt.messages = reader.prompt.messages.max(1);
    reader.prompt
}

struct Reader<'b> {
    body: &'b [u8],
    prompt: Prompt,
    text: String,
    /// The message that is being read: its root member and its place.
    at: Option<(usize, u32)>,
}

impl<'b> Reader<'b> {
    fn name(&self, frame: &Frame) -> &'b [u8] {
        self.body.get(frame.key.clone()).unwrap_or_default()
    }
}

impl Visitor for Reader<'_> {
    fn text(&mut self, kind: Kind, path: &[Frame], raw: Range<usize>) {
        let Some(root) = path.first() else { return };
        let name = self.name(root);
        if name == b"tools" || name == b"functions" {
            self.prompt.tools = true;
        }
        if kind != Kind::Text || !ROOTS.contains(&name) {
            return;
        }
        self.prompt.total += raw.len() as u64;
        let place = path.get(1).filter(|frame| frame.array).map_or(0, |frame| frame.place);
        let at = (root.key.start, place);
        if self.at != Some(at) {
            self.at = Some(at);
            self.prompt.messages += 1;
            self.text.clear();
        }
        let member = path.last().map_or(b"".as_slice(), |frame| self.name(frame));
        if member == b"url" || member == b"image_url" || raw.len() > 22 && self.body[raw.clone()].starts_with(b"data:")
        {
            self.prompt.images = true;
            return;
        }
        let room = TEXT_MAX.saturating_sub(self.text.len());
        if room > 0 {
            let content = &self.body[raw];
            if !self.text.is_empty() {
                self.text.push('\n');
            }
            decode(content.get(..content.len().min(room)).unwrap_or_default(), &mut self.text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_message_counts_in_every_format() {
        for body in [
            r#"{"model":"m","messages":[{"role":"system","content":"be kind"},{"role":"user","content":"a\nb \"c\""}]}"#,
            r#"{"messages":[{"role":"user","content":"old"},{"role":"user","content":[{"type":"text","text":"a\nb \"c\""}]}]}"#,
            r#"{"contents":[{"parts":[{"text":"old"}]},{"parts":[{"text":"a\nb \"c\""}]}]}"#,
            r#"{"model":"m","input":"a\nb \"c\""}"#,
            r#"{"model":"m","prompt":"a\nb \"c\"","tools":[]}"#,
        ] {
            assert_eq!(String::from_utf8_lossy(&read(body.as_bytes()).text), "a\nb \"c\"", "{body}");
        }
        let body = r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x/y.png"}},
            {"type":"text","text":"what is it"}]}],"tools":[{"type":"function","function":{"name":"find","description":"finds"}}]}"#;
        let prompt = read(body.as_bytes());
        assert!(prompt.images && prompt.tools);
        assert_eq!(prompt.text, b"what is it");
    }
}
