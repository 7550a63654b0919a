//! Images out of text: OpenAI's request, written for Google (Imagen and Gemini) and for Bedrock (Titan, Nova Canvas,
//! Stability).

use serde_json::{Map, Value, json};

use super::reading::{Members, document};
use super::{Fault, Pair, Recall, Request};
use crate::clock::wall_us;
use crate::dialect::gemini;
use crate::endpoint::Operation as Op;
use crate::kernel::cost::Usage;
use crate::wire::json::write::Writer;

/// Shapes that each maker's models know, as width to height.
const IMAGEN: &[&str] = &["1:1", "3:4", "4:3", "9:16", "16:9"];
const GEMINI: &[&str] = &["1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"];
const STABILITY: &[&str] = &["1:1", "2:3", "3:2", "4:5", "5:4", "9:16", "16:9", "9:21", "21:9"];

/// Makers whose models are asked in different words.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Maker {
    Imagen,
    Gemini,
    Amazon,
    Stability,
}

impl Maker {
    fn of(pair: Pair<'_>) -> Self {
        match pair.by {
            Op::Predict => Maker::Imagen,
            Op::GenerateContent => Maker::Gemini,
            _ if pair.model.contains("stability.") => Maker::Stability,
            _ => Maker::Amazon,
        }
    }
}

/// Whether an operation that serves many kinds of models serves one that makes images.
pub fn fits(by: Op, model: &str) -> bool {
    match by {
        Op::Predict => model.contains("imagen") || model.contains("imagegeneration"),
        Op::GenerateContent => model.contains("gemini") && model.contains("image"),
        Op::Invoke => ["titan-image", "nova-canvas", "stability."].iter().any(|kind| model.contains(kind)),
        _ => false,
    }
}

/// What is wanted.
struct Wanted<'v> {
    prompt: &'v str,
    /// Pictures that are to be changed, in base64 with their types.
    given: Vec<&'v Value>,
    negative: Option<&'v str>,
    count: u64,
    size: Option<(u64, u64)>,
    ratio: Option<&'v str>,
    fine: bool,
    seed: Option<&'v Value>,
    format: Option<&'v str>,
    compression: Option<u64>,
    dropped: Vec<Box<str>>,
}

pub fn request(pair: Pair<'_>, body: &[u8]) -> Result<Request, Fault> {
    let body = document(body)?;
    let mut wanted = read(&body, pair.asked == Op::ImagesEdits)?;
    let maker = Maker::of(pair);
    if wanted.count > 1 && matches!(maker, Maker::Gemini | Maker::Stability) {
        let (what, instead) = ("several images in one request", "Send the request several times");
        return Err(Fault::Unsupported { parameter: "n", what, instead });
    }
    let body = match maker {
        Maker::Imagen => imagen(&mut wanted),
        Maker::Gemini => gemini(&mut wanted),
        Maker::Amazon => amazon(&mut wanted),
        Maker::Stability => stability(&mut wanted),
    };
    Ok(Request { body: body.to_string().into_bytes(), dropped: wanted.dropped })
}

fn read(body: &Value, edits: bool) -> Result<Wanted<'_>, Fault> {
    let mut members = Members::of(body)?;
    members.take("model");
    let given = if edits { pictures(&mut members)? } else { Vec::new() };
    let prompt = members.text("prompt")?.ok_or_else(|| Fault::invalid("prompt", "a string is expected"))?;
    if members.bool("stream")? == Some(true) {
        let (what, instead) = ("streams of images", "Ask for the whole answer");
        return Err(Fault::Unsupported { parameter: "stream", what, instead });
    }
    match members.text("response_format")? {
        None | Some("url" | "b64_json") => {}
        Some(_) => return Err(Fault::invalid("response_format", "url or b64_json is expected")),
    }
    let size = match members.text("size")? {
        None | Some("auto") => None,
        Some(size) => {
            let sides = size.split_once('x').and_then(|(w, h)| Some((w.parse::<u64>().ok()?, h.parse::<u64>().ok()?)));
            let sides = sides.filter(|(w, h)| (1..=16_384).contains(w) && (1..=16_384).contains(h));
            Some(sides.ok_or_else(|| Fault::invalid("size", "WIDTHxHEIGHT is expected, such as 1024x1024"))?)
        }
    };
    let format = match members.text("output_format")? {
        Some(format @ ("png" | "jpeg" | "webp")) => Some(format),
        None => None,
        Some(_) => return Err(Fault::invalid("output_format", "png, jpeg or webp is expected")),
    };
    Ok(Wanted {
        prompt,
        given,
        negative: members.text("negative_prompt")?,
        count: members.number("n")?.unwrap_or(1).max(1),
        size,
        ratio: members.text("aspect_ratio")?,
        fine: matches!(members.text("quality")?, Some("hd" | "high")),
        seed: members.take("seed"),
        format,
        compression: members.number("output_compression")?,
        dropped: members.rest(),
    })
}

