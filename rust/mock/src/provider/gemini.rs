//! Google's generateContent, whole and streamed, its token counting and its embeddings.

use serde_json::{Map, Value, json};

use super::answer::{Answer, Event, EventStream, Usage, input_tokens};
use super::embeddings::vector;
use super::errors::{Dialect, Failure, stream_error};
use super::fields::Call;
use super::json::Quoted;
use super::said::{SIGNATURE, Said, Wish};
use super::text::Pieces;
use super::tools::ToolCall;

/// Length of a vector that is not asked for.
const DIMENSIONS: usize = 3072;

/// What follows the colon of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Generate,
    Stream,
    Count,
    Embed,
    EmbedBatch,
    /// Vertex AI's, and Imagen's.
    Predict,
}

impl Verb {
    pub fn of(verb: &str) -> Option<Self> {
        Some(match verb {
            "generateContent" => Self::Generate,
            "streamGenerateContent" => Self::Stream,
            "countTokens" => Self::Count,
            "embedContent" => Self::Embed,
            "batchEmbedContents" => Self::EmbedBatch,
            "predict" => Self::Predict,
            _ => return None,
        })
    }
}

/// A request body.
pub struct Fields(Value);

impl Fields {
    pub fn parse(body: &[u8]) -> Result<Self, Failure> {
        serde_json::from_slice(body)
            .map(Self)
            .map_err(|error| Failure::bad_request(format!("Invalid JSON payload received. {error}")))
    }

    fn array(&self, name: &str) -> Result<&[Value], Failure> {
        let array = self.0.get(name).and_then(Value::as_array);
        array.map(Vec::as_slice).ok_or_else(|| Failure::bad_request(format!("{name} is not specified")))
    }

    fn config(&self, name: &str) -> Option<&Value> {
        self.0.get("generationConfig")?.get(name)
    }

    /// The functions of all tools.
    fn functions(&self) -> Vec<Value> {
        let tools = self.0.get("tools").and_then(Value::as_array).into_iter().flatten();
        let declared = tools.filter_map(|tool| tool.get("functionDeclarations")?.as_array());
        declared.flatten().cloned().collect()
    }

    fn last_user_text(&self) -> String {
        let mut contents = self.0.get("contents").and_then(Value::as_array).into_iter().flatten();
        let last = contents.rfind(|content| content.get("role").is_none_or(|role| role == "user"));
        let parts = last.and_then(|content| content.get("parts")?.as_array()).into_iter().flatten();
        parts.filter_map(|part| part.get("text")?.as_str()).collect::<Vec<_>>().join("\n")
    }
}

/// The answer to any of the verbs.
pub fn answer(fields: &Fields, verb: Verb, call: &Call<'_>) -> Result<Answer, Failure> {
    match verb {
        Verb::Generate => generate(fields, call, false),
        Verb::Stream => generate(fields, call, true),
        Verb::Count => {
            let count = call.script.tokens.input.unwrap_or(input_tokens(call.bytes_in));
            Ok(Answer::json(json!({"totalTokens": count}).to_string()))
        }
        Verb::Embed => {
            let values = embedding(&fields.0, call)?;
            Ok(Answer::json(json!({"embedding": {"values": values}}).to_string()))
        }
        Verb::Predict => predictions(fields.array("instances")?, &fields.0["parameters"], call),
        Verb::EmbedBatch => {
            let requests = fields.array("requests")?;
            let all = requests.iter().map(|request| Ok(json!({"values": embedding(request, call)?})));
            let embeddings = all.collect::<Result<Vec<_>, Failure>>()?;
            Ok(Answer::json(json!({"embeddings": embeddings}).to_string()))
        }
    }
}

/// The vector of one request; it must name the model of the path if it names any.
fn embedding(request: &Value, call: &Call<'_>) -> Result<Vec<f32>, Failure> {
    let model = request.get("model").and_then(Value::as_str).unwrap_or_default().rsplit('/').next().unwrap_or_default();
    if !model.is_empty() && model.split('?').next() != Some(call.model) {
        return Err(Failure::bad_request("BatchEmbedContentsRequest.requests[0].model: must match the path"));
    }
    let parts = request.pointer("/content/parts").ok_or_else(|| Failure::bad_request("content is not specified"))?;
    let dimensions = request.get("outputDimensionality").and_then(Value::as_u64).unwrap_or(DIMENSIONS as u64);
    Ok(vector(&parts.to_string(), dimensions.clamp(1, 16_384) as usize))
}

