//! Writes chat messages.

use crate::dialect::format::{Fault, Format};
use crate::dialect::hub::{Feature, Losses, Media, Message, Part, Role, Text, Unsupported, lose};
use crate::wire::json::write::Writer;

const HERE: Format = Format::Chat;

/// Writes messages. Media that came as results of tools wait until the results are complete, and follow in a message of
/// the user: results can only be text here.
pub struct Messages<'l, 'p, 'a> {
    out: Writer,
    losses: &'l mut Losses,
    waiting: Vec<&'p Part<'a>>,
}

impl<'l, 'p, 'a> Messages<'l, 'p, 'a> {
    pub fn new(out: Writer, losses: &'l mut Losses) -> Self {
        Messages { out, losses, waiting: Vec::new() }
    }

    /// # Errors
    /// [`Fault::Unsupported`] for what cannot be said.
    pub fn message(&mut self, message: &'p Message<'a>) -> Result<(), Fault> {
        match message.role {
            Role::Tool => {
                for part in &message.parts {
                    self.result(part)?;
                }
                Ok(())
            }
            Role::System => {
                self.close()?;
                self.plain("system", message)
            }
            Role::User => self.user(message),
            Role::Assistant => self.assistant(message),
        }
    }

    /// # Errors
    /// [`Fault::Unsupported`] for media that cannot be sent.
    pub fn close(&mut self) -> Result<(), Fault> {
        let waiting = std::mem::take(&mut self.waiting);
        if waiting.is_empty() {
            return Ok(());
        }
        self.out.begin_object().member("role", "user").key("content").begin_array();
        for part in waiting {
            self.part(part)?;
        }
        self.out.end_array().end_object();
        Ok(())
    }

    pub fn finish(self) -> Writer {
        self.out
    }

    fn begin(&mut self, role: &str, name: Option<&Text<'_>>) {
        self.out.begin_object().member("role", role);
        if let Some(name) = name {
            self.out.member("name", name);
        }
    }

    fn plain(&mut self, role: &str, message: &'p Message<'a>) -> Result<(), Fault> {
        self.begin(role, message.name.as_ref());
        self.content(&message.parts)?;
        self.out.end_object();
        Ok(())
    }

    fn user(&mut self, message: &'p Message<'a>) -> Result<(), Fault> {
        if self.waiting.is_empty() {
            return self.plain("user", message);
        }
        // The media of the results and what the user says with them are one message.
        self.begin("user", message.name.as_ref());
        self.out.key("content").begin_array();
        for part in std::mem::take(&mut self.waiting) {
            self.part(part)?;
        }
        for part in &message.parts {
            self.part(part)?;
        }
        self.out.end_array().end_object();
        Ok(())
    }

    fn assistant(&mut self, message: &'p Message<'a>) -> Result<(), Fault> {
        self.close()?;
        self.begin("assistant", message.name.as_ref());
        let said = |part: &&Part<'_>| matches!(part, Part::Text { .. } | Part::Foreign { .. });
        let mut texts: Vec<&Part<'_>> = message.parts.iter().filter(said).collect();
        match (texts.pop(), texts.is_empty()) {
            (None, _) => _ = self.out.key("content").null(),
            (Some(Part::Text { text, cache: None, .. }), true) => _ = self.out.member("content", text),
            (Some(last), _) => {
                self.out.key("content").begin_array();
                for part in texts.into_iter().chain([last]) {
                    self.part(part)?;
                }
                self.out.end_array();
            }
        }
        let mut called = false;
        for part in &message.parts {
            match part {
                Part::Text { .. } | Part::Foreign { .. } | Part::ToolCall { .. } | Part::Refusal { .. } => {}
                Part::Reasoning { .. } => _ = lose(self.losses, Feature::ReasoningHistory, HERE)?,
                _ => return Err(Fault::invalid("messages", "a message of the assistant cannot contain media here")),
            }
            if let Part::Refusal { text } = part {
                self.out.member("refusal", text);
            }
            called |= matches!(part, Part::ToolCall { .. });
        }
        if called {
            self.calls(&message.parts);
        }
        self.out.end_object();
        Ok(())
    }

