//! A token in a header of the request: signed by a key of a set, and in force.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde_json::{Map, Value, json};

use super::params::Params;
use super::{Fault, Outcome, View};
use crate::clock::wall_us;
use crate::upstream::call::{ANSWER, Call};
use crate::upstream::origin::BaseUrl;

const ALGORITHMS: [&str; 9] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];
/// Longest token that is read, and time for the keys.
const TOKEN: usize = 16 * 1024;
const KEYS_WITHIN: Duration = Duration::from_secs(5);
const DAY_S: i64 = 86_400;

#[derive(Debug)]
pub struct Jwt {
    header: String,
    algorithms: Vec<String>,
    tolerance_s: i64,
    max_age_s: Option<i64>,
    required: Vec<String>,
    issuer: Vec<String>,
    audience: Vec<String>,
    not: bool,
    keys: Keys,
}

/// When the keys were fetched, and they.
type Kept = (i64, Arc<Vec<Map<String, Value>>>);

#[derive(Debug)]
enum Keys {
    Given(Vec<Map<String, Value>>),
    At { url: String, guarded: bool, max_age_s: i64, kept: Mutex<Option<Kept>> },
}

impl Jwt {
    /// # Errors
    /// Where in the parameters, and what is wrong.
    pub fn parse(given: &mut Params, guarded: bool) -> Result<Jwt, Fault> {
        let max_age_s = given.number("cacheMaxAge")?.map_or(DAY_S, |age| i64::try_from(age).unwrap_or(DAY_S));
        let keys = match (given.text("jwksUri")?, given.take("jwks")) {
            (Some(url), None) => {
                BaseUrl::parse(&url).map_err(|error| ("jwksUri".to_string(), error))?;
                if !url.starts_with("http") {
                    return Err(("jwksUri".into(), "expected an address of http or https".into()));
                }
                Keys::At { url, guarded, max_age_s, kept: Mutex::new(None) }
            }
            (None, Some(jwks)) => {
                let jwks = match &jwks {
                    Value::String(text) => serde_json::from_str(text).unwrap_or_default(),
                    other => other.clone(),
                };
                let keys = set(&jwks).filter(|keys| !keys.is_empty());
                Keys::Given(keys.ok_or(("jwks".to_string(), "has no `keys`".to_string()))?)
            }
            _ => return Err(("jwksUri".into(), "give either this or `jwks`".into())),
        };
        let mut algorithms = given.texts("algorithms")?;
        if let Some(odd) = algorithms.iter().find(|name| !ALGORITHMS.contains(&name.as_str())) {
            return Err(("algorithms".into(), format!("`{odd}` is none of {}", ALGORITHMS.join(", "))));
        }
        if algorithms.is_empty() {
            algorithms.push("RS256".to_string());
        }
        Ok(Jwt {
            header: given.text("headerKey")?.unwrap_or("authorization".to_string()).to_ascii_lowercase(),
            algorithms,
            tolerance_s: i64::try_from(given.number("clockTolerance")?.unwrap_or(5)).unwrap_or(5),
            max_age_s: age(given)?,
            required: given.texts("requiredClaims")?,
            issuer: given.texts("issuer")?,
            audience: given.texts("audience")?,
            not: given.flag("not")?.unwrap_or(false),
            keys,
        })
    }

    /// Whether its keys are somewhere else.
    pub fn asks(&self) -> bool {
        matches!(self.keys, Keys::At { .. })
    }

    pub fn run(&self, view: &View) -> Outcome {
        match &self.keys {
            Keys::Given(keys) => self.judge(view, keys),
            Keys::At { .. } => Outcome::failed("its keys were not asked for"),
        }
    }

    /// The same where the keys have to be fetched.
    pub async fn asked(&self, view: &View) -> Outcome {
        let Keys::At { url, guarded, max_age_s, kept } = &self.keys else { return self.run(view) };
        let now = wall_us() / 1_000_000;
        let known = kept.lock().clone().filter(|(at, _)| now - at < *max_age_s);
        if let Some((_, keys)) = known {
            return self.judge(view, &keys);
        }
        let call = Call {
            method: "GET",
            url,
            headers: &[],
            body: &[],
            timeout: KEYS_WITHIN,
            guarded: *guarded,
            pool: None,
            most: ANSWER,
        };
        let keys = match call.send().await {
            Ok((200, body)) => set(&serde_json::from_slice(&body).unwrap_or_default()),
            Ok((status, _)) => return Outcome::failed(format!("the keys were answered with {status}")),
            Err(error) => return Outcome::failed(format!("the keys cannot be had: {error}")),
        };
        let Some(keys) = keys else { return Outcome::failed("what is at `jwksUri` is no set of keys") };
        let keys = Arc::new(keys);
        *kept.lock() = Some((now, keys.clone()));
        self.judge(view, &keys)
    }

    fn judge(&self, view: &View, keys: &[Map<String, Value>]) -> Outcome {
        let (valid, told) = match self.verify(view, keys) {
            Ok(()) => (true, "The token is valid.".to_string()),
            Err(why) => (false, format!("The token is not valid: {why}.")),
        };
        Outcome::of(valid != self.not, json!({"explanation": told}))
    }

