//! What a request needs that not every deployment can do: found in the body only when deployments differ in it.

use std::ops::Range;

use memchr::memmem;

use crate::exchange::Call;
use crate::guard::walk::{Frame, Kind, Visitor, walk};

macro_rules! needs {
    ($($variant:ident = $bit:literal, $name:literal, $what:literal, [$($hint:literal),*]);+ $(;)?) => {
        /// One of them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u16)]
        pub enum Need { $(#[doc = $what] $variant = 1 << $bit),+ }

        impl Need {
            pub const ALL: &'static [Need] = &[$(Need::$variant),+];

            /// As configurations, explanations and errors name it.
            pub fn name(self) -> &'static str {
                match self { $(Need::$variant => $name),+ }
            }

            pub fn what(self) -> &'static str {
                match self { $(Need::$variant => $what),+ }
            }

            /// Bytes without one of which no body has this need.
            fn hints(self) -> &'static [&'static str] {
                match self { $(Need::$variant => &[$($hint),*]),+ }
            }
        }
    };
}

needs! {
    Choices = 0, "n", "more than one answer", [];
    Tools = 1, "tools", "tools", ["\"tools\"", "\"functions\"", "\"toolConfig\""];
    HostedTools = 2, "hosted_tools", "tools that the provider runs", ["\"tools\""];
    JsonSchema = 3, "json_schema", "output by a JSON schema",
        ["\"json_schema\"", "\"responseSchema\"", "\"responseJsonSchema\"", "\"output_format\""];
    Vision = 4, "vision", "pictures", ["image"];
    Audio = 5, "audio_input", "sound", ["audio"];
    Video = 6, "video_input", "film", ["video"];
    Documents = 7, "documents", "documents", ["\"file\"", "\"input_file\"", "\"document\"", "application/pdf"];
    Modalities = 8, "modalities", "output other than text", ["odalities\""];
}

/// A set of needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs(u16);

/// Content that is no text: its size says nothing about its tokens.
pub const MEDIA: Needs = Needs(Need::Vision as u16 | Need::Audio as u16 | Need::Video as u16 | Need::Documents as u16);

impl Needs {
    pub const NONE: Needs = Needs(0);

    pub fn has(self, need: Need) -> bool {
        self.0 & need as u16 != 0
    }

    pub fn add(&mut self, need: Need) {
        self.0 |= need as u16;
    }

    pub fn and(self, other: Needs) -> Needs {
        Needs(self.0 & other.0)
    }

    pub fn or(self, other: Needs) -> Needs {
        Needs(self.0 | other.0)
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Need> {
        Need::ALL.iter().copied().filter(move |need| self.has(*need))
    }

    /// # Errors
    /// The name that is not known.
    pub fn parse(names: &[String]) -> Result<Needs, &str> {
        let mut found = Needs::NONE;
        for name in names {
            found.add(*Need::ALL.iter().find(|need| need.name() == name).ok_or(name.as_str())?);
        }
        Ok(found)
    }
}

/// Those of `asked` that a call has.
pub fn of(call: &Call, asked: Needs) -> Needs {
    let mut found = Needs::NONE;
    if asked.has(Need::Choices) && call.choices > 1 {
        found.add(Need::Choices);
    }
    if call.root.is_none() {
        return found;
    }
    // A body without any of the words needs no second look.
    let hinted = |need: &Need| need.hints().iter().any(|hint| memmem::find(&call.body, hint.as_bytes()).is_some());
    if !asked.iter().filter(|need| *need != Need::Choices).any(|need| hinted(&need)) {
        return found;
    }
    let mut reader = Reader { body: &call.body, found };
    // A key that stands twice is somebody else's matter.
    let _ = walk(&call.body, false, &mut reader);
    reader.found.and(asked)
}

/// Members of a body that hold messages.
const ROOTS: [&[u8]; 5] = [b"messages", b"input", b"contents", b"system", b"systemInstruction"];

struct Reader<'b> {
    body: &'b [u8],
    found: Needs,
}

impl<'b> Reader<'b> {
    fn name(&self, frame: &Frame) -> &'b [u8] {
        self.body.get(frame.key.clone()).unwrap_or_default()
    }

    /// A part of a message by its `type`: OpenAI's, Anthropic's and Cohere's formats.
    fn part(&mut self, kind: &[u8]) {
        match kind {
            b"image_url" | b"image" | b"input_image" => self.found.add(Need::Vision),
            b"input_audio" | b"audio" => self.found.add(Need::Audio),
            b"video_url" | b"video" | b"input_video" => self.found.add(Need::Video),
            b"file" | b"document" | b"input_file" => self.found.add(Need::Documents),
            _ => {}
        }
    }

    /// A part by its media type: Google's format.
    fn media(&mut self, kind: &[u8]) {
        match kind.split(|byte| *byte == b'/').next() {
            Some(b"image") => self.found.add(Need::Vision),
            Some(b"audio") => self.found.add(Need::Audio),
            Some(b"video") => self.found.add(Need::Video),
            _ if kind == b"application/pdf" => self.found.add(Need::Documents),
            _ => {}
        }
    }

    fn value(&mut self, path: &[Frame], name: &[u8], value: &[u8]) {
        let Some(root) = path.first().map(|frame| self.name(frame)) else { return };
        if ROOTS.contains(&root) {
            match name {
                // Deeper ones are arguments and schemas of tools.
                b"type" if path.len() <= 7 && listed(path) => self.part(value),
                b"mimeType" | b"mime_type" => self.media(value),
                _ => {}
            }
            return;
        }
        match (root, name) {
            (b"tools", b"type") if path.len() == 3 && !matches!(value, b"function" | b"custom") => {
                self.found.add(Need::HostedTools);
            }
            (b"response_format" | b"text" | b"output_format" | b"output_config", b"type")
                if value == b"json_schema" =>
            {
                self.found.add(Need::JsonSchema);
            }
            (b"modalities", _) if path.len() == 2 && value != b"text" => self.found.add(Need::Modalities),
            (b"generationConfig" | b"generation_config", b"responseModalities") if value != b"TEXT" => {
                self.found.add(Need::Modalities);
            }
            _ => {}
        }
    }
}

