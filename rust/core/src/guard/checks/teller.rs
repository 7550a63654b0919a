//! Whom the verdicts of checks are told.

use crate::event::Event;
use crate::exchange::Exchange;
use crate::guard::hook::{Ran, Run};
use crate::guard::notice;
use crate::guard::record::Verdict;
use crate::shard::Shard;

/// Whom verdicts are told, when the request is gone, too.
pub struct Teller {
    time_us: i64,
    request_id: String,
    model: String,
    key: String,
}

impl Teller {
    pub fn of(exchange: &Exchange) -> Teller {
        Teller {
            time_us: exchange.wall_us,
            request_id: exchange.request_id.to_string(),
            model: exchange.model().map(|model| model.name.to_string()).unwrap_or_default(),
            key: exchange.key.as_ref().map(|key| key.id.to_string()).unwrap_or_default(),
        }
    }

    pub fn tell(&self, shard: &Shard, ran: &Ran) {
        for (check, error) in ran.errors() {
            shard.shared.events.push(Event {
                kind: "guardrail_check",
                level: "warning",
                message: format!("the check {check} of guardrail {} could not be made: {error}", ran.hook.name),
                request_id: Some(self.request_id.clone()),
                ..Event::default()
            });
        }
        if ran.passed && ran.change.is_none() {
            return;
        }
        let verdict = Verdict {
            time_us: self.time_us,
            request_id: self.request_id.clone(),
            rule: ran.hook.name.to_string(),
            label: ran.why().0,
            action: ran.meant().name(),
            shadow: ran.hook.shadow || ran.hook.run == Run::Async,
            side: if ran.output { "output" } else { "input" },
            place: String::new(),
            model: self.model.clone(),
            key: self.key.clone(),
            matches: 1,
            length: 0,
        };
        notice::note(shard, &ran.hook.cell, verdict);
    }
}
