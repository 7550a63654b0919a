//! Reads a Responses request into the hub.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::input::input;
use crate::dialect::format::{Fault, Format};
use crate::dialect::hub::{
    Effort, Feature, Members, Message, OutputFormat, Part, Request, Role, Text, Tool, ToolChoice, ToolKind, Unsupported,
};
use crate::dialect::read::{self, Shape, shape};

/// # Errors
/// [`Fault::Invalid`] with the path of what is not a Responses request; [`Fault::Unsupported`] for what only the provider
/// that keeps a conversation can do.
pub fn decode_request(body: &[u8]) -> Result<Request<'_>, Fault> {
    let members: Members<'_> = read::document(body)?;
    let mut request = Request { include_usage: true, ..Request::default() };
    let mut instructions = None;
    for (name, raw) in members.0 {
        if shape(raw) == Shape::Null {
            continue;
        }
        if &*name == "instructions" {
            instructions = Some(read::value::<Text<'_>>("instructions", raw)?);
        } else {
            member(&mut request, name, raw)?;
        }
    }
    if let Some(text) = instructions {
        request.messages.insert(0, Message { role: Role::System, parts: vec![Part::text(text)], name: None });
    }
    Ok(request)
}

fn member<'a>(request: &mut Request<'a>, name: Text<'a>, raw: &'a RawValue) -> Result<(), Fault> {
    let at = &*name;
    match at {
        "model" => {}
        "input" => request.messages = input(raw)?,
        "tools" => request.tools = tools(raw)?,
        "tool_choice" => request.tool_choice = Some(tool_choice(raw)?),
        "parallel_tool_calls" => request.parallel_tools = Some(read::value(at, raw)?),
        "max_output_tokens" => request.max_output = Some(read::value(at, raw)?),
        "temperature" => request.sampling.temperature = Some(raw),
        "top_p" => request.sampling.top_p = Some(raw),
        "top_logprobs" => request.logprobs = Some(read::value(at, raw)?),
        "text" => text(request, raw)?,
        "reasoning" => reasoning(request, raw)?,
        "user" => request.user = Some(read::value(at, raw)?),
        "service_tier" => request.service_tier = Some(read::value(at, raw)?),
        "prompt_cache_key" => request.prompt_cache_key = Some(read::value(at, raw)?),
        "metadata" => request.metadata = Some(raw).filter(|raw| raw.get().len() > 2),
        "store" => request.store = Some(read::value(at, raw)?),
        "stream" => request.stream = read::value(at, raw)?,
        "stream_options" => {}
        "truncation" if raw.get() == "\"disabled\"" => {}
        "include" => include(request, name, raw)?,
        "background" => {
            if read::value(at, raw)? {
                return Err(Fault::invalid(at, "this model cannot answer in the background; leave it out"));
            }
        }
        "previous_response_id" | "conversation" | "prompt" => {
            let alternative = "send the whole conversation in 'input'";
            return Err(Unsupported { feature: Feature::StoredState, alternative }.into());
        }
        _ => request.rest.push((name, raw)),
    }
    Ok(())
}

/// More than the plain answer: encrypted reasoning comes anyhow, log probabilities are asked for, the rest is not known.
fn include<'a>(request: &mut Request<'a>, name: Text<'a>, raw: &'a RawValue) -> Result<(), Fault> {
    let wanted: Vec<Text<'_>> = read::value("include", raw)?;
    let mut unknown = false;
    for item in &wanted {
        match &**item {
            "reasoning.encrypted_content" => {}
            "message.output_text.logprobs" => request.logprobs = request.logprobs.or(Some(0)),
            _ => unknown = true,
        }
    }
    if unknown {
        request.rest.push((name, raw));
    }
    Ok(())
}

