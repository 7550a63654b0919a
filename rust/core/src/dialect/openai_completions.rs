//! OpenAI's old text completions, for callers whose model only holds conversations: the prompt is what a user says. No
//! provider is asked in this format by translation.

use serde_json::{Map, Value};

use super::format::{Context, Fault};
use super::hub::{Answer, Choice, Delta, Finish, Part};
use super::openai_chat::write::write_usage;
use crate::wire::json::write::{Writer, escape};

/// The request as a chat request.
///
/// # Errors
/// [`Fault::Invalid`] for what a conversation has no place for.
pub fn as_chat(body: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut members: Map<String, Value> =
        serde_json::from_slice(body).map_err(|error| Fault::invalid("", error.to_string()))?;
    let prompt = match members.remove("prompt") {
        Some(Value::String(text)) => text,
        Some(Value::Array(mut prompts)) if prompts.len() == 1 && prompts.first().is_some_and(Value::is_string) => {
            prompts.pop().and_then(|prompt| prompt.as_str().map(str::to_string)).unwrap_or_default()
        }
        Some(Value::Array(prompts)) if prompts.iter().all(Value::is_string) && !prompts.is_empty() => {
            return Err(refused("prompt", "takes one prompt per request"));
        }
        _ => return Err(refused("prompt", "takes a text, no tokens")),
    };
    for (name, harmless, why) in [
        ("suffix", Value::from(""), "cannot fill in the middle"),
        ("echo", Value::Bool(false), "cannot repeat the prompt"),
        ("best_of", Value::from(1), "cannot choose the best of several; send n"),
    ] {
        if members.remove(name).is_some_and(|value| !value.is_null() && value != harmless) {
            return Err(refused(name, why));
        }
    }
    if let Some(most) = members.remove("logprobs").filter(|value| !value.is_null()) {
        members.insert("logprobs".to_string(), true.into());
        members.insert("top_logprobs".to_string(), most);
    }
    let message = serde_json::json!({"role": "user", "content": prompt});
    members.insert("messages".to_string(), vec![message].into());
    serde_json::to_vec(&members).map_err(|error| Fault::invalid("", error.to_string()))
}

fn refused(path: &str, why: &str) -> Fault {
    Fault::invalid(path, format!("this model is reached by a conversation, which {why}"))
}

fn finish_name(finish: Finish) -> &'static str {
    match finish {
        Finish::Length | Finish::ContextWindow => "length",
        Finish::ContentFilter | Finish::Refusal => "content_filter",
        Finish::Stop | Finish::ToolCalls | Finish::Pause | Finish::MalformedCall | Finish::Other => "stop",
    }
}

/// Writes the hub's answer as a text completion. What is no text (thoughts, calls) has no place in it.
pub fn encode_answer(answer: &Answer<'_>, context: &Context) -> Vec<u8> {
    let mut out = Writer::with_capacity(512);
    out.begin_object().member("id", context.answer_id(&answer.id)).member("object", "text_completion");
    out.key("created").int(answer.created.unwrap_or(context.created));
    out.member("model", context.model.as_deref().unwrap_or(&answer.model)).key("choices").begin_array();
    for (index, choice) in answer.choices.iter().enumerate() {
        out.begin_object().member("text", &said(choice)).key("index").uint(index as u64).key("logprobs");
        match choice.logprobs.as_deref() {
            Some(raw) => out.raw(raw),
            None => out.null(),
        };
        out.member("finish_reason", finish_name(choice.finish.unwrap_or(Finish::Stop))).end_object();
    }
    out.end_array();
    if let Some(usage) = &answer.usage {
        out.key("usage");
        write_usage(&mut out, usage);
    }
    out.end_object();
    out.finish()
}

fn said(choice: &Choice<'_>) -> String {
    let texts = choice.parts.iter().filter_map(|part| match part {
        Part::Text { text, .. } | Part::Refusal { text } => Some(&**text),
        _ => None,
    });
    texts.collect()
}

/// Writes the events of a streamed text completion.
#[derive(Debug)]
pub struct Encoder {
    context: Context,
    /// What every event begins with, up to the text of its choice.
    head: Vec<u8>,
}

impl Encoder {
    pub fn new(context: Context) -> Self {
        Encoder { context, head: Vec::new() }
    }

