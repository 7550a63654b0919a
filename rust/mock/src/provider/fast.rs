//! The short way: a plain, whole chat completion without any script, answered straight from the socket's buffer.
//! As the upstream of CPU benches the provider shares a core with the generator and has to keep up with 90,000 requests
//! a second; hyper with a full parse costs twice as much. Whatever is not plain goes to hyper, with
//! all bytes read so far, and the connection stays there.

use std::io::Write;
use std::sync::atomic::Ordering::Relaxed;

use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::answer::input_tokens;
use super::requests::{End, Outcome};
use super::state::Shared;
use super::text::{DEFAULT_WORDS, Pieces};
use crate::clock;

const READ_SIZE: usize = 32 * 1024;
const MAX_HEADERS: usize = 48;
/// Bodies beyond this go to hyper.
const MAX_BODY: usize = 1024 * 1024;

/// How the short way was left.
pub enum Left {
    Closed,
    /// For hyper to go on with.
    Unread(Bytes),
}

/// Serves plain requests until one is not.
pub async fn serve<S>(io: &mut S, shared: &Shared, connection: u64) -> Left
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut input = BytesMut::with_capacity(READ_SIZE);
    let mut writer = Writer::new();
    loop {
        match read_plain(&input) {
            _ if !input.is_empty() && !shared.plain() => return Left::Unread(input.freeze()),
            Progress::NotPlain => return Left::Unread(input.freeze()),
            Progress::Plain(request) => {
                answer(&mut writer, shared, connection, &input, &request);
                if io.write_all(&writer.answer).await.is_err() {
                    return Left::Closed;
                }
                input.advance(request.end);
                if !input.is_empty() {
                    continue;
                }
            }
            Progress::Partial => {}
        }
        input.reserve(READ_SIZE / 2);
        match io.read_buf(&mut input).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return Left::Closed,
        }
    }
}

/// Renders the answer and notes the request, as done: it is so a moment later, if the caller is still there.
fn answer(writer: &mut Writer, shared: &Shared, connection: u64, input: &[u8], request: &Plain) {
    let received_ns = clock::monotonic_ns();
    let bytes = input.get(..request.end).unwrap_or_default();
    let (head, body) = bytes.split_at_checked(request.body_start).unwrap_or_default();
    let model = body.get(request.model.clone()).unwrap_or_default();
    let mut requests = shared.requests();
    let number = requests.begin(connection, received_ns, head, body);
    let end_ns = writer.write(number, model, body.len(), received_ns);
    let bytes_out = writer.body.len() as u64;
    requests.finish(number, Outcome { status: 200, end: End::Done, end_ns, events_out: 0, bytes_out });
    drop(requests);
    for count in [&shared.counts.requests, &shared.counts.done, &shared.counts.fast] {
        count.fetch_add(1, Relaxed);
    }
}

/// A plain request within the bytes read.
#[derive(Debug, PartialEq, Eq)]
struct Plain {
    body_start: usize,
    end: usize,
    /// Where the model's name stands in the body.
    model: std::ops::Range<usize>,
}

#[derive(Debug, PartialEq, Eq)]
enum Progress {
    /// More bytes are needed to tell.
    Partial,
    Plain(Plain),
    NotPlain,
}

fn read_plain(input: &[u8]) -> Progress {
    if input.is_empty() {
        return Progress::Partial;
    }
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let body_start = match request.parse(input) {
        Ok(httparse::Status::Complete(size)) => size,
        Ok(httparse::Status::Partial) if b"POST /".starts_with(input.get(..6).unwrap_or(input)) => {
            return Progress::Partial;
        }
        _ => return Progress::NotPlain,
    };
    if request.method != Some("POST") || request.path != Some("/v1/chat/completions") || request.version != Some(1) {
        return Progress::NotPlain;
    }
    let Some(length) = plain_length(request.headers) else {
        return Progress::NotPlain;
    };
    let Some(body) = input.get(body_start..body_start + length) else {
        return Progress::Partial;
    };
    match plain_model(body) {
        Some(model) => Progress::Plain(Plain { body_start, end: body_start + length, model }),
        None => Progress::NotPlain,
    }
}

