//! What a stream says, as checks see a whole answer: choice by choice, every text that grew over its events and the
//! arguments of tools.

use bytes::Bytes;

use crate::facts::streamed;
use crate::guard::stream::{data_of, one_line, texts};
use crate::guard::texts::Piece;
use crate::guard::walk;
use crate::stream::Framing;

/// Most texts of a stream; more cannot be looked at.
const PIECES: usize = 4_096;

/// A text that grows.
struct Growing {
    key: u64,
    choice: u64,
    text: String,
}

/// The pieces of a stream; `None` when it cannot be read, or has too many.
pub fn spoken(stream: Bytes, framing: Framing) -> Option<Vec<Piece>> {
    let calls = streamed::said(stream.clone(), framing)?.calls;
    let mut growing: Vec<Growing> = Vec::new();
    for event in streamed::events(stream, framing)? {
        let event = if framing.is_amazon() { event } else { one_line(event) };
        let found = data_of(&event, framing.is_amazon()).ok()?;
        let data = event.get(found.range).unwrap_or_default();
        if data.is_empty() || data.trim_ascii() == b"[DONE]" {
            continue;
        }
        // Arguments of tools are put together by their calls.
        let said = texts(data, found.kind.as_deref().map(str::as_bytes))?;
        for text in said.texts.iter().filter(|text| !text.nested) {
            let Some(key) = text.grows else { continue };
            let at = growing.iter().position(|known| known.key == key && known.choice == text.choice);
            let at = at.unwrap_or_else(|| {
                growing.push(Growing { key, choice: text.choice, text: String::new() });
                growing.len() - 1
            });
            if let Some(known) = growing.get_mut(at) {
                walk::decode(data.get(text.raw.clone()).unwrap_or_default(), &mut known.text);
            }
        }
        if growing.len() + calls.len() > PIECES {
            return None;
        }
    }
    growing.sort_by_key(|text| text.choice);
    let mut pieces: Vec<Piece> = growing
        .into_iter()
        .filter(|text| !text.text.is_empty())
        .map(|text| {
            let message = u32::try_from(text.choice).unwrap_or(u32::MAX);
            Piece { message, ..Piece::streamed(text.text) }
        })
        .collect();
    let arguments = calls.iter().map(|call| Piece::streamed(call.arguments.to_string()));
    pieces.extend(arguments.map(|piece| Piece { speech: false, ..piece }));
    Some(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_and_thoughts_are_put_together_apart() {
        let event = |choice: u8, name: &str, text: &str| {
            format!("data: {{\"choices\":[{{\"index\":{choice},\"delta\":{{\"{name}\":\"{text}\"}}}}]}}\n\n")
        };
        let stream = [
            event(0, "reasoning_content", "let "),
            event(0, "reasoning_content", "me"),
            event(0, "content", "blue"),
            event(1, "content", "black"),
            event(0, "content", "bi\\u0072d"),
            event(1, "content", "board"),
            "data: [DONE]\n\n".to_string(),
        ];
        let pieces = spoken(stream.concat().into(), Framing::Sse).expect("a stream");
        let told: Vec<(u32, &str)> = pieces.iter().map(|piece| (piece.message, piece.text.as_str())).collect();
        assert_eq!(told, [(0, "let me"), (0, "bluebird"), (1, "blackboard")]);
        assert!(spoken(Bytes::from_static(b"data: {broken\n\n"), Framing::Sse).is_none());
    }
}
