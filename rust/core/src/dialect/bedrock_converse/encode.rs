//! Writes the hub's request as a Converse request.

use super::write::{Content, cache_point};
use crate::dialect::anthropic_messages::{Plan, plan};
use crate::dialect::format::{Fault, Format, Target};
use crate::dialect::hub::{
    Effort, Feature, Losses, OutputFormat, Part, Request, Role, Tool, ToolChoice, ToolKind, lose,
};
use crate::dialect::read;
use crate::wire::json::write::Writer;
use serde_json::value::RawValue;

const HERE: Format = Format::Converse;

/// Members that only Converse has, and that callers of other formats may send by the same name.
const KNOWN: [&str; 4] =
    ["guardrailConfig", "performanceConfig", "promptVariables", "additionalModelResponseFieldPaths"];

/// Whose models take which words for what Converse has no word of its own for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Claude,
    Nova,
    GptOss,
    Other,
}

impl Family {
    /// An application's inference profile does not tell its model; Claude's words are the likeliest.
    fn of(model: &str) -> Family {
        match model {
            _ if model.contains("claude") || model.contains("anthropic") => Family::Claude,
            _ if model.contains("application-inference-profile") => Family::Claude,
            _ if model.contains("nova") => Family::Nova,
            _ if model.contains("gpt-oss") => Family::GptOss,
            _ => Family::Other,
        }
    }
}

/// # Errors
/// [`Fault::Unsupported`] for what cannot be said, [`Fault::Invalid`] for what is wrong in itself.
pub fn encode_request(request: &Request<'_>, target: &Target<'_>, losses: &mut Losses) -> Result<Vec<u8>, Fault> {
    check(request, losses)?;
    let family = Family::of(target.model);
    let plan = (family == Family::Claude).then(|| plan(request, target, losses));
    let mut out = Writer::with_capacity(1024);
    out.begin_object().key("messages").begin_array();
    let mut content = Content::new(out, losses);
    let last = request.messages.len().saturating_sub(1);
    for (index, message) in request.messages.iter().enumerate() {
        let role = match message.role {
            Role::System => continue,
            Role::Assistant => "assistant",
            Role::User | Role::Tool => "user",
        };
        let count = message.parts.len();
        for (at, part) in message.parts.iter().enumerate() {
            content.part(role, part, role == "assistant" && index == last && at + 1 == count)?;
        }
    }
    let mut out = content.finish();
    out.end_array();
    instructions(&mut out, request, losses)?;
    inference(&mut out, request, plan.as_ref(), losses)?;
    tools(&mut out, request, losses)?;
    output(&mut out, request, plan.as_ref());
    additional(&mut out, request, (family, plan.as_ref()), losses)?;
    rest(&mut out, request, losses);
    out.end_object();
    Ok(out.finish())
}

/// Features that need nothing but a look at the table.
fn check(request: &Request<'_>, losses: &mut Losses) -> Result<(), Fault> {
    let sampling = &request.sampling;
    let penalties = [sampling.presence_penalty, sampling.frequency_penalty];
    let wanted = [
        (Feature::Choices, request.choices.is_some_and(|choices| choices > 1)),
        (Feature::Logprobs, request.logprobs.is_some()),
        (Feature::LogitBias, sampling.logit_bias.is_some()),
        (Feature::Penalties, penalties.into_iter().flatten().any(|number| number.get() != "0")),
        (Feature::Seed, sampling.seed.is_some()),
        (Feature::ParallelTools, request.parallel_tools == Some(false)),
        (Feature::Verbosity, request.verbosity.is_some()),
        (Feature::Modalities, request.modalities.iter().any(|modality| &**modality != "text")),
        (Feature::User, request.user.is_some()),
        (Feature::Store, request.store == Some(true)),
        (Feature::PromptCacheKey, request.prompt_cache_key.is_some()),
        (Feature::Names, request.messages.iter().any(|message| message.name.is_some())),
    ];
    for (feature, _) in wanted.into_iter().filter(|(_, wanted)| *wanted) {
        lose(losses, feature, HERE)?;
    }
    Ok(())
}

/// Every instruction, wherever it stood: there is one place for them.
fn instructions(out: &mut Writer, request: &Request<'_>, losses: &mut Losses) -> Result<(), Fault> {
    let json = matches!(request.format, Some(OutputFormat::Json));
    let mut system = request.messages.iter().filter(|message| message.role == Role::System).peekable();
    if system.peek().is_none() && !json {
        return Ok(());
    }
    out.key("system").begin_array();
    for part in system.flat_map(|message| &message.parts) {
        let Part::Text { text, cache, .. } = part else {
            return Err(Fault::invalid("messages", "instructions can only be text for this model"));
        };
        if !text.trim().is_empty() {
            out.begin_object().member("text", text).end_object();
        }
        if let Some(mark) = cache {
            out.begin_object();
            cache_point(out, *mark);
            out.end_object();
        }
    }
    if json {
        lose(losses, Feature::JsonObject, HERE)?;
        let text = "Answer with a single JSON object and nothing else: no text around it, no code fence.";
        out.begin_object().member("text", text).end_object();
    }
    out.end_array();
    Ok(())
}

