//! What is sent to a deployment: the caller's own bytes where it speaks his format, a translation otherwise.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::dialect::{Fault, Format, Target, family, translate};
use crate::endpoint::Operation;
use crate::error::{Code, Error, Result};
use crate::exchange::Exchange;
use crate::outgoing::{request_body, translated_body};
use crate::snapshot::{Deployment, RequestTemplate, StreamUsage};
use crate::worded::{Asked, Worded};

/// # Errors
/// 400 when the deployment cannot be asked what the caller asks for. Another one may be able to answer.
pub fn prepare(
    exchange: &mut Exchange,
    deployment: &Deployment,
    operation: Operation,
    template: &RequestTemplate,
) -> Result<SmallVec<[Bytes; 5]>> {
    let asked = exchange.endpoint.operation;
    exchange.worded = None;
    if operation == asked {
        (exchange.translation, exchange.converted) = (None, None);
        if let Some(worded) = &template.worded {
            return own_words(exchange, deployment, template, worded);
        }
        return request_body(exchange, deployment, template);
    }
    let (Some(from), Some(to)) = (asked.format(), operation.format()) else {
        return converted(exchange, deployment, operation, template);
    };
    let target = Target {
        model: &deployment.model,
        stream: exchange.call.stream,
        ask_usage: exchange.call.stream && deployment.stream_usage == StreamUsage::Inject,
        max_output: Some(u64::from(deployment.max_output)).filter(|most| *most > 0),
    };
    let request = translate::request(from, to, &exchange.call.body, &target);
    let request = request.map_err(|fault| refused(&fault, deployment, to))?;
    exchange.translation = Some(to);
    exchange.dropped = request.losses.names().map(Box::from).collect();
    translated_body(exchange, deployment, template, request.body.into())
}

/// A request in the provider's own words, as its row has them.
fn own_words(
    exchange: &mut Exchange,
    deployment: &Deployment,
    template: &RequestTemplate,
    worded: &Worded,
) -> Result<SmallVec<[Bytes; 5]>> {
    let call = &exchange.call;
    let written = worded.write(&Asked {
        provider: &deployment.provider,
        model: &deployment.model,
        line: &template.line,
        body: &call.body,
        boundary: call.boundary.as_deref(),
        content_type: call.content_type.as_ref(),
    })?;
    exchange.converted = worded.reading.as_ref().map(|_| exchange.endpoint.operation);
    exchange.dropped = written.dropped;
    exchange.worded = Some(Box::new(written.sent));
    Ok(written.body)
}

/// A request in another shape of its family.
fn converted(
    exchange: &mut Exchange,
    deployment: &Deployment,
    operation: Operation,
    template: &RequestTemplate,
) -> Result<SmallVec<[Bytes; 5]>> {
    let pair = family::Pair { asked: exchange.endpoint.operation, by: operation, model: &deployment.model };
    let form = exchange.call.boundary.as_deref().map(|boundary| {
        family::form::document(&exchange.call.body, boundary).map(|document| Bytes::from(document.to_string()))
    });
    let body = form.unwrap_or_else(|| Ok(exchange.call.body.clone()));
    let request = body.and_then(|body| family::request(pair, &body)).map_err(|fault| match fault {
        family::Fault::Invalid { path, reason } => refused(&Fault::Invalid { path, reason }, deployment, Format::Chat),
        family::Fault::Unsupported { parameter, what, instead } => {
            let text =
                format!("Provider '{}' does not support {what} ('{parameter}'). {instead}.", deployment.provider);
            Error::new(Code::FeatureUnsupported, text).param(parameter)
        }
    })?;
    exchange.converted = Some(operation);
    exchange.dropped = request.dropped.into_iter().collect();
    translated_body(exchange, deployment, template, request.body.into())
}

/// What a request that cannot be written is refused with.
pub fn refused(fault: &Fault, deployment: &Deployment, to: Format) -> Error {
    match fault {
        Fault::Invalid { path, reason } if path.is_empty() => {
            Error::new(Code::InvalidRequest, format!("The request cannot be read: {reason}."))
        }
        Fault::Invalid { path, reason } => {
            Error::new(Code::InvalidRequest, format!("Invalid '{path}': {reason}.")).param(path.clone())
        }
        Fault::Unsupported(unsupported) => {
            let text = format!(
                "Provider '{}' ({} format) does not support {} ('{}'). Instead: {}.",
                deployment.provider,
                to.name(),
                unsupported.feature.what(),
                unsupported.feature.name(),
                unsupported.alternative
            );
            Error::new(Code::FeatureUnsupported, text).param(unsupported.feature.name())
        }
    }
}