/// Vectors of texts, or images of prompts.
fn predictions(instances: &[Value], parameters: &Value, call: &Call<'_>) -> Result<Answer, Failure> {
    let dimensions = parameters["outputDimensionality"].as_u64().unwrap_or(DIMENSIONS as u64).clamp(1, 16_384);
    let mut all = Vec::new();
    for instance in instances {
        if let Some(text) = instance["content"].as_str() {
            let values = vector(text, dimensions as usize);
            let count = input_tokens(text.len());
            all.push(json!({"embeddings": {"values": values, "statistics": {"token_count": count}}}));
        } else if instance["prompt"].is_string() {
            let image = json!({"bytesBase64Encoded": "aW1hZ2U=", "mimeType": "image/png"});
            all.extend(std::iter::repeat_n(image, parameters["sampleCount"].as_u64().unwrap_or(1).min(8) as usize));
        } else {
            return Err(Failure::bad_request("instances[0]: content or prompt is missing"));
        }
    }
    Ok(Answer::json(json!({"predictions": all}).to_string()).with_usage(call.usage(0)))
}

fn generate(fields: &Fields, call: &Call<'_>, stream: bool) -> Result<Answer, Failure> {
    if fields.array("contents")?.is_empty() {
        return Err(Failure::bad_request("* GenerateContentRequest.contents: contents is not specified"));
    }
    let config = fields.0.pointer("/toolConfig/functionCallingConfig").cloned().unwrap_or_default();
    let wish = Wish {
        limit: fields.config("maxOutputTokens").and_then(Value::as_u64),
        schema: ["responseJsonSchema", "responseSchema"].iter().find_map(|name| fields.config(name)).cloned(),
        tools: fields.functions(),
        named: config.pointer("/allowedFunctionNames/0").and_then(Value::as_str),
        forced: match config.get("mode").and_then(Value::as_str) {
            Some("NONE") => Some(false),
            Some("ANY") => Some(true),
            _ => None,
        },
    };
    let said = Said::plan(call.script, &wish, || Some(fields.last_user_text()));
    let mut usage = call.usage(said.output);
    usage.told = call.tells_usage();
    let answer = if stream {
        Answer::events(chunks(call, &said, &usage))
    } else {
        let parts = parts(call, &said, &said.speech.pieces.joined());
        Answer::json(chunk(call, &parts.join(","), Some(&said.finish(call.script, REASONS)), &usage, usage.output))
    };
    Ok(answer.with_usage(usage))
}

const REASONS: [&str; 3] = ["STOP", "MAX_TOKENS", "STOP"];

