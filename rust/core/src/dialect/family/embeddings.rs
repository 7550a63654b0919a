//! Requests for embeddings: OpenAI's, Google's (Gemini and Vertex), Cohere's, and Amazon's for Titan and Cohere.

use serde_json::{Map, Value, json};

use super::purpose::Purpose;
use super::reading::{Members, document};
use super::{Fault, Pair, Request};
use crate::endpoint::Operation as Op;

/// Something to be embedded.
#[derive(Clone, Debug, PartialEq)]
enum Input {
    Text(String),
    /// A text as its model's tokens.
    Tokens(Value),
    /// An image as a `data:` URL.
    Image(String),
}

/// What is wanted.
#[derive(Debug, Default)]
struct Wanted {
    inputs: Vec<Input>,
    dimensions: Option<u64>,
    purpose: Option<Purpose>,
    title: Option<String>,
    /// `NONE`, `START` or `END`: what becomes of a text that is too long.
    truncate: Option<String>,
    /// Cohere's types of numbers.
    types: Vec<String>,
    dropped: Vec<Box<str>>,
}

/// Rewrites a request for embeddings.
pub fn request(pair: Pair<'_>, body: &[u8]) -> Result<Request, Fault> {
    let body = document(body)?;
    let wanted = match pair.asked {
        Op::EmbedContent => google(&body)?,
        Op::BatchEmbedContents => batch(&body)?,
        Op::CohereEmbed => cohere(&body)?,
        _ => openai(&body)?,
    };
    if wanted.inputs.is_empty() {
        return Err(Fault::invalid("input", "there is nothing to embed"));
    }
    write(pair, wanted)
}

fn openai(body: &Value) -> Result<Wanted, Fault> {
    let mut members = Members::of(body)?;
    members.take("model");
    let inputs = match members.take("input") {
        Some(Value::String(text)) => vec![Input::Text(text.clone())],
        Some(Value::Array(items)) if items.first().is_some_and(Value::is_number) => {
            vec![Input::Tokens(Value::Array(items.clone()))]
        }
        Some(Value::Array(items)) => {
            let each = items.iter().enumerate().map(|(index, item)| one(item, &format!("input[{index}]")));
            each.collect::<Result<_, _>>()?
        }
        _ => return Err(Fault::invalid("input", "a string or an array is expected")),
    };
    match members.text("encoding_format")? {
        None | Some("float" | "base64") => {}
        Some(_) => return Err(Fault::invalid("encoding_format", "float or base64 is expected")),
    }
    let mut dimensions = members.number("dimensions")?;
    for name in ["output_dimension", "output_dimensionality"] {
        dimensions = dimensions.or(members.number(name)?);
    }
    let mut purpose = None;
    for name in ["input_type", "task_type", "task"] {
        purpose = purpose.or(purpose_of(name, members.text(name)?)?);
    }
    let title = members.text("title")?.map(str::to_string);
    let truncate = match members.take("truncation").or_else(|| members.take("truncate")) {
        Some(Value::Bool(cut)) => Some(if *cut { "END" } else { "NONE" }.to_string()),
        Some(Value::String(word)) => Some(word.to_ascii_uppercase()),
        _ => None,
    };
    Ok(Wanted { inputs, dimensions, purpose, title, truncate, types: Vec::new(), dropped: members.rest() })
}

/// One of several inputs: a text, tokens, or Jina's objects.
fn one(item: &Value, path: &str) -> Result<Input, Fault> {
    match item {
        Value::String(text) => Ok(Input::Text(text.clone())),
        Value::Array(tokens) if tokens.iter().all(Value::is_number) => Ok(Input::Tokens(item.clone())),
        Value::Object(object) => match (object.get("text"), object.get("image")) {
            (Some(Value::String(text)), None) => Ok(Input::Text(text.clone())),
            (None, Some(Value::String(url))) => Ok(Input::Image(url.clone())),
            _ => Err(Fault::invalid(path, "either `text` or `image` is expected")),
        },
        _ => Err(Fault::invalid(path, "a string or an array of tokens is expected")),
    }
}

fn purpose_of(name: &'static str, word: Option<&str>) -> Result<Option<Purpose>, Fault> {
    let parse = |word: &str| Purpose::parse(word).ok_or_else(|| Fault::invalid(name, "this purpose is not known"));
    // Google's word for "not said".
    word.filter(|word| *word != "TASK_TYPE_UNSPECIFIED").map(parse).transpose()
}

