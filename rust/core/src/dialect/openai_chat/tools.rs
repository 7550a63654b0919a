//! Tools, the choice among them, and the form of the output.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialect::format::{Fault, Format};
use crate::dialect::hub::{Json, OutputFormat, Text, Tool, ToolChoice, ToolKind};
use crate::dialect::read::{self, CacheControl, Shape, shape};

pub fn tools(raw: &RawValue) -> Result<Vec<Tool<'_>>, Fault> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(default, rename = "type", borrow)]
        kind: Text<'a>,
        #[serde(default, borrow)]
        function: Option<Function<'a>>,
        #[serde(default)]
        cache_control: Option<CacheControl>,
    }
    #[derive(Deserialize)]
    struct Function<'a> {
        #[serde(borrow)]
        name: Text<'a>,
        #[serde(default, borrow)]
        description: Option<Text<'a>>,
        #[serde(default, borrow)]
        parameters: Option<&'a RawValue>,
        #[serde(default)]
        strict: Option<bool>,
        #[serde(default)]
        cache_control: Option<CacheControl>,
    }
    let mut tools = Vec::new();
    for (index, raw) in read::array("tools", raw)?.into_iter().enumerate() {
        let wire: Wire<'_> = read::value(format_args!("tools[{index}]"), raw)?;
        let mut cache = wire.cache_control;
        let kind = match wire.function {
            Some(function) if &*wire.kind == "function" => {
                cache = cache.or(function.cache_control);
                ToolKind::Function {
                    name: function.name,
                    description: function.description,
                    parameters: function.parameters.filter(|raw| shape(raw) != Shape::Null).map(Json::Borrowed),
                    strict: function.strict,
                }
            }
            _ => ToolKind::Hosted { format: Format::Chat, kind: wire.kind, raw },
        };
        tools.push(Tool { kind, cache: cache.map(CacheControl::mark) });
    }
    Ok(tools)
}

pub fn tool_choice(raw: &RawValue) -> Result<ToolChoice<'_>, Fault> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(default, borrow)]
        function: Option<Named<'a>>,
    }
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        name: Text<'a>,
    }
    if shape(raw) == Shape::Text {
        let text: Text<'_> = read::value("tool_choice", raw)?;
        return match &*text {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            "required" | "any" => Ok(ToolChoice::Required),
            other => Err(Fault::invalid("tool_choice", format!("unknown choice '{other}'"))),
        };
    }
    let wire: Wire<'_> = read::value("tool_choice", raw)?;
    let named = wire.function.ok_or_else(|| Fault::invalid("tool_choice", "only a function can be chosen here"))?;
    Ok(ToolChoice::Named(named.name))
}

pub fn output_format(raw: &RawValue) -> Result<Option<OutputFormat<'_>>, Fault> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(rename = "type", borrow)]
        kind: Text<'a>,
        #[serde(default, borrow)]
        json_schema: Option<Schema<'a>>,
    }
    #[derive(Deserialize)]
    struct Schema<'a> {
        #[serde(default, borrow)]
        name: Option<Text<'a>>,
        #[serde(default, borrow)]
        description: Option<Text<'a>>,
        #[serde(borrow)]
        schema: &'a RawValue,
        #[serde(default)]
        strict: Option<bool>,
    }
    let wire: Wire<'_> = read::value("response_format", raw)?;
    Ok(match (&*wire.kind, wire.json_schema) {
        ("text", _) => None,
        ("json_object", _) => Some(OutputFormat::Json),
        ("json_schema", Some(schema)) => Some(OutputFormat::Schema {
            name: schema.name,
            description: schema.description,
            schema: Json::Borrowed(schema.schema),
            strict: schema.strict,
        }),
        ("json_schema", None) => return Err(Fault::invalid("response_format.json_schema", "missing")),
        (other, _) => return Err(Fault::invalid("response_format.type", format!("unknown format '{other}'"))),
    })
}
