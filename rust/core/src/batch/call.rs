//! Calls of the shell to a provider, with the credential of a deployment: files and jobs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{decoded, deployment, encoded};
use crate::clock::wall_us;
use crate::plane::{Binary, Plane, PlaneError};
use crate::sigv4::{Credentials, Signer, Unsigned, payload_hash};
use crate::snapshot::{Auth, Deployment};
use crate::upstream::Origin;
use crate::upstream::call::Call;
use crate::upstream::origin::BaseUrl;

const METHODS: [&str; 4] = ["GET", "POST", "PUT", "DELETE"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    deployment: String,
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Binary,
    /// What of Amazon's is signed for, where it is not the deployment's own.
    service: Option<String>,
    timeout_ms: u64,
    /// Longest answer that is read.
    most: usize,
}

#[derive(Serialize)]
struct Answered<'a> {
    status: u16,
    #[serde(serialize_with = "binary")]
    body: &'a [u8],
}

fn binary<S: serde::Serializer>(bytes: &&[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

impl Plane {
    /// Asks a provider in the name of a deployment: a map of `status` and `body`. Blocks.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn provider_call(&self, asked: &[u8]) -> Result<Vec<u8>, PlaneError> {
        let asked: Asked = decoded(asked)?;
        let snapshot = self.first()?.snapshot();
        let deployment = deployment(&snapshot, &asked.deployment)
            .ok_or_else(|| PlaneError(format!("the deployment {:?} is gone", asked.deployment)))?;
        let method = METHODS.into_iter().find(|method| *method == asked.method);
        let method = method.ok_or_else(|| PlaneError(format!("method {:?} is not known", asked.method)))?;
        let (url, headers) = presented(deployment, method, &asked).map_err(PlaneError)?;
        let call = Call {
            method,
            url: &url,
            headers: &headers,
            body: &asked.body.0,
            timeout: Duration::from_millis(asked.timeout_ms),
            guarded: matches!(deployment.origin, Origin::Tcp { guarded: true, .. }),
            pool: None,
            most: asked.most,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| PlaneError(format!("runtime: {error}")))?;
        let (status, body) = runtime.block_on(call.send()).map_err(PlaneError)?;
        encoded(&Answered { status, body: &body })
    }
}

type Headers = Vec<(String, String)>;

/// The address and the headers, with the credential in its place.
fn presented(deployment: &Deployment, method: &'static str, asked: &Asked) -> Result<(String, Headers), String> {
    let mut headers = asked.headers.clone();
    headers.push(("connection".to_string(), "close".to_string()));
    headers.push(("accept-encoding".to_string(), "identity".to_string()));
    let secret = deployment.credential.as_ref().map(|slot| slot.load());
    let secret = secret.as_ref().and_then(|secret| secret.as_ref()).map_or(b"".as_slice(), |secret| secret.expose());
    if secret.is_empty() {
        return match deployment.auth {
            Auth::None => Ok((asked.url.clone(), headers)),
            _ => Err("there is no credential (yet)".to_string()),
        };
    }
    let text = || String::from_utf8_lossy(secret).into_owned();
    match &deployment.auth {
        Auth::None => {}
        Auth::Bearer => headers.push(("authorization".to_string(), format!("Bearer {}", text()))),
        Auth::Token => headers.push(("authorization".to_string(), format!("Token {}", text()))),
        Auth::Header(name) => headers.push((name.clone(), text())),
        Auth::Query(name) => {
            let mark = if asked.url.contains('?') { '&' } else { '?' };
            return Ok((format!("{}{mark}{name}={}", asked.url, text()), headers));
        }
        Auth::SigV4(own) => match Credentials::parse(secret) {
            Some(credentials) => headers.extend(signed(own, &credentials, method, asked)?),
            None => headers.push(("authorization".to_string(), format!("Bearer {}", text()))),
        },
    }
    Ok((asked.url.clone(), headers))
}

fn signed(own: &Signer, credentials: &Credentials<'_>, method: &str, asked: &Asked) -> Result<Headers, String> {
    let base = BaseUrl::parse(&asked.url)?;
    let service = asked.service.clone().unwrap_or_else(|| own.service.clone());
    let signer = Signer { region: own.region.clone(), service, host: base.authority, operation: None };
    let path = if base.prefix.is_empty() { "/" } else { &base.prefix };
    let target = base.query.map_or_else(|| path.to_string(), |query| format!("{path}?{query}"));
    let payload = payload_hash([&asked.body.0[..]]);
    let request = Unsigned { method, target: &target, payload: &payload };
    Ok(signer.headers(credentials, request, wall_us() / 1_000_000))
}
