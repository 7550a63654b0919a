//! Responses that their provider keeps: it is asked again, at the deployment that made them.

use http::Method;

use super::store::Response;
use crate::endpoint::{Dialect, Endpoint, Operation, Owner, Payload};
use crate::exchange::{Call, Exchange};

/// What is asked of a thing that a provider keeps.
#[derive(Clone, Debug)]
pub struct Object {
    pub method: Method,
    /// What follows the operation's path.
    pub tail: String,
}

/// What requests for kept responses go through the pipeline as; no path leads here.
static KEPT: Endpoint = Endpoint {
    method: Method::GET,
    pattern: "/v1/responses/{rest}",
    owner: Owner::Stored,
    operation: Operation::StoredResponse,
    dialect: Dialect::Responses,
    payload: Payload::None,
};

/// Makes an exchange ask for `rest` (an id, perhaps with a verb) at the deployment that has the response.
pub fn forward(exchange: &mut Exchange, method: Method, rest: &str, response: Response) {
    let query = exchange.query.as_deref().map_or(String::new(), |query| format!("?{query}"));
    exchange.object = Some(Box::new(Object { method, tail: format!("/{rest}{query}") }));
    exchange.endpoint = &KEPT;
    exchange.provider = response.deployment.map(Into::into);
    exchange.call = Call { model: response.model, choices: 1, ..Call::default() };
}

/// An id as it may stand in a path.
pub fn is_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= 256 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}
