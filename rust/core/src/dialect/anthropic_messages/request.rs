//! Reads a messages request into the hub.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::blocks::{Group, group};
use crate::dialect::format::{Fault, Format};
use crate::dialect::hub::{
    Effort, Json, Members, Message, OutputFormat, Part, Reasoning, Request, Role, Text, Tool, ToolChoice, ToolKind,
};
use crate::dialect::read::{self, CacheControl, Shape, shape};

/// # Errors
/// [`Fault::Invalid`] with the path of what is not a messages request.
pub fn decode_request(body: &[u8]) -> Result<Request<'_>, Fault> {
    let members: Members<'_> = read::document(body)?;
    let mut request = Request { include_usage: true, ..Request::default() };
    let mut instructions = Vec::new();
    for (name, raw) in members.0 {
        if shape(raw) == Shape::Null {
            continue;
        }
        if &*name == "system" {
            instructions = system(raw)?;
        } else {
            member(&mut request, name, raw)?;
        }
    }
    if !instructions.is_empty() {
        request.messages.insert(0, Message { role: Role::System, parts: instructions, name: None });
    }
    Ok(request)
}

fn member<'a>(request: &mut Request<'a>, name: Text<'a>, raw: &'a RawValue) -> Result<(), Fault> {
    let at = &*name;
    match at {
        "model" => {}
        "messages" => request.messages = messages(raw)?,
        "max_tokens" => request.max_output = Some(read::value(at, raw)?),
        "temperature" => request.sampling.temperature = Some(raw),
        "top_p" => request.sampling.top_p = Some(raw),
        "top_k" => request.sampling.top_k = Some(raw),
        "stop_sequences" => request.stop = read::value(at, raw)?,
        "stream" => request.stream = read::value(at, raw)?,
        "tools" => request.tools = tools(raw)?,
        "tool_choice" => tool_choice(request, raw)?,
        "thinking" => {
            // `output_config` may have told the effort already.
            let effort = request.reasoning.and_then(|reasoning| reasoning.effort);
            request.reasoning = thinking(at, raw)?.map(|wire| Reasoning { effort: wire.effort.or(effort), ..wire });
        }
        "output_config" => output_config(request, raw)?,
        "output_format" => request.format = Some(output_format(at, raw)?),
        "metadata" => {
            #[derive(Deserialize)]
            struct Wire<'a> {
                #[serde(default, borrow)]
                user_id: Option<Text<'a>>,
            }
            request.user = read::value::<Wire<'_>>(at, raw)?.user_id;
        }
        "service_tier" => {
            let tier: Text<'_> = read::value(at, raw)?;
            request.service_tier = Some(if &*tier == "standard_only" { "default".into() } else { tier });
        }
        _ => request.rest.push((name, raw)),
    }
    Ok(())
}

fn system(raw: &RawValue) -> Result<Vec<Part<'_>>, Fault> {
    let mut parts = Vec::new();
    for (_, group) in group("system", raw)? {
        parts.extend(group);
    }
    Ok(parts)
}

fn messages(raw: &RawValue) -> Result<Vec<Message<'_>>, Fault> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(borrow)]
        role: Text<'a>,
        #[serde(borrow)]
        content: &'a RawValue,
    }
    let raws = read::array("messages", raw)?;
    let mut messages = Vec::with_capacity(raws.len());
    for (index, raw) in raws.into_iter().enumerate() {
        let at = format!("messages[{index}]");
        let wire: Wire<'_> = read::value(&at, raw)?;
        let role = match &*wire.role {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "system" => Role::System,
            other => return Err(Fault::invalid(format!("{at}.role"), format!("unknown role '{other}'"))),
        };
        // Results of tools are messages of their own in the hub.
        for (kind, parts) in group(&format!("{at}.content"), wire.content)? {
            let role = if kind == Group::Results { Role::Tool } else { role };
            messages.push(Message { role, parts, name: None });
        }
    }
    Ok(messages)
}