fn google(body: &Value) -> Result<Wanted, Fault> {
    let mut members = Members::of(body)?;
    members.take("model");
    let content = members.take("content").ok_or_else(|| Fault::invalid("content", "is missing"))?;
    let mut wanted = Wanted { inputs: vec![part(content)?], ..Wanted::default() };
    let own = members.text("taskType")?.or(members.text("task_type")?);
    wanted.purpose = purpose_of("taskType", own)?;
    wanted.title = members.text("title")?.map(str::to_string);
    let short = members.number("outputDimensionality")?;
    wanted.dimensions = short.or(members.number("output_dimensionality")?);
    if let Some(cut) = members.bool("autoTruncate")? {
        wanted.truncate = Some(if cut { "END" } else { "NONE" }.to_string());
    }
    wanted.dropped = members.rest();
    Ok(wanted)
}

/// The parts of a content are embedded together.
fn part(content: &Value) -> Result<Input, Fault> {
    let parts = content.get("parts").and_then(Value::as_array);
    let parts = parts.ok_or_else(|| Fault::invalid("content.parts", "an array is expected"))?;
    if let [only] = parts.as_slice()
        && let Some(blob) = only.get("inlineData").or_else(|| only.get("inline_data"))
    {
        let text = |name: &str, other: &str| blob.get(name).or_else(|| blob.get(other)).and_then(Value::as_str);
        let (Some(mime), Some(data)) = (text("mimeType", "mime_type"), text("data", "data")) else {
            return Err(Fault::invalid("content.parts[0].inlineData", "a type and data are expected"));
        };
        return Ok(Input::Image(format!("data:{mime};base64,{data}")));
    }
    let texts = parts.iter().map(|part| part.get("text").and_then(Value::as_str));
    let texts: Option<Vec<&str>> = texts.collect();
    let texts = texts.ok_or_else(|| Fault::invalid("content.parts", "only texts, or one image, can be embedded"))?;
    Ok(Input::Text(texts.join("\n")))
}

fn batch(body: &Value) -> Result<Wanted, Fault> {
    let requests = Members::of(body)?.array("requests")?.unwrap_or_default();
    let mut all = requests.iter().map(google);
    let Some(first) = all.next() else { return Ok(Wanted::default()) };
    let mut wanted = first?;
    for next in all {
        let next = next?;
        if (next.dimensions, next.purpose) != (wanted.dimensions, wanted.purpose) {
            return Err(Fault::Unsupported {
                parameter: "requests",
                what: "requests of different kinds in one batch",
                instead: "Send one batch per task type and size",
            });
        }
        wanted.inputs.extend(next.inputs);
    }
    Ok(wanted)
}

fn cohere(body: &Value) -> Result<Wanted, Fault> {
    let mut members = Members::of(body)?;
    members.take("model");
    let mut wanted = Wanted::default();
    let string = |value: &Value, path: &str| {
        value.as_str().map(str::to_string).ok_or_else(|| Fault::invalid(path, "a string is expected"))
    };
    for text in members.array("texts")?.unwrap_or_default() {
        wanted.inputs.push(Input::Text(string(text, "texts")?));
    }
    for image in members.array("images")?.unwrap_or_default() {
        wanted.inputs.push(Input::Image(string(image, "images")?));
    }
    for input in members.array("inputs")?.unwrap_or_default() {
        let content = input.get("content").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let [part] = content else {
            return Err(Fault::invalid("inputs", "each needs a content of one part"));
        };
        let url = part.get("image_url").and_then(|image| image.get("url"));
        wanted.inputs.push(match (part.get("text"), url) {
            (Some(text), None) => Input::Text(string(text, "inputs")?),
            (None, Some(url)) => Input::Image(string(url, "inputs")?),
            _ => return Err(Fault::invalid("inputs", "a text or an image is expected")),
        });
    }
    // An image's own type, which others need not be told.
    let kind = members.text("input_type")?.filter(|kind| *kind != "image");
    wanted.purpose = purpose_of("input_type", kind)?;
    for kind in members.array("embedding_types")?.unwrap_or_default() {
        wanted.types.push(string(kind, "embedding_types")?);
    }
    wanted.dimensions = members.number("output_dimension")?;
    wanted.truncate = members.text("truncate")?.map(str::to_string);
    wanted.dropped = members.rest();
    Ok(wanted)
}