    fn verify(&self, view: &View, keys: &[Map<String, Value>]) -> Result<(), &'static str> {
        let header = view.headers.get(self.header.as_str()).and_then(|value| value.to_str().ok());
        let token = header.ok_or("the header is missing")?.trim();
        let token = token.strip_prefix("Bearer ").or_else(|| token.strip_prefix("bearer ")).unwrap_or(token).trim();
        if token.len() > TOKEN {
            return Err("it is too long");
        }
        let (signed, signature) = token.rsplit_once('.').ok_or("it has not three parts")?;
        let (head, claims) = signed.split_once('.').ok_or("it has not three parts")?;
        let head = part(head)?;
        let claims = part(claims)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| "its signature is not base64")?;
        let algorithm = head.get("alg").and_then(Value::as_str).unwrap_or_default();
        if !self.algorithms.iter().any(|known| known == algorithm) {
            return Err("its algorithm is not allowed");
        }
        let named = head.get("kid").and_then(Value::as_str);
        let fits = |key: &&Map<String, Value>| {
            let id = key.get("kid").and_then(Value::as_str);
            (named.is_none() || id.is_none() || named == id)
                && key.get("alg").and_then(Value::as_str).is_none_or(|own| own == algorithm)
        };
        let verified = keys.iter().filter(fits).any(|key| check(algorithm, key, signed.as_bytes(), &signature));
        if !verified {
            return Err("no key verifies its signature");
        }
        self.claims(&claims)
    }

    fn claims(&self, claims: &Map<String, Value>) -> Result<(), &'static str> {
        let now = wall_us() / 1_000_000;
        let time = |name: &str| claims.get(name).and_then(Value::as_f64).map(|time| time as i64);
        if time("exp").is_some_and(|end| now >= end.saturating_add(self.tolerance_s)) {
            return Err("it has expired");
        }
        if time("nbf").is_some_and(|start| now < start.saturating_sub(self.tolerance_s)) {
            return Err("it is not in force yet");
        }
        if let Some(most) = self.max_age_s {
            let issued = time("iat").ok_or("it does not say when it was issued")?;
            if now - issued > most.saturating_add(self.tolerance_s) {
                return Err("it is too old");
            }
        }
        if self.required.iter().any(|name| claims.get(name).is_none_or(Value::is_null)) {
            return Err("a claim is missing");
        }
        let among = |name: &str, wanted: &[String]| {
            let told = claims.get(name);
            let is = |value: &Value| value.as_str().is_some_and(|text| wanted.iter().any(|wanted| wanted == text));
            wanted.is_empty()
                || told.is_some_and(|told| is(told) || told.as_array().is_some_and(|items| items.iter().any(is)))
        };
        if !among("iss", &self.issuer) {
            return Err("it was issued by somebody else");
        }
        if !among("aud", &self.audience) {
            return Err("it is for somebody else");
        }
        Ok(())
    }
}

/// `1d`, `12h`, `30m`, `60s`, or seconds; a day when nobody says.
fn age(given: &mut Params) -> Result<Option<i64>, Fault> {
    let text = match given.take("maxTokenAge") {
        None => return Ok(Some(DAY_S)),
        Some(Value::Bool(false)) => return Ok(None),
        Some(Value::Number(number)) => return Ok(number.as_i64()),
        Some(value) => value.as_str().unwrap_or_default().trim().to_string(),
    };
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = match unit.trim() {
        "" | "s" | "sec" | "secs" | "second" | "seconds" => 1,
        "m" | "min" | "mins" | "minute" | "minutes" => 60,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600,
        "d" | "day" | "days" => DAY_S,
        _ => 0,
    };
    match digits.parse::<i64>() {
        Ok(count) if unit > 0 => Ok(Some(count.saturating_mul(unit))),
        _ => Err(("maxTokenAge".into(), "expected a duration such as `1d` or `12h`".into())),
    }
}

fn set(value: &Value) -> Option<Vec<Map<String, Value>>> {
    let keys = value.get("keys")?.as_array()?;
    Some(keys.iter().filter_map(|key| key.as_object().cloned()).collect())
}

fn part(text: &str) -> Result<Map<String, Value>, &'static str> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| "a part is not base64")?;
    serde_json::from_slice(&bytes).map_err(|_| "a part is no JSON object")
}

fn check(algorithm: &str, key: &Map<String, Value>, signed: &[u8], given: &[u8]) -> bool {
    let member = |name: &str| URL_SAFE_NO_PAD.decode(key.get(name)?.as_str()?.trim_end_matches('=')).ok();
    let rsa: &signature::RsaParameters = match algorithm {
        "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
        "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
        "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
        "PS512" => &signature::RSA_PSS_2048_8192_SHA512,
        "ES256" | "ES384" => {
            let (Some(x), Some(y)) = (member("x"), member("y")) else { return false };
            let curve: &dyn signature::VerificationAlgorithm = if algorithm == "ES256" {
                &signature::ECDSA_P256_SHA256_FIXED
            } else {
                &signature::ECDSA_P384_SHA384_FIXED
            };
            let point = [&[4u8][..], &x, &y].concat();
            return UnparsedPublicKey::new(curve, point).verify(signed, given).is_ok();
        }
        _ => {
            let Some(x) = member("x") else { return false };
            return UnparsedPublicKey::new(&signature::ED25519, x).verify(signed, given).is_ok();
        }
    };
    let (Some(n), Some(e)) = (member("n"), member("e")) else { return false };
    RsaPublicKeyComponents { n, e }.verify(rsa, signed, given).is_ok()
}
