//! Writes the hub's request as a chat request.

use super::messages::Messages;
use crate::dialect::format::{Fault, Format, Target};
use crate::dialect::hub::{Feature, Losses, OutputFormat, Request, Tool, ToolChoice, ToolKind, lose};
use crate::wire::json::write::Writer;

const HERE: Format = Format::Cohere;

/// Members that callers of other formats may send by Cohere's name.
const KNOWN: [&str; 3] = ["safety_mode", "citation_options", "priority"];
/// Most stop sequences that Cohere takes.
const STOPS: usize = 5;

/// # Errors
/// [`Fault::Unsupported`] for what cannot be said, [`Fault::Invalid`] for what is wrong in itself.
pub fn encode_request(request: &Request<'_>, target: &Target<'_>, losses: &mut Losses) -> Result<Vec<u8>, Fault> {
    check(request, losses)?;
    let mut out = Writer::with_capacity(1024);
    out.begin_object().member("model", target.model);
    let mut messages = Messages::new(out, losses);
    messages.write(&request.messages)?;
    let mut out = messages.finish();
    tools(&mut out, request, losses)?;
    sampling(&mut out, request, losses);
    match &request.format {
        None | Some(OutputFormat::Text) => {}
        Some(OutputFormat::Json) => {
            out.key("response_format").begin_object().member("type", "json_object").end_object();
        }
        Some(OutputFormat::Schema { schema, .. }) => {
            out.key("response_format").begin_object().member("type", "json_object");
            out.key("json_schema").raw(schema).end_object();
        }
    }
    if let Some(budget) = request.reasoning.and_then(|reasoning| reasoning.budget()) {
        out.key("thinking").begin_object();
        match budget {
            0 => out.member("type", "disabled"),
            budget => out.member("type", "enabled").key("token_budget").uint(budget),
        };
        out.end_object();
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
    let wanted = [
        (Feature::Choices, request.choices.is_some_and(|choices| choices > 1)),
        (Feature::Logprobs, request.logprobs.is_some()),
        (Feature::LogitBias, request.sampling.logit_bias.is_some()),
        (Feature::ParallelTools, request.parallel_tools == Some(false) && !request.tools.is_empty()),
        (Feature::Verbosity, request.verbosity.is_some()),
        (Feature::User, request.user.is_some()),
        (Feature::Metadata, request.metadata.is_some()),
        (Feature::Store, request.store == Some(true)),
        (Feature::ServiceTier, request.service_tier.as_deref().is_some_and(|tier| tier != "auto" && tier != "default")),
        (Feature::PromptCacheKey, request.prompt_cache_key.is_some()),
        (Feature::Modalities, request.modalities.iter().any(|modality| &**modality != "text")),
        (Feature::Names, request.messages.iter().any(|message| message.name.is_some())),
        (Feature::CacheMarks, request.tools.iter().any(|tool| tool.cache.is_some())),
    ];
    for (feature, _) in wanted.into_iter().filter(|(_, wanted)| *wanted) {
        lose(losses, feature, HERE)?;
    }
    Ok(())
}

fn tools(out: &mut Writer, request: &Request<'_>, losses: &mut Losses) -> Result<(), Fault> {
    if request.tools.is_empty() {
        return Ok(());
    }
    let named = match &request.tool_choice {
        Some(ToolChoice::Named(name)) => Some(name),
        _ => None,
    };
    let mut strict_all = true;
    out.key("tools").begin_array();
    for Tool { kind, .. } in &request.tools {
        let ToolKind::Function { name, description, parameters, strict } = kind else {
            lose(losses, Feature::HostedTools, HERE)?;
            continue;
        };
        if named.is_some_and(|named| named != name) {
            continue;
        }
        strict_all &= *strict == Some(true);
        out.begin_object().member("type", "function").key("function").begin_object().member("name", name);
        if let Some(description) = description {
            out.member("description", description);
        }
        match parameters {
            Some(schema) => out.key("parameters").raw(schema),
            None => out.key("parameters").json(r#"{"type":"object","properties":{}}"#),
        };
        out.end_object().end_object();
    }
    out.end_array();
    match &request.tool_choice {
        None | Some(ToolChoice::Auto) => {}
        Some(ToolChoice::None) => _ = out.member("tool_choice", "NONE"),
        Some(ToolChoice::Required | ToolChoice::Named(_)) => _ = out.member("tool_choice", "REQUIRED"),
    }
    if strict_all {
        out.key("strict_tools").bool(true);
    }
    Ok(())
}

fn sampling(out: &mut Writer, request: &Request<'_>, losses: &mut Losses) {
    let sampling = &request.sampling;
    let numbers = [
        ("temperature", sampling.temperature),
        ("p", sampling.top_p),
        ("k", sampling.top_k),
        ("seed", sampling.seed),
        ("presence_penalty", sampling.presence_penalty),
        ("frequency_penalty", sampling.frequency_penalty),
    ];
    for (name, raw) in numbers {
        if let Some(raw) = raw {
            out.key(name).raw(raw);
        }
    }
    if let Some(limit) = request.max_output {
        out.key("max_tokens").uint(limit);
    }
    if request.stop.is_empty() {
        return;
    }
    out.key("stop_sequences").begin_array();
    for stop in request.stop.iter().take(STOPS) {
        out.string(stop);
    }
    out.end_array();
    if request.stop.len() > STOPS {
        losses.add(Feature::StopSequences);
    }
}
