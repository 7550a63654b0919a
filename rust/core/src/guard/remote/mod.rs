//! Checks that somebody else makes: a vendor, a webhook, a judge, a guardrail written in Python.
//!
//! What is sent and how the answer is understood is data: a template, and tests of the reply. A service that keeps failing
//! is not asked for a while; what that means for the request is said by its guardrail's `on_error`.

mod reply;
mod template;
mod urls;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::check::{Change, Fault, Outcome, Scope, View};
use crate::clock::{coarse_ns, wall_us};
use crate::sigv4::{self, Signer, Unsigned};
use crate::state::credentials::{CredentialSlot, Secret};
use crate::upstream::Pool;
use crate::upstream::call::{self, Call};
use crate::upstream::origin::BaseUrl;
use reply::Reading;
pub use template::portkey;

/// Failures one after the other until a service is left alone, and for how long.
const BREAKS: u32 = 5;
const OPEN_NS: u64 = 10_000_000_000;
/// Pieces that are sent one by one, at most.
const EACH: usize = 64;
const TIMEOUT_MS: u64 = 5_000;
const TIMEOUT_MAX_MS: u64 = 60_000;
/// Longest answer of what the gateway runs itself.
const OWN_ANSWER: usize = 64 * 1024 * 1024;

/// What a vendor's row and its parameters came to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    input: Option<Asked>,
    output: Option<Asked>,
    timeout_ms: u64,
    /// One call for each piece.
    #[serde(default)]
    each: bool,
    #[serde(default)]
    private: bool,
    /// The slot of the credential that takes the place of keys: a bearer's, or one to sign with.
    identity: Option<String>,
    reading: Reading,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Value,
    sign: Option<Sign>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sign {
    region: String,
    service: String,
    /// `ID:SECRET`, or `ID:SECRET:TOKEN`; of the identity otherwise.
    credentials: Option<String>,
    /// `x-amz-target`
    operation: Option<String>,
}

pub struct Remote {
    what: What,
    timeout: Duration,
    guarded: bool,
    /// Longest answer that is read.
    most: usize,
    identity: Option<String>,
    /// Where the current token of the identity is.
    slot: OnceLock<Arc<CredentialSlot>>,
    pool: Pool,
    failures: AtomicU32,
    open_until: AtomicU64,
}

struct Calls {
    input: Option<Asked>,
    output: Option<Asked>,
    each: bool,
    reading: Reading,
}

enum What {
    Calls(Box<Calls>),
    Urls(urls::Urls),
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Headers carry credentials.
        f.debug_struct("Remote").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// I/O threads whose connections are kept apart.
const THREADS: usize = 256;

impl Remote {
    fn new(what: What, timeout_ms: u64, guarded: bool) -> Result<Remote, Fault> {
        if !(1..=TIMEOUT_MAX_MS).contains(&timeout_ms) {
            return Err(("timeout".into(), format!("expected 1 to {TIMEOUT_MAX_MS} milliseconds")));
        }
        Ok(Remote {
            what,
            timeout: Duration::from_millis(timeout_ms),
            guarded,
            most: call::ANSWER,
            identity: None,
            slot: OnceLock::new(),
            pool: Pool::new(THREADS, call::IDLE),
            failures: AtomicU32::new(0),
            open_until: AtomicU64::new(0),
        })
    }

    /// What the configuration made of a vendor's row.
    ///
    /// # Errors
    /// What cannot be used.
    pub fn read(told: &Value, guarded: bool) -> Result<Remote, Fault> {
        let wrong = |text: String| (String::new(), text);
        let told = Told::deserialize(told).map_err(|error| wrong(error.to_string()))?;
        for asked in [&told.input, &told.output].into_iter().flatten() {
            BaseUrl::parse(&asked.url).map_err(|error| ("url".to_string(), error))?;
        }
        let reading = told.reading.compile().map_err(wrong)?;
        let what = What::Calls(Box::new(Calls { input: told.input, output: told.output, each: told.each, reading }));
        let most = if told.private { OWN_ANSWER } else { call::ANSWER };
        let identity = told.identity;
        Ok(Remote { most, identity, ..Remote::new(what, told.timeout_ms, guarded && !told.private)? })
    }

