//! Reads a Converse request into the hub.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::blocks::{blocks, cache_mark};
use crate::dialect::anthropic_messages::thinking;
use crate::dialect::format::{Fault, Format};
use crate::dialect::hub::{
    Effort, Json, Members, Message, OutputFormat, Part, Reasoning, Request, Role, Text, Tool, ToolChoice, ToolKind,
};
use crate::dialect::read::{self, Shape, shape};

/// The model and whether a stream is wanted stand in the path, not here.
///
/// # Errors
/// [`Fault::Invalid`] with the path of what is not a Converse request.
pub fn decode_request(body: &[u8]) -> Result<Request<'_>, Fault> {
    let members: Members<'_> = read::document(body)?;
    let mut request = Request { include_usage: true, ..Request::default() };
    let mut instructions = Vec::new();
    for (name, raw) in members.0 {
        if shape(raw) == Shape::Null {
            continue;
        }
        match &*name {
            "messages" => messages(raw, &mut request.messages)?,
            "system" => instructions = blocks("system", raw)?,
            "inferenceConfig" => inference(&mut request, raw)?,
            "toolConfig" => tool_config(&mut request, raw)?,
            "outputConfig" => output_config(&mut request, raw)?,
            "additionalModelRequestFields" => additional(&mut request, raw)?,
            "requestMetadata" => request.metadata = Some(raw),
            "serviceTier" => {
                #[derive(Deserialize)]
                struct Wire<'a> {
                    #[serde(rename = "type", borrow)]
                    kind: Text<'a>,
                }
                request.service_tier = Some(read::value::<Wire<'_>>("serviceTier", raw)?.kind);
            }
            // Nothing that a model of another provider could follow, and nothing that changes what is asked.
            "additionalModelResponseFieldPaths" => {}
            _ => request.rest.push((name, raw)),
        }
    }
    if !instructions.is_empty() {
        request.messages.insert(0, Message { role: Role::System, parts: instructions, name: None });
    }
    Ok(request)
}

fn messages<'a>(raw: &'a RawValue, messages: &mut Vec<Message<'a>>) -> Result<(), Fault> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(borrow)]
        role: Text<'a>,
        #[serde(borrow)]
        content: &'a RawValue,
    }
    for (index, raw) in read::array("messages", raw)?.into_iter().enumerate() {
        let at = format!("messages[{index}]");
        let wire: Wire<'_> = read::value(&at, raw)?;
        let role = match &*wire.role {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "system" => Role::System,
            other => return Err(Fault::invalid(format!("{at}.role"), format!("unknown role '{other}'"))),
        };
        // Results of tools are messages of their own in the hub.
        let mut run: Option<Message<'a>> = None;
        for part in blocks(&format!("{at}.content"), wire.content)? {
            let role = if matches!(part, Part::ToolResult { .. }) { Role::Tool } else { role };
            match &mut run {
                Some(message) if message.role == role => message.parts.push(part),
                _ => messages.extend(run.replace(Message { role, parts: vec![part], name: None })),
            }
        }
        messages.extend(run);
    }
    Ok(())
}

fn inference<'a>(request: &mut Request<'a>, raw: &'a RawValue) -> Result<(), Fault> {
    let at = "inferenceConfig";
    for (name, raw) in read::members(at, raw)?.0 {
        match &*name {
            _ if shape(raw) == Shape::Null => {}
            "maxTokens" => request.max_output = Some(read::value(format_args!("{at}.maxTokens"), raw)?),
            "temperature" => request.sampling.temperature = Some(raw),
            "topP" => request.sampling.top_p = Some(raw),
            "stopSequences" => request.stop = read::value(format_args!("{at}.stopSequences"), raw)?,
            _ => return Err(Fault::invalid(format!("{at}.{}", &*name), "unknown member")),
        }
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolSpec<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(default, borrow)]
    description: Option<Text<'a>>,
    #[serde(borrow)]
    input_schema: Schema<'a>,
    #[serde(default)]
    strict: Option<bool>,
}

#[derive(Deserialize)]
struct Schema<'a> {
    #[serde(default, borrow)]
    json: Option<&'a RawValue>,
}

