//! An answer that is not a success: its class, its body, and what the caller is told of it.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::CONTENT_ENCODING;

use super::begin::begin;
use super::failed::{Failed, Failure};
use super::retry::{class_of, retry_after};
use crate::account::Ending;
use crate::dialect::{self, Format};
use crate::error::{Code, Error, Result};
use crate::exchange::{Answer, Exchange};
use crate::kernel::failure::Class;
use crate::metrics::Outcome;
use crate::snapshot::Deployment;
use crate::wire::encoding::Inflate;

/// Most of an error body that is read and passed on.
const ERROR_BODY_MAX: usize = 64 * 1024;

/// A success goes on; a failure by status is settled, and tried again where its class allows.
pub async fn judge(
    exchange: &mut Exchange,
    deployment: &Deployment,
    answer: Box<Answer>,
) -> Result<Box<Answer>, Failed> {
    if answer.head.status == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(answer);
    }
    if answer.head.status.is_success() {
        return begin(exchange, deployment, answer).await;
    }
    Err(Box::pin(refused(exchange, deployment, answer)).await)
}

async fn refused(exchange: &mut Exchange, deployment: &Deployment, mut answer: Box<Answer>) -> Failed {
    let status = answer.head.status;
    let wait = retry_after(&answer.head.headers);
    let body = read_error(deployment, &mut answer).await;
    let own = deployment.refusals.class(status.as_u16(), &body);
    // Where a bad credential is called a bad request, it is one of the caller's nowhere else.
    let status = match own {
        Some(Class::Authentication) if Class::of_status(status.as_u16()) != Class::Authentication => {
            StatusCode::UNAUTHORIZED
        }
        _ => status,
    };
    let outcome = match (own, status.as_u16()) {
        (Some(Class::RateLimit), _) | (None, 429) => Outcome::RateLimited,
        (Some(Class::ServerError | Class::Timeout), _) | (None, 408 | 500..) => Outcome::ServerError,
        _ => Outcome::ClientError,
    };
    let now = Instant::now();
    exchange.waited += now - answer.received;
    answer.attempt.close(Ending::Refused { status: status.as_u16(), outcome, wait }, exchange.overhead(now), now);
    if answer.head.keep_alive && answer.head.body.is_end() {
        deployment.pool.put(exchange.shard.index, answer.conn);
    }
    let class = own.unwrap_or_else(|| class_of(status.as_u16(), &body));
    let error = passed_on(exchange, deployment, status, &body, wait);
    Failed::Attempt(Failure { error, class, wait, stale: false })
}

/// The body of a refusal, as far as it comes within bounds.
async fn read_error(deployment: &Deployment, answer: &mut Answer) -> Bytes {
    let mut body = BytesMut::new();
    let coding = answer.head.headers.get(CONTENT_ENCODING).map_or(b"".as_slice(), |value| value.as_bytes());
    let Ok(mut inflate) = Inflate::for_coding(coding) else { return Bytes::new() };
    let read = async {
        while body.len() < ERROR_BODY_MAX {
            let frame = std::future::poll_fn(|cx| answer.conn.poll_frame(cx, &mut answer.head.body)).await;
            let Some(Ok(data)) = frame else { return };
            match inflate.as_mut().map_or(Ok(data.clone()), |inflate| inflate.feed(&data)) {
                Ok(decoded) => body.extend_from_slice(&decoded),
                Err(_) => return,
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
    if matches!(status.as_u16(), 401 | 403) {
        let mut error = unauthorized(deployment, status, body);
        error.retry_after = wait;
        return error;
    }
    let text = if same_dialect && dialect::is_error_shape(body) {
        None
    } else {
        let told = || format!("Provider '{}' answered {}{}", deployment.provider, status.as_u16(), quoted(body));
        Some(dialect::error_message(body).unwrap_or_else(told))
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

/// What there is to quote of a body that is no error of an API: the page of a proxy in between says nothing to a caller.
fn quoted(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    match text.trim() {
        "" => " and said nothing.".to_string(),
        page if page.starts_with('<') => " with a page of HTML.".to_string(),
        plain => format!(": {}", plain.chars().take(300).collect::<String>()),
    }
}

/// A refusal of the credential that the gateway has for the provider. The caller's own key is fine: the class says so. What
/// the provider writes may repeat the credential, so that only words are passed on.
fn unauthorized(deployment: &Deployment, status: StatusCode, body: &[u8]) -> Error {
    let said = dialect::error_message(body).filter(|_| status == StatusCode::FORBIDDEN);
    let provider = &deployment.provider;
    let text = match said {
        Some(said) => format!("Provider '{provider}' refuses access ({}): {}", status.as_u16(), words(&said)),
        None => format!("Provider '{provider}' refuses the gateway's credential ({}).", status.as_u16()),
    };
    Error::new(Code::UpstreamAuth, text).status(status.as_u16())
}

/// A text whose pieces that could be a part of a secret are left out: whatever holds a digit, a star or more letters than
/// a word has.
fn words(text: &str) -> String {
    let word = |piece: &str| {
        let inner = piece.trim_matches(|c: char| ".,:;'\"()[]".contains(c));
        inner.len() <= 24 && inner.chars().all(|c| c.is_alphabetic() || "-'/_.".contains(c))
    };
    let pieces = text.split_whitespace().take(60).map(|piece| if word(piece) { piece } else { "…" });
    pieces.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_repeated() {
        for (said, told) in [
            ("Incorrect key sk-abc123 given.", "Incorrect key … given."),
            ("key 'AKIA****' is not authorized to perform: bedrock:Invoke", "key … is not authorized to perform: …"),
            ("Your account has no access to this model.", "Your account has no access to this model."),
            ("abcdefghijklmnopqrstuvwxyzabcdef", "…"),
        ] {
            assert_eq!(words(said), told);
        }
    }

    #[test]
    fn pages_are_not_quoted() {
        assert_eq!(quoted(b" <html><body>secret</body></html>"), " with a page of HTML.");
        assert_eq!((quoted(b""), quoted(b"no")), (" and said nothing.".to_string(), ": no".to_string()));
    }
}