    /// Gives the identity its slot.
    pub fn bind(&self, slot: impl FnOnce(&str) -> Arc<CredentialSlot>) {
        if let Some(identity) = &self.identity {
            self.slot.get_or_init(|| slot(identity));
        }
    }

    /// The identity's token; outer `None`: there should be one, and is none.
    fn token(&self) -> Option<Option<Arc<Secret>>> {
        if self.identity.is_none() {
            return Some(None);
        }
        let token = self.slot.get().and_then(|slot| slot.load().clone());
        token.filter(|token| !token.expose().is_empty()).map(Some)
    }

    /// Portkey's checks that ask somebody.
    ///
    /// # Errors
    /// Where in the parameters, and what is wrong.
    pub fn built_in(name: &str, given: &mut super::check::Parameters, guarded: bool) -> Result<Remote, Fault> {
        if name == "validUrls" {
            let timeout = given.number("timeout")?.unwrap_or(TIMEOUT_MS);
            return Remote::new(What::Urls(urls::Urls::parse(given)?), timeout, true);
        }
        let field = if name == "log" { "logURL" } else { "webhookURL" };
        let url = given.needed(field)?;
        if !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err((field.to_string(), "expected an address of http or https".to_string()));
        }
        BaseUrl::parse(&url).map_err(|error| (field.to_string(), error))?;
        let headers = match given.take("headers") {
            None => BTreeMap::new(),
            Some(Value::String(text)) if text.trim().is_empty() => BTreeMap::new(),
            Some(Value::String(text)) => serde_json::from_str(&text)
                .map_err(|_| ("headers".to_string(), "expected an object of texts".to_string()))?,
            Some(value) => BTreeMap::deserialize(value)
                .map_err(|_| ("headers".to_string(), "expected an object of texts".to_string()))?,
        };
        let timeout = given.number("timeout")?.unwrap_or(3_000);
        let reading = if name == "log" {
            json!({"expect": [], "fail": []})
        } else {
            json!({
                "expect": ["verdict"], "fail": [{"path": "verdict", "is": false}], "data": "data",
                "document": {"input": "transformedData.request.json", "output": "transformedData.response.json"},
            })
        };
        let reading = Reading::deserialize(reading).map_err(|error| error.to_string()).and_then(Reading::compile);
        let reading = reading.map_err(|text| (String::new(), text))?;
        let asked = || Some(Asked { url: url.clone(), headers: headers.clone(), body: json!("<portkey>"), sign: None });
        let what = What::Calls(Box::new(Calls { input: asked(), output: asked(), each: false, reading }));
        Remote::new(what, timeout, guarded)
    }

    /// Makes the check. `thread`: the I/O thread, whose connections are used.
    pub async fn run(&self, view: &View, scope: Scope, thread: usize) -> Outcome {
        if coarse_ns() < self.open_until.load(Ordering::Relaxed) {
            return Outcome::failed("the service kept failing and is not asked for a while");
        }
        let outcome = match &self.what {
            What::Urls(urls) => return urls.run(view, scope, self.timeout).await,
            What::Calls(calls) => {
                let Calls { input, output, each, reading } = &**calls;
                let Some(asked) = (if view.output { output } else { input }) else {
                    return Outcome::nothing("the service does not look at this side");
                };
                let pieces: Vec<usize> =
                    view.within(scope).filter(|(_, piece)| !piece.text.trim().is_empty()).map(|(at, _)| at).collect();
                if pieces.is_empty() && !reading.takes_nothing() {
                    return Outcome::nothing("there is no text to look at");
                }
                if *each {
                    self.each(asked, reading, view, &pieces, thread).await
                } else {
                    self.ask(asked, reading, view, &pieces, thread).await
                }
            }
        };
        if outcome.error.is_none() || outcome.empty {
            self.failures.store(0, Ordering::Relaxed);
        } else if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= BREAKS {
            self.failures.store(0, Ordering::Relaxed);
            self.open_until.store(coarse_ns() + OPEN_NS, Ordering::Relaxed);
        }
        outcome
    }