/// What is to be changed.
fn pictures<'v>(members: &mut Members<'v>) -> Result<Vec<&'v Value>, Fault> {
    let given: Vec<&Value> = match members.take("image") {
        Some(Value::Array(list)) => list.iter().collect(),
        one => one.into_iter().collect(),
    };
    if given.is_empty() || given.iter().any(|picture| picture.get("data").is_none()) {
        return Err(Fault::invalid("image", "a file is expected"));
    }
    if members.take("mask").is_some() {
        let (what, instead) = ("masks", "Say in the prompt what is to be changed");
        return Err(Fault::Unsupported { parameter: "mask", what, instead });
    }
    Ok(given)
}

impl Wanted<'_> {
    fn lose(&mut self, lost: &[(bool, &str)]) {
        self.dropped.extend(lost.iter().filter(|(lost, _)| *lost).map(|(_, name)| Box::from(*name)));
    }

    /// The shape that is nearest to what is wanted; the size itself cannot be said.
    fn shape(&mut self, known: &[&'static str]) -> Option<String> {
        if let Some(ratio) = self.ratio {
            return Some(ratio.to_string());
        }
        let (width, height) = self.size?;
        let wanted = (width as f64 / height as f64).ln();
        let ratio = |shape: &str| {
            let (w, h) = shape.split_once(':').unwrap_or(("1", "1"));
            (w.parse::<f64>().unwrap_or(1.0) / h.parse::<f64>().unwrap_or(1.0)).ln()
        };
        let off = |shape: &&&str| (ratio(shape) - wanted).abs();
        let nearest = known.iter().min_by(|a, b| off(a).total_cmp(&off(b)))?;
        if off(&nearest) > 0.02 {
            self.lose(&[(true, "size")]);
        }
        Some((*nearest).to_string())
    }
}

fn imagen(wanted: &mut Wanted<'_>) -> Value {
    let mut set = Map::from_iter([("sampleCount".to_string(), wanted.count.into())]);
    let shape = wanted.shape(IMAGEN);
    set.extend(shape.map(|shape| ("aspectRatio".to_string(), shape.into())));
    set.extend(wanted.negative.map(|text| ("negativePrompt".to_string(), text.into())));
    set.extend(wanted.seed.map(|seed| ("seed".to_string(), seed.clone())));
    let mut output = Map::new();
    output.extend(wanted.format.map(|format| ("mimeType".to_string(), format!("image/{format}").into())));
    output.extend(wanted.compression.map(|quality| ("compressionQuality".to_string(), quality.into())));
    if !output.is_empty() {
        set.insert("outputOptions".to_string(), output.into());
    }
    json!({"instances": [{"prompt": wanted.prompt}], "parameters": set})
}

fn gemini(wanted: &mut Wanted<'_>) -> Value {
    let mut set = Map::from_iter([("responseModalities".to_string(), json!(["IMAGE"]))]);
    let shape = wanted.shape(GEMINI);
    set.extend(shape.map(|shape| ("imageConfig".to_string(), json!({"aspectRatio": shape}))));
    set.extend(wanted.seed.map(|seed| ("seed".to_string(), seed.clone())));
    let lost = [
        (wanted.negative.is_some(), "negative_prompt"),
        (wanted.format.is_some(), "output_format"),
        (wanted.compression.is_some(), "output_compression"),
    ];
    wanted.lose(&lost);
    let pictures = wanted
        .given
        .iter()
        .map(|picture| json!({"inlineData": {"mimeType": picture.get("type"), "data": picture.get("data")}}));
    let parts: Vec<Value> = pictures.chain([json!({"text": wanted.prompt})]).collect();
    json!({"contents": [{"role": "user", "parts": parts}], "generationConfig": set})
}