fn inference(out: &mut Writer, request: &Request<'_>, plan: Option<&Plan>, losses: &mut Losses) -> Result<(), Fault> {
    let thinks = plan.is_some_and(Plan::thinks);
    let max = plan.filter(|plan| plan.thinks()).map(|plan| plan.max_tokens).or(request.max_output);
    out.key("inferenceConfig").begin_object();
    if let Some(max) = max {
        out.key("maxTokens").uint(max);
    }
    if let Some(temperature) = request.sampling.temperature {
        let number: f64 = read::value("temperature", temperature)?;
        match number {
            _ if thinks && (number - 1.0).abs() > f64::EPSILON => losses.member("temperature"),
            _ if thinks => {}
            _ if number > 1.0 => {
                losses.member("temperature");
                out.key("temperature").uint(1);
            }
            _ => _ = out.key("temperature").raw(temperature),
        }
    }
    match request.sampling.top_p {
        Some(_) if thinks => losses.member("top_p"),
        Some(top_p) => _ = out.key("topP").raw(top_p),
        None => {}
    }
    let mut stops = request.stop.iter().filter(|stop| !stop.trim().is_empty()).peekable();
    if stops.peek().is_some() {
        out.key("stopSequences").begin_array();
        for stop in stops {
            out.string(stop);
        }
        out.end_array();
    }
    if request.stop.iter().any(|stop| stop.trim().is_empty()) {
        losses.add(Feature::StopSequences);
    }
    out.end_object();
    Ok(())
}

