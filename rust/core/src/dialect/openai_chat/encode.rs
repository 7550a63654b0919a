//! Writes the hub's request as a chat request.

use super::messages::Messages;
use crate::dialect::format::{Fault, Format, Target};
use crate::dialect::hub::{Feature, Losses, Members, OutputFormat, Request, Tool, ToolChoice, ToolKind, lose};
use crate::wire::json::write::Writer;

const HERE: Format = Format::Chat;

/// Members that callers of other formats may send by OpenAI's name.
const KNOWN: [&str; 4] = ["prediction", "web_search_options", "safety_identifier", "prompt_cache_retention"];

/// # Errors
/// [`Fault::Unsupported`] for what cannot be said, [`Fault::Invalid`] for what is wrong in itself.
pub fn encode_request(request: &Request<'_>, target: &Target<'_>, losses: &mut Losses) -> Result<Vec<u8>, Fault> {
    let mut out = Writer::with_capacity(1024);
    out.begin_object().member("model", target.model).key("messages").begin_array();
    let mut messages = Messages::new(out, losses);
    for message in &request.messages {
        messages.message(message)?;
    }
    messages.close()?;
    let mut out = messages.finish();
    out.end_array();
    tools(&mut out, request, losses)?;
    limits(&mut out, request, target);
    sampling(&mut out, request, losses)?;
    format(&mut out, request);
    texts(&mut out, request);
    for (name, raw) in &request.rest {
        if KNOWN.contains(&&**name) {
            out.key(name).raw(raw);
        } else {
            losses.member(name);
        }
    }
    if request.stream {
        out.key("stream").bool(true);
        if target.ask_usage {
            out.key("stream_options").begin_object().key("include_usage").bool(true).end_object();
        }
    }
    out.end_object();
    Ok(out.finish())
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
                out.begin_object().member("type", "function").key("function").begin_object().member("name", name);
                if let Some(description) = description {
                    out.member("description", description);
                }
                if let Some(schema) = parameters {
                    out.key("parameters").raw(schema);
                }
                if let Some(strict) = strict {
                    out.key("strict").bool(*strict);
                }
                out.end_object().end_object();
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
            out.key("tool_choice").begin_object().member("type", "function");
            out.key("function").begin_object().member("name", name).end_object().end_object();
        }
    }
    if let Some(parallel) = request.parallel_tools {
        out.key("parallel_tool_calls").bool(parallel);
    }
    Ok(())
}

fn limits(out: &mut Writer, request: &Request<'_>, target: &Target<'_>) {
    if let Some(limit) = request.max_output {
        out.key(if takes_completion_limit(target.model) { "max_completion_tokens" } else { "max_tokens" }).uint(limit);
    }
    if let Some(choices) = request.choices.filter(|choices| *choices != 1) {
        out.key("n").uint(choices);
    }
    if let Some(alternatives) = request.logprobs {
        out.key("logprobs").bool(true);
        if alternatives > 0 {
            out.key("top_logprobs").uint(alternatives);
        }
    }
    // "No thinking" is what models do that cannot think, and the name of it is refused by them; only an effort is passed on.
    let effort = request.reasoning.and_then(|reasoning| match (reasoning.effort, reasoning.budget) {
        (None, Some(0)) => None,
        _ => reasoning.effort(),
    });
    if let Some(effort) = effort {
        out.member("reasoning_effort", effort.name());
    }
}

/// OpenAI's reasoning models refuse `max_tokens`; most other servers know nothing else.
fn takes_completion_limit(model: &str) -> bool {
    let model = model.rsplit('/').next().unwrap_or(model).as_bytes();
    let digit = |at: usize| model.get(at).is_some_and(u8::is_ascii_digit);
    match model {
        [b'o', ..] => digit(1),
        _ => {
            model.strip_prefix(b"gpt-").and_then(|rest| rest.first()).is_some_and(|digit| (b'5'..=b'9').contains(digit))
        }
    }
}

fn sampling(out: &mut Writer, request: &Request<'_>, losses: &mut Losses) -> Result<(), Fault> {
    let sampling = &request.sampling;
    let numbers = [
        ("temperature", sampling.temperature),
        ("top_p", sampling.top_p),
        ("seed", sampling.seed),
        ("presence_penalty", sampling.presence_penalty),
        ("frequency_penalty", sampling.frequency_penalty),
        ("logit_bias", sampling.logit_bias),
    ];
    for (name, raw) in numbers {
        if let Some(raw) = raw {
            out.key(name).raw(raw);
        }
    }
    if sampling.top_k.is_some() {
        lose(losses, Feature::TopK, HERE)?;
    }
    if !request.stop.is_empty() {
        out.key("stop").begin_array();
        for stop in request.stop.iter().take(STOPS) {
            out.string(stop);
        }
        out.end_array();
        if request.stop.len() > STOPS {
            losses.add(Feature::StopSequences);
        }
    }
    Ok(())
}

/// Most stop sequences that OpenAI takes.
const STOPS: usize = 4;

fn format(out: &mut Writer, request: &Request<'_>) {
    match &request.format {
        None | Some(OutputFormat::Text) => {}
        Some(OutputFormat::Json) => {
            out.key("response_format").begin_object().member("type", "json_object").end_object();
        }
        Some(OutputFormat::Schema { name, description, schema, strict }) => {
            out.key("response_format").begin_object().member("type", "json_schema").key("json_schema").begin_object();
            out.member("name", name.as_deref().unwrap_or("answer"));
            if let Some(description) = description {
                out.member("description", description);
            }
            out.key("schema").raw(schema);
            if let Some(strict) = strict {
                out.key("strict").bool(*strict && closed(schema));
            }
            out.end_object().end_object();
        }
    }
}

/// Strict schemas must forbid further members and require all; one that does not cannot be sent as strict.
fn closed(schema: &serde_json::value::RawValue) -> bool {
    let Ok(members) = serde_json::from_str::<Members<'_>>(schema.get()) else { return false };
    members.get("additionalProperties").is_some_and(|raw| raw.get() == "false")
}

fn texts(out: &mut Writer, request: &Request<'_>) {
    let texts = [
        ("verbosity", &request.verbosity),
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
    if let Some(store) = request.store {
        out.key("store").bool(store);
    }
    if !request.modalities.is_empty() {
        out.key("modalities").begin_array();
        for modality in &request.modalities {
            out.string(modality);
        }
        out.end_array();
    }
    if let Some(audio) = request.audio {
        out.key("audio").raw(audio);
    }
}
