//! `generationConfig`.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::schema::json_schema;
use crate::dialect::format::Fault;
use crate::dialect::hub::{Effort, Members, OutputFormat, Reasoning, Request, Text};
use crate::dialect::read::{self, Shape, shape};

pub fn generation_config<'a>(request: &mut Request<'a>, raw: &'a RawValue) -> Result<(), Fault> {
    let members: Members<'a> = read::value("generationConfig", raw)?;
    let mut mime = Text::default();
    let mut schema = None;
    let mut logprobs = (false, None);
    for (name, raw) in members.0 {
        if shape(raw) == Shape::Null {
            continue;
        }
        let at = format!("generationConfig.{}", &*name);
        let sampling = &mut request.sampling;
        match &*name {
            "temperature" => sampling.temperature = Some(raw),
            "topP" | "top_p" => sampling.top_p = Some(raw),
            "topK" | "top_k" => sampling.top_k = Some(whole(raw)),
            "seed" => sampling.seed = Some(raw),
            "presencePenalty" | "presence_penalty" => sampling.presence_penalty = Some(raw),
            "frequencyPenalty" | "frequency_penalty" => sampling.frequency_penalty = Some(raw),
            "maxOutputTokens" | "max_output_tokens" => request.max_output = Some(read::value(at, raw)?),
            "candidateCount" | "candidate_count" => request.choices = Some(read::value(at, raw)?),
            "stopSequences" | "stop_sequences" => request.stop = read::value(at, raw)?,
            "responseLogprobs" | "response_logprobs" => logprobs.0 = read::value(at, raw)?,
            "logprobs" => logprobs.1 = Some(read::value(at, raw)?),
            "responseMimeType" | "response_mime_type" => mime = read::value(at, raw)?,
            "responseSchema"
            | "response_schema"
            | "responseJsonSchema"
            | "response_json_schema"
            | "_responseJsonSchema" => schema = Some(json_schema(&at, raw)?),
            "thinkingConfig" | "thinking_config" => request.reasoning = Some(thinking(&at, raw)?),
            "responseModalities" | "response_modalities" => {
                let modalities: Vec<Text<'a>> = read::value(at, raw)?;
                request.modalities = modalities.into_iter().map(|name| name.to_ascii_lowercase().into()).collect();
            }
            _ => request.rest.push((name, raw)),
        }
    }
    if logprobs.0 {
        request.logprobs = Some(logprobs.1.unwrap_or(0));
    }
    request.format = match (&*mime, schema) {
        (_, Some(schema)) => Some(OutputFormat::Schema { name: None, description: None, schema, strict: None }),
        ("application/json", None) => Some(OutputFormat::Json),
        _ => None,
    };
    if mime.starts_with("text/x.") {
        return Err(Fault::invalid(
            "generationConfig.responseMimeType",
            "enumerations are only known to Gemini models",
        ));
    }
    Ok(())
}

/// A whole number that was written with a fraction of nothing, as Google's Python client does.
fn whole(raw: &RawValue) -> &RawValue {
    let short = raw.get().strip_suffix(".0").and_then(|text| serde_json::from_str(text).ok());
    short.unwrap_or(raw)
}

fn thinking(at: &str, raw: &RawValue) -> Result<Reasoning, Fault> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        #[serde(default, alias = "thinking_budget", rename = "thinkingBudget")]
        budget: Option<i64>,
        #[serde(default, alias = "thinking_level", rename = "thinkingLevel", borrow)]
        level: Option<Text<'a>>,
        #[serde(default, alias = "include_thoughts", rename = "includeThoughts")]
        visible: Option<bool>,
    }
    let wire: Wire<'_> = read::value(at, raw)?;
    let level = wire.level.map(|level| level.to_ascii_lowercase());
    let effort = level.as_deref().and_then(Effort::parse);
    // A budget below nothing lets the model decide.
    let dynamic = wire.budget.is_some_and(|budget| budget < 0) && effort.is_none();
    Ok(Reasoning {
        effort: if dynamic { Some(Effort::Medium) } else { effort },
        budget: wire.budget.and_then(|budget| u64::try_from(budget).ok()),
        visible: wire.visible,
    })
}