fn text<'a>(request: &mut Request<'a>, raw: &'a RawValue) -> Result<(), Fault> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(default, borrow)]
        format: Option<FormatWire<'a>>,
        #[serde(default, borrow)]
        verbosity: Option<Text<'a>>,
    }
    #[derive(Deserialize)]
    struct FormatWire<'a> {
        #[serde(rename = "type", borrow)]
        kind: Text<'a>,
        #[serde(default, borrow)]
        name: Option<Text<'a>>,
        #[serde(default, borrow)]
        description: Option<Text<'a>>,
        #[serde(default, borrow)]
        schema: Option<&'a RawValue>,
        #[serde(default)]
        strict: Option<bool>,
    }
    let wire: Wire<'a> = read::value("text", raw)?;
    request.verbosity = wire.verbosity;
    let Some(format) = wire.format else { return Ok(()) };
    request.format = match (&*format.kind, format.schema) {
        ("text", _) => None,
        ("json_object", _) => Some(OutputFormat::Json),
        ("json_schema", Some(schema)) => Some(OutputFormat::Schema {
            name: format.name,
            description: format.description,
            schema: Cow::Borrowed(schema),
            strict: format.strict,
        }),
        ("json_schema", None) => return Err(Fault::invalid("text.format.schema", "missing")),
        (other, _) => return Err(Fault::invalid("text.format.type", format!("unknown format '{other}'"))),
    };
    Ok(())
}

fn reasoning<'a>(request: &mut Request<'a>, raw: &'a RawValue) -> Result<(), Fault> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(default, borrow)]
        effort: Option<Text<'a>>,
        #[serde(default, borrow)]
        summary: Option<Text<'a>>,
    }
    let wire: Wire<'a> = read::value("reasoning", raw)?;
    if wire.effort.is_none() && wire.summary.is_none() {
        return Ok(());
    }
    let into = request.reasoning.get_or_insert_default();
    if let Some(effort) = wire.effort {
        let unknown = || Fault::invalid("reasoning.effort", format!("unknown effort '{}'", &*effort));
        into.effort = Some(Effort::parse(&effort).ok_or_else(unknown)?);
    }
    into.visible = wire.summary.map(|_| true);
    Ok(())
}

fn tools(raw: &RawValue) -> Result<Vec<Tool<'_>>, Fault> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(rename = "type", borrow)]
        kind: Text<'a>,
        #[serde(default, borrow)]
        name: Text<'a>,
        #[serde(default, borrow)]
        description: Option<Text<'a>>,
        #[serde(default, borrow)]
        parameters: Option<&'a RawValue>,
        #[serde(default)]
        strict: Option<bool>,
    }
    let mut tools = Vec::new();
    for (index, raw) in read::array("tools", raw)?.into_iter().enumerate() {
        let wire: Wire<'_> = read::value(format_args!("tools[{index}]"), raw)?;
        let kind = if &*wire.kind == "function" {
            ToolKind::Function {
                name: wire.name,
                description: wire.description,
                parameters: wire.parameters.filter(|raw| shape(raw) != Shape::Null).map(Cow::Borrowed),
                strict: wire.strict,
            }
        } else {
            ToolKind::Hosted { format: Format::Responses, kind: wire.kind, raw }
        };
        tools.push(Tool { kind, cache: None });
    }
    Ok(tools)
}

fn tool_choice(raw: &RawValue) -> Result<ToolChoice<'_>, Fault> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(rename = "type", borrow)]
        kind: Text<'a>,
        #[serde(default, borrow)]
        name: Option<Text<'a>>,
    }
    if shape(raw) == Shape::Text {
        let text: Text<'_> = read::value("tool_choice", raw)?;
        return match &*text {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            "required" => Ok(ToolChoice::Required),
            other => Err(Fault::invalid("tool_choice", format!("unknown choice '{other}'"))),
        };
    }
    let wire: Wire<'_> = read::value("tool_choice", raw)?;
    match (&*wire.kind, wire.name) {
        ("function", Some(name)) => Ok(ToolChoice::Named(name)),
        _ => Err(Fault::invalid("tool_choice", "only a function can be chosen for this model")),
    }
}
