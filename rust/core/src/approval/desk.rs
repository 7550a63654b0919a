//! Asks the shell, which has the store: over its private socket, under a role that no client can take.

use std::time::Duration;

use bytes::BytesMut;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Code, Error, Result};
use crate::shard::Shard;
use crate::upstream::{Conn, Outgoing};

/// A question of the store; those who wait for people wait elsewhere.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer: an approval with its request and its answer.
const LONGEST: usize = 128 << 20;
const POOL_IDLE: Duration = Duration::from_secs(10);

/// Asks `/internal/approvals/{what}`.
///
/// # Errors
/// What the shell refuses; 503 when it cannot be asked.
pub async fn ask<T: DeserializeOwned>(shard: &Shard, what: &str, question: &impl Serialize) -> Result<T> {
    let body = rmp_serde::to_vec_named(question).map_err(|error| Error::new(Code::Internal, error.to_string()))?;
    let answer = match tokio::time::timeout(PATIENCE, exchange(shard, what, &body)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(why)) => return Err(unavailable(&why)),
        Err(_) => return Err(unavailable("no answer in time")),
    };
    let (status, body) = answer;
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

async fn exchange(shard: &Shard, what: &str, body: &[u8]) -> std::result::Result<(u16, BytesMut), String> {
    let shared = &shard.shared;
    let mut conn = match shared.shell_pool.take(shard.index, POOL_IDLE) {
        Some(conn) => conn,
        None => Conn::new(shared.shell.connect().await.map_err(|error| error.to_string())?),
    };
    let head = format!(
        "POST /internal/approvals/{what} HTTP/1.1\r\nhost: localhost\r\nx-ailink-role: plane\r\n\
         x-ailink-key-id: plane\r\ncontent-type: application/msgpack\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    conn.send(&Outgoing { parts: &[head.as_bytes(), body] }).await.map_err(|error| error.to_string())?;
    let mut head = conn.head(false).await.map_err(|error| error.to_string())?;
    let mut answer = BytesMut::new();
    while let Some(data) = std::future::poll_fn(|cx| conn.poll_frame(cx, &mut head.body)).await {
        answer.extend_from_slice(&data.map_err(|error| error.to_string())?);
        if answer.len() > LONGEST {
            return Err("the answer is too long".to_string());
        }
    }
    if head.keep_alive {
        shared.shell_pool.put(shard.index, conn);
    }
    Ok((head.status.as_u16(), answer))
}