/// How much the model may think; `None` leaves it to the model.
///
/// # Errors
/// [`Fault::Invalid`] when it is not a `thinking` object.
pub fn thinking(at: &str, raw: &RawValue) -> Result<Option<Reasoning>, Fault> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(rename = "type", borrow)]
        kind: Text<'a>,
        #[serde(default)]
        budget_tokens: Option<u64>,
        #[serde(default, borrow)]
        display: Option<Text<'a>>,
    }
    let wire: Wire<'_> = read::value(at, raw)?;
    let visible = wire.display.map(|display| &*display != "omitted");
    match &*wire.kind {
        "disabled" => Ok(Some(Reasoning { effort: None, budget: Some(0), visible })),
        "enabled" => Ok(Some(Reasoning { effort: None, budget: wire.budget_tokens, visible })),
        "adaptive" => Ok(Some(Reasoning { effort: None, budget: None, visible })),
        other => Err(Fault::invalid(format!("{at}.type"), format!("unknown kind of thinking '{other}'"))),
    }
}

fn output_config<'a>(request: &mut Request<'a>, raw: &'a RawValue) -> Result<(), Fault> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(default, borrow)]
        effort: Option<Text<'a>>,
        #[serde(default, borrow)]
        format: Option<&'a RawValue>,
    }
    let wire: Wire<'a> = read::value("output_config", raw)?;
    if let Some(effort) = wire.effort {
        let effort = Effort::parse(&effort)
            .ok_or_else(|| Fault::invalid("output_config.effort", format!("unknown effort '{}'", &*effort)))?;
        request.reasoning.get_or_insert_default().effort = Some(effort);
    }
    if let Some(format) = wire.format.filter(|raw| shape(raw) != Shape::Null) {
        request.format = Some(output_format("output_config.format", format)?);
    }
    Ok(())
}

fn output_format<'a>(at: &str, raw: &'a RawValue) -> Result<OutputFormat<'a>, Fault> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(rename = "type", borrow)]
        kind: Text<'a>,
        #[serde(default, borrow)]
        schema: Option<&'a RawValue>,
    }
    let wire: Wire<'a> = read::value(at, raw)?;
    match (&*wire.kind, wire.schema) {
        // The answer always follows it: what OpenAI calls strict.
        ("json_schema", Some(schema)) => Ok(OutputFormat::Schema {
            name: None,
            description: None,
            schema: Json::Borrowed(schema),
            strict: Some(true),
        }),
        ("json_schema", None) => Err(Fault::invalid(format!("{at}.schema"), "missing")),
        (other, _) => Err(Fault::invalid(format!("{at}.type"), format!("unknown format '{other}'"))),
    }
}

fn tools(raw: &RawValue) -> Result<Vec<Tool<'_>>, Fault> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(default, rename = "type", borrow)]
        kind: Option<Text<'a>>,
        #[serde(default, borrow)]
        name: Text<'a>,
        #[serde(default, borrow)]
        description: Option<Text<'a>>,
        #[serde(default, borrow)]
        input_schema: Option<&'a RawValue>,
        #[serde(default)]
        strict: Option<bool>,
        #[serde(default)]
        cache_control: Option<CacheControl>,
    }
    let mut tools = Vec::new();
    for (index, raw) in read::array("tools", raw)?.into_iter().enumerate() {
        let wire: Wire<'_> = read::value(format_args!("tools[{index}]"), raw)?;
        let cache = wire.cache_control.map(CacheControl::mark);
        let kind = match wire.kind {
            Some(kind) if &*kind != "custom" => ToolKind::Hosted { format: Format::Messages, kind, raw },
            _ => ToolKind::Function {
                name: wire.name,
                description: wire.description,
                parameters: wire.input_schema.map(Json::Borrowed),
                strict: wire.strict,
            },
        };
        tools.push(Tool { kind, cache });
    }
    Ok(tools)
}

fn tool_choice<'a>(request: &mut Request<'a>, raw: &'a RawValue) -> Result<(), Fault> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(rename = "type", borrow)]
        kind: Text<'a>,
        #[serde(default, borrow)]
        name: Option<Text<'a>>,
        #[serde(default)]
        disable_parallel_tool_use: Option<bool>,
    }
    let wire: Wire<'a> = read::value("tool_choice", raw)?;
    request.parallel_tools = wire.disable_parallel_tool_use.map(|disabled| !disabled);
    request.tool_choice = Some(match (&*wire.kind, wire.name) {
        ("auto", _) => ToolChoice::Auto,
        ("none", _) => ToolChoice::None,
        ("any", _) => ToolChoice::Required,
        ("tool", Some(name)) => ToolChoice::Named(name),
        ("tool", None) => return Err(Fault::invalid("tool_choice.name", "missing")),
        (other, _) => return Err(Fault::invalid("tool_choice.type", format!("unknown choice '{other}'"))),
    });
    Ok(())
}
