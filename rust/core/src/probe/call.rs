//! One question to a deployment, on a connection of its own.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use crate::outgoing::{put_access, put_line};
use crate::snapshot::{Deployment, RequestTemplate};
use crate::upstream::{Conn, IoError, Outgoing};

/// Longest answer that is read.
const LONGEST: usize = 4 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug)]
pub enum Fault {
    /// Nothing was sent.
    Unreached(String),
    /// Something was.
    Lost(String),
}

impl Fault {
    pub fn text(&self) -> &str {
        match self {
            Fault::Unreached(text) | Fault::Lost(text) => text,
        }
    }
}

/// Opens a connection, and closes it.
///
/// # Errors
/// It was not established in time.
pub async fn connects(deployment: &Deployment, timeout: Duration) -> Result<(), Fault> {
    connect(deployment, timeout).await.map(drop)
}

async fn connect(deployment: &Deployment, timeout: Duration) -> Result<Conn, Fault> {
    match tokio::time::timeout(timeout, deployment.origin.connect()).await {
        Ok(Ok(stream)) => Ok(Conn::new(stream)),
        Ok(Err(error)) => Err(Fault::Unreached(error.to_string())),
        Err(_) => Err(Fault::Unreached(format!("no connection within {timeout:?}"))),
    }
}

/// Status and body of the answer. `body`: `None` for a GET.
///
/// # Errors
/// There is none in time.
pub async fn ask(
    deployment: &Deployment,
    template: &RequestTemplate,
    body: Option<&[Bytes]>,
    timeout: Duration,
) -> Result<(u16, Bytes), Fault> {
    let conn = connect(deployment, timeout).await?;
    let answered = tokio::time::timeout(timeout, exchange(conn, deployment, template, body)).await;
    match answered {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Fault::Lost(error.to_string())),
        Err(_) => Err(Fault::Lost(format!("no answer within {timeout:?}"))),
    }
}

async fn exchange(
    mut conn: Conn,
    deployment: &Deployment,
    template: &RequestTemplate,
    body: Option<&[Bytes]>,
) -> Result<(u16, Bytes), IoError> {
    let head = head(deployment, template, body);
    let mut parts: Vec<&[u8]> = vec![&head];
    parts.extend(body.into_iter().flatten().map(|part| &part[..]));
    conn.send(&Outgoing { parts: &parts }).await?;
    let mut head = conn.head(false).await?;
    let mut found = BytesMut::new();
    while let Some(data) = std::future::poll_fn(|cx| conn.poll_frame(cx, &mut head.body)).await {
        found.extend_from_slice(&data?);
        if found.len() > LONGEST {
            let message = "the answer is longer than 4 MiB".to_string();
            return Err(IoError::Lost { message, written: true, seen: true });
        }
    }
    Ok((head.status.as_u16(), found.freeze()))
}

fn head(deployment: &Deployment, template: &RequestTemplate, body: Option<&[Bytes]>) -> BytesMut {
    let slot = deployment.keys.as_ref().and_then(|keys| keys.slots().first()).or(deployment.credential.as_ref());
    let secret = slot.map(|slot| slot.load());
    let secret = secret.as_ref().and_then(|secret| secret.as_ref()).map_or(b"".as_slice(), |secret| secret.expose());
    let mut head = BytesMut::with_capacity(512 + template.block.len() + secret.len());
    head.put_slice(&template.line);
    put_access(&mut head, (deployment, template), secret, template.line.contains(&b'?'), body.unwrap_or_default());
    for (name, value) in &deployment.defaults {
        put_line(&mut head, name.as_str().as_bytes(), value.as_bytes());
    }
    if let Some(body) = body {
        put_line(&mut head, b"content-type", b"application/json");
        let length = body.iter().map(Bytes::len).sum::<usize>();
        put_line(&mut head, b"content-length", itoa::Buffer::new().format(length).as_bytes());
    }
    head.put_slice(b"connection: close\r\n\r\n");
    head
}