/// The parts of a whole answer, as JSON texts.
fn parts(call: &Call<'_>, said: &Said, text: &str) -> Vec<String> {
    let thought = call.script.think.as_deref().map(thought);
    let calls = said.tools.iter().enumerate().map(|(index, tool)| function_call(call, index, tool));
    let text = said.tools.is_empty().then(|| format!(r#"{{"text":{}}}"#, Quoted(text)));
    thought.into_iter().chain(text).chain(calls).collect()
}

fn thought(text: &str) -> String {
    format!(r#"{{"text":{},"thought":true}}"#, Quoted(text))
}

/// The first of parallel calls carries the signature, as Google's do.
fn function_call(call: &Call<'_>, index: usize, tool: &ToolCall) -> String {
    let signature = if call.script.think.is_some() && index == 0 {
        format!(r#","thoughtSignature":"{SIGNATURE}""#)
    } else {
        String::new()
    };
    format!(r#"{{"functionCall":{{"name":{},"args":{}}}{signature}}}"#, Quoted(&tool.name), tool.arguments)
}

/// One response object; `output` is what its usage tells so far.
fn chunk(call: &Call<'_>, parts: &str, finish: Option<&str>, usage: &Usage, output: u64) -> String {
    let last = finish.is_some();
    let finish = finish.map_or_else(String::new, |finish| format!(r#","finishReason":{}"#, Quoted(finish)));
    let grounding = call.script.cite.as_deref().filter(|_| last).map_or_else(String::new, grounding);
    format!(
        r#"{{"candidates":[{{"content":{{"parts":[{parts}],"role":"model"}}{finish},"index":0{grounding}}}]{}}}"#,
        tail(call, usage, output)
    )
}

/// What stands behind the candidates of every response.
fn tail(call: &Call<'_>, usage: &Usage, output: u64) -> String {
    let mut told = Map::new();
    if usage.told {
        let thoughts = usage.reasoning.min(output);
        let mut tell = |name: &str, count: u64| told.insert(name.to_owned(), json!(count));
        tell("promptTokenCount", usage.input);
        tell("candidatesTokenCount", output - thoughts);
        tell("totalTokenCount", usage.input + output);
        if usage.cached > 0 {
            tell("cachedContentTokenCount", usage.cached);
        }
        if thoughts > 0 {
            tell("thoughtsTokenCount", thoughts);
        }
    }
    let usage = if told.is_empty() { String::new() } else { format!(r#","usageMetadata":{}"#, Value::Object(told)) };
    format!(r#"{usage},"modelVersion":{},"responseId":"mock{:012x}""#, Quoted(call.model), call.number)
}

fn grounding(url: &str) -> String {
    format!(
        r#","groundingMetadata":{{"webSearchQueries":["mock"],"groundingChunks":[{{"web":{{"uri":{0},"title":"Mock"}}}}],"groundingSupports":[{{"segment":{{"startIndex":0,"endIndex":4,"text":"mock"}},"groundingChunkIndices":[0]}}]}}"#,
        Quoted(url)
    )
}

fn chunks(call: &Call<'_>, said: &Said, usage: &Usage) -> EventStream {
    let event = |parts: &str, finish: Option<&str>, output: u64| Event {
        name: None,
        data: chunk(call, parts, finish, usage, output),
    };
    let thoughts = call.script.think.as_deref().map(|text| event(&thought(text), None, 0));
    let calls = said.tools.iter().enumerate().map(|(index, tool)| event(&function_call(call, index, tool), None, 0));
    let after = format!(r#""}}],"role":"model"}},"index":0}}]{}}}"#, tail(call, usage, 1));
    let calls: Vec<Event> = calls.collect();
    // Google sends calls whole.
    let pieces = if calls.is_empty() { said.pieces() } else { Pieces::Words(0) };
    let finish = said.finish(call.script, REASONS);
    EventStream {
        frames: false,
        opening: thoughts.into_iter().collect(),
        delta_name: None,
        delta_templates: vec![(r#"{"candidates":[{"content":{"parts":[{"text":""#.to_owned(), after)],
        pieces,
        closing: calls.into_iter().chain([event(r#"{"text":""}"#, Some(&finish), usage.output)]).collect(),
        terminator: None,
        error: stream_error(Dialect::Gemini, call.script),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::answer::Content;
    use crate::provider::script::Script;

    #[test]
    fn parallel_calls_are_signed_once() {
        let script = Script::parse("calls=2;think=hm;tool").unwrap();
        let call = Call { script: &script, number: 1, bytes_in: 40, model: "m", created: 0, query: "" };
        let body = br#"{"contents":[{"parts":[{"text":"hi"}]}],"tools":[{"functionDeclarations":[{"name":"f","parameters":{"type":"OBJECT","properties":{"a":{"type":"STRING"}}}}]}]}"#;
        let Content::Whole(body) = answer(&Fields::parse(body).unwrap(), Verb::Generate, &call).unwrap().content else {
            unreachable!("asked for no stream")
        };
        let body: Value = serde_json::from_slice(&body).unwrap();
        let parts = body["candidates"][0]["content"]["parts"].as_array().unwrap();
        assert_eq!(parts.len(), 3);
        assert_eq!(parts[1]["functionCall"]["args"], json!({"a": "mock"}));
        assert!(parts[1]["thoughtSignature"].is_string() && parts[2].get("thoughtSignature").is_none());
    }
}
