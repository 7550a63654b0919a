//! Reads a generateContent request into the hub.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::config::generation_config;
use super::tools::{tool_config, tools};
use super::wire::{ContentWire, part};
use crate::dialect::format::Fault;
use crate::dialect::hub::{Members, Message, Part, Request, Role, Text};
use crate::dialect::read::{self, Shape, shape};

/// # Errors
/// [`Fault::Invalid`] with the path of what is not a generateContent request.
pub fn decode_request(body: &[u8]) -> Result<Request<'_>, Fault> {
    let members: Members<'_> = read::document(body)?;
    let mut request = Request { include_usage: true, ..Request::default() };
    let mut config = None;
    for (name, raw) in members.0 {
        if shape(raw) == Shape::Null {
            continue;
        }
        match &*name {
            "contents" => request.messages.extend(contents(raw)?),
            "systemInstruction" | "system_instruction" => request.messages.insert(0, system(raw)?),
            "tools" => request.tools = tools(raw)?,
            "toolConfig" | "tool_config" => config = Some(raw),
            "generationConfig" | "generation_config" => generation_config(&mut request, raw)?,
            "model" => {}
            _ => request.rest.push((name, raw)),
        }
    }
    if let Some(raw) = config {
        tool_config(&mut request, raw)?;
    }
    name_calls(&mut request.messages);
    Ok(request)
}

fn system(raw: &RawValue) -> Result<Message<'_>, Fault> {
    let at = "systemInstruction";
    if shape(raw) == Shape::Text {
        return Ok(Message {
            role: Role::System,
            parts: vec![Part::text(read::value::<Text<'_>>(at, raw)?)],
            name: None,
        });
    }
    let wire: ContentWire<'_> = read::value(at, raw)?;
    let parts = parts(at, wire)?;
    Ok(Message { role: Role::System, parts, name: None })
}

fn parts<'a>(at: &str, wire: ContentWire<'a>) -> Result<Vec<Part<'a>>, Fault> {
    let raws = wire.parts.into_iter().flatten().enumerate();
    raws.map(|(index, raw)| part(&format!("{at}.parts[{index}]"), raw)).collect()
}

fn contents(raw: &RawValue) -> Result<Vec<Message<'_>>, Fault> {
    let mut messages = Vec::new();
    for (index, raw) in read::array("contents", raw)?.into_iter().enumerate() {
        let at = format!("contents[{index}]");
        let wire: ContentWire<'_> = read::value(&at, raw)?;
        let role = match wire.role.as_deref() {
            None | Some("" | "user" | "function" | "tool") => Role::User,
            Some("model" | "assistant") => Role::Assistant,
            Some("system") => Role::System,
            Some(other) => return Err(Fault::invalid(format!("{at}.role"), format!("unknown role '{other}'"))),
        };
        // Results of tools stand among what the user says.
        for part in parts(&at, wire)? {
            let result = matches!(part, Part::ToolResult { .. });
            let role = if result { Role::Tool } else { role };
            match messages.last_mut() {
                Some((from, Message { role: last, parts, .. })) if *last == role && *from == index => parts.push(part),
                _ => messages.push((index, Message { role, parts: vec![part], name: None })),
            }
        }
    }
    Ok(messages.into_iter().map(|(_, message)| message).collect())
}

