//! Requests that go on from what was said before, and those whose answer is to be kept.

use serde_json::{Map, Value};

use super::keep::Kept;
use super::{access, items, missing, owner};
use crate::error::{Code, Error, Result};
use crate::exchange::Exchange;
use crate::stage::parse::understand;
use crate::wire::json::edit::without;
use crate::wire::json::{self, Kind, scan_object};

/// Gives a request for a response what it goes on from: the deployment that has it, or the input itself.
///
/// # Errors
/// 404 for what is not there or another's, 400 for what is none.
pub async fn resume(exchange: &mut Exchange) -> Result<()> {
    let body = exchange.call.body.clone();
    let background = exchange.call.background;
    let wrong = |name: &'static str, expected: &str| {
        Error::new(Code::InvalidRequest, format!("Invalid type for '{name}': expected {expected}.")).param(name)
    };
    let scan = scan_object(&body, &["previous_response_id", "conversation", "store"])
        .map_err(|error| Error::new(Code::InvalidJson, format!("The request body is not valid JSON: {error}.")))?;
    let [previous, conversation, store] = scan.fields.map(|value| value.filter(|value| value.kind != Kind::Null));
    let store = match store {
        None => true,
        Some(store) => json::as_bool(&body, store).ok_or_else(|| wrong("store", "a boolean"))?,
    };
    if previous.is_none() && conversation.is_none() && !store {
        return Ok(());
    }
    let previous = match previous {
        None => None,
        Some(id) => {
            Some(json::string(&body, id).ok_or_else(|| wrong("previous_response_id", "a string"))?.into_owned())
        }
    };
    let conversation = match conversation {
        None => None,
        Some(value) => {
            let value: Value = serde_json::from_slice(value.raw(&body)).unwrap_or_default();
            let id = value.as_str().or_else(|| value.get("id").and_then(Value::as_str)).map(str::to_string);
            Some(id.ok_or_else(|| wrong("conversation", "a string or an object with an id"))?)
        }
    };
    if previous.is_some() && conversation.is_some() {
        let text = "'previous_response_id' and 'conversation' exclude each other.";
        return Err(Error::new(Code::InvalidRequest, text).param("conversation"));
    }
    let Some(key) = exchange.key.as_ref() else {
        return Err(Error::new(Code::Internal, "resume ran before identify"));
    };
    let mut kept = Kept { owner: owner(key), store, previous, conversation, ..Kept::default() };
    kept.model.clone_from(&exchange.call.model);
    let before = match (&kept.previous, &kept.conversation) {
        (Some(id), _) => of_response(exchange, &kept.owner, id.clone()).await?,
        (None, Some(id)) => Some(of_conversation(exchange, &kept.owner, id.clone()).await?),
        (None, None) => None,
    };
    if let Some(mut before) = before {
        let mut members: Map<String, Value> = serde_json::from_slice(&body)
            .map_err(|error| Error::new(Code::InvalidJson, format!("The request body is not valid JSON: {error}.")))?;
        members.remove("previous_response_id");
        members.remove("conversation");
        kept.fresh = items::of_input(members.remove("input"))?;
        before.extend(kept.fresh.iter().cloned());
        members.insert("input".to_string(), before.into());
        let whole = serde_json::to_vec(&members).map_err(|error| Error::new(Code::Internal, error.to_string()))?;
        let most = exchange.shard.shared.options.limits.body_bytes;
        if whole.len() as u64 > most {
            let text = format!("With what was said before, the request is larger than {most} bytes.");
            return Err(Error::new(Code::BodyTooLarge, text));
        }
        understand(exchange, whole.into())?;
    }
    if background {
        kept.background = Some(items::fresh("resp"));
        let body = exchange.call.body.clone();
        if let Ok(scan) = scan_object(&body, &[]) {
            // The provider makes it like any other; whom it is made for is the gateway's business.
            let mut body = without(&body, scan.root, &["background"]);
            body.push(b'}');
            understand(exchange, body.into())?;
        }
        exchange.call.background = true;
    }
    exchange.kept = Some(Box::new(kept));
    Ok(())
}

/// What a response of the gateway's own said and was asked; `None` where its provider knows.
async fn of_response(exchange: &mut Exchange, owner: &str, id: String) -> Result<Option<Vec<Value>>> {
    let found = access::response(&exchange.shard, owner, &id).await?.map(|found| found.response);
    let not_found = || missing("Previous response", &id).param("previous_response_id");
    let found = found.ok_or_else(not_found)?;
    if let Some(deployment) = found.deployment {
        if !exchange.snapshot.deployments.iter().any(|known| *known.id == *deployment) {
            return Err(not_found());
        }
        if exchange.call.background {
            let text = "The previous response is kept by its provider, which is not asked for answers in the background: \
                        send the whole input, or leave 'background' out.";
            return Err(Error::new(Code::FeatureUnsupported, text).param("background"));
        }
        exchange.provider = Some(deployment.into());
        return Ok(None);
    }
    let body: Value = serde_json::from_str(&found.body).unwrap_or_default();
    if matches!(body.get("status").and_then(Value::as_str), Some("queued" | "in_progress")) {
        let text = "The previous response is still being made; go on from it when it is complete.";
        return Err(Error::new(Code::InvalidRequest, text).param("previous_response_id"));
    }
    let list = |text: &str| serde_json::from_str::<Vec<Value>>(text).unwrap_or_default();
    let mut before = list(&found.input);
    before.extend(body.get("output").and_then(Value::as_array).cloned().unwrap_or_default());
    Ok(Some(before))
}

async fn of_conversation(exchange: &Exchange, owner: &str, id: String) -> Result<Vec<Value>> {
    let found = access::items(&exchange.shard, owner, &id).await?;
    let found = found.ok_or_else(|| missing("Conversation", &id).param("conversation"))?;
    Ok(found.iter().filter_map(|item| serde_json::from_str(item).ok()).collect())
}
