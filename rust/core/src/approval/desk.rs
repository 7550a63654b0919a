//! Asks the shell, which has the store.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Code, Error, Result};
use crate::shard::Shard;
use crate::shell;

/// Asks `/internal/approvals/{what}`.
///
/// # Errors
/// What the shell refuses; 503 when it cannot be asked.
pub async fn ask<T: DeserializeOwned>(shard: &Shard, what: &str, question: &impl Serialize) -> Result<T> {
    let body = rmp_serde::to_vec_named(question).map_err(|error| Error::new(Code::Internal, error.to_string()))?;
    let (status, body) =
        shell::ask::told(shard, &format!("approvals/{what}"), &body).await.map_err(|why| unavailable(&why))?;
    if status == 200 {
        return rmp_serde::from_slice(&body).map_err(|error| unavailable(&error.to_string()));
    }
    let told: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = told.pointer("/error/message").and_then(serde_json::Value::as_str).unwrap_or("no reason was given");
    if status >= 500 {
        return Err(unavailable(text));
    }
    let code = match status {
        404 => Code::ObjectNotFound,
        422 => Code::IdempotencyMismatch,
        429 => Code::RateLimited,
        _ => Code::InvalidRequest,
    };
    Err(Error::new(code, text.to_string()).status(status))
}

fn unavailable(why: &str) -> Error {
    tracing::warn!(why, "approvals cannot be asked for");
    let text = "Approvals cannot be asked for now; the gateway's log says why. Nothing was executed.";
    Error::new(Code::StoreUnavailable, text).retry_after(Duration::from_secs(2))
}
