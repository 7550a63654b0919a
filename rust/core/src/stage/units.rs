//! What a request may use besides text: pictures, characters that are spoken, seconds of sound. Known before it is sent.

use crate::endpoint::Operation;
use crate::exchange::Exchange;
use crate::kernel::cost::Usage;
use crate::wire::json::{self, Kind, scan_object};

/// Tokens of a picture by quality, for a square and for the longer of both other forms: OpenAI's guide to image generation,
/// gpt-image-1, as of 2026-11-22. <https://platform.openai.com/docs/guides/image-generation>
const PICTURES: [(&str, u64, u64); 3] = [("low", 272, 408), ("medium", 1_056, 1_584), DEAREST];
const DEAREST: (&str, u64, u64) = ("high", 4_160, 6_240);
const SQUARE: &str = "1024x1024";

/// What is asked for. `image_output`: the most tokens that its pictures may be, where they are paid by token.
pub fn asked(exchange: &Exchange) -> Usage {
    let call = &exchange.call;
    match exchange.endpoint.operation {
        Operation::AudioSpeech => Usage { characters: call.characters, ..Usage::default() },
        Operation::AudioTranscriptions | Operation::AudioTranslations => {
            Usage { seconds: call.recording.seconds, ..Usage::default() }
        }
        Operation::ImagesGenerations | Operation::ImagesEdits | Operation::ImagesVariations => Usage {
            images: u32::try_from(call.choices).unwrap_or(u32::MAX),
            image_output: picture(exchange).saturating_mul(call.choices),
            ..Usage::default()
        },
        _ => Usage::default(),
    }
}

/// The most tokens that one picture may be.
fn picture(exchange: &Exchange) -> u64 {
    let body = &exchange.call.body;
    let found = exchange.call.root.and_then(|_| scan_object(body, &["quality", "size"]).ok());
    let [quality, size] = found.map(|scan| scan.fields).unwrap_or_default();
    let text = |value: Option<json::Value>| {
        value.filter(|one| one.kind == Kind::String).and_then(|one| json::string(body, one))
    };
    let quality = text(quality).unwrap_or_default();
    // A picture whose quality the provider chooses may have the highest.
    let (_, square, long) = PICTURES.iter().find(|(name, ..)| *name == quality).copied().unwrap_or(DEAREST);
    if text(size).as_deref() == Some(SQUARE) { square } else { long }
}
