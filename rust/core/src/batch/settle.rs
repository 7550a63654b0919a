//! Answers of a batch: back in the caller's format, and each with its row in the ledger, at batch prices.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::lines::by;
use super::{Refusal, decoded, deployment, encoded, gone, operation, payers, spending};
use crate::account::figures;
use crate::clock::wall_us;
use crate::dialect::{self, Context, Format, translate};
use crate::endpoint::{Dialect, Operation};
use crate::error::{Code, Error, Result};
use crate::exchange::marks;
use crate::hold::{Extra, Hold};
use crate::kernel::cost::{Usage, cost};
use crate::kernel::price::Service;
use crate::ledger::DictKind;
use crate::metrics::Outcome;
use crate::plane::{Plane, PlaneError};
use crate::shard::Shard;
use crate::snapshot::Deployment;
use crate::spool::{Intent, Settle, Source};
use crate::state::draw::Told;
use crate::state::keys::Key;
use crate::state::rules::Metric;
use crate::state::scope::Aim;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settling {
    id: String,
    #[serde(with = "crate::bytes32")]
    digest: [u8; 32],
    key_id: String,
    /// 32 hex digits; a line's own number stands in the last eight.
    request_id: String,
    model: String,
    operation: String,
    deployment: String,
    /// No others follow: what was set aside is given back.
    last: bool,
    /// What the rows cost that this process has written for the batch before.
    carried: i64,
    answers: Vec<Answered>,
}

/// What a provider said to one request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answered {
    /// The line's, from 1.
    line: u32,
    /// It has its row.
    settled: bool,
    status: u16,
    body: String,
    /// The caller's own request.
    request: String,
}

#[derive(Serialize)]
struct Done {
    error: Option<Refusal>,
    answers: Vec<Reply>,
    /// Of the rows that were written now.
    cost: i64,
    /// Of all the answers.
    spent: i64,
}

#[derive(Serialize)]
struct Reply {
    body: Option<String>,
    error: Option<Refusal>,
    input: u64,
    output: u64,
}

/// What every row of a batch has.
struct Rows<'p> {
    shard: &'p Arc<Shard>,
    deployment: &'p Deployment,
    asked: Operation,
    by: Operation,
    intent: Intent,
}

impl Plane {
    /// Answers in the caller's format, with their rows in the ledger: a map of `error`, `answers`, `cost` and `spent`.
    ///
    /// # Errors
    /// The bytes are no such question.
    pub fn batch_settle(&self, settling: &[u8]) -> std::result::Result<Vec<u8>, PlaneError> {
        let settling: Settling = decoded(settling)?;
        let asked = operation(&settling.operation)?;
        let shard = self.first()?;
        let snapshot = shard.snapshot();
        let found = deployment(&snapshot, &settling.deployment).ok_or_else(|| gone(&settling.deployment));
        let found = found.and_then(|deployment| Ok((deployment, by(deployment, asked)?)));
        let (deployment, by) = match found {
            Ok(found) => found,
            Err(error) => {
                return encoded(&Done { error: Some(error.into()), answers: Vec::new(), cost: 0, spent: 0 });
            }
        };
        let key = self.key(&settling.digest);
        let intent = self.intent(key.as_ref(), deployment, asked, &settling)?;
        let rows = Rows { shard, deployment, asked, by, intent };
        let done = rows.write(&settling);
        if settling.last && done.error.is_none() {
            let cost = settling.carried.saturating_add(done.cost);
            let used = [0, 0, 0, 0, 0, u64::try_from(cost).unwrap_or(0)];
            let held = self.shared.batches.0.lock().remove(&settling.id);
            // Another process may have set it aside.
            let payers = || payers(shard, deployment, &settling.model, &settling.operation);
            let mut hold = held.unwrap_or_else(|| {
                let (model, endpoint) = (&*settling.model, &*settling.operation);
                anew(key, payers(), Aim { model, endpoint, provider: &deployment.provider }, cost)
            });
            hold.tell(cost, &used);
            hold.bill(cost, &used);
        }
        encoded(&done)
    }

    fn intent(
        &self,
        key: Option<&Arc<Key>>,
        deployment: &Deployment,
        asked: Operation,
        settling: &Settling,
    ) -> std::result::Result<Intent, PlaneError> {
        let number = u128::from_str_radix(&settling.request_id, 16);
        let number = number.map_err(|_| PlaneError("batch: the request id is none".to_string()))?;
        let owners = key.map(|key| key.owners).unwrap_or_default();
        let intern = |kind, text: &str| self.shared.state.intern(kind, text).map_err(PlaneError);
        Ok(Intent {
            request_id: number.to_be_bytes(),
            key: match key {
                Some(key) => key.ledger_id,
                None => intern(DictKind::Key, &settling.key_id)?,
            },
            org: key.map_or(0, |key| key.org_ledger_id),
            team: owners.team,
            user: owners.user,
            project: owners.project,
            model: intern(DictKind::Model, &settling.model)?,
            deployment: deployment.ledger_id,
            price: deployment.price_id,
            operation: asked as u16,
            flags: marks::BATCH,
            // Every line has a request id of its own.
            attempt_no: 1,
            ..Intent::default()
        })
    }
}

/// What is spent counts, whether or not there was room for it.
fn anew(key: Option<Arc<Key>>, payers: Extra, aim: Aim<'_>, cost: i64) -> Hold {
    let ask = spending(aim, cost, Some([0; Metric::COUNT]));
    let taken = Hold::take(key.as_ref(), payers.clone(), &ask, &mut Told::default());
    taken.unwrap_or_else(|_| Hold::nothing(key, payers))
}