fn tool_config<'a>(request: &mut Request<'a>, raw: &'a RawValue) -> Result<(), Fault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Wire<'a> {
        #[serde(borrow)]
        tools: Vec<&'a RawValue>,
        #[serde(default, borrow)]
        tool_choice: Option<&'a RawValue>,
    }
    let wire: Wire<'a> = read::value("toolConfig", raw)?;
    for (index, raw) in wire.tools.into_iter().enumerate() {
        let at = format!("toolConfig.tools[{index}]");
        let Some((kind, value)) = read::members(&at, raw)?.0.into_iter().next() else {
            return Err(Fault::invalid(at, "the tool is empty"));
        };
        match &*kind {
            "toolSpec" => {
                let ToolSpec { name, description, input_schema, strict } =
                    read::value(format_args!("{at}.toolSpec"), value)?;
                let kind =
                    ToolKind::Function { name, description, parameters: input_schema.json.map(Json::Borrowed), strict };
                request.tools.push(Tool { kind, cache: None });
            }
            "cachePoint" => {
                if let Some(last) = request.tools.last_mut() {
                    last.cache = Some(cache_mark(&at, value)?);
                }
            }
            _ => {
                request.tools.push(Tool { kind: ToolKind::Hosted { format: Format::Converse, kind, raw }, cache: None })
            }
        }
    }
    if let Some(choice) = wire.tool_choice.filter(|raw| shape(raw) != Shape::Null) {
        request.tool_choice = Some(tool_choice(choice)?);
    }
    Ok(())
}

fn tool_choice(raw: &RawValue) -> Result<ToolChoice<'_>, Fault> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        name: Text<'a>,
    }
    let at = "toolConfig.toolChoice";
    match read::members(at, raw)?.0.first() {
        Some((kind, _)) if &**kind == "auto" => Ok(ToolChoice::Auto),
        Some((kind, _)) if &**kind == "any" => Ok(ToolChoice::Required),
        Some((kind, raw)) if &**kind == "tool" => {
            Ok(ToolChoice::Named(read::value::<Named<'_>>(format_args!("{at}.tool"), raw)?.name))
        }
        _ => Err(Fault::invalid(at, "one of auto, any or tool is expected")),
    }
}

fn output_config<'a>(request: &mut Request<'a>, raw: &'a RawValue) -> Result<(), Fault> {
    let at = "outputConfig";
    for (name, raw) in read::members(at, raw)?.0 {
        match &*name {
            _ if shape(raw) == Shape::Null => {}
            "effort" => {
                let text: Text<'_> = read::value("outputConfig.effort", raw)?;
                let effort = Effort::parse(&text)
                    .ok_or_else(|| Fault::invalid("outputConfig.effort", format!("unknown effort '{}'", &*text)))?;
                request.reasoning.get_or_insert_default().effort = Some(effort);
            }
            "textFormat" => request.format = Some(text_format(raw)?),
            _ => return Err(Fault::invalid(format!("{at}.{}", &*name), "unknown member")),
        }
    }
    Ok(())
}

/// The schema is JSON inside a string here.
fn text_format(raw: &RawValue) -> Result<OutputFormat<'_>, Fault> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(borrow)]
        structure: Structure<'a>,
    }
    #[derive(Deserialize)]
    struct Structure<'a> {
        #[serde(rename = "jsonSchema", borrow)]
        json_schema: Definition<'a>,
    }
    #[derive(Deserialize)]
    struct Definition<'a> {
        #[serde(borrow)]
        schema: Text<'a>,
        #[serde(default, borrow)]
        name: Option<Text<'a>>,
        #[serde(default, borrow)]
        description: Option<Text<'a>>,
    }
    let at = "outputConfig.textFormat";
    let Definition { schema, name, description } = read::value::<Wire<'_>>(at, raw)?.structure.json_schema;
    let checked = RawValue::from_string(schema.0.into_owned())
        .map_err(|error| read::wrong(format_args!("{at}.structure.jsonSchema.schema"), &error))?;
    Ok(OutputFormat::Schema { name, description, schema: Json::Owned(checked), strict: Some(true) })
}

/// Members that go to the model as they are: those that the hub has a word for are understood, whatever the model.
fn additional<'a>(request: &mut Request<'a>, raw: &'a RawValue) -> Result<(), Fault> {
    let at = "additionalModelRequestFields";
    if shape(raw) != Shape::Object {
        return Err(Fault::invalid(at, "an object is expected"));
    }
    for (name, raw) in read::members(at, raw)?.0 {
        match &*name {
            "thinking" | "reasoning_config" => {
                let effort = request.reasoning.and_then(|reasoning| reasoning.effort);
                let said = thinking(&format!("{at}.{}", &*name), raw)?;
                request.reasoning = said.map(|said| Reasoning { effort: said.effort.or(effort), ..said });
            }
            "reasoning_effort" => {
                let text: Text<'_> = read::value(format_args!("{at}.reasoning_effort"), raw)?;
                request.reasoning.get_or_insert_default().effort = Effort::parse(&text);
            }
            "top_k" => request.sampling.top_k = Some(raw),
            _ => request.rest.push((name, raw)),
        }
    }
    Ok(())
}
