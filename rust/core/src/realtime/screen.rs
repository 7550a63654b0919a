//! Guardrails of a session: what the caller sends is looked at event by event, what is answered as a stream of its own for
//! each response. Sound is looked at by what is written down of it.

mod asked;
mod said;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use serde_json::Value;
use smallvec::SmallVec;
use tokio::sync::{Notify, mpsc};
use tokio_tungstenite::tungstenite::Utf8Bytes;

pub use asked::Asked;
pub use said::Said;

use crate::error::{Code, Error, Result};
use crate::exchange::Exchange;
use crate::guard::output::{refusal, unlookable};
use crate::guard::stream::Teller;
use crate::guard::unseen::Unscannable;
use crate::guard::{Mode, Plan, Side, judge};
use crate::shard::SnapshotRef;

/// Refusals that wait for the caller to take them.
const REFUSALS: usize = 64;

/// What an event becomes.
pub type Out = SmallVec<[Utf8Bytes; 1]>;

/// The guardrails of a session, in both directions.
pub struct Screens {
    pub asked: Asked,
    pub said: Said,
    /// What the caller is told about events that did not pass.
    pub refusals: mpsc::Receiver<Utf8Bytes>,
    pub hearing: Arc<Hearing>,
}

impl Screens {
    /// `None`: nothing holds for the session.
    pub fn of(exchange: &Exchange) -> Option<Box<Screens>> {
        if exchange.guards.is_empty() {
            return None;
        }
        let plans = Plans { snapshot: exchange.snapshot.clone(), places: exchange.guards.iter().copied().collect() };
        let status = plans.all().next().map_or(400, |plan| plan.block_status);
        let (teller, refusals) = mpsc::channel(REFUSALS);
        let hearing = Arc::new(Hearing::default());
        let id = exchange.request_id.to_string();
        let input = Teller::new(exchange, "input", status);
        let output = Teller::new(exchange, "output", status);
        Some(Box::new(Screens {
            asked: Asked::new(plans.clone(), Teller::new(exchange, "input", status), hearing.clone(), teller, id),
            said: Said::new(plans, input, output, hearing.clone()),
            refusals,
            hearing,
        }))
    }
}

/// What holds for a session. It keeps to it when another configuration is published.
#[derive(Clone)]
struct Plans {
    snapshot: SnapshotRef,
    places: SmallVec<[u32; 2]>,
}

impl Plans {
    fn all(&self) -> impl Iterator<Item = &Plan> {
        self.places.iter().filter_map(|place| self.snapshot.plans.get(*place as usize))
    }

    fn sides(&self, output: bool) -> impl Iterator<Item = &Side> {
        self.all().filter_map(move |plan| if output { plan.output.as_ref() } else { plan.input.as_ref() })
    }

    /// What happens to what cannot be looked at.
    fn unscannable(&self, output: bool) -> Unscannable {
        let levels = self.all().map(|plan| plan.unscannable[usize::from(output)]);
        levels.max().unwrap_or(Unscannable::Allow)
    }

    /// Some rule of this direction may change or refuse something.
    fn insists(&self, output: bool) -> bool {
        self.sides(output).any(|side| side.mode > Mode::Audit)
    }

    fn fails_closed(&self, output: bool) -> bool {
        self.sides(output).any(|side| side.fails_closed)
    }

    /// An event as the rules of a direction let it pass, and whether they have changed it; what they find is told, where
    /// somebody is to be told.
    ///
    /// # Errors
    /// The refusal of one that blocks, or cannot look.
    fn through(&self, output: bool, teller: Option<&mut Teller>, event: Utf8Bytes) -> Result<(Utf8Bytes, bool)> {
        let (mut event, mut changed, mut teller) = (event, false, teller);
        if let Some(teller) = &mut teller {
            teller.forget();
        }
        for plan in self.all() {
            let Some(side) = (if output { &plan.output } else { &plan.input }) else { continue };
            let judged = judge(side, event.as_bytes(), true)
                .map_err(|_| Error::new(Code::InvalidJson, "A key stands twice in an object of the event."))?;
            if let Some(teller) = &mut teller {
                judged.findings.iter().for_each(|finding| teller.note(finding));
            }
            if judged.failed && side.fails_closed {
                return Err(unlookable("the search was given up"));
            }
            if let Some(finding) = judged.block() {
                return Err(refusal(finding, if output { "output" } else { "input" }, plan.block_status));
            }
            if let Some(rewritten) = judged.rewritten {
                event = Utf8Bytes::try_from(rewritten).map_err(|_| unlookable("it is not UTF-8"))?;
                changed = true;
            }
        }
        Ok((event, changed))
    }
}

/// Whether what is spoken to the model is written down: as the provider says, who settles it.
#[derive(Default)]
pub struct Hearing {
    written: AtomicBool,
    /// Changes of the session that the provider has not answered yet.
    asked: AtomicU32,
    pub changed: Notify,
}

impl Hearing {
    fn is_written(&self) -> bool {
        self.written.load(Ordering::Relaxed)
    }

    fn is_open(&self) -> bool {
        self.asked.load(Ordering::Relaxed) > 0
    }

    fn ask(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
    }

    /// The provider tells how the session is; `answer`: because it was asked to change it.
    fn learn(&self, event: &[u8], answer: bool) {
        let event: Value = serde_json::from_slice(event).unwrap_or_default();
        let told = TRANSCRIPTIONS.iter().filter_map(|place| event.pointer(place));
        self.written.store(told.into_iter().any(Value::is_object), Ordering::Relaxed);
        if answer {
            let one_less = |asked: u32| asked.checked_sub(1);
            _ = self.asked.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
        }
        self.changed.notify_one();
    }

    /// The provider refused something; nobody can tell whether it was a change of the session.
    fn doubt(&self) {
        if self.asked.swap(0, Ordering::Relaxed) > 0 {
            self.written.store(false, Ordering::Relaxed);
            self.changed.notify_one();
        }
    }
}

/// Where a session says that it writes down what it hears, now and in the API's first form.
const TRANSCRIPTIONS: [&str; 2] = ["/session/audio/input/transcription", "/session/input_audio_transcription"];