impl Rows<'_> {
    fn write(&self, settling: &Settling) -> Done {
        let mut done = Done { error: None, answers: Vec::new(), cost: 0, spent: 0 };
        for answered in &settling.answers {
            let request_id = line_id(self.intent.request_id, answered.line);
            let (told, usage) = self.told(answered, &format!("{:032x}", u128::from_be_bytes(request_id)));
            let (source, usage, cost) = self.priced(answered, usage.as_ref());
            if !answered.settled {
                if let Err(error) = self.row(request_id, answered.status, (source, &usage, cost)) {
                    done.error = Some(error.into());
                    return done;
                }
                done.cost = done.cost.saturating_add(cost);
            }
            done.spent = done.spent.saturating_add(cost);
            done.answers.push(told);
        }
        done
    }

    fn told(&self, answered: &Answered, request_id: &str) -> (Reply, Option<Usage>) {
        if !(200..300).contains(&answered.status) {
            return (Reply { body: Some(answered.body.clone()), error: None, input: 0, output: 0 }, None);
        }
        match self.answer(answered, request_id) {
            Ok((body, usage)) => {
                let usage = usage.map(|usage| Usage { service: Service::Batch, ..usage });
                let (input, output) = usage.as_ref().map_or((0, 0), |usage| (usage.prompt(), usage.answer()));
                (Reply { body: Some(body), error: None, input, output }, usage)
            }
            Err(error) => (Reply { body: None, error: Some(error.into()), input: 0, output: 0 }, None),
        }
    }

    /// The answer in the caller's format, and what it says it used.
    fn answer(&self, answered: &Answered, request_id: &str) -> Result<(String, Option<Usage>)> {
        let spoilt = |what: &str| {
            let text = format!("Provider '{}' sent an answer that cannot be read: {what}.", self.deployment.provider);
            Error::new(Code::UpstreamInvalid, text)
        };
        let body = answered.body.as_bytes();
        match (self.by.format(), self.asked.format()) {
            (Some(from), Some(to)) if self.by != self.asked => {
                let context = self.context(to, &answered.request, request_id);
                let (body, usage) =
                    translate::answer(from, to, body, &context).map_err(|_| spoilt("not its format"))?;
                Ok((String::from_utf8(body).map_err(|_| spoilt("no UTF-8"))?, usage))
            }
            _ => {
                let spoken =
                    if self.asked == Operation::Responses { Dialect::Responses } else { self.deployment.dialect };
                let member = dialect::usage_member(body, dialect::usage_name(spoken, self.by));
                Ok((answered.body.clone(), dialect::usage(spoken, self.by, member)))
            }
        }
    }

    fn context(&self, to: Format, request: &str, request_id: &str) -> Context {
        Context {
            id: request_id.to_string(),
            created: wall_us() / 1_000_000,
            request: translate::remembered(to, request.as_bytes()),
            kept: if to == Format::Responses { Bytes::from_static(b"\"store\":false") } else { Bytes::new() },
            ..Context::default()
        }
    }

    /// What an answer used, how that is known, and what it costs.
    fn priced(&self, answered: &Answered, usage: Option<&Usage>) -> (Source, Usage, i64) {
        let served = (200..300).contains(&answered.status);
        // Nobody told: what was generated is about as long as it is.
        let guess = Usage {
            input: answered.request.len() as u64 / 4,
            output: answered.body.len() as u64 / 4,
            service: Service::Batch,
            ..Usage::default()
        };
        let (source, usage) = match usage {
            Some(usage) => (Source::Reported, *usage),
            None if served && self.asked.generates() => (Source::Estimated, guess),
            None => (Source::Reported, Usage::default()),
        };
        let price = self.deployment.price.as_deref().filter(|_| served);
        let cost = price.map_or(0, |price| cost(price, &usage).unwrap_or(i64::MAX));
        (source, usage, cost)
    }

    fn row(&self, request_id: [u8; 16], status: u16, priced: (Source, &Usage, i64)) -> Result<()> {
        let (source, usage, cost) = priced;
        let served = (200..300).contains(&status);
        let outcome = match status {
            200..=299 => Outcome::Success,
            429 => Outcome::RateLimited,
            500.. => Outcome::ServerError,
            _ => Outcome::ClientError,
        };
        let intent = Intent { request_id, at_us: wall_us(), reserved_cost: cost, ..self.intent };
        let slot = self.shard.intent(&intent).map_err(|_| {
            Error::new(Code::LedgerUnavailable, "The record of spending cannot be written (disk full?).")
        })?;
        slot.settle(&Settle { source, class: outcome as u8, status, cost, ..figures(usage, served) });
        Ok(())
    }
}

/// The request id of a line: its batch's, with the line's number in the last four bytes. So whoever settles it gives it the
/// same one, and rows of one line are known for such.
fn line_id(batch: [u8; 16], line: u32) -> [u8; 16] {
    let base = u128::from_be_bytes(batch) & !u128::from(u32::MAX);
    (base | u128::from(line)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::line_id;

    #[test]
    fn a_line_has_its_number_at_the_end_of_the_batchs_id() {
        let batch = 0x0198_0000_0000_1111_2222_3333_4444_5555_u128.to_be_bytes();
        let line = |number| u128::from_be_bytes(line_id(batch, number));
        assert_eq!(line(1), 0x0198_0000_0000_1111_2222_3333_0000_0001);
        assert_eq!(line(50_000), 0x0198_0000_0000_1111_2222_3333_0000_c350);
    }
}
