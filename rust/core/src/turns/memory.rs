//! What the next response may go on from although nobody keeps it: the last one of this connection that was asked for with
//! `store: false`.

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::error::{Code, Error, Result};
use crate::stored::of_input;

#[derive(Debug, Default)]
pub struct Memory {
    last: Option<Last>,
    /// The input of the response on its way, whole, if it is to be remembered.
    asked: Option<Vec<Value>>,
}

#[derive(Debug)]
struct Last {
    id: String,
    /// Everything that was said until then.
    items: Vec<Value>,
}

/// A message as it is asked.
#[derive(Debug)]
pub enum Asked {
    /// The body of a request.
    Request(Bytes),
    /// Nothing is to be generated yet: what has come is remembered under this id.
    Warm { id: String, model: Value },
}

impl Memory {
    /// The request that a message stands for.
    ///
    /// # Errors
    /// 400 for what is no request.
    pub fn ask(&mut self, message: &str, fresh: impl FnOnce() -> String) -> Result<Asked> {
        let mut members: Map<String, Value> = serde_json::from_str(message)
            .map_err(|error| Error::new(Code::InvalidJson, format!("The message is not a JSON object: {error}.")))?;
        match members.remove("type") {
            Some(Value::String(kind)) if kind == "response.create" => {}
            Some(Value::String(kind)) => {
                let kind: String = kind.chars().take(64).collect();
                let text = format!("Invalid value for 'type': '{kind}' is not known here. Send 'response.create'.");
                return Err(Error::new(Code::InvalidRequest, text).param("type"));
            }
            _ => {
                let text = "Missing required parameter: 'type'. Send 'response.create'.";
                return Err(Error::new(Code::PayloadMissing, text).param("type"));
            }
        }
        for name in ["event_id", "stream", "stream_options"] {
            members.remove(name);
        }
        if members.get("background") == Some(&Value::Bool(true)) {
            let text = "Responses in the background are not asked for over a WebSocket; POST them.";
            return Err(Error::new(Code::FeatureUnsupported, text).param("background"));
        }
        let warm = members.remove("generate") == Some(Value::Bool(false));
        let previous = members.get("previous_response_id").and_then(Value::as_str);
        if let Some(last) = self.last.as_ref().filter(|last| previous == Some(&last.id)) {
            let mut items = last.items.clone();
            items.extend(of_input(members.remove("input"))?);
            members.remove("previous_response_id");
            members.insert("input".to_string(), items.into());
        }
        let kept = members.get("store") != Some(&Value::Bool(false));
        self.asked = None;
        if warm || !kept {
            self.asked = Some(of_input(members.get("input").cloned())?);
        }
        if warm {
            let id = fresh();
            self.last = self.asked.take().map(|items| Last { id: id.clone(), items });
            return Ok(Asked::Warm { id, model: members.remove("model").unwrap_or_default() });
        }
        members.insert("stream".to_string(), Value::Bool(true));
        let body = serde_json::to_vec(&members).map_err(|error| Error::new(Code::Internal, error.to_string()))?;
        Ok(Asked::Request(body.into()))
    }

    /// Whether the end of the response on its way must be looked at.
    pub fn listens(&self) -> bool {
        self.asked.is_some()
    }

    /// The last event of a response.
    pub fn hear(&mut self, event: &[u8]) {
        let event: Value = serde_json::from_slice(event).unwrap_or_default();
        let kind = event.get("type").and_then(Value::as_str).unwrap_or_default();
        if !matches!(kind, "response.completed" | "response.incomplete") {
            return;
        }
        let id = event.pointer("/response/id").and_then(Value::as_str);
        let (Some(id), Some(mut items)) = (id, self.asked.take()) else { return };
        if let Some(Value::Array(output)) = event.pointer("/response/output") {
            items.extend(output.iter().cloned());
        }
        self.last = Some(Last { id: id.to_string(), items });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(memory: &mut Memory, message: &Value) -> Value {
        match memory.ask(&message.to_string(), || "resp_warm".to_string()).expect("a request") {
            Asked::Request(body) => serde_json::from_slice(&body).expect("JSON"),
            Asked::Warm { id, .. } => json!(id),
        }
    }

    #[test]
    fn what_nobody_keeps_is_remembered_once() {
        let mut memory = Memory::default();
        let first = json!({"type": "response.create", "model": "m", "store": false, "input": "one"});
        let sent = request(&mut memory, &first);
        assert_eq!(sent, json!({"model": "m", "store": false, "input": "one", "stream": true}));
        assert!(memory.listens());
        let end = json!({"type": "response.completed", "response": {"id": "r1", "output": [{"type": "message"}]}});
        memory.hear(end.to_string().as_bytes());
        let next = json!({"type": "response.create", "model": "m", "store": false, "previous_response_id": "r1",
            "input": [{"role": "user", "content": "two"}]});
        let sent = request(&mut memory, &next);
        assert_eq!(sent["input"].as_array().map(Vec::len), Some(3));
        assert!(sent.get("previous_response_id").is_none());
        // Somebody else's, or older: the pipeline knows whether it is kept.
        let other = json!({"type": "response.create", "previous_response_id": "r0", "input": "three"});
        assert_eq!(request(&mut memory, &other)["previous_response_id"], "r0");
        assert!(!memory.listens());
    }

    #[test]
    fn warming_up_generates_nothing() {
        let mut memory = Memory::default();
        let warm = json!({"type": "response.create", "model": "m", "generate": false, "input": "one"});
        assert_eq!(request(&mut memory, &warm), "resp_warm");
        let next = json!({"type": "response.create", "previous_response_id": "resp_warm", "input": "two"});
        assert_eq!(request(&mut memory, &next)["input"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn other_messages_are_refused() {
        for message in ["", "[]", "{}", r#"{"type":"session.update"}"#, r#"{"type":5}"#] {
            assert!(Memory::default().ask(message, String::new).is_err(), "{message}");
        }
        let background = r#"{"type":"response.create","background":true}"#;
        assert!(Memory::default().ask(background, String::new).is_err());
    }
}
