//! Writes the hub's request as a messages request.

use super::content::Content;
use super::thinking::{Plan, plan};
use crate::dialect::format::{Fault, Format, Target};
use crate::dialect::hub::{
    CacheMark, Effort, Feature, Losses, OutputFormat, Part, Request, Role, Tool, ToolChoice, ToolKind, lose,
};
use crate::wire::json::write::Writer;

const HERE: Format = Format::Messages;

/// Members that only Anthropic has, and that callers of other formats may send by the same name.
const KNOWN: [&str; 6] = ["mcp_servers", "container", "context_management", "inference_geo", "speed", "cache_control"];

/// # Errors
/// [`Fault::Unsupported`] for what cannot be said, [`Fault::Invalid`] for what is wrong in itself.
pub fn encode_request(request: &Request<'_>, target: &Target<'_>, losses: &mut Losses) -> Result<Vec<u8>, Fault> {
    check(request, losses)?;
    let plan = plan(request, target, losses);
    let mut out = Writer::with_capacity(1024);
    out.begin_object().member("model", target.model).key("max_tokens").uint(plan.max_tokens);
    instructions(&mut out, request, losses)?;
    out = conversation(out, request, losses)?;
    tools(&mut out, request, losses)?;
    sampling(&mut out, request, &plan, losses)?;
    plan.write(&mut out);
    output(&mut out, request, plan.effort);
    if let Some(user) = &request.user {
        out.key("metadata").begin_object().member("user_id", user).end_object();
    }
    match request.service_tier.as_deref() {
        None => {}
        Some("auto") => _ = out.member("service_tier", "auto"),
        Some("default") => _ = out.member("service_tier", "standard_only"),
        Some(_) => losses.add(Feature::ServiceTier),
    }
    for (name, raw) in &request.rest {
        if KNOWN.contains(&&**name) {
            out.key(name).raw(raw);
        } else {
            losses.member(name);
        }
    }
    if request.stream {
        out.key("stream").bool(true);
    }
    out.end_object();
    Ok(out.finish())
}

/// Features that need nothing but a look at the table.
fn check(request: &Request<'_>, losses: &mut Losses) -> Result<(), Fault> {
    let sampling = &request.sampling;
    let wanted = [
        (Feature::Choices, request.choices.is_some_and(|choices| choices > 1)),
        (Feature::Logprobs, request.logprobs.is_some()),
        (Feature::LogitBias, sampling.logit_bias.is_some()),
        (
            Feature::Penalties,
            [sampling.presence_penalty, sampling.frequency_penalty]
                .into_iter()
                .flatten()
                .any(|number| number.get() != "0"),
        ),
        (Feature::Seed, sampling.seed.is_some()),
        (Feature::Verbosity, request.verbosity.is_some()),
        (Feature::Modalities, request.modalities.iter().any(|modality| &**modality != "text")),
        (Feature::Metadata, request.metadata.is_some()),
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
        if !text.is_empty() {
            out.begin_object().member("type", "text").member("text", text);
            cache_control(out, *cache);
            out.end_object();
        }
    }
    if json {
        lose(losses, Feature::JsonObject, HERE)?;
        let text = "Answer with a single JSON object and nothing else: no text around it, no code fence.";
        out.begin_object().member("type", "text").member("text", text).end_object();
    }
    out.end_array();
    Ok(())
}

fn conversation(mut out: Writer, request: &Request<'_>, losses: &mut Losses) -> Result<Writer, Fault> {
    out.key("messages").begin_array();
    let mut content = Content::new(out, losses);
    let count = request.messages.len();
    for (index, message) in request.messages.iter().enumerate() {
        let last = index + 1 == count;
        match message.role {
            Role::System => {}
            Role::Assistant => content.parts("assistant", &message.parts, last)?,
            Role::User | Role::Tool => content.parts("user", &message.parts, false)?,
        }
    }
    let mut out = content.finish();
    out.end_array();
    Ok(out)
}

pub fn cache_control(out: &mut Writer, mark: Option<CacheMark>) {
    if let Some(mark) = mark {
        out.key("cache_control").begin_object().member("type", "ephemeral");
        if mark == CacheMark::Hour {
            out.member("ttl", "1h");
        }
        out.end_object();
    }
}