/// The content length, unless some header asks for more than the short way can do.
fn plain_length(headers: &[httparse::Header<'_>]) -> Option<usize> {
    let mut length = None;
    for header in headers {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        match header.name.len() {
            6 if is("x-mock") || is("expect") => return None,
            7 if is("upgrade") => return None,
            10 if is("connection") && !header.value.eq_ignore_ascii_case(b"keep-alive") => {
                return None;
            }
            14 if is("content-length") => length = std::str::from_utf8(header.value).ok()?.trim().parse().ok(),
            17 if is("transfer-encoding") => return None,
            _ => {}
        }
    }
    length.filter(|length| *length <= MAX_BODY)
}

/// Where the model's name stands, if the body is a chat request that the default answer fits. A quoted text that
/// happens to look like such a field can only make this say no, or is no JSON that the real API would take.
fn plain_model(body: &[u8]) -> Option<std::ops::Range<usize>> {
    let text = body.trim_ascii();
    if !text.starts_with(b"{") || !text.ends_with(b"}") || memmem::find(body, b"\"messages\"").is_none() {
        return None;
    }
    let value_of = |name: &[u8]| -> Option<usize> {
        memmem::find_iter(body, name).find_map(|at| {
            let rest = body.get(at + name.len()..)?;
            let value = rest.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
            Some(body.len() - value.len())
        })
    };
    let rest = |at: usize| body.get(at..).unwrap_or_default();
    let model = value_of(b"\"model\"")? + 1;
    if body.get(model - 1) != Some(&b'"') {
        return None;
    }
    let size = memchr::memchr(b'"', rest(model))?;
    let name = body.get(model..model + size)?;
    if name.is_empty() || name.iter().any(|byte| matches!(byte, b'?' | b'\\' | 0..0x20)) {
        return None;
    }
    let streams = value_of(b"\"stream\"").is_some_and(|at| !rest(at).starts_with(b"false"));
    let many = value_of(b"\"n\"").is_some_and(|at| !matches!(rest(at), [b'1', b',' | b'}' | b' ' | b'\n', ..]));
    if streams || many || value_of(b"\"tools\"").is_some() {
        return None;
    }
    for name in [&b"\"max_tokens\""[..], b"\"max_completion_tokens\""] {
        if value_of(name).is_some_and(|at| leading_number(rest(at)).is_none_or(|limit| limit < DEFAULT_WORDS)) {
            return None;
        }
    }
    Some(model..model + size)
}

fn leading_number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(text.get(..digits)?).ok()?.parse().ok()
}

/// The default answer with everything rendered that does not depend on the request.
struct Writer {
    content: String,
    /// From CLOCK_MONOTONIC to the time since 1970, in ns: saves asking for the time of day.
    since_1970_ns: u64,
    body: Vec<u8>,
    /// Head and body.
    answer: Vec<u8>,
}

impl Writer {
    fn new() -> Self {
        let since_1970_ns = clock::unix_ns().saturating_sub(clock::monotonic_ns());
        let content = Pieces::Words(DEFAULT_WORDS).joined();
        Self { content, since_1970_ns, body: Vec::with_capacity(2048), answer: Vec::with_capacity(2048) }
    }

