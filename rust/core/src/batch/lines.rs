//! Requests of a batch, as the provider takes them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Refusal, decoded, deployment, encoded, gone, operation};
use crate::dialect::{Fault, Target, translate};
use crate::endpoint::Operation;
use crate::error::{Code, Error, Result};
use crate::outgoing::adapted;
use crate::plane::{Plane, PlaneError};
use crate::snapshot::Deployment;
use crate::stage::attempt::prepare::refused;
use crate::stage::parse;
use crate::wire::json::scan_object;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lines {
    deployment: String,
    operation: String,
    bodies: Vec<String>,
}

#[derive(Serialize)]
struct Written {
    error: Option<Refusal>,
    /// What the provider is asked.
    operation: Option<&'static str>,
    lines: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    body: Option<String>,
    error: Option<Refusal>,
}

impl Plane {
    /// Requests as a deployment takes them: a map of `error`, `operation` and `lines`, each with `body` or `error`.
    ///
    /// # Errors
    /// The bytes are no such question.
    pub fn batch_requests(&self, lines: &[u8]) -> std::result::Result<Vec<u8>, PlaneError> {
        let lines: Lines = decoded(lines)?;
        let asked = operation(&lines.operation)?;
        let snapshot = self.first()?.snapshot();
        let target = match deployment(&snapshot, &lines.deployment) {
            Some(deployment) => by(deployment, asked).map(|by| (deployment, by)),
            None => Err(gone(&lines.deployment)),
        };
        let written = match target {
            Ok((deployment, by)) => Written {
                error: None,
                operation: Some(by.name()),
                lines: lines.bodies.into_iter().map(|body| line(deployment, (asked, by), body)).collect(),
            },
            Err(error) => Written { error: Some(error.into()), operation: None, lines: Vec::new() },
        };
        encoded(&written)
    }
}

/// What a deployment is asked in a batch: the caller's operation where it serves it, the conversation that it is translated
/// to otherwise.
pub fn by(deployment: &Deployment, asked: Operation) -> Result<Operation> {
    if deployment.template(asked).is_some() {
        return Ok(asked);
    }
    asked.format().and(deployment.conversation).ok_or_else(|| {
        let text = format!(
            "Provider '{}' does not support '{}' in a batch. Send the requests one by one, or ask another model.",
            deployment.provider,
            asked.name()
        );
        Error::new(Code::FeatureUnsupported, text).param("endpoint")
    })
}

fn line(deployment: &Deployment, pair: (Operation, Operation), body: String) -> Line {
    match write(deployment, pair, body.into()) {
        Ok(body) => Line { body: Some(body), error: None },
        Err(error) => Line { body: None, error: Some(error.into()) },
    }
}

fn write(deployment: &Deployment, (asked, by): (Operation, Operation), body: Bytes) -> Result<String> {
    let internal = || Error::new(Code::Internal, "a translated request is not valid JSON");
    parse::unreserved(&body)?;
    let template = deployment.template(by).ok_or_else(internal)?;
    let body = match (asked.format(), by.format()) {
        (Some(from), Some(to)) if asked != by => {
            let target = Target {
                model: &deployment.model,
                stream: false,
                ask_usage: false,
                max_output: Some(u64::from(deployment.max_output)).filter(|most| *most > 0),
            };
            let request = translate::request(from, to, &body, &target);
            request.map_err(|fault: Fault| refused(&fault, deployment, to))?.body.into()
        }
        _ => named(deployment, &body)?,
    };
    let (parts, _) = adapted(deployment, template, body)?;
    String::from_utf8(parts.concat()).map_err(|_| internal())
}

/// The same request with the provider's name of the model.
fn named(deployment: &Deployment, body: &Bytes) -> Result<Bytes> {
    let scan = scan_object(body, &["model"]).map_err(|error| Error::new(Code::InvalidJson, error.to_string()))?;
    let Some(value) = scan.fields[0] else { return Ok(body.clone()) };
    let (before, after) = (body.get(..value.start as usize), body.get(value.end as usize..));
    Ok([before.unwrap_or_default(), &deployment.model_json[..], after.unwrap_or_default()].concat().into())
}