fn tools(out: &mut Writer, request: &Request<'_>, losses: &mut Losses) -> Result<(), Fault> {
    if request.tools.is_empty() {
        return Ok(());
    }
    out.key("tools").begin_array();
    for Tool { kind, cache } in &request.tools {
        match kind {
            ToolKind::Function { name, description, parameters, strict } => {
                out.begin_object().member("name", name);
                if let Some(description) = description {
                    out.member("description", description);
                }
                match parameters {
                    Some(schema) => out.key("input_schema").raw(schema),
                    None => out.key("input_schema").json(r#"{"type":"object","properties":{}}"#),
                };
                if *strict == Some(true) {
                    out.key("strict").bool(true);
                }
                cache_control(out, *cache);
                out.end_object();
            }
            ToolKind::Hosted { format: HERE, raw, .. } => _ = out.raw(raw),
            ToolKind::Hosted { .. } => _ = lose(losses, Feature::HostedTools, HERE)?,
        }
    }
    out.end_array();
    let parallel = request.parallel_tools;
    if request.tool_choice.is_none() && parallel.is_none() {
        return Ok(());
    }
    let (kind, name) = match &request.tool_choice {
        None | Some(ToolChoice::Auto) => ("auto", None),
        Some(ToolChoice::None) => ("none", None),
        Some(ToolChoice::Required) => ("any", None),
        Some(ToolChoice::Named(name)) => ("tool", Some(name)),
    };
    out.key("tool_choice").begin_object().member("type", kind);
    if let Some(name) = name {
        out.member("name", name);
    }
    if let Some(parallel) = parallel.filter(|_| kind != "none") {
        out.key("disable_parallel_tool_use").bool(!parallel);
    }
    out.end_object();
    Ok(())
}

/// Sampling that thinking does not allow, and values beyond Anthropic's range, are announced.
fn sampling(out: &mut Writer, request: &Request<'_>, plan: &Plan, losses: &mut Losses) -> Result<(), Fault> {
    let sampling = &request.sampling;
    let thinks = plan.thinks();
    if let Some(temperature) = sampling.temperature {
        let number: f64 = crate::dialect::read::value("temperature", temperature)?;
        if thinks && (number - 1.0).abs() > f64::EPSILON {
            losses.member("temperature");
        } else if number > 1.0 {
            losses.member("temperature");
            out.key("temperature").uint(1);
        } else if !thinks {
            out.key("temperature").raw(temperature);
        }
    }
    if let Some(top_p) = sampling.top_p {
        let number: f64 = crate::dialect::read::value("top_p", top_p)?;
        if thinks && number < 0.95 {
            losses.member("top_p");
        } else {
            out.key("top_p").raw(top_p);
        }
    }
    match sampling.top_k {
        Some(_) if thinks => losses.add(Feature::TopK),
        Some(top_k) => _ = out.key("top_k").raw(top_k),
        None => {}
    }
    if request.stop.is_empty() {
        return Ok(());
    }
    out.key("stop_sequences").begin_array();
    for stop in &request.stop {
        // Anthropic refuses sequences of nothing but white space.
        if stop.trim().is_empty() {
            losses.add(Feature::StopSequences);
        } else {
            out.string(stop);
        }
    }
    out.end_array();
    Ok(())
}

fn output(out: &mut Writer, request: &Request<'_>, effort: Option<Effort>) {
    let schema = match &request.format {
        Some(OutputFormat::Schema { schema, .. }) => Some(schema),
        _ => None,
    };
    if schema.is_none() && effort.is_none() {
        return;
    }
    out.key("output_config").begin_object();
    match effort {
        None => {}
        Some(Effort::None | Effort::Minimal | Effort::Low) => _ = out.member("effort", "low"),
        Some(Effort::XHigh) => _ = out.member("effort", "max"),
        Some(effort) => _ = out.member("effort", effort.name()),
    }
    if let Some(schema) = schema {
        out.key("format").begin_object().member("type", "json_schema").key("schema").raw(schema).end_object();
    }
    out.end_object();
}