    pub fn delta(&mut self, delta: &Delta<'_>, out: &mut Vec<u8>) {
        match delta {
            Delta::Start { id, model, created, .. } => self.start(id, model, *created),
            Delta::Text { choice, text } | Delta::Refusal { choice, text } => self.event(*choice, text, None, out),
            Delta::Finish { choice, reason, .. } => self.event(*choice, "", Some(*reason), out),
            Delta::Usage(usage) if self.context.include_usage => {
                self.head();
                out.extend_from_slice(self.head.strip_suffix(b"{\"text\":").unwrap_or(&self.head));
                out.extend_from_slice(b"],\"usage\":");
                let mut json = Writer::onto(std::mem::take(out));
                write_usage(&mut json, usage);
                *out = json.finish();
                out.extend_from_slice(b"}\n\n");
            }
            Delta::Error { kind, message } => {
                let kind = if kind.is_empty() { "upstream_error" } else { kind };
                out.extend_from_slice(b"data: {\"error\":{\"message\":");
                escape(out, message);
                out.extend_from_slice(b",\"type\":");
                escape(out, kind);
                out.extend_from_slice(b",\"param\":null,\"code\":\"upstream_error\"}}\n\ndata: [DONE]\n\n");
            }
            Delta::Ping => out.extend_from_slice(b": keep-alive\n\n"),
            Delta::End => out.extend_from_slice(b"data: [DONE]\n\n"),
            Delta::Usage(_)
            | Delta::Reasoning { .. }
            | Delta::ReasoningSignature { .. }
            | Delta::ReasoningEncrypted { .. }
            | Delta::Citation { .. }
            | Delta::ToolStart { .. }
            | Delta::ToolArguments { .. }
            | Delta::Logprobs { .. } => {}
        }
    }

    fn start(&mut self, id: &str, model: &str, created: Option<i64>) {
        let mut json = Writer::onto(b"data: ".to_vec());
        json.begin_object().member("id", self.context.answer_id(id)).member("object", "text_completion");
        json.key("created").int(created.unwrap_or(self.context.created));
        json.member("model", self.context.model.as_deref().unwrap_or(model)).key("choices").begin_array();
        json.begin_object().key("text");
        self.head = json.finish();
    }

    fn head(&mut self) {
        if self.head.is_empty() {
            self.start("", "", None);
        }
    }

    fn event(&mut self, choice: u32, text: &str, finish: Option<Finish>, out: &mut Vec<u8>) {
        self.head();
        out.extend_from_slice(&self.head);
        escape(out, text);
        out.extend_from_slice(b",\"index\":");
        out.extend_from_slice(itoa::Buffer::new().format(choice).as_bytes());
        out.extend_from_slice(b",\"logprobs\":null,\"finish_reason\":");
        match finish {
            Some(finish) => escape(out, finish_name(finish)),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b"}]}\n\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(body: &str) -> Result<Value, Fault> {
        as_chat(body.as_bytes()).map(|chat| serde_json::from_slice(&chat).expect("JSON"))
    }

    #[test]
    fn a_prompt_is_what_a_user_says() {
        let said =
            chat(r#"{"model":"m","prompt":"hi","max_tokens":5,"echo":false,"best_of":1,"suffix":null,"logprobs":2}"#);
        let said = said.expect("a chat request");
        assert_eq!(said["messages"], serde_json::json!([{"role": "user", "content": "hi"}]));
        assert_eq!((&said["max_tokens"], &said["top_logprobs"]), (&Value::from(5), &Value::from(2)));
        assert!(said.get("echo").is_none() && said.get("best_of").is_none());
        assert_eq!(chat(r#"{"prompt":["hi"]}"#).expect("one")["messages"][0]["content"], "hi");
    }

    #[test]
    fn what_no_conversation_can_do_is_refused() {
        for (body, path) in [
            (r#"{"prompt":["a","b"]}"#, "prompt"),
            (r#"{"prompt":[1,2]}"#, "prompt"),
            (r#"{"prompt":"a","suffix":"b"}"#, "suffix"),
            (r#"{"prompt":"a","echo":true}"#, "echo"),
            (r#"{"prompt":"a","best_of":3}"#, "best_of"),
        ] {
            match chat(body) {
                Err(Fault::Invalid { path: found, .. }) => assert_eq!(found, path),
                other => panic!("{body}: {other:?}"),
            }
        }
    }
}
