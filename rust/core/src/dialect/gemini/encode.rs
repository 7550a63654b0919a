//! Writes the hub's request as a generateContent request.

use super::contents::Contents;
use super::family::Family;
use super::schema::subset;
use crate::dialect::format::{Fault, Format, Target};
use crate::dialect::hub::{
    Effort, Feature, Losses, OutputFormat, Part, Reasoning, Request, Role, Tool, ToolChoice, ToolKind, lose,
};
use crate::dialect::read;
use crate::wire::json::write::Writer;

const HERE: Format = Format::Gemini;

/// Members that callers of other formats may send by Google's name.
const KNOWN: [(&str, &str); 5] = [
    ("safetySettings", "safetySettings"),
    ("safety_settings", "safetySettings"),
    ("cachedContent", "cachedContent"),
    ("cached_content", "cachedContent"),
    ("labels", "labels"),
];
/// The same inside `generationConfig`.
const CONFIG: [&str; 4] = ["speechConfig", "mediaResolution", "imageConfig", "audioTimestamp"];
/// Most stop sequences that Google takes.
const STOPS: usize = 5;

/// # Errors
/// [`Fault::Unsupported`] for what cannot be said, [`Fault::Invalid`] for what is wrong in itself.
pub fn encode_request(request: &Request<'_>, target: &Target<'_>, losses: &mut Losses) -> Result<Vec<u8>, Fault> {
    check(request, losses)?;
    let family = Family::of(target.model);
    let mut out = Writer::with_capacity(1024);
    out.begin_object();
    let said = request.messages.iter().any(|message| message.role != Role::System);
    if said {
        instructions(&mut out, request)?;
    }
    let mut contents = Contents::new(out, losses, request, family);
    contents.write(!said)?;
    let mut out = contents.finish();
    tools(&mut out, request, family, losses)?;
    out.key("generationConfig").begin_object();
    sampling(&mut out, request, losses);
    output(&mut out, request, family)?;
    thinking(&mut out, request.reasoning, family, losses);
    voice(&mut out, request);
    for (name, raw) in &request.rest {
        if CONFIG.contains(&&**name) {
            out.key(name).raw(raw);
        }
    }
    out.end_object();
    for (name, raw) in &request.rest {
        match KNOWN.iter().find(|(known, _)| *known == &**name) {
            Some((_, google)) => _ = out.key(google).raw(raw),
            None if CONFIG.contains(&&**name) || &**name == "web_search_options" => {}
            None => losses.member(name),
        }
    }
    out.end_object();
    Ok(out.finish())
}

/// Features that need nothing but a look at the table.
fn check(request: &Request<'_>, losses: &mut Losses) -> Result<(), Fault> {
    let wanted = [
        (Feature::LogitBias, request.sampling.logit_bias.is_some()),
        (Feature::ParallelTools, request.parallel_tools == Some(false) && !request.tools.is_empty()),
        (Feature::Verbosity, request.verbosity.is_some()),
        (Feature::User, request.user.is_some()),
        (Feature::Metadata, request.metadata.is_some()),
        (Feature::Store, request.store == Some(true)),
        (Feature::ServiceTier, request.service_tier.as_deref().is_some_and(|tier| tier != "auto" && tier != "default")),
        (Feature::PromptCacheKey, request.prompt_cache_key.is_some()),
        (Feature::Names, request.messages.iter().any(|message| message.name.is_some())),
        (Feature::CacheMarks, request.tools.iter().any(|tool| tool.cache.is_some())),
    ];
    for (feature, _) in wanted.into_iter().filter(|(_, wanted)| *wanted) {
        lose(losses, feature, HERE)?;
    }
    Ok(())
}

/// Every instruction, wherever it stood: there is one place for them.
fn instructions(out: &mut Writer, request: &Request<'_>) -> Result<(), Fault> {
    let mut system = request.messages.iter().filter(|message| message.role == Role::System).peekable();
    if system.peek().is_none() {
        return Ok(());
    }
    out.key("systemInstruction").begin_object().key("parts").begin_array();
    for part in system.flat_map(|message| &message.parts) {
        let Part::Text { text, .. } = part else {
            return Err(Fault::invalid("messages", "instructions can only be text for this model"));
        };
        out.begin_object().member("text", text).end_object();
    }
    out.end_array().end_object();
    Ok(())
}

fn tools(out: &mut Writer, request: &Request<'_>, family: Family, losses: &mut Losses) -> Result<(), Fault> {
    let searches = request.rest.iter().any(|(name, _)| &**name == "web_search_options");
    if request.tools.is_empty() && !searches {
        return Ok(());
    }
    let functions = || request.tools.iter().filter(|tool| matches!(tool.kind, ToolKind::Function { .. }));
    out.key("tools").begin_array();
    if functions().next().is_some() {
        out.begin_object().key("functionDeclarations").begin_array();
        for (index, tool) in functions().enumerate() {
            function(out, index, tool, family, losses)?;
        }
        out.end_array().end_object();
    }
    if searches {
        out.begin_object().key("googleSearch").begin_object().end_object().end_object();
    }
    for tool in &request.tools {
        match &tool.kind {
            ToolKind::Function { .. } => {}
            ToolKind::Hosted { format: HERE, raw, .. } => _ = out.raw(raw),
            // Everyone's web search is Google's too; the answer's sources become citations.
            ToolKind::Hosted { kind, .. } if kind.starts_with("web_search") => {
                out.begin_object().key("googleSearch").begin_object().end_object().end_object();
            }
            ToolKind::Hosted { .. } => _ = lose(losses, Feature::HostedTools, HERE)?,
        }
    }
    out.end_array();
    let (mode, name) = match &request.tool_choice {
        None | Some(ToolChoice::Auto) => return Ok(()),
        Some(ToolChoice::None) => ("NONE", None),
        Some(ToolChoice::Required) => ("ANY", None),
        Some(ToolChoice::Named(name)) => ("ANY", Some(name)),
    };
    out.key("toolConfig").begin_object().key("functionCallingConfig").begin_object().member("mode", mode);
    if let Some(name) = name {
        out.key("allowedFunctionNames").begin_array().string(name).end_array();
    }
    out.end_object().end_object();
    Ok(())
}

