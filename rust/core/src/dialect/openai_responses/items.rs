//! Writes the items of a Responses request.

use crate::dialect::format::{Fault, Format};
use crate::dialect::hub::{Feature, Losses, Media, Message, Part, Role, Unsupported, lose};
use crate::wire::json::write::Writer;

const HERE: Format = Format::Responses;

pub struct Items<'l> {
    out: Writer,
    losses: &'l mut Losses,
    /// The role of the message that is open.
    open: Option<&'static str>,
    /// A thought without proof. The encrypted one behind it is the same: other formats tell text and proof apart.
    thought: Option<String>,
}

impl<'l> Items<'l> {
    pub fn new(out: Writer, losses: &'l mut Losses) -> Self {
        Items { out, losses, open: None, thought: None }
    }

    pub fn finish(self) -> Writer {
        self.out
    }

    /// # Errors
    /// [`Fault::Unsupported`] for what cannot be said.
    pub fn message(&mut self, message: &Message<'_>) -> Result<(), Fault> {
        let role = match message.role {
            Role::System => "system",
            Role::User | Role::Tool => "user",
            Role::Assistant => "assistant",
        };
        for part in &message.parts {
            if !matches!(part, Part::Reasoning { .. }) {
                self.forget()?;
            }
            self.part(role, part)?;
        }
        self.close();
        self.forget()
    }

    /// The thought that waited for its proof got none.
    fn forget(&mut self) -> Result<(), Fault> {
        if self.thought.take().is_some() {
            lose(self.losses, Feature::ReasoningHistory, HERE)?;
        }
        Ok(())
    }

    fn close(&mut self) {
        if self.open.take().is_some() {
            self.out.end_array().end_object();
        }
    }

    fn place(&mut self, role: &'static str) -> &mut Writer {
        if self.open.is_none() {
            self.open = Some(role);
            self.out.begin_object().member("type", "message").member("role", role).key("content").begin_array();
        }
        &mut self.out
    }

    fn part(&mut self, role: &'static str, part: &Part<'_>) -> Result<(), Fault> {
        match part {
            Part::ToolCall { id, name, arguments, .. } => {
                self.close();
                let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
                self.out.begin_object().member("type", "function_call").member("call_id", id);
                self.out.member("name", name).member("arguments", arguments).end_object();
            }
            Part::ToolResult { id, parts, error, .. } => {
                self.close();
                if *error {
                    lose(self.losses, Feature::ToolError, HERE)?;
                }
                self.out.begin_object().member("type", "function_call_output").member("call_id", id).key("output");
                match parts.as_slice() {
                    [] => _ = self.out.string(""),
                    [Part::Text { text, .. }] => _ = self.out.string(text),
                    parts => {
                        self.out.begin_array();
                        for part in parts {
                            content(&mut self.out, "user", part, self.losses)?;
                        }
                        self.out.end_array();
                    }
                }
                self.out.end_object();
            }
            Part::Reasoning { text, encrypted: Some(data), id: Some(id), .. } => {
                self.close();
                self.out.begin_object().member("type", "reasoning").member("id", id).key("summary").begin_array();
                let before = self.thought.take();
                let text = if text.is_empty() { before.as_deref().unwrap_or_default() } else { text };
                if !text.is_empty() {
                    self.out.begin_object().member("type", "summary_text").member("text", text).end_object();
                }
                self.out.end_array().member("encrypted_content", data).end_object();
            }
            Part::Reasoning { text, signature: None, encrypted: None, .. } => {
                self.forget()?;
                self.thought = Some(text.to_string());
            }
            Part::Reasoning { .. } => _ = lose(self.losses, Feature::ReasoningHistory, HERE)?,
            Part::Foreign { format: HERE, raw, .. } => {
                self.close();
                self.out.raw(raw);
            }
            _ => {
                self.place(role);
                content(&mut self.out, role, part, self.losses)?;
            }
        }
        Ok(())
    }
}

/// A content part of a message or of a result.
fn content(out: &mut Writer, role: &str, part: &Part<'_>, losses: &mut Losses) -> Result<(), Fault> {
    if let Part::Text { cache: Some(_), .. }
    | Part::Image { cache: Some(_), .. }
    | Part::Document { cache: Some(_), .. } = part
    {
        lose(losses, Feature::CacheMarks, HERE)?;
    }
    let unsupported = |feature, alternative| Err(Unsupported { feature, alternative }.into());
    match part {
        Part::Text { text, .. } => {
            let kind = if role == "assistant" { "output_text" } else { "input_text" };
            out.begin_object().member("type", kind).member("text", text).end_object();
        }
        Part::Refusal { text } => _ = out.begin_object().member("type", "refusal").member("refusal", text).end_object(),
        Part::Image { media, detail, .. } => {
            let url = match media {
                Media::Url { url, .. } => url.to_string(),
                Media::Base64 { mime, data } => format!("data:{};base64,{}", &**mime, &**data),
                Media::File { .. } => return unsupported(Feature::Files, "send the image's content in the request"),
                Media::Text { .. } => return Err(Fault::invalid("messages", "an image cannot be text")),
            };
            out.begin_object().member("type", "input_image").member("image_url", &url);
            if let Some(detail) = detail {
                out.member("detail", detail);
            }
            out.end_object();
        }
        Part::Document { media, name, citations, .. } => {
            if *citations {
                lose(losses, Feature::Citations, HERE)?;
            }
            match media {
                Media::Text { text } => {
                    let whole = name.as_ref().map(|name| format!("# {}\n\n{}", &**name, &**text));
                    let text = whole.as_deref().unwrap_or(text);
                    out.begin_object().member("type", "input_text").member("text", text).end_object();
                }
                Media::Url { url, .. } => {
                    out.begin_object().member("type", "input_file").member("file_url", url).end_object();
                }
                Media::Base64 { mime, data } => {
                    out.begin_object().member("type", "input_file");
                    out.member("filename", name.as_deref().unwrap_or("document.pdf"));
                    out.member("file_data", &format!("data:{};base64,{}", &**mime, &**data)).end_object();
                }
                Media::File { .. } => return unsupported(Feature::Files, "send the file's content in the request"),
            }
        }
        Part::Audio { .. } => _ = lose(losses, Feature::Audio, HERE)?,
        Part::Video { .. } => _ = lose(losses, Feature::Video, HERE)?,
        _ => _ = lose(losses, Feature::Foreign, HERE)?,
    }
    Ok(())
}