    fn calls(&mut self, parts: &[Part<'_>]) {
        self.out.key("tool_calls").begin_array();
        for part in parts {
            let Part::ToolCall { id, name, arguments, signature, .. } = part else { continue };
            self.out.begin_object().member("id", id).member("type", "function");
            let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
            self.out.key("function").begin_object().member("name", name).member("arguments", arguments).end_object();
            if let Some(signature) = signature {
                self.out.key("extra_content").begin_object().key("google").begin_object();
                self.out.member("thought_signature", signature).end_object().end_object();
            }
            self.out.end_object();
        }
        self.out.end_array();
    }

    fn result(&mut self, part: &'p Part<'a>) -> Result<(), Fault> {
        let Part::ToolResult { id, parts, error, cache, .. } = part else { return Ok(()) };
        if *error {
            lose(self.losses, Feature::ToolError, HERE)?;
        }
        if cache.is_some() {
            lose(self.losses, Feature::CacheMarks, HERE)?;
        }
        self.out.begin_object().member("role", "tool").member("tool_call_id", id);
        let mut texts = parts.iter().filter_map(|part| match part {
            Part::Text { text, .. } => Some(&**text),
            _ => None,
        });
        let first = texts.next();
        let second = texts.next();
        match (first, second) {
            (None, _) => _ = self.out.member("content", ""),
            (Some(text), None) => _ = self.out.member("content", text),
            (Some(first), Some(second)) => {
                self.out.key("content").begin_array();
                for text in [first, second].into_iter().chain(texts) {
                    self.out.begin_object().member("type", "text").member("text", text).end_object();
                }
                self.out.end_array();
            }
        }
        self.out.end_object();
        for part in parts.iter().filter(|part| !matches!(part, Part::Text { .. })) {
            lose(self.losses, Feature::ToolMedia, HERE)?;
            self.waiting.push(part);
        }
        Ok(())
    }

    /// A string where one text is all there is, parts otherwise.
    fn content(&mut self, parts: &'p [Part<'a>]) -> Result<(), Fault> {
        if let [Part::Text { text, cache: None, .. }] = parts {
            self.out.member("content", text);
            return Ok(());
        }
        if let [Part::Text { text, cache: Some(_), .. }] = parts {
            lose(self.losses, Feature::CacheMarks, HERE)?;
            self.out.member("content", text);
            return Ok(());
        }
        self.out.key("content").begin_array();
        for part in parts {
            self.part(part)?;
        }
        self.out.end_array();
        Ok(())
    }

    fn part(&mut self, part: &Part<'_>) -> Result<(), Fault> {
        if let Part::Text { cache: Some(_), .. }
        | Part::Image { cache: Some(_), .. }
        | Part::Document { cache: Some(_), .. } = part
        {
            lose(self.losses, Feature::CacheMarks, HERE)?;
        }
        match part {
            Part::Text { text, .. } => {
                _ = self.out.begin_object().member("type", "text").member("text", text).end_object()
            }
            Part::Image { media, detail, .. } => {
                self.out.begin_object().member("type", "image_url").key("image_url").begin_object();
                self.out.member("url", &url(media, self.losses)?);
                if let Some(detail) = detail {
                    self.out.member("detail", detail);
                }
                self.out.end_object().end_object();
            }
            Part::Audio { media: Media::Base64 { mime, data } } => {
                let format = match mime.strip_prefix("audio/").unwrap_or(mime) {
                    "mpeg" | "mp3" => "mp3",
                    "x-wav" | "wave" => "wav",
                    other => other,
                };
                self.out.begin_object().member("type", "input_audio").key("input_audio").begin_object();
                self.out.member("data", data).member("format", format).end_object().end_object();
            }
            Part::Audio { .. } => {
                let alternative = "send the sound's content in the request";
                return Err(Unsupported { feature: Feature::Audio, alternative }.into());
            }
            Part::Document { media, name, citations, .. } => {
                if *citations {
                    lose(self.losses, Feature::Citations, HERE)?;
                }
                self.document(media, name.as_deref())?;
            }
            Part::Foreign { format: HERE, raw, .. } => _ = self.out.raw(raw),
            Part::Video { .. } => _ = lose(self.losses, Feature::Video, HERE)?,
            _ => _ = lose(self.losses, Feature::Foreign, HERE)?,
        }
        Ok(())
    }

    fn document(&mut self, media: &Media<'_>, name: Option<&str>) -> Result<(), Fault> {
        match media {
            Media::Base64 { mime, data } => {
                self.out.begin_object().member("type", "file").key("file").begin_object();
                self.out.member("filename", name.unwrap_or("document.pdf"));
                self.out.member("file_data", &format!("data:{};base64,{}", &**mime, &**data)).end_object().end_object();
            }
            Media::Text { text } => {
                let whole = name.map(|name| format!("# {name}\n\n{}", &**text));
                let text = whole.as_deref().unwrap_or(text);
                self.out.begin_object().member("type", "text").member("text", text).end_object();
            }
            Media::File { id } => {
                lose(self.losses, Feature::Files, HERE)?;
                self.out.begin_object().member("type", "file").key("file").begin_object();
                self.out.member("file_id", id).end_object().end_object();
            }
            Media::Url { .. } => {
                let alternative = "send the document's content in the request";
                return Err(Unsupported { feature: Feature::Documents, alternative }.into());
            }
        }
        Ok(())
    }
}

fn url(media: &Media<'_>, losses: &mut Losses) -> Result<String, Fault> {
    match media {
        Media::Url { url, .. } => Ok(url.to_string()),
        Media::Base64 { mime, data } => Ok(format!("data:{};base64,{}", &**mime, &**data)),
        Media::File { .. } => {
            lose(losses, Feature::Files, HERE)?;
            Ok(String::new())
        }
        Media::Text { .. } => Err(Fault::invalid("messages", "an image cannot be text")),
    }
}
