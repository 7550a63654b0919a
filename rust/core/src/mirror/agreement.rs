//! How far two answers say the same.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::Value;

use crate::facts::{streamed, tools};
use crate::stream::Framing;

/// Everything an answer says, in the format of any caller: its texts, then the tools it calls with their arguments.
pub fn said(body: Bytes, stream: Option<Framing>) -> Option<String> {
    let (mut text, calls) = if let Some(framing) = stream {
        let said = streamed::said(body, framing)?;
        (said.text, said.calls)
    } else {
        let answer: Value = serde_json::from_slice(&body).ok()?;
        (tools::said(&answer), tools::calls(&answer))
    };
    for call in calls {
        text.push('\n');
        text.push_str(&call.name);
        text.push(' ');
        text.push_str(&call.arguments.to_string());
    }
    Some(text)
}

/// The words that two texts have in common, as a part of all (Dice's coefficient over words with their number): 1 for
/// texts of the same words, 0 for texts without a common one. Case and punctuation do not count.
pub fn of(one: &str, other: &str) -> f64 {
    let mut counts: HashMap<String, i64> = HashMap::new();
    let mut total = 0u32;
    for word in words(one) {
        *counts.entry(word).or_default() += 1;
        total += 1;
    }
    let mut common = 0u32;
    for word in words(other) {
        total += 1;
        if let Some(left) = counts.get_mut(&word).filter(|left| **left > 0) {
            *left -= 1;
            common += 1;
        }
    }
    match total {
        0 => 1.0,
        total => 2.0 * f64::from(common) / f64::from(total),
    }
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreement_is_the_part_of_common_words() {
        for (one, other, part) in [
            ("", "", 1.0),
            ("Yes.", "yes", 1.0),
            ("the cat", "the dog", 0.5),
            ("a a b", "a b b", 2.0 / 3.0),
            ("yes", "no", 0.0),
            ("yes", "", 0.0),
        ] {
            assert!((of(one, other) - part).abs() < 1e-9, "{one:?} {other:?}");
        }
    }

    #[test]
    fn streams_and_whole_answers_say_the_same() {
        let whole = r#"{"choices":[{"message":{"content":"Hello there","tool_calls":[
            {"id":"1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]}}]}"#;
        let stream = concat!(
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello \"}}]}\n\n",
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"there\"}}]}\n\n",
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":",
            "{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}}]}}]}\n\ndata: [DONE]\n\n"
        );
        let whole = said(Bytes::from_static(whole.as_bytes()), None).expect("JSON");
        let stream = said(Bytes::from_static(stream.as_bytes()), Some(Framing::Sse)).expect("events");
        assert_eq!(whole, stream);
        assert_eq!(whole, "Hello there\nf {\"a\":1}");
    }
}
