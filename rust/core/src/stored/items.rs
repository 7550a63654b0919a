//! Items of requests, responses and conversations.

use serde_json::{Value, json};

use crate::error::{Code, Error, Result};
use crate::exchange::RequestId;

/// Items on a page that does not say how many.
const PAGE: usize = 20;
const PAGE_MAX: usize = 100;

/// The items of an `input`: a text is what a user says.
pub fn of_input(input: Option<Value>) -> Result<Vec<Value>> {
    match input {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) => {
            let content = json!([{"type": "input_text", "text": text}]);
            Ok(vec![json!({"type": "message", "role": "user", "content": content})])
        }
        Some(Value::Array(items)) => Ok(items),
        Some(_) => {
            let text = "Invalid type for 'input': expected a string or an array.";
            Err(Error::new(Code::InvalidRequest, text).param("input"))
        }
    }
}

/// An item with an id of its own.
pub fn named(mut item: Value) -> (String, Value) {
    if let Some(id) = item.get("id").and_then(Value::as_str) {
        return (id.to_string(), item);
    }
    let prefix = match item.get("type").and_then(Value::as_str) {
        Some("function_call") => "fc",
        Some("function_call_output") => "fco",
        Some("reasoning") => "rs",
        _ => "msg",
    };
    let id = fresh(prefix);
    if let Value::Object(members) = &mut item {
        members.insert("id".to_string(), id.clone().into());
    }
    (id, item)
}

/// A new id.
pub fn fresh(prefix: &str) -> String {
    let id = RequestId::new(crate::clock::wall_us()).to_string();
    format!("{prefix}_{}", id.trim_start_matches("req_"))
}

/// A page of a list as OpenAI's clients turn them: `limit`, `order`, `after`.
///
/// # Errors
/// 400 for a limit or an order that is none.
pub fn page(mut items: Vec<Value>, query: Option<&str>) -> Result<Value> {
    let mut limit = PAGE;
    let (mut after, mut newest_first) = (None, true);
    for (name, value) in query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=')) {
        let wrong = |expected: &str| Error::new(Code::InvalidRequest, format!("Invalid '{name}': {expected}."));
        match name {
            "limit" => {
                let number = value.parse().ok().filter(|number| (1..=PAGE_MAX).contains(number));
                limit = number.ok_or_else(|| wrong("1 to 100 are expected"))?;
            }
            "order" => {
                newest_first = match value {
                    "asc" => false,
                    "desc" => true,
                    _ => return Err(wrong("asc or desc is expected")),
                }
            }
            "after" => after = Some(value),
            _ => {}
        }
    }
    if newest_first {
        items.reverse();
    }
    let id = |item: &Value| item.get("id").and_then(Value::as_str).map(str::to_string);
    if let Some(after) = after {
        let place = items.iter().position(|item| id(item).as_deref() == Some(after));
        items.drain(..place.map_or(items.len(), |place| place + 1));
    }
    let more = items.len() > limit;
    items.truncate(limit);
    let (first, last) = (items.first().and_then(id), items.last().and_then(id));
    Ok(json!({"object": "list", "data": items, "first_id": first, "last_id": last, "has_more": more}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_come_in_pages() {
        let items: Vec<Value> = (1..=5).map(|id| json!({"id": id.to_string()})).collect();
        let ids = |query| -> Vec<String> {
            let page = page(items.clone(), query).expect("a page");
            let data = page["data"].as_array().expect("items").clone();
            data.iter().map(|item| item["id"].as_str().unwrap_or_default().to_string()).collect()
        };
        assert_eq!(ids(None), ["5", "4", "3", "2", "1"]);
        assert_eq!(ids(Some("order=asc&limit=2")), ["1", "2"]);
        assert_eq!(ids(Some("order=asc&limit=2&after=2")), ["3", "4"]);
        assert_eq!(ids(Some("after=2")), ["1"]);
        assert!(page(items.clone(), Some("order=asc&limit=2")).expect("a page")["has_more"].as_bool() == Some(true));
        assert!(page(items.clone(), Some("limit=0")).is_err() && page(items, Some("order=x")).is_err());
    }

    #[test]
    fn a_text_is_an_item() {
        let items = of_input(Some("hi".into())).expect("items");
        assert_eq!(items[0]["content"][0]["text"], "hi");
        assert!(of_input(Some(json!(5))).is_err() && of_input(None).expect("none").is_empty());
        let (id, item) = named(items[0].clone());
        assert!(id.starts_with("msg_") && item["id"] == id.as_str());
    }
}