    async fn each(&self, asked: &Asked, reading: &Reading, view: &View, pieces: &[usize], thread: usize) -> Outcome {
        if pieces.len() > EACH {
            return Outcome::failed(format!("there are more than {EACH} texts to look at"));
        }
        let calls = pieces.iter().map(|piece| self.ask(asked, reading, view, std::slice::from_ref(piece), thread));
        let mut all = Outcome::of(true, Value::Array(Vec::new()));
        let mut changes = Vec::new();
        for outcome in futures_util::future::join_all(calls).await {
            if outcome.error.is_some() {
                return outcome;
            }
            all.passed &= outcome.passed;
            all.hard |= outcome.hard;
            if let Some(list) = all.data.as_array_mut() {
                list.push(outcome.data);
            }
            if let Some(Change::Pieces(found)) = outcome.change {
                changes.extend(found);
            }
        }
        all.change = (!changes.is_empty()).then_some(Change::Pieces(changes));
        all
    }

    async fn ask(&self, asked: &Asked, reading: &Reading, view: &View, pieces: &[usize], thread: usize) -> Outcome {
        let body = template::filled(&asked.body, view, pieces);
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut headers: Vec<(String, String)> =
            asked.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let Some(token) = self.token() else { return Outcome::failed("its identity has no token") };
        let token = token.as_ref().map(|token| token.expose());
        if let Err(error) = authorized(asked, token, &body, &mut headers) {
            return Outcome::failed(error);
        }
        let call = Call {
            method: "POST",
            url: &asked.url,
            headers: &headers,
            body: &body,
            timeout: self.timeout,
            guarded: self.guarded,
            pool: Some((&self.pool, thread)),
            most: self.most,
        };
        match call.send().await {
            Ok((status, answer)) if (200..300).contains(&status) => reading.read(&answer, view, pieces),
            Ok((status, _)) => Outcome::failed(format!("the service answered {status}")),
            Err(error) => Outcome::failed(error),
        }
    }
}

/// Adds the headers that say who asks. `token`: the identity's.
fn authorized(
    asked: &Asked,
    token: Option<&[u8]>,
    body: &[u8],
    headers: &mut Vec<(String, String)>,
) -> Result<(), String> {
    match (&asked.sign, token) {
        (Some(sign), token) => {
            let credentials = token.or(sign.credentials.as_deref().map(str::as_bytes));
            signed(sign, credentials.unwrap_or_default(), &asked.url, body, headers)
        }
        (None, Some(token)) => {
            let token = std::str::from_utf8(token).map_err(|_| "the token is no text".to_string())?;
            headers.push(("authorization".to_string(), format!("Bearer {token}")));
            Ok(())
        }
        (None, None) => Ok(()),
    }
}

/// Adds the headers that sign a call to AWS.
fn signed(
    sign: &Sign,
    credentials: &[u8],
    url: &str,
    body: &[u8],
    headers: &mut Vec<(String, String)>,
) -> Result<(), String> {
    let base = BaseUrl::parse(url)?;
    let credentials =
        sigv4::Credentials::parse(credentials).ok_or_else(|| "the access key is no `ID:SECRET`".to_string())?;
    let signer = Signer {
        region: sign.region.clone(),
        service: sign.service.clone(),
        host: base.authority.clone(),
        operation: sign.operation.clone(),
    };
    let target = if base.prefix.is_empty() { "/" } else { base.prefix.as_str() };
    let payload = sigv4::payload_hash([body]);
    let request = Unsigned { method: "POST", target, payload: &payload };
    headers.extend(signer.headers(&credentials, request, wall_us() / 1_000_000));
    Ok(())
}
