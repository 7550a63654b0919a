//! Writes messages, and the documents that stood among them: Cohere has a place of their own for these.

use crate::dialect::format::{Fault, Format};
use crate::dialect::hub::{CacheMark, Feature, Losses, Media, Message, Part, Role, Unsupported, lose};
use crate::wire::json::write::Writer;

const HERE: Format = Format::Cohere;

pub struct Messages<'l> {
    out: Writer,
    losses: &'l mut Losses,
}

impl<'l> Messages<'l> {
    pub fn new(out: Writer, losses: &'l mut Losses) -> Self {
        Messages { out, losses }
    }

    pub fn finish(self) -> Writer {
        self.out
    }

    /// # Errors
    /// [`Fault::Unsupported`] for what cannot be said.
    pub fn write(&mut self, messages: &[Message<'_>]) -> Result<(), Fault> {
        self.out.key("messages").begin_array();
        for message in messages {
            match message.role {
                Role::System => self.plain("system", &message.parts)?,
                Role::User => self.plain("user", &message.parts)?,
                Role::Assistant => self.assistant(&message.parts)?,
                Role::Tool => message.parts.iter().try_for_each(|part| self.result(part))?,
            }
        }
        self.out.end_array();
        let parts = || messages.iter().flat_map(|message| &message.parts);
        if parts().any(|part| matches!(part, Part::Document { .. })) {
            self.out.key("documents").begin_array();
            for (index, part) in parts().filter(|part| matches!(part, Part::Document { .. })).enumerate() {
                self.document(index, part)?;
            }
            self.out.end_array();
        }
        Ok(())
    }

    fn plain(&mut self, role: &str, parts: &[Part<'_>]) -> Result<(), Fault> {
        self.out.begin_object().member("role", role);
        self.content(parts)?;
        self.out.end_object();
        Ok(())
    }

    fn content(&mut self, parts: &[Part<'_>]) -> Result<(), Fault> {
        if let [Part::Text { text, cache, .. }] = parts {
            self.marked(*cache)?;
            self.out.member("content", text);
            return Ok(());
        }
        self.out.key("content").begin_array();
        parts.iter().try_for_each(|part| self.part(part))?;
        self.out.end_array();
        Ok(())
    }

    fn marked(&mut self, cache: Option<CacheMark>) -> Result<(), Fault> {
        if cache.is_some() {
            lose(self.losses, Feature::CacheMarks, HERE)?;
        }
        Ok(())
    }

    fn part(&mut self, part: &Part<'_>) -> Result<(), Fault> {
        match part {
            Part::Text { text, cache, .. } => {
                self.marked(*cache)?;
                self.out.begin_object().member("type", "text").member("text", text).end_object();
            }
            Part::Refusal { text } => {
                _ = self.out.begin_object().member("type", "text").member("text", text).end_object()
            }
            Part::Image { media, detail, cache } => {
                self.marked(*cache)?;
                let url = match media {
                    Media::Url { url, .. } => url.to_string(),
                    Media::Base64 { mime, data } => format!("data:{};base64,{}", &**mime, &**data),
                    Media::File { .. } => return Ok(_ = lose(self.losses, Feature::Files, HERE)?),
                    Media::Text { .. } => return Err(Fault::invalid("messages", "an image cannot be text")),
                };
                self.out.begin_object().member("type", "image_url").key("image_url").begin_object().member("url", &url);
                if let Some(detail) = detail {
                    self.out.member("detail", detail);
                }
                self.out.end_object().end_object();
            }
            Part::Document { cache, .. } => self.marked(*cache)?,
            Part::Reasoning { .. } => _ = lose(self.losses, Feature::ReasoningHistory, HERE)?,
            Part::Audio { .. } => _ = lose(self.losses, Feature::Audio, HERE)?,
            Part::Video { .. } => _ = lose(self.losses, Feature::Video, HERE)?,
            Part::ToolCall { .. } | Part::ToolResult { .. } | Part::Foreign { .. } => {
                lose(self.losses, Feature::Foreign, HERE)?;
            }
        }
        Ok(())
    }

    fn assistant(&mut self, parts: &[Part<'_>]) -> Result<(), Fault> {
        self.out.begin_object().member("role", "assistant");
        let called = parts.iter().any(|part| matches!(part, Part::ToolCall { .. }));
        let said = |part: &&Part<'_>| matches!(part, Part::Text { .. } | Part::Refusal { .. });
        if called {
            // What is said before a call is the plan for it.
            let texts = parts.iter().filter_map(|part| match part {
                Part::Text { text, .. } | Part::Refusal { text } => Some(&**text),
                _ => None,
            });
            let plan: String = texts.collect();
            if !plan.is_empty() {
                self.out.member("tool_plan", &plan);
            }
            self.out.key("tool_calls").begin_array();
            for part in parts {
                let Part::ToolCall { id, name, arguments, cache, .. } = part else { continue };
                self.marked(*cache)?;
                self.out.begin_object().member("id", id).member("type", "function").key("function").begin_object();
                let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
                self.out.member("name", name).member("arguments", arguments).end_object().end_object();
            }
            self.out.end_array();
        }
        let rest: Vec<&Part<'_>> =
            parts.iter().filter(|part| !(matches!(part, Part::ToolCall { .. }) || called && said(part))).collect();
        match rest[..] {
            [Part::Text { text, cache: None, .. }] => _ = self.out.member("content", text),
            _ if called => rest.into_iter().try_for_each(|part| self.part(part))?,
            _ => {
                self.out.key("content").begin_array();
                rest.into_iter().try_for_each(|part| self.part(part))?;
                self.out.end_array();
            }
        }
        self.out.end_object();
        Ok(())
    }

    fn result(&mut self, part: &Part<'_>) -> Result<(), Fault> {
        let Part::ToolResult { id, parts, error, cache, .. } = part else { return Ok(()) };
        if *error {
            lose(self.losses, Feature::ToolError, HERE)?;
        }
        self.marked(*cache)?;
        self.out.begin_object().member("role", "tool").member("tool_call_id", id);
        if parts.iter().any(|part| !matches!(part, Part::Text { .. })) {
            lose(self.losses, Feature::ToolMedia, HERE)?;
        }
        match &parts[..] {
            [] => _ = self.out.member("content", ""),
            parts => self.content(parts)?,
        }
        self.out.end_object();
        Ok(())
    }

    fn document(&mut self, index: usize, part: &Part<'_>) -> Result<(), Fault> {
        let Part::Document { media, name, .. } = part else { return Ok(()) };
        let Media::Text { text } = media else {
            let alternative = "send the document as plain text";
            return Err(Unsupported { feature: Feature::Documents, alternative }.into());
        };
        self.out.begin_object().member("id", &format!("doc_{index}")).key("data").begin_object();
        if let Some(name) = name {
            self.out.member("title", name);
        }
        self.out.member("text", text).end_object().end_object();
        Ok(())
    }
}