fn amazon(wanted: &mut Wanted<'_>) -> Value {
    let mut text = Map::from_iter([("text".to_string(), wanted.prompt.into())]);
    text.extend(wanted.negative.map(|negative| ("negativeText".to_string(), negative.into())));
    let mut set = Map::from_iter([("numberOfImages".to_string(), wanted.count.into())]);
    set.insert("quality".to_string(), if wanted.fine { "premium" } else { "standard" }.into());
    if let Some((width, height)) = wanted.size {
        set.insert("width".to_string(), width.into());
        set.insert("height".to_string(), height.into());
    }
    set.extend(wanted.seed.map(|seed| ("seed".to_string(), seed.clone())));
    let lost = [
        (wanted.ratio.is_some(), "aspect_ratio"),
        (wanted.format.is_some_and(|format| format != "png"), "output_format"),
        (wanted.compression.is_some(), "output_compression"),
    ];
    wanted.lose(&lost);
    json!({"taskType": "TEXT_IMAGE", "textToImageParams": text, "imageGenerationConfig": set})
}

fn stability(wanted: &mut Wanted<'_>) -> Value {
    let mut out = Map::from_iter([("prompt".to_string(), wanted.prompt.into())]);
    let shape = wanted.shape(STABILITY);
    out.extend(shape.map(|shape| ("aspect_ratio".to_string(), shape.into())));
    out.extend(wanted.negative.map(|negative| ("negative_prompt".to_string(), negative.into())));
    out.extend(wanted.seed.map(|seed| ("seed".to_string(), seed.clone())));
    out.extend(wanted.format.map(|format| ("output_format".to_string(), format.into())));
    wanted.lose(&[(wanted.compression.is_some(), "output_compression")]);
    out.into()
}

/// One image in base64, and its type.
struct Image<'v> {
    data: &'v str,
    kind: &'v str,
    prompt: Option<&'v str>,
}

/// # Errors
/// There is no image; what the provider says about it is told.
pub fn answer(recall: &Recall, body: &[u8]) -> Result<(Vec<u8>, Option<Usage>), Fault> {
    let told = document(body)?;
    let images = match recall.by {
        Op::Predict => predicted(&told),
        Op::GenerateContent => generated(&told),
        _ => {
            let list = told.get("images").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let data = list.iter().filter_map(Value::as_str);
            data.map(|data| Image { data, kind: kind_of(data), prompt: None }).collect()
        }
    };
    if images.is_empty() {
        let reason = refusal(&told).unwrap_or("no reason is told");
        return Err(Fault::invalid("", format!("there is no image in it: {reason}")));
    }
    let usage = match told.get("usageMetadata") {
        Some(counts) => gemini::parse_usage(counts.to_string().as_bytes()).map(|usage| match usage.image_output {
            // Who does not tell tokens of images apart has no others.
            0 => Usage { image_output: usage.output, output: 0, ..usage },
            _ => usage,
        }),
        None => Some(Usage { images: u32::try_from(images.len()).unwrap_or(u32::MAX), ..Usage::default() }),
    };
    let asked: Value = document(&recall.request)?;
    let urls = asked.get("response_format").and_then(Value::as_str) == Some("url");
    let mut out = Writer::with_capacity(body.len());
    out.begin_object().key("created").int(wall_us() / 1_000_000).key("data").begin_array();
    for Image { data, kind, prompt } in &images {
        out.begin_object();
        match urls {
            true => out.member("url", &format!("data:{kind};base64,{data}")),
            false => out.member("b64_json", data),
        };
        if let Some(prompt) = prompt {
            out.member("revised_prompt", prompt);
        }
        out.end_object();
    }
    out.end_array();
    if let Some(usage) = usage.filter(|usage| usage.images == 0) {
        let (input, output) = (usage.prompt(), usage.answer());
        out.key("usage").begin_object().key("input_tokens").uint(input).key("output_tokens").uint(output);
        out.key("total_tokens").uint(input + output).key("input_tokens_details").begin_object();
        out.key("text_tokens").uint(input - usage.image_input.min(input));
        out.key("image_tokens").uint(usage.image_input).end_object().end_object();
    }
    out.end_object();
    Ok((out.finish(), usage))
}