    /// Renders the same answer as `openai::chat`, which a test compares; returns the time.
    fn write(&mut self, number: u64, model: &[u8], bytes_in: usize, received_ns: u64) -> u64 {
        let Self { content, body, answer, .. } = self;
        let input = input_tokens(bytes_in);
        let created = (received_ns + self.since_1970_ns) / 1_000_000_000;
        body.clear();
        // Writing to a vector cannot fail.
        let _ = write!(
            body,
            r#"{{"id":"chatcmpl-mock{number:012x}","object":"chat.completion","created":{created},"model":""#
        );
        body.extend_from_slice(model);
        body.extend_from_slice(br#"","choices":[{"index":0,"message":{"role":"assistant","content":""#);
        body.extend_from_slice(content.as_bytes());
        let _ = write!(
            body,
            r#"","refusal":null,"annotations":[]}},"logprobs":null,"finish_reason":"stop"}}],"usage":{{"prompt_tokens":{input},"completion_tokens":{DEFAULT_WORDS},"total_tokens":{},"prompt_tokens_details":{{"cached_tokens":0,"audio_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}},"service_tier":"default","system_fingerprint":"fp_mock"}}"#,
            input + DEFAULT_WORDS
        );
        let now = clock::monotonic_ns();
        let ns = now.saturating_sub(received_ns);
        answer.clear();
        let _ = write!(
            answer,
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_mock{number:012x}\r\n\
             x-mock-service-us: {}.{}\r\ncontent-length: {}\r\n\r\n",
            ns / 1000,
            ns % 1000 / 100,
            body.len()
        );
        answer.extend_from_slice(body);
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::answer::Content;
    use crate::provider::fields::{Call, Fields};
    use crate::provider::openai;
    use crate::provider::script::Script;

    fn model(body: &str) -> Option<&str> {
        plain_model(body.as_bytes()).and_then(|range| body.get(range))
    }

    #[test]
    fn tells_plain_bodies_from_others() {
        let with =
            |more: &str| format!(r#"{{"model": "gpt-4o","messages":[{{"role":"user","content":"\"n\": 2"}}]{more}}}"#);
        for plain in ["", r#","stream":false"#, r#","n":1"#, r#","max_tokens":64"#, r#","temperature":0.5"#] {
            assert_eq!(model(&with(plain)), Some("gpt-4o"), "{plain}");
        }
        for other in [r#","stream" : true"#, r#","n":2"#, r#","n":12"#, r#","max_tokens": 63"#, r#","tools":[]"#] {
            assert_eq!(model(&with(other)), None, "{other}");
        }
        assert_eq!(model(r#"{"model":"m?status=429","messages":[]}"#), None);
        assert_eq!(model(r#"{"messages":[{"role":"model"}],"model":"m"}"#), Some("m"));
        assert_eq!(model(r#"{"model":"m"}"#), None);
        assert_eq!(model(r#"[{"model":"m","messages":[]}]"#), None);
    }

    #[test]
    fn every_prefix_is_partial() {
        let body = r#"{"model":"m","messages":[]}"#;
        let request =
            format!("POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        for end in 0..request.len() {
            assert_eq!(read_plain(&request.as_bytes()[..end]), Progress::Partial, "{end}");
        }
        assert!(matches!(read_plain(request.as_bytes()), Progress::Plain(Plain { end, .. }) if end == request.len()));
        for other in ["GET /", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "POST /v1/messages HTTP/1.1\r\n\r\n"] {
            assert_eq!(read_plain(other.as_bytes()), Progress::NotPlain, "{other}");
        }
        let scripted = request.replace("host: a", "X-Mock: status=500");
        assert_eq!(read_plain(scripted.as_bytes()), Progress::NotPlain);
    }

    #[test]
    fn says_what_the_long_way_says() {
        let body = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}"#;
        let mut writer = Writer::new();
        let received_ns = clock::monotonic_ns();
        writer.write(77, b"gpt-4o", body.len(), received_ns);
        let (short, length) = (&writer.body, writer.body.len());
        assert!(writer.answer.ends_with(short));
        let script = Script::default();
        let created = (received_ns + writer.since_1970_ns) / 1_000_000_000;
        let call = Call { script: &script, number: 77, bytes_in: body.len(), model: "gpt-4o", created, query: "" };
        let answer = openai::chat(&Fields::parse(body.as_bytes()).unwrap(), &call).unwrap();
        let Content::Whole(long) = answer.content else { unreachable!("asked for no stream") };
        assert_eq!(String::from_utf8_lossy(short), String::from_utf8_lossy(&long));
        assert!((1100..1400).contains(&length), "{length}");
    }
}