fn write(pair: Pair<'_>, mut wanted: Wanted) -> Result<Request, Fault> {
    let takes_types = pair.by == Op::CohereEmbed || pair.by == Op::Invoke && pair.model.contains("cohere.");
    if !takes_types && wanted.types.iter().any(|kind| kind != "float") {
        return Err(Fault::Unsupported {
            parameter: "embedding_types",
            what: "other numbers than floats",
            instead: "Ask for `float`",
        });
    }
    let body = match pair.by {
        Op::CohereEmbed => to_cohere(pair, &mut wanted)?,
        Op::BatchEmbedContents => to_batch(pair, &mut wanted)?,
        Op::EmbedContent => to_google(pair, &mut wanted)?,
        Op::Predict => to_vertex(&mut wanted)?,
        Op::Invoke if pair.model.contains("cohere.") => {
            let mut body = to_cohere(pair, &mut wanted)?;
            if let Value::Object(body) = &mut body {
                body.remove("model");
                // Older models do not know the word and answer with floats.
                if wanted.types.is_empty() {
                    body.remove("embedding_types");
                }
            }
            body
        }
        Op::Invoke => to_titan(&mut wanted)?,
        _ => to_openai(pair, &mut wanted)?,
    };
    Ok(Request { body: body.to_string().into_bytes(), dropped: wanted.dropped })
}

impl Wanted {
    /// A provider has no word for the purpose, the title, or what becomes of long texts.
    fn lose(&mut self, purpose: bool, title: bool, truncate: bool) {
        let lost = [
            (purpose && self.purpose.is_some(), "input_type"),
            (title && self.title.is_some(), "title"),
            (truncate && self.truncate.is_some(), "truncate"),
        ];
        self.dropped.extend(lost.iter().filter(|(lost, _)| *lost).map(|(_, name)| Box::from(*name)));
    }
}

fn no_tokens() -> Fault {
    Fault::Unsupported { parameter: "input", what: "texts as tokens", instead: "Send the text" }
}

fn no_images() -> Fault {
    Fault::Unsupported { parameter: "input", what: "images in this form", instead: "Send texts" }
}

fn to_openai(pair: Pair<'_>, wanted: &mut Wanted) -> Result<Value, Fault> {
    wanted.lose(true, true, true);
    let inputs = std::mem::take(&mut wanted.inputs).into_iter().map(|input| match input {
        Input::Text(text) => Ok(Value::String(text)),
        Input::Tokens(tokens) => Ok(tokens),
        Input::Image(_) => Err(no_images()),
    });
    let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
    let mut body = Map::from_iter([("model".to_string(), pair.model.into()), ("input".to_string(), inputs.into())]);
    if let Some(dimensions) = wanted.dimensions {
        body.insert("dimensions".to_string(), dimensions.into());
    }
    Ok(body.into())
}

fn to_cohere(pair: Pair<'_>, wanted: &mut Wanted) -> Result<Value, Fault> {
    wanted.lose(false, true, false);
    let mut body = Map::from_iter([("model".to_string(), pair.model.into())]);
    let purpose = wanted.purpose.unwrap_or(Purpose::Document).cohere();
    body.insert("input_type".to_string(), purpose.into());
    let inputs = std::mem::take(&mut wanted.inputs);
    if inputs.iter().any(|input| matches!(input, Input::Image(_))) {
        let parts = inputs.into_iter().map(|input| match input {
            Input::Text(text) => Ok(json!({"content": [{"type": "text", "text": text}]})),
            Input::Image(url) => Ok(json!({"content": [{"type": "image_url", "image_url": {"url": url}}]})),
            Input::Tokens(_) => Err(no_tokens()),
        });
        body.insert("inputs".to_string(), parts.collect::<Result<Vec<_>, _>>()?.into());
    } else {
        body.insert("texts".to_string(), texts(inputs)?.into());
    }
    let types = if wanted.types.is_empty() { vec!["float".to_string()] } else { wanted.types.clone() };
    body.insert("embedding_types".to_string(), types.into());
    if let Some(dimensions) = wanted.dimensions {
        body.insert("output_dimension".to_string(), dimensions.into());
    }
    if let Some(truncate) = &wanted.truncate {
        body.insert("truncate".to_string(), truncate.as_str().into());
    }
    Ok(body.into())
}

