//! Tools and the choice among them.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::schema::json_schema;
use crate::dialect::format::{Fault, Format};
use crate::dialect::hub::{Json, Members, Request, Text, Tool, ToolChoice, ToolKind};
use crate::dialect::read::{self, Shape, shape};

#[derive(Deserialize)]
struct FunctionWire<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(default, borrow)]
    description: Option<Text<'a>>,
    #[serde(default, borrow)]
    parameters: Option<&'a RawValue>,
    #[serde(default, alias = "parameters_json_schema", rename = "parametersJsonSchema", borrow)]
    json_schema: Option<&'a RawValue>,
}

pub fn tools(raw: &RawValue) -> Result<Vec<Tool<'_>>, Fault> {
    let mut tools = Vec::new();
    let raws = match shape(raw) {
        Shape::Object => vec![raw],
        _ => read::array("tools", raw)?,
    };
    for (index, raw) in raws.into_iter().enumerate() {
        let at = format!("tools[{index}]");
        let members: Members<'_> = read::value(&at, raw)?;
        for (name, value) in members.0 {
            match &*name {
                _ if shape(value) == Shape::Null => {}
                "functionDeclarations" | "function_declarations" => {
                    let functions: Vec<FunctionWire<'_>> = read::value(&at, value)?;
                    for function in functions {
                        tools.push(Tool { kind: declared(&at, function)?, cache: None });
                    }
                }
                _ => {
                    let kind = ToolKind::Hosted { format: Format::Gemini, kind: name, raw };
                    tools.push(Tool { kind, cache: None });
                }
            }
        }
    }
    Ok(tools)
}

fn declared<'a>(at: &str, function: FunctionWire<'a>) -> Result<ToolKind<'a>, Fault> {
    let present = |raw: &&RawValue| shape(raw) != Shape::Null;
    let parameters = match (function.json_schema.filter(present), function.parameters.filter(present)) {
        (Some(schema), _) => Some(Json::Borrowed(schema)),
        (None, Some(schema)) => Some(json_schema(at, schema)?),
        (None, None) => None,
    };
    Ok(ToolKind::Function { name: function.name, description: function.description, parameters, strict: None })
}

pub fn tool_config<'a>(request: &mut Request<'a>, raw: &'a RawValue) -> Result<(), Fault> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(default, alias = "function_calling_config", rename = "functionCallingConfig", borrow)]
        calling: Option<Calling<'a>>,
    }
    #[derive(Deserialize)]
    struct Calling<'a> {
        #[serde(default, borrow)]
        mode: Option<Text<'a>>,
        #[serde(default, alias = "allowed_function_names", rename = "allowedFunctionNames", borrow)]
        allowed: Option<Vec<Text<'a>>>,
    }
    let wire: Wire<'a> = read::value("toolConfig", raw)?;
    let Some(calling) = wire.calling else { return Ok(()) };
    let mut allowed = calling.allowed.unwrap_or_default();
    if allowed.len() > 1 {
        // Nobody else can choose among some of the tools: the others are not offered.
        let may = |tool: &Tool<'_>| match &tool.kind {
            ToolKind::Function { name, .. } => allowed.contains(name),
            ToolKind::Hosted { .. } => true,
        };
        request.tools.retain(may);
    }
    let mode = calling.mode.map(|mode| mode.to_ascii_uppercase());
    request.tool_choice = match mode.as_deref() {
        None | Some("" | "MODE_UNSPECIFIED") => None,
        Some("AUTO" | "VALIDATED") => Some(ToolChoice::Auto),
        Some("NONE") => Some(ToolChoice::None),
        Some("ANY") if allowed.len() == 1 => allowed.pop().map(ToolChoice::Named),
        Some("ANY") => Some(ToolChoice::Required),
        Some(other) => {
            let path = "toolConfig.functionCallingConfig.mode";
            return Err(Fault::invalid(path, format!("unknown mode '{other}'")));
        }
    };
    Ok(())
}
