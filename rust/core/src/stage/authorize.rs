//! May this key do that: the model behind the name, the model and endpoint lists of the key, the caller's address.

use std::net::IpAddr;

use super::Flow;
use crate::error::{Code, Error, Result};
use crate::exchange::Exchange;
use crate::kernel::nearest::nearest;
use crate::snapshot::Unknown;
use crate::state::keys::Key;

pub fn run(exchange: &mut Exchange) -> Result<Flow> {
    let Some(key) = exchange.key.clone() else {
        return Err(Error::new(Code::Internal, "authorize ran before identify"));
    };
    check_address(&key, exchange.client)?;
    let operation = exchange.endpoint.operation;
    if !key.may_call(operation.permitted_by()) {
        let text = format!("This API key may not call the endpoint '{}'.", operation.name());
        return Err(Error::new(Code::EndpointDenied, text));
    }
    let name = exchange.call.model.as_str();
    // A wildcard makes nothing of a name that the key may not use.
    let found = match exchange.snapshot.find(name) {
        None if key.may_use(name) => exchange.snapshot.find_or_make(name, &exchange.shard.shared.state),
        found => found.ok_or(Unknown::NoModel),
    };
    let (index, model) = found.map_err(|unknown| not_found(exchange, &key, unknown))?;
    if !key.may_use(name) && !key.may_use(&model.name) {
        let text = format!("This API key may not use the model '{name}'.");
        return Err(Error::new(Code::ModelDenied, text).param("model"));
    }
    exchange.model = Some(index);
    Ok(Flow::Next)
}

fn not_found(exchange: &Exchange, key: &Key, unknown: Unknown) -> Error {
    let name = exchange.call.model.as_str();
    let hint = match unknown {
        Unknown::NoRoom => {
            " A wildcard would serve it, but too many unknown names were asked for already: name it in the configuration."
                .to_string()
        }
        Unknown::NoModel => {
            let allowed: Vec<_> = exchange.snapshot.listed().filter(|listed| key.may_use(&listed.name)).collect();
            let near = nearest(name, allowed.iter().map(|listed| &*listed.name));
            near.map_or(String::new(), |near| format!(" Did you mean '{near}'?"))
        }
    };
    let text = format!("The model '{}' does not exist or you do not have access to it.{hint}", shortened(name));
    Error::new(Code::ModelNotFound, text).param("model")
}

/// Refuses callers whose address is not on the key's list.
pub fn check_address(key: &Key, client: IpAddr) -> Result<()> {
    if key.may_come_from(client) {
        return Ok(());
    }
    Err(Error::new(Code::AddressDenied, format!("This API key may not be used from {client}.")))
}

/// A caller's text, short enough to be quoted.
fn shortened(text: &str) -> &str {
    match text.char_indices().nth(128) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}
