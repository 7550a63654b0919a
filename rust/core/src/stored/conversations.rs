//! `/v1/conversations`: made, changed, listed, removed.

use http::Method;
use serde_json::{Map, Value, json};

use super::store::{self, Conversation};
use super::write::Write;
use super::{access, items, missing};
use crate::error::{Code, Error, Result};
use crate::exchange::Exchange;
use crate::stage::parse::read_body;

/// Most items that one request adds.
const ADDED_MAX: usize = 20;

/// `rest`: what follows `/v1/conversations/`.
pub async fn answer(exchange: &mut Exchange, method: Method, owner: &str, rest: &str) -> Result<Value> {
    let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
    let body = read_body(exchange).await?;
    let body = || -> Result<Map<String, Value>> {
        if body.is_empty() {
            return Ok(Map::new());
        }
        let invalid = |error: serde_json::Error| {
            Error::new(Code::InvalidJson, format!("The request body is not a JSON object: {error}."))
        };
        serde_json::from_slice(&body).map_err(invalid)
    };
    match (method.as_str(), parts.as_slice()) {
        ("POST", []) => create(exchange, owner, body()?).await,
        ("GET", [id]) => Ok(shown(&find(exchange, owner, id).await?)),
        ("POST", [id]) => update(exchange, owner, id, body()?).await,
        ("DELETE", [id]) => {
            find(exchange, owner, id).await?;
            let removing = Write::RemoveConversation { owner: owner.to_string(), id: (*id).to_string() };
            access::write(&exchange.shard, vec![removing]).await?;
            Ok(json!({"id": id, "object": "conversation.deleted", "deleted": true}))
        }
        ("GET", [id, "items"]) => items::page(list(exchange, owner, id).await?, exchange.query.as_deref()),
        ("POST", [id, "items"]) => add(exchange, owner, id, body()?).await,
        ("GET", [id, "items", item]) => {
            let all = list(exchange, owner, id).await?;
            let found = all.into_iter().find(|one| one.get("id").and_then(Value::as_str) == Some(*item));
            found.ok_or_else(|| missing("Item", item))
        }
        ("DELETE", [id, "items", item]) => {
            let conversation = find(exchange, owner, id).await?;
            let (owner, of, wanted) = (owner.to_string(), (*id).to_string(), (*item).to_string());
            let removing = Write::RemoveItem { owner, conversation: of, item: wanted };
            if access::write(&exchange.shard, vec![removing]).await? {
                Ok(shown(&conversation))
            } else {
                Err(missing("Item", item))
            }
        }
        _ => {
            let text = format!("There is nothing at {method} /v1/conversations/{rest}. See /docs.");
            Err(Error::new(Code::RouteNotFound, text))
        }
    }
}

fn shown(one: &Conversation) -> Value {
    let metadata: Value = serde_json::from_str(&one.metadata).unwrap_or_default();
    json!({"id": one.id, "object": "conversation", "created_at": one.created, "metadata": metadata})
}

async fn find(exchange: &Exchange, owner: &str, id: &str) -> Result<Conversation> {
    let found = access::conversation(&exchange.shard, owner, id).await?;
    found.ok_or_else(|| missing("Conversation", id))
}

async fn list(exchange: &Exchange, owner: &str, id: &str) -> Result<Vec<Value>> {
    let found = access::items(&exchange.shard, owner, id).await?.ok_or_else(|| missing("Conversation", id))?;
    Ok(found.iter().filter_map(|item| serde_json::from_str(item).ok()).collect())
}

fn metadata(body: &mut Map<String, Value>) -> Result<Option<String>> {
    match body.remove("metadata") {
        None | Some(Value::Null) => Ok(None),
        Some(value @ Value::Object(_)) => Ok(Some(value.to_string())),
        Some(_) => {
            let text = "Invalid type for 'metadata': expected an object.";
            Err(Error::new(Code::InvalidRequest, text).param("metadata"))
        }
    }
}

fn added(body: &mut Map<String, Value>) -> Result<Vec<(String, Value)>> {
    let wrong = |text: &str| Error::new(Code::InvalidRequest, text.to_string()).param("items");
    match body.remove("items") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) if items.len() > ADDED_MAX => {
            Err(wrong(&format!("At most {ADDED_MAX} items can be added at a time.")))
        }
        Some(Value::Array(items)) if items.iter().all(Value::is_object) => {
            Ok(items.into_iter().map(typed).map(items::named).collect())
        }
        Some(_) => Err(wrong("Invalid type for 'items': expected an array of objects.")),
    }
}

/// Clients may leave out that an item is a message.
fn typed(mut item: Value) -> Value {
    if let Value::Object(members) = &mut item {
        members.entry("type").or_insert_with(|| "message".into());
    }
    item
}

fn written(items: &[(String, Value)]) -> Vec<(String, String)> {
    items.iter().map(|(id, item)| (id.clone(), item.to_string())).collect()
}

fn appending(owner: &str, conversation: &str, items: Vec<(String, String)>) -> Write {
    let (owner, conversation) = (owner.to_string(), conversation.to_string());
    Write::Append { owner, conversation, mark: items::fresh("mark"), items }
}

async fn create(exchange: &Exchange, owner: &str, mut body: Map<String, Value>) -> Result<Value> {
    let metadata = metadata(&mut body)?.unwrap_or_else(|| "{}".to_string());
    let rows = written(&added(&mut body)?);
    let one = Conversation { id: items::fresh("conv"), created: store::now(), metadata };
    let making = Write::Conversation { owner: owner.to_string(), one: one.clone() };
    access::write(&exchange.shard, vec![making, appending(owner, &one.id, rows)]).await?;
    Ok(shown(&one))
}

async fn update(exchange: &Exchange, owner: &str, id: &str, mut body: Map<String, Value>) -> Result<Value> {
    let mut one = find(exchange, owner, id).await?;
    one.metadata = metadata(&mut body)?.unwrap_or(one.metadata);
    let changed = Write::Conversation { owner: owner.to_string(), one: one.clone() };
    access::write(&exchange.shard, vec![changed]).await?;
    Ok(shown(&one))
}

async fn add(exchange: &Exchange, owner: &str, id: &str, mut body: Map<String, Value>) -> Result<Value> {
    find(exchange, owner, id).await?;
    let new = added(&mut body)?;
    if new.is_empty() {
        return Err(Error::new(Code::PayloadMissing, "Missing required parameter: 'items'.").param("items"));
    }
    let rows = written(&new);
    access::write(&exchange.shard, vec![appending(owner, id, rows)]).await?;
    items::page(new.into_iter().map(|(_, item)| item).collect(), Some("order=asc&limit=100"))
}