fn function(out: &mut Writer, index: usize, tool: &Tool<'_>, family: Family, losses: &mut Losses) -> Result<(), Fault> {
    let ToolKind::Function { name, description, parameters, strict } = &tool.kind else { return Ok(()) };
    if *strict == Some(true) {
        lose(losses, Feature::StrictTools, HERE)?;
    }
    out.begin_object().member("name", name);
    if let Some(description) = description {
        out.member("description", description);
    }
    match parameters {
        None => {}
        Some(schema) if family.takes_json_schema() => _ = out.key("parametersJsonSchema").raw(schema),
        Some(schema) => _ = out.key("parameters").raw(&subset(&format!("tools[{index}].parameters"), schema)?),
    }
    out.end_object();
    Ok(())
}

fn sampling(out: &mut Writer, request: &Request<'_>, losses: &mut Losses) {
    let sampling = &request.sampling;
    let numbers = [
        ("temperature", sampling.temperature),
        ("topP", sampling.top_p),
        ("topK", sampling.top_k),
        ("seed", sampling.seed),
        ("presencePenalty", sampling.presence_penalty),
        ("frequencyPenalty", sampling.frequency_penalty),
    ];
    for (name, raw) in numbers {
        if let Some(raw) = raw {
            out.key(name).raw(raw);
        }
    }
    if let Some(limit) = request.max_output {
        out.key("maxOutputTokens").uint(limit);
    }
    if let Some(choices) = request.choices.filter(|choices| *choices != 1) {
        out.key("candidateCount").uint(choices);
    }
    if let Some(alternatives) = request.logprobs {
        out.key("responseLogprobs").bool(true);
        if alternatives > 0 {
            out.key("logprobs").uint(alternatives);
        }
    }
    if request.stop.is_empty() {
        return;
    }
    out.key("stopSequences").begin_array();
    for stop in request.stop.iter().take(STOPS) {
        out.string(stop);
    }
    out.end_array();
    if request.stop.len() > STOPS {
        losses.add(Feature::StopSequences);
    }
}

fn output(out: &mut Writer, request: &Request<'_>, family: Family) -> Result<(), Fault> {
    match &request.format {
        None | Some(OutputFormat::Text) => {}
        Some(OutputFormat::Json) => _ = out.member("responseMimeType", "application/json"),
        Some(OutputFormat::Schema { schema, .. }) => {
            out.member("responseMimeType", "application/json");
            if family.takes_json_schema() {
                out.key("responseJsonSchema").raw(schema);
            } else {
                out.key("responseSchema").raw(&subset("response_format.json_schema.schema", schema)?);
            }
        }
    }
    if !request.modalities.is_empty() {
        out.key("responseModalities").begin_array();
        for modality in &request.modalities {
            out.string(&modality.to_ascii_uppercase());
        }
        out.end_array();
    }
    Ok(())
}

/// A wish for reasoning in the words of the model's generation: a level, or a budget in tokens.
fn thinking(out: &mut Writer, reasoning: Option<Reasoning>, family: Family, losses: &mut Losses) {
    let Some(reasoning) = reasoning else { return };
    if !family.thinks() {
        if reasoning.budget() != Some(0) {
            losses.add(Feature::Reasoning);
        }
        return;
    }
    let (budget, effort) = (reasoning.budget(), reasoning.effort());
    let off = budget == Some(0);
    if budget.is_none() && reasoning.visible.is_none() {
        return;
    }
    out.key("thinkingConfig").begin_object();
    match (family.level(effort), budget) {
        (Some(level), _) => _ = out.member("thinkingLevel", level),
        (None, Some(budget)) => _ = out.key("thinkingBudget").uint(family.budget(budget)),
        (None, None) => {}
    }
    // Who asks for thoughts by their amount sees them, as in every other format.
    out.key("includeThoughts").bool(reasoning.visible.unwrap_or(true) && !off).end_object();
}

/// OpenAI's voice is Google's, by its own name.
fn voice(out: &mut Writer, request: &Request<'_>) {
    #[derive(serde::Deserialize)]
    struct Audio<'a> {
        #[serde(default, borrow)]
        voice: Option<crate::dialect::hub::Text<'a>>,
    }
    let voice = request.audio.and_then(|raw| read::value::<Audio<'_>>("audio", raw).ok()).and_then(|audio| audio.voice);
    if let Some(voice) = voice {
        out.key("speechConfig").begin_object().key("voiceConfig").begin_object();
        out.key("prebuiltVoiceConfig")
            .begin_object()
            .member("voiceName", &voice)
            .end_object()
            .end_object()
            .end_object();
    }
}

impl Family {
    /// The level that stands for an effort, for models that take levels.
    fn level(self, effort: Option<Effort>) -> Option<&'static str> {
        if !self.takes_levels() {
            return None;
        }
        Some(match effort? {
            Effort::None | Effort::Minimal if self.flash() => "minimal",
            Effort::None | Effort::Minimal | Effort::Low => "low",
            Effort::Medium if self.takes_medium() => "medium",
            Effort::Medium | Effort::High | Effort::XHigh => "high",
        })
    }
}