fn texts(inputs: Vec<Input>) -> Result<Vec<String>, Fault> {
    let each = inputs.into_iter().map(|input| match input {
        Input::Text(text) => Ok(text),
        Input::Tokens(_) => Err(no_tokens()),
        Input::Image(_) => Err(no_images()),
    });
    each.collect()
}

/// The members of one of Google's requests, without the model.
fn content(input: Input, wanted: &Wanted) -> Result<Map<String, Value>, Fault> {
    let part = match input {
        Input::Text(text) => json!({"text": text}),
        Input::Tokens(_) => return Err(no_tokens()),
        Input::Image(url) => {
            let inside = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
            let (mime, data) = inside.ok_or_else(no_images)?;
            json!({"inlineData": {"mimeType": mime, "data": data}})
        }
    };
    let mut request = Map::from_iter([("content".to_string(), json!({"parts": [part]}))]);
    if let Some(purpose) = wanted.purpose {
        request.insert("taskType".to_string(), purpose.google().into());
    }
    if let Some(title) = &wanted.title {
        request.insert("title".to_string(), title.as_str().into());
    }
    if let Some(dimensions) = wanted.dimensions {
        request.insert("outputDimensionality".to_string(), dimensions.into());
    }
    Ok(request)
}

fn to_batch(pair: Pair<'_>, wanted: &mut Wanted) -> Result<Value, Fault> {
    wanted.lose(false, false, true);
    let name = pair.model.strip_prefix("models/").unwrap_or(pair.model);
    let requests = std::mem::take(&mut wanted.inputs).into_iter().map(|input| {
        let mut request = content(input, wanted)?;
        request.insert("model".to_string(), format!("models/{name}").into());
        Ok(Value::Object(request))
    });
    Ok(json!({"requests": requests.collect::<Result<Vec<_>, Fault>>()?}))
}

/// `embedContent`, which takes one.
fn to_google(pair: Pair<'_>, wanted: &mut Wanted) -> Result<Value, Fault> {
    wanted.lose(false, false, true);
    let input = single(wanted)?;
    let mut request = content(input, wanted)?;
    let name = pair.model.strip_prefix("models/").unwrap_or(pair.model);
    request.insert("model".to_string(), format!("models/{name}").into());
    Ok(request.into())
}

fn single(wanted: &mut Wanted) -> Result<Input, Fault> {
    let mut inputs = std::mem::take(&mut wanted.inputs).into_iter();
    match (inputs.next(), inputs.next()) {
        (Some(input), None) => Ok(input),
        _ => Err(Fault::Unsupported {
            parameter: "input",
            what: "more than one input per request",
            instead: "Send one request per input",
        }),
    }
}

fn to_vertex(wanted: &mut Wanted) -> Result<Value, Fault> {
    let instances = texts(std::mem::take(&mut wanted.inputs))?.into_iter().map(|text| {
        let mut instance = Map::from_iter([("content".to_string(), text.into())]);
        if let Some(purpose) = wanted.purpose {
            instance.insert("task_type".to_string(), purpose.google().into());
        }
        if let Some(title) = &wanted.title {
            instance.insert("title".to_string(), title.as_str().into());
        }
        Value::Object(instance)
    });
    let instances: Vec<Value> = instances.collect();
    let mut parameters = Map::new();
    if let Some(dimensions) = wanted.dimensions {
        parameters.insert("outputDimensionality".to_string(), dimensions.into());
    }
    if let Some(truncate) = &wanted.truncate {
        parameters.insert("autoTruncate".to_string(), (truncate != "NONE").into());
    }
    Ok(json!({"instances": instances, "parameters": parameters}))
}

fn to_titan(wanted: &mut Wanted) -> Result<Value, Fault> {
    wanted.lose(true, true, true);
    let mut body = Map::new();
    match single(wanted)? {
        Input::Text(text) => body.insert("inputText".to_string(), text.into()),
        Input::Tokens(_) => return Err(no_tokens()),
        Input::Image(url) => {
            let data = url.split_once(";base64,").map(|(_, data)| data).ok_or_else(no_images)?;
            let config = wanted.dimensions.take().map(|dimensions| json!({"outputEmbeddingLength": dimensions}));
            body.extend(config.map(|config| ("embeddingConfig".to_string(), config)));
            body.insert("inputImage".to_string(), data.into())
        }
    };
    if let Some(dimensions) = wanted.dimensions {
        body.insert("dimensions".to_string(), dimensions.into());
    }
    Ok(body.into())
}
