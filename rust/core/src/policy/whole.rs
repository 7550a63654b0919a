//! What a stream came to when it is over: what it said, as a whole answer, its tokens and its cost.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use crate::bill::Bill;
use crate::cache::replay;
use crate::dialect::{self, Context, Format, translate};
use crate::endpoint::{Dialect, Operation};
use crate::exchange::Exchange;
use crate::facts::{Reply, streamed};
use crate::kernel::cost::Usage;
use crate::stream::Framing;

/// What is known of it before its end.
pub struct Whole {
    format: Option<(Format, Context)>,
    kind: (Dialect, Operation),
    framing: Framing,
    bill: Option<Arc<Bill>>,
}

impl Whole {
    /// Of an answer with these headers.
    pub fn of(exchange: &Exchange, headers: &HeaderMap) -> Whole {
        let policed = exchange.policed.as_deref();
        let operation = exchange.endpoint.operation;
        let format = replay::format(operation).map(|format| {
            let body = policed.map_or(&[][..], |policed| &policed.body);
            (format, Context { request: translate::remembered(format, body), ..replay::context(exchange, format) })
        });
        let bill = policed.and_then(|policed| policed.bill.clone());
        let framing = Framing::of(headers).unwrap_or(Framing::Sse);
        Whole { format, kind: (exchange.endpoint.dialect, operation), framing, bill }
    }

    /// Tells a reply what the stream said and came to; false: it cannot be read, and nobody knows what it says.
    pub fn tell(&self, stream: Bytes, reply: &mut Reply) -> bool {
        reply.body = Bytes::new();
        if let Some((format, context)) = &self.format
            && let Some(body) = replay::folded(*format, &stream, context)
        {
            reply.body = body;
        }
        let said = streamed::said(stream, self.framing);
        let readable = said.is_some();
        let said = said.unwrap_or_default();
        reply.text = Some(said.text);
        reply.calls = said.calls;
        self.tell_cost(reply);
        readable
    }

    /// Tokens and cost as the ledger has them; of what the cache answered, what the answer says.
    pub fn tell_cost(&self, reply: &mut Reply) {
        match self.bill.as_ref().and_then(|bill| bill.get()) {
            Some(billed) => {
                (reply.input, reply.output) = (Some(billed.input), Some(billed.output));
                reply.cost = Some(billed.pico as f64 * 1e-12);
            }
            None => {
                let usage = used(self.kind, &reply.body);
                reply.input = usage.map(|usage| usage.input);
                reply.output = usage.map(|usage| usage.output);
            }
        }
    }
}

/// What a whole answer says that it used.
pub fn used((dialect, operation): (Dialect, Operation), body: &Bytes) -> Option<Usage> {
    let name = dialect::usage_name(dialect, operation);
    let scan = crate::wire::json::scan_object(body, &[name]).ok()?;
    dialect::usage(dialect, operation, Some(scan.fields[0]?.raw(body)))
}
