//! An answer that is not a success: its class, its body, and what the caller is told of it.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::StatusCode;

use super::failed::{Failed, Failure};
use super::retry::{class_of, retry_after};
use crate::account::Ending;
use crate::dialect::{self, Format};
use crate::error::{Code, Error, Result};
use crate::exchange::{Answer, Exchange};
use crate::metrics::Outcome;
use crate::snapshot::Deployment;

/// Most of an error body that is read and passed on.
const ERROR_BODY_MAX: usize = 64 * 1024;

/// A success goes on; a failure by status is settled, and tried again where its class allows.
pub async fn judge(
    exchange: &mut Exchange,
    deployment: &Deployment,
    answer: Box<Answer>,
) -> Result<Box<Answer>, Failed> {
    if answer.head.status.is_success() || answer.head.status == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(answer);
    }
    Err(Box::pin(refused(exchange, deployment, answer)).await)
}

async fn refused(exchange: &mut Exchange, deployment: &Deployment, mut answer: Box<Answer>) -> Failed {
    let status = answer.head.status;
    let outcome = match status.as_u16() {
        429 => Outcome::RateLimited,
        408 | 500.. => Outcome::ServerError,
        _ => Outcome::ClientError,
    };
    let wait = retry_after(&answer.head.headers);
    let body = read_error(deployment, &mut answer).await;
    let now = Instant::now();
    exchange.waited += now - answer.received;
    answer.attempt.close(Ending::Refused { status: status.as_u16(), outcome, wait }, exchange.overhead(now), now);
    if answer.head.keep_alive && answer.head.body.is_end() {
        deployment.state.pool.put(exchange.shard.index, answer.conn);
    }
    let class = class_of(status.as_u16(), &body);
    let error = passed_on(exchange, deployment, status, &body, wait);
    Failed::Attempt(Failure { error, class, wait })
}

/// The body of a refusal, as far as it comes within bounds.
async fn read_error(deployment: &Deployment, answer: &mut Answer) -> Bytes {
    let mut body = BytesMut::new();
    let read = async {
        while body.len() < ERROR_BODY_MAX {
            let frame = std::future::poll_fn(|cx| answer.conn.poll_frame(cx, &mut answer.head.body)).await;
            match frame {
                Some(Ok(data)) => body.extend_from_slice(&data),
                Some(Err(_)) | None => return,
            }
        }
    };
    let _ = tokio::time::timeout(deployment.timeouts.idle, read).await;
    body.freeze()
}

/// The provider's refusal in the caller's dialect: its own bytes where they have that shape already.
fn passed_on(
    exchange: &Exchange,
    deployment: &Deployment,
    status: StatusCode,
    body: &Bytes,
    wait: Option<Duration>,
) -> Error {
    let same_dialect = match exchange.translation.zip(exchange.endpoint.operation.format()) {
        None => exchange.converted.is_none(),
        // OpenAI's formats share their errors.
        Some((by, asked)) => {
            [by, asked].iter().all(|format| matches!(format, Format::Chat | Format::Responses | Format::Completions))
        }
    };
    let text = if same_dialect && dialect::is_error_shape(body) {
        None
    } else if let Some(message) = dialect::error_message(body) {
        Some(message)
    } else {
        let quoted: String = String::from_utf8_lossy(body).chars().take(300).collect();
        Some(format!("Provider '{}' answered {}: {}", deployment.provider, status.as_u16(), quoted.trim()))
    };
    let mut error = Error::new(Code::UpstreamStatus, text.unwrap_or_default()).status(status.as_u16());
    error.retry_after = wait;
    if error.message.is_empty() {
        error.body = Some(body.clone());
    }
    if !(400..600).contains(&status.as_u16()) {
        // A redirect or the like is nothing a caller could follow.
        error.status = None;
    }
    error
}