fn predicted(told: &Value) -> Vec<Image<'_>> {
    let list = told.get("predictions").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let each = list.iter().filter_map(|one| {
        let data = one.get("bytesBase64Encoded")?.as_str()?;
        let kind = one.get("mimeType").and_then(Value::as_str).unwrap_or_else(|| kind_of(data));
        Some(Image { data, kind, prompt: one.get("prompt").and_then(Value::as_str) })
    });
    each.collect()
}

fn generated(told: &Value) -> Vec<Image<'_>> {
    let parts = told.get("candidates").and_then(Value::as_array).into_iter().flatten();
    let parts = parts.filter_map(|one| one.pointer("/content/parts")?.as_array()).flatten();
    // Drafts of a model that thinks are none of the answer.
    let parts = parts.filter(|part| part.get("thought") != Some(&Value::Bool(true)));
    let each = parts.filter_map(|part| {
        let data = part.pointer("/inlineData/data")?.as_str()?;
        let kind = part.pointer("/inlineData/mimeType").and_then(Value::as_str).unwrap_or_else(|| kind_of(data));
        Some(Image { data, kind, prompt: None })
    });
    each.collect()
}

/// The type of an image by the beginning of its bytes.
fn kind_of(data: &str) -> &'static str {
    match data.as_bytes() {
        [b'/', b'9', b'j', ..] => "image/jpeg",
        [b'U', b'k', b'l', b'G', ..] => "image/webp",
        _ => "image/png",
    }
}

/// Why there is no image.
fn refusal(told: &Value) -> Option<&str> {
    const PLACES: [&str; 6] = [
        "/predictions/0/raiFilteredReason",
        "/promptFeedback/blockReason",
        "/candidates/0/finishMessage",
        "/candidates/0/finishReason",
        "/error",
        "/finish_reasons/0",
    ];
    PLACES.iter().find_map(|place| told.pointer(place)?.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(by: Op, model: &str, body: &Value) -> (Value, Vec<Box<str>>) {
        let pair = Pair { asked: Op::ImagesGenerations, by, model };
        let request = request(pair, body.to_string().as_bytes()).expect("a request");
        (serde_json::from_slice(&request.body).expect("JSON"), request.dropped)
    }

    #[test]
    fn sizes_become_shapes() {
        for (size, shape, lost) in [
            ("1024x1024", "1:1", false),
            ("1536x1024", "4:3", true),
            ("1920x1080", "16:9", false),
            ("1x16384", "9:16", true),
        ] {
            let (sent, dropped) = written(Op::Predict, "imagen-4", &json!({"prompt": "p", "size": size}));
            assert_eq!(sent["parameters"]["aspectRatio"], shape, "{size}");
            assert_eq!(dropped.contains(&Box::from("size")), lost, "{size}");
        }
        let (sent, dropped) =
            written(Op::Invoke, "amazon.nova-canvas-v1:0", &json!({"prompt": "p", "size": "512x768"}));
        assert_eq!(sent["imageGenerationConfig"]["height"], 768);
        assert!(dropped.is_empty());
    }

    #[test]
    fn what_cannot_be_said_is_refused() {
        let pair = Pair { asked: Op::ImagesGenerations, by: Op::GenerateContent, model: "gemini-2.5-flash-image" };
        for body in [
            json!({"prompt": "p", "n": 2}),
            json!({"prompt": "p", "stream": true}),
            json!({"prompt": "p", "size": "big"}),
            json!({"prompt": "p", "size": "0x5"}),
            json!({"prompt": "p", "response_format": "x"}),
            json!({"prompt": 5}),
        ] {
            assert!(request(pair, body.to_string().as_bytes()).is_err(), "{body}");
        }
    }
}
