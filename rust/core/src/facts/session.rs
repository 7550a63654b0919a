//! Whether an agent goes round in circles: what its conversation, which travels with every request, says of it.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::tools::{self, Call};

/// Latest texts of the assistant that are looked at, and words of each.
const TEXTS: usize = 24;
const WORDS: usize = 4_000;
/// Words that are compared together, and how many there must be to say anything.
const GRAM: usize = 4;
const FEWEST: usize = 24;

/// The messages of a request in any dialect.
fn conversation(body: &Value) -> &[Value] {
    let lists = ["messages", "contents", "input"];
    lists.into_iter().find_map(|name| body.get(name)?.as_array()).map_or(&[], Vec::as_slice)
}

/// How often the call that stands there most stands in the conversation and the answer, with the same arguments.
pub fn repeated(body: &Value, answer: &[Call]) -> usize {
    let mut counts: HashMap<(String, String), usize> = HashMap::new();
    for call in conversation(body).iter().flat_map(tools::calls).chain(answer.iter().cloned()) {
        // Members are sorted: spellings of the same arguments are the same.
        *counts.entry((call.name, call.arguments.to_string())).or_default() += 1;
    }
    counts.into_values().max().unwrap_or_default()
}

/// Rounds of calls since the user said something.
pub fn depth(body: &Value, answer: &[Call]) -> usize {
    let since = conversation(body).iter().rev().take_while(|message| !is_of_user(message));
    since.filter(|message| !tools::calls(message).is_empty()).count() + usize::from(!answer.is_empty())
}

/// What the user says himself; results of tools may travel as his.
fn is_of_user(message: &Value) -> bool {
    if message.get("role").and_then(Value::as_str) != Some("user") {
        return false;
    }
    let parts = ["content", "parts"].into_iter().find_map(|name| message.get(name)?.as_array());
    let is_result = |part: &Value| {
        part.get("type").and_then(Value::as_str) == Some("tool_result")
            || ["functionResponse", "function_response", "toolResult"].iter().any(|name| part.get(*name).is_some())
    };
    !parts.is_some_and(|parts| parts.iter().any(is_result))
}

/// The part of word sequences in the assistant's latest texts that were there before, 0 to 1.
pub fn repetition(body: &Value, answer: &str) -> f64 {
    let spoken = |message: &&Value| {
        matches!(message.get("role").and_then(Value::as_str), Some("assistant" | "model" | "CHATBOT"))
    };
    let mut texts: Vec<String> = conversation(body).iter().rev().filter(spoken).take(TEXTS).map(text).collect();
    texts.push(answer.to_string());
    let (mut seen, mut all) = (HashSet::new(), 0usize);
    for text in &texts {
        let words: Vec<&str> = text.split_whitespace().take(WORDS).collect();
        for gram in words.windows(GRAM) {
            all += 1;
            seen.insert(gram.to_vec());
        }
    }
    if all < FEWEST { 0.0 } else { 1.0 - seen.len() as f64 / all as f64 }
}

fn text(message: &Value) -> String {
    if let Some(text) = message.get("content").and_then(Value::as_str) {
        return text.to_string();
    }
    let parts = ["content", "parts"].into_iter().find_map(|name| message.get(name)?.as_array());
    let texts = parts.into_iter().flatten().filter_map(|part| part.get("text")?.as_str());
    texts.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn called(arguments: &str) -> Value {
        json!({"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": arguments}}]})
    }

    #[test]
    fn calls_are_the_same_however_they_are_written() {
        let body = json!({"messages": [
            {"role": "user", "content": "go"}, called("{\"a\":1,\"b\":2}"), {"role": "tool", "content": "x"},
            called("{ \"b\": 2, \"a\": 1 }"), called("{\"a\":3}")]});
        assert_eq!((repeated(&body, &[]), depth(&body, &[])), (2, 3));
        let again = Call { name: "f".into(), arguments: json!({"b": 2, "a": 1}) };
        assert_eq!((repeated(&body, std::slice::from_ref(&again)), depth(&body, &[again])), (3, 4));
        assert_eq!((repeated(&json!({"prompt": "x"}), &[]), depth(&json!({}), &[])), (0, 0));
    }

    #[test]
    fn results_of_tools_are_not_the_users_words() {
        let used = json!({"role": "assistant", "content": [{"type": "tool_use", "name": "f", "input": {}}]});
        let result = json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1"}]});
        let body = json!({"messages": [{"role": "user", "content": "go"}, used, result, used, result]});
        assert_eq!(depth(&body, &[]), 2);
        let body = json!({"messages": [used, result, {"role": "user", "content": "and now"}]});
        assert_eq!(depth(&body, &[]), 0);
    }

    #[test]
    fn texts_that_come_again_are_found() {
        let said = |text: &str| json!({"role": "assistant", "content": text});
        let same = "I will try once more to read the file that you named";
        let body = json!({"messages": [said(same), said(same), said(same), said(same)]});
        assert!(repetition(&body, same) > 0.7);
        let other = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen";
        let body = json!({"messages": [said(other), said(same)]});
        assert!(repetition(&body, "short") < 0.1);
    }
}