/// Whether the object that is read stands in a list.
fn listed(path: &[Frame]) -> bool {
    path.len().checked_sub(2).and_then(|outer| path.get(outer)).is_some_and(|frame| frame.array)
}

impl Visitor for Reader<'_> {
    fn text(&mut self, kind: Kind, path: &[Frame], raw: Range<usize>) {
        if kind != Kind::Text {
            return;
        }
        let name = path.iter().rev().find(|frame| !frame.array).map_or(b"".as_slice(), |frame| self.name(frame));
        let value = self.body.get(raw).unwrap_or_default();
        self.value(path, name, value);
    }

    fn identifier(&mut self, path: &[Frame], name: &[u8], raw: Range<usize>) {
        let value = self.body.get(raw).unwrap_or_default();
        self.value(path, name, value);
    }

    fn opened(&mut self, path: &[Frame], _at: usize, _array: bool) {
        let Some(root) = path.first().map(|frame| self.name(frame)) else { return };
        match (root, path.len()) {
            (b"tools" | b"functions", 2) => self.found.add(Need::Tools),
            (b"toolConfig", 1) => self.found.add(Need::Tools),
            (b"generationConfig" | b"generation_config", 2..) => {
                let name = path.get(1).map_or(b"".as_slice(), |frame| self.name(frame));
                if matches!(name, b"responseSchema" | b"responseJsonSchema" | b"response_schema") {
                    self.found.add(Need::JsonSchema);
                }
            }
            // Converse: `{"image": {…}}` in the content of a message.
            (b"messages", 5) => match path.last().map_or(b"".as_slice(), |frame| self.name(frame)) {
                b"image" => self.found.add(Need::Vision),
                b"video" => self.found.add(Need::Video),
                b"audio" => self.found.add(Need::Audio),
                b"document" => self.found.add(Need::Documents),
                _ => {}
            },
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::wire::json::scan_object;

    fn found(body: &str) -> Vec<&'static str> {
        let root = scan_object(body.as_bytes(), &[]).expect("JSON").root;
        let call = Call { body: Bytes::copy_from_slice(body.as_bytes()), root: Some(root), ..Call::default() };
        of(&call, Needs(u16::MAX)).iter().map(Need::name).collect()
    }

    #[test]
    fn needs_are_found_in_every_format() {
        for (body, expected) in [
            (r#"{"messages":[{"role":"user","content":"an image, \"tools\" and audio"}]}"#, vec![]),
            (r#"{"messages":[],"tools":[]}"#, vec![]),
            (r#"{"messages":[],"tools":[{"type":"function","function":{"name":"f"}}]}"#, vec!["tools"]),
            (r#"{"messages":[],"functions":[{"name":"f"}]}"#, vec!["tools"]),
            (r#"{"input":"x","tools":[{"type":"web_search"}]}"#, vec!["tools", "hosted_tools"]),
            (
                r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x/y"}}]}]}"#,
                vec!["vision"],
            ),
            (
                r#"{"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","data":""}}]}]}"#,
                vec!["vision"],
            ),
            (
                r#"{"messages":[{"role":"user","content":[{"type":"document","source":{"type":"url"}}]}]}"#,
                vec!["documents"],
            ),
            (r#"{"input":[{"role":"user","content":[{"type":"input_file","file_id":"f"}]}]}"#, vec!["documents"]),
            (
                r#"{"messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"AA"}}]}]}"#,
                vec!["audio_input"],
            ),
            (r#"{"contents":[{"parts":[{"inlineData":{"mimeType":"video/mp4","data":"AA"}}]}]}"#, vec!["video_input"]),
            (
                r#"{"messages":[{"role":"user","content":[{"image":{"format":"png","source":{"bytes":"AA"}}}]}]}"#,
                vec!["vision"],
            ),
            (r#"{"messages":[],"response_format":{"type":"json_schema","json_schema":{}}}"#, vec!["json_schema"]),
            (r#"{"messages":[],"response_format":{"type":"json_object","x":"\"json_schema\""}}"#, vec![]),
            (r#"{"input":"x","text":{"format":{"type":"json_schema","schema":{}}}}"#, vec!["json_schema"]),
            (r#"{"contents":[],"generationConfig":{"responseSchema":{"type":"OBJECT"}}}"#, vec!["json_schema"]),
            (r#"{"messages":[],"modalities":["text","audio"]}"#, vec!["modalities"]),
            (r#"{"messages":[],"modalities":["text"]}"#, vec![]),
            (r#"{"contents":[],"generationConfig":{"responseModalities":["TEXT","IMAGE"]}}"#, vec!["modalities"]),
        ] {
            assert_eq!(found(body), expected, "{body}");
        }
        let many = Call { choices: 2, ..Call::default() };
        assert!(of(&many, Needs(u16::MAX)).has(Need::Choices));
        assert!(of(&many, Needs::NONE).is_empty());
        assert!(Needs::parse(&["tools".into(), "n".into()]).is_ok_and(|needs| needs.has(Need::Tools)));
        assert_eq!(Needs::parse(&["tooth".into()]), Err("tooth"));
    }
}