fn tools(out: &mut Writer, request: &Request<'_>, losses: &mut Losses) -> Result<(), Fault> {
    let parts = || request.messages.iter().flat_map(|message| &message.parts);
    let used = || parts().any(|part| matches!(part, Part::ToolCall { .. } | Part::ToolResult { .. }));
    let forbidden = request.tool_choice == Some(ToolChoice::None);
    if (request.tools.is_empty() || forbidden) && !used() {
        return Ok(());
    }
    out.key("toolConfig").begin_object().key("tools").begin_array();
    for tool in &request.tools {
        spec(out, tool, losses)?;
    }
    if request.tools.is_empty() {
        // Bedrock refuses a history with calls whose tools are not named.
        let mut names: Vec<&str> = parts()
            .filter_map(|part| match part {
                Part::ToolCall { name, .. } => Some(&**name),
                _ => None,
            })
            .collect();
        names.sort_unstable();
        names.dedup();
        for name in if names.is_empty() { vec!["tool"] } else { names } {
            out.begin_object().key("toolSpec").begin_object().member("name", name);
            out.key("inputSchema").begin_object().key("json").json(r#"{"type":"object"}"#).end_object();
            out.end_object().end_object();
        }
    }
    out.end_array();
    match &request.tool_choice {
        Some(ToolChoice::Required) => choice(out, "any", None),
        Some(ToolChoice::Named(name)) => choice(out, "tool", Some(name)),
        // Converse cannot forbid what the history needs.
        Some(ToolChoice::None) => losses.member("tool_choice"),
        Some(ToolChoice::Auto) | None => {}
    }
    out.end_object();
    Ok(())
}

fn choice(out: &mut Writer, kind: &str, name: Option<&str>) {
    out.key("toolChoice").begin_object().key(kind).begin_object();
    if let Some(name) = name {
        out.member("name", name);
    }
    out.end_object().end_object();
}

fn spec(out: &mut Writer, tool: &Tool<'_>, losses: &mut Losses) -> Result<(), Fault> {
    let ToolKind::Function { name, description, parameters, strict } = &tool.kind else {
        lose(losses, Feature::HostedTools, HERE)?;
        return Ok(());
    };
    out.begin_object().key("toolSpec").begin_object().member("name", name);
    if let Some(description) = description.as_deref().filter(|text| !text.is_empty()) {
        out.member("description", description);
    }
    let schema = parameters.as_ref().map_or(r#"{"type":"object","properties":{}}"#, |schema| schema.get());
    out.key("inputSchema").begin_object().key("json").json(schema).end_object();
    if *strict == Some(true) {
        out.key("strict").bool(true);
    }
    out.end_object().end_object();
    if let Some(mark) = tool.cache {
        out.begin_object();
        cache_point(out, mark);
        out.end_object();
    }
    Ok(())
}

fn output(out: &mut Writer, request: &Request<'_>, plan: Option<&Plan>) {
    let effort = plan.and_then(|plan| plan.effort).map(|effort| match effort {
        Effort::None | Effort::Minimal | Effort::Low => "low",
        Effort::XHigh => "max",
        effort => effort.name(),
    });
    let schema = match &request.format {
        Some(OutputFormat::Schema { name, description, schema, .. }) => Some((name, description, schema)),
        _ => None,
    };
    if schema.is_none() && effort.is_none() {
        return;
    }
    out.key("outputConfig").begin_object();
    if let Some(effort) = effort {
        out.member("effort", effort);
    }
    if let Some((name, description, schema)) = schema {
        out.key("textFormat").begin_object().member("type", "json_schema").key("structure").begin_object();
        out.key("jsonSchema").begin_object().member("schema", schema.get());
        for (key, text) in [("name", name), ("description", description)] {
            if let Some(text) = text {
                out.member(key, text);
            }
        }
        out.end_object().end_object().end_object();
    }
    out.end_object();
}

/// What goes to the model beside Converse's own words: the caller's, and what his request says in words of the hub.
fn additional(
    out: &mut Writer,
    request: &Request<'_>,
    (family, plan): (Family, Option<&Plan>),
    losses: &mut Losses,
) -> Result<(), Fault> {
    let mut own = Writer::with_capacity(128);
    own.begin_object();
    for (name, raw) in &request.rest {
        match &**name {
            "additionalModelRequestFields" => {
                for (name, raw) in read::members("additionalModelRequestFields", raw)?.0 {
                    own.key(&name).raw(raw);
                }
            }
            "anthropic_beta" if family == Family::Claude => _ = own.key(name).raw(raw),
            _ => {}
        }
    }
    match (family, plan, request.reasoning.and_then(|reasoning| reasoning.effort())) {
        (Family::Claude, Some(plan), _) => plan.write(&mut own),
        (_, _, None | Some(Effort::None)) => {}
        (Family::Nova, _, Some(effort)) => {
            own.key("reasoningConfig").begin_object().member("type", "enabled");
            own.member("maxReasoningEffort", level(effort)).end_object();
        }
        (Family::GptOss, _, Some(effort)) => _ = own.member("reasoning_effort", level(effort)),
        (_, _, Some(_)) => losses.add(Feature::Reasoning),
    }
    match (request.sampling.top_k, family) {
        (Some(_), _) if plan.is_some_and(Plan::thinks) => losses.add(Feature::TopK),
        (Some(top_k), Family::Nova) => {
            own.key("inferenceConfig").begin_object().key("topK").raw(top_k).end_object();
        }
        (Some(top_k), _) => _ = own.key("top_k").raw(top_k),
        (None, _) => {}
    }
    let own = own.end_object();
    let text = std::mem::take(own).finish();
    if let Some(text) = std::str::from_utf8(&text).ok().filter(|text| *text != "{}") {
        out.key("additionalModelRequestFields").json(text);
    }
    Ok(())
}

fn level(effort: Effort) -> &'static str {
    match effort {
        Effort::None | Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High | Effort::XHigh => "high",
    }
}

fn rest(out: &mut Writer, request: &Request<'_>, losses: &mut Losses) {
    match request.service_tier.as_deref() {
        None | Some("auto") => {}
        Some(tier @ ("default" | "priority" | "flex" | "reserved")) => {
            out.key("serviceTier").begin_object().member("type", tier).end_object();
        }
        Some(_) => losses.add(Feature::ServiceTier),
    }
    match request.metadata {
        Some(metadata) if is_metadata(metadata) => _ = out.key("requestMetadata").raw(metadata),
        Some(_) => losses.member("metadata"),
        None => {}
    }
    for (name, raw) in &request.rest {
        match &**name {
            known if KNOWN.contains(&known) => _ = out.key(known).raw(raw),
            "additionalModelRequestFields" | "anthropic_beta" => {}
            other => losses.member(other),
        }
    }
}

/// Bedrock takes up to 16 short texts of plain characters.
fn is_metadata(raw: &RawValue) -> bool {
    let fine = |text: &str, least: usize| {
        (least..=256).contains(&text.len())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || ":_@$#=/+,-.".contains(c))
    };
    read::members("metadata", raw).is_ok_and(|members| {
        members.0.len() <= 16
            && members.0.iter().all(|(name, raw)| {
                fine(name, 1) && serde_json::from_str::<String>(raw.get()).is_ok_and(|text| fine(&text, 0))
            })
    })
}
