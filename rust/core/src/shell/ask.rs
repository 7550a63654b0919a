//! Questions of the data plane, over the shell's private socket, under a role that no client can take.

use std::time::Duration;

use bytes::BytesMut;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::shard::Shard;
use crate::upstream::{Conn, Outgoing};

/// A question of the store; those who wait for people wait elsewhere.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer: an approval with its request and its answer.
const LONGEST: usize = 128 << 20;

/// Asks `/internal/{what}` (MessagePack both ways).
///
/// # Errors
/// Why there is no good answer.
pub async fn ask<T: DeserializeOwned>(shard: &Shard, what: &str, question: &impl Serialize) -> Result<T, String> {
    let body = rmp_serde::to_vec_named(question).map_err(|error| error.to_string())?;
    match told(shard, what, &body).await? {
        (200, body) => rmp_serde::from_slice(&body).map_err(|error| error.to_string()),
        (status, _) => Err(format!("the shell answered {status}")),
    }
}

/// The answer to such a question: its status and body.
///
/// # Errors
/// Why there is none.
pub async fn told(shard: &Shard, what: &str, body: &[u8]) -> Result<(u16, BytesMut), String> {
    match tokio::time::timeout(PATIENCE, exchange(shard, what, body)).await {
        Ok(answer) => answer,
        Err(_) => Err("no answer in time".to_string()),
    }
}

async fn exchange(shard: &Shard, what: &str, body: &[u8]) -> Result<(u16, BytesMut), String> {
    let shared = &shard.shared;
    let mut conn = match shared.shell_pool.take(shard.index) {
        Some(conn) => conn,
        None => Conn::new(shared.shell.connect().await.map_err(|error| error.to_string())?),
    };
    let head = format!(
        "POST /internal/{what} HTTP/1.1\r\nhost: localhost\r\nx-ailink-role: plane\r\n\
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