/// Calls and results that have no id get one: the results of a name answer its calls in their order.
fn name_calls(messages: &mut [Message<'_>]) {
    let mut open: Vec<(String, Cow<'_, str>)> = Vec::new();
    let mut number = 0;
    for part in messages.iter_mut().flat_map(|message| &mut message.parts) {
        match part {
            Part::ToolCall { id, name, .. } => {
                if id.is_empty() {
                    *id = format!("call_{number}").into();
                }
                number += 1;
                open.push((id.to_string(), name.0.clone()));
            }
            Part::ToolResult { id, name, .. } => {
                let name = name.as_deref().unwrap_or_default();
                let fits =
                    |(call, of): &&(String, Cow<'_, str>)| if id.is_empty() { of == name } else { **id == **call };
                let found = open.iter().find(fits).map(|(call, _)| call.clone());
                if let Some(call) = found {
                    open.retain(|(open, _)| *open != call);
                    *id = call.into();
                } else if id.is_empty() {
                    *id = format!("call_{number}").into();
                    number += 1;
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::hub::{Effort, Media, OutputFormat, ToolChoice, ToolKind};

    fn read(json: &str) -> Request<'_> {
        decode_request(json.as_bytes()).expect("request")
    }

    #[test]
    fn both_spellings_are_read() {
        let request = read(
            r#"{"contents":[{"parts":[{"text":"hi"},{"inlineData":{"data":"_-A","mime_type":"image/png"}},
            {"file_data":{"file_uri":"https://youtu.be/x"}}]}],
            "system_instruction":{"parts":[{"text":"sys"}]},
            "generationConfig":{"topK":5.0,"maxOutputTokens":9,"stop_sequences":["a"],"candidateCount":2,
              "responseLogprobs":true,"logprobs":2,"responseMimeType":"application/json",
              "responseSchema":{"type":"OBJECT"},"thinkingConfig":{"include_thoughts":true,"thinking_level":"HIGH"}},
            "tools":[{"googleSearch":{}},{"functionDeclarations":[{"name":"f","parameters":{"type":"OBJECT"}},{"name":"g"}]}],
            "toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["f"]}},
            "safetySettings":[]}"#,
        );
        assert_eq!(request.messages.len(), 2);
        assert_eq!(request.messages[0].role, Role::System);
        let parts = &request.messages[1].parts;
        assert!(matches!(&parts[1], Part::Image { media: Media::Base64 { data, .. }, .. } if &**data == "/+A="));
        assert!(matches!(&parts[2], Part::Video { media: Media::Url { .. } }));
        assert_eq!(request.sampling.top_k.map(RawValue::get), Some("5"));
        assert_eq!((request.max_output, request.choices, request.logprobs), (Some(9), Some(2), Some(2)));
        assert!(
            matches!(&request.format, Some(OutputFormat::Schema { schema, .. }) if schema.get().contains("object"))
        );
        let reasoning = request.reasoning.expect("reasoning");
        assert_eq!((reasoning.effort, reasoning.visible), (Some(Effort::High), Some(true)));
        assert_eq!(request.tool_choice, Some(ToolChoice::Named("f".into())));
        assert!(matches!(&request.tools[0].kind, ToolKind::Hosted { kind, .. } if &**kind == "googleSearch"));
        assert_eq!(request.rest.len(), 1);
    }

    #[test]
    fn calls_without_ids_are_matched_by_name_and_order() {
        let request = read(
            r#"{"contents":[{"role":"model","parts":[{"functionCall":{"name":"a","args":{"x":1}},"thoughtSignature":"c2ln"},
            {"functionCall":{"name":"b"}},{"functionCall":{"name":"a","id":"own"}}]},
            {"role":"user","parts":[{"functionResponse":{"name":"b","response":{"result":"two"}}},
            {"functionResponse":{"name":"a","response":{"error":"one"}}},{"functionResponse":{"name":"a","response":{"y":3}}},
            {"text":"go on"}]}]}"#,
        );
        let ids: Vec<String> = request
            .messages
            .iter()
            .flat_map(|message| &message.parts)
            .filter_map(|part| match part {
                Part::ToolCall { id, .. } | Part::ToolResult { id, .. } => Some(id.to_string()),
                _ => None,
            })
            .collect();
        assert_eq!(ids, ["call_0", "call_1", "own", "call_1", "call_0", "own"]);
        let roles: Vec<Role> = request.messages.iter().map(|message| message.role).collect();
        assert_eq!(roles, [Role::Assistant, Role::Tool, Role::User]);
        let Part::ToolResult { parts, error: false, .. } = &request.messages[1].parts[0] else { panic!("a result") };
        assert!(matches!(&parts[0], Part::Text { text, .. } if &**text == "two"));
        assert!(matches!(&request.messages[1].parts[1], Part::ToolResult { error: true, .. }));
        let Part::ToolResult { parts, .. } = &request.messages[1].parts[2] else { panic!("a result") };
        assert!(matches!(&parts[0], Part::Text { text, .. } if &**text == r#"{"y":3}"#));
    }

    #[test]
    fn faults_name_their_place() {
        for (json, path) in [
            (r#"{"contents":1}"#, "contents"),
            (r#"{"contents":[{"role":"king"}]}"#, "contents[0].role"),
            (r#"{"contents":[{"parts":[{"functionCall":{}}]}]}"#, "contents[0].parts[0]"),
            (r#"{"generationConfig":{"maxOutputTokens":-1}}"#, "generationConfig.maxOutputTokens"),
            (r#"{"tools":[{"functionDeclarations":[{}]}]}"#, "tools[0]"),
        ] {
            match decode_request(json.as_bytes()) {
                Err(Fault::Invalid { path: found, .. }) => assert_eq!(found, path, "{json}"),
                other => panic!("{json}: {other:?}"),
            }
        }
    }
}
