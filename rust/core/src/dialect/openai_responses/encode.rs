//! Writes the hub's request as a Responses request.

use super::items::Items;
use crate::dialect::format::{Fault, Format, Target};
use crate::dialect::hub::{Feature, Losses, OutputFormat, Request, Tool, ToolChoice, ToolKind, lose};
use crate::wire::json::write::Writer;

const HERE: Format = Format::Responses;

/// Members that callers of other formats may send by OpenAI's name.
const KNOWN: [&str; 3] = ["safety_identifier", "prompt_cache_retention", "max_tool_calls"];

/// # Errors
/// [`Fault::Unsupported`] for what cannot be said, [`Fault::Invalid`] for what is wrong in itself.
pub fn encode_request(request: &Request<'_>, target: &Target<'_>, losses: &mut Losses) -> Result<Vec<u8>, Fault> {
    check(request, losses)?;
    let mut out = Writer::with_capacity(1024);
    out.begin_object().member("model", target.model).key("input").begin_array();
    let mut items = Items::new(out, losses);
    for message in &request.messages {
        items.message(message)?;
    }
    let mut out = items.finish();
    out.end_array();
    tools(&mut out, request, losses)?;
    if let Some(limit) = request.max_output {
        out.key("max_output_tokens").uint(limit);
    }
    for (name, raw) in [("temperature", request.sampling.temperature), ("top_p", request.sampling.top_p)] {
        if let Some(raw) = raw {
            out.key(name).raw(raw);
        }
    }
    texts(&mut out, request);
    output(&mut out, request);
    // Nothing is kept at the provider: reasoning comes back encrypted, for the caller to give back.
    out.key("store").bool(request.store.unwrap_or(false)).key("include").begin_array();
    out.string("reasoning.encrypted_content");
    if let Some(alternatives) = request.logprobs {
        out.string("message.output_text.logprobs").end_array().key("top_logprobs").uint(alternatives);
    } else {
        out.end_array();
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

fn check(request: &Request<'_>, losses: &mut Losses) -> Result<(), Fault> {
    let sampling = &request.sampling;
    let penalties = [sampling.presence_penalty, sampling.frequency_penalty].into_iter().flatten();
    let wanted = [
        (Feature::Choices, request.choices.is_some_and(|choices| choices > 1)),
        (Feature::LogitBias, sampling.logit_bias.is_some()),
        (Feature::Penalties, penalties.into_iter().any(|number| number.get() != "0")),
        (Feature::Seed, sampling.seed.is_some()),
        (Feature::TopK, sampling.top_k.is_some()),
        (Feature::StopSequences, !request.stop.is_empty()),
        (Feature::Modalities, request.modalities.iter().any(|modality| &**modality != "text")),
        (Feature::Names, request.messages.iter().any(|message| message.name.is_some())),
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
    out.key("tools").begin_array();
    for Tool { kind, cache } in &request.tools {
        if cache.is_some() {
            lose(losses, Feature::CacheMarks, HERE)?;
        }
        match kind {
            ToolKind::Function { name, description, parameters, strict } => {
                out.begin_object().member("type", "function").member("name", name);
                if let Some(description) = description {
                    out.member("description", description);
                }
                match parameters {
                    Some(schema) => out.key("parameters").raw(schema),
                    None => out.key("parameters").json(r#"{"type":"object","properties":{}}"#),
                };
                // Here the default is strict; everywhere else it is not.
                out.key("strict").bool(strict.unwrap_or(false)).end_object();
            }
            ToolKind::Hosted { format: HERE, raw, .. } => _ = out.raw(raw),
            ToolKind::Hosted { .. } => _ = lose(losses, Feature::HostedTools, HERE)?,
        }
    }
    out.end_array();
    match &request.tool_choice {
        None => {}
        Some(ToolChoice::Auto) => _ = out.member("tool_choice", "auto"),
        Some(ToolChoice::None) => _ = out.member("tool_choice", "none"),
        Some(ToolChoice::Required) => _ = out.member("tool_choice", "required"),
        Some(ToolChoice::Named(name)) => {
            out.key("tool_choice").begin_object().member("type", "function").member("name", name).end_object();
        }
    }
    if let Some(parallel) = request.parallel_tools {
        out.key("parallel_tool_calls").bool(parallel);
    }
    Ok(())
}

fn texts(out: &mut Writer, request: &Request<'_>) {
    let texts = [
        ("user", &request.user),
        ("service_tier", &request.service_tier),
        ("prompt_cache_key", &request.prompt_cache_key),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            out.member(name, text);
        }
    }
    if let Some(metadata) = request.metadata {
        out.key("metadata").raw(metadata);
    }
}

fn output(out: &mut Writer, request: &Request<'_>) {
    if let Some(reasoning) = request.reasoning {
        let effort = match (reasoning.effort, reasoning.budget) {
            (None, Some(0)) => None,
            _ => reasoning.effort(),
        };
        out.key("reasoning").begin_object();
        if let Some(effort) = effort {
            out.member("effort", effort.name());
        }
        if reasoning.visible != Some(false) {
            out.member("summary", "auto");
        }
        out.end_object();
    }
    if request.format.is_none() && request.verbosity.is_none() {
        return;
    }
    out.key("text").begin_object();
    match &request.format {
        None | Some(OutputFormat::Text) => {}
        Some(OutputFormat::Json) => _ = out.key("format").begin_object().member("type", "json_object").end_object(),
        Some(OutputFormat::Schema { name, description, schema, strict }) => {
            out.key("format").begin_object().member("type", "json_schema");
            out.member("name", name.as_deref().unwrap_or("answer"));
            if let Some(description) = description {
                out.member("description", description);
            }
            out.key("schema").raw(schema).key("strict").bool(strict.unwrap_or(false)).end_object();
        }
    }
    if let Some(verbosity) = &request.verbosity {
        out.member("verbosity", verbosity);
    }
    out.end_object();
}
