//! Reads a chat request into the hub. Messages and tools are those of OpenAI's format, with some parts of their own.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialect::format::{Fault, Format};
use crate::dialect::hub::{
    Effort, Json, Media, Members, Message, OutputFormat, Part, Reasoning, Request, Role, Text, ToolChoice,
};
use crate::dialect::openai_chat::{messages, tools};
use crate::dialect::read::{self, Shape, shape};

/// # Errors
/// [`Fault::Invalid`] with the path of what is not a chat request.
pub fn decode_request(body: &[u8]) -> Result<Request<'_>, Fault> {
    let members: Members<'_> = read::document(body)?;
    let mut request = Request { include_usage: true, ..Request::default() };
    let mut documents = None;
    for (name, raw) in members.0 {
        match &*name {
            _ if shape(raw) == Shape::Null => {}
            "documents" => documents = Some(raw),
            _ => member(&mut request, name, raw)?,
        }
    }
    for message in &mut request.messages {
        for part in &mut message.parts {
            own_part(part)?;
        }
    }
    if let Some(raw) = documents {
        let given = read::array("documents", raw)?.into_iter().enumerate();
        let given = given.map(|(index, raw)| document(&format!("documents[{index}]"), raw));
        let mut parts = given.collect::<Result<Vec<_>, _>>()?;
        match request.messages.iter_mut().rev().find(|message| message.role == Role::User) {
            Some(last) => {
                parts.append(&mut last.parts);
                last.parts = parts;
            }
            None => request.messages.push(Message { role: Role::User, parts, name: None }),
        }
    }
    Ok(request)
}

fn member<'a>(request: &mut Request<'a>, name: Text<'a>, raw: &'a RawValue) -> Result<(), Fault> {
    let at = &*name;
    let sampling = &mut request.sampling;
    match at {
        "model" | "stream" => {}
        "messages" => request.messages = messages(raw)?,
        "tools" => request.tools = tools(raw)?,
        "tool_choice" => {
            let choice: Text<'_> = read::value(at, raw)?;
            request.tool_choice = Some(match &*choice.to_ascii_uppercase() {
                "REQUIRED" => ToolChoice::Required,
                "NONE" => ToolChoice::None,
                other => return Err(Fault::invalid(at, format!("unknown choice '{other}'"))),
            });
        }
        "max_tokens" => request.max_output = Some(read::value(at, raw)?),
        "temperature" => sampling.temperature = Some(raw),
        "p" => sampling.top_p = Some(raw),
        "k" => sampling.top_k = Some(raw),
        "seed" => sampling.seed = Some(raw),
        "presence_penalty" => sampling.presence_penalty = Some(raw),
        "frequency_penalty" => sampling.frequency_penalty = Some(raw),
        "stop_sequences" => request.stop = read::value(at, raw)?,
        "logprobs" => request.logprobs = read::value::<bool>(at, raw)?.then_some(0),
        "response_format" => request.format = output_format(raw)?,
        "thinking" => request.reasoning = Some(thinking(raw)?),
        _ => request.rest.push((name, raw)),
    }
    Ok(())
}

fn output_format(raw: &RawValue) -> Result<Option<OutputFormat<'_>>, Fault> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(rename = "type", borrow)]
        kind: Text<'a>,
        #[serde(default, alias = "schema", borrow)]
        json_schema: Option<&'a RawValue>,
    }
    let wire: Wire<'_> = read::value("response_format", raw)?;
    let schema = wire.json_schema.filter(|raw| shape(raw) == Shape::Object);
    Ok(match (&*wire.kind, schema) {
        ("json_object", Some(schema)) => {
            let schema = Json::Borrowed(schema);
            Some(OutputFormat::Schema { name: None, description: None, schema, strict: None })
        }
        ("json_object", None) => Some(OutputFormat::Json),
        _ => None,
    })
}

fn thinking(raw: &RawValue) -> Result<Reasoning, Fault> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(default, rename = "type", borrow)]
        kind: Text<'a>,
        #[serde(default)]
        token_budget: Option<u64>,
    }
    let wire: Wire<'_> = read::value("thinking", raw)?;
    let off = &*wire.kind == "disabled";
    let budget = if off { Some(0) } else { wire.token_budget };
    let effort = (budget.is_none()).then_some(Effort::Medium);
    Ok(Reasoning { effort, budget, visible: None })
}

/// Parts that OpenAI's format does not know: documents, in results of tools too.
fn own_part(part: &mut Part<'_>) -> Result<(), Fault> {
    match part {
        Part::ToolResult { parts, .. } => parts.iter_mut().try_for_each(own_part),
        Part::Foreign { format: Format::Chat, kind, raw } if &**kind == "document" => {
            #[derive(Deserialize)]
            struct Wire<'a> {
                #[serde(borrow)]
                document: &'a RawValue,
            }
            let wire: Wire<'_> = read::value("messages[].content[]", raw)?;
            *part = match document("messages[].content[].document", wire.document)? {
                Part::Document { media: Media::Text { text }, .. } => Part::text(text),
                other => other,
            };
            Ok(())
        }
        _ => Ok(()),
    }
}

/// A document: a text, or an object whose `data` has one.
fn document<'a>(at: &str, raw: &'a RawValue) -> Result<Part<'a>, Fault> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(default, borrow)]
        id: Option<Text<'a>>,
        #[serde(borrow)]
        data: &'a RawValue,
    }
    if shape(raw) == Shape::Text {
        let text = read::value(at, raw)?;
        return Ok(Part::Document { media: Media::Text { text }, name: None, citations: true, cache: None });
    }
    let wire: Wire<'_> = read::value(at, raw)?;
    if shape(wire.data) == Shape::Text {
        let text = read::value(at, wire.data)?;
        return Ok(Part::Document { media: Media::Text { text }, name: wire.id, citations: true, cache: None });
    }
    let members: Members<'_> = read::value(at, wire.data)?;
    let text_of = |name: &str| members.get(name).and_then(|raw| serde_json::from_str::<Text<'_>>(raw.get()).ok());
    let plain = ["text", "snippet", "content"].iter().find_map(|name| text_of(name));
    let text = plain.unwrap_or_else(|| wire.data.get().into());
    let name = text_of("title").or(wire.id);
    Ok(Part::Document { media: Media::Text { text }, name, citations: true, cache: None })
}
