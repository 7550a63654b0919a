//! Google's streams, read.

use serde::Deserialize;

use super::answer::{AnswerWire, CandidateWire, finish};
use super::usage::parse_usage;
use super::wire::{PartWire, Proof, call_id, unwrapped};
use crate::dialect::format::Fault;
use crate::dialect::hub::{Delta, Finish, Text, unsealed};
use crate::dialect::read;
use crate::wire::sse;

/// Most choices that are told apart.
const CHOICES_MAX: u32 = 128;

/// Reads `GenerateContentResponse` chunks. There is no last event: whoever closes the stream says that it is over.
#[derive(Debug, Default)]
pub struct Decoder {
    started: bool,
    /// For ids of calls that have none.
    id: String,
    calls: u32,
    /// Calls of each choice; choices that have begun, and those that are complete, as sets of bits.
    called: Vec<u32>,
    begun: u128,
    finished: u128,
    told: bool,
}

impl Decoder {
    /// # Errors
    /// [`Fault::Invalid`] with the path of what is not a chunk.
    pub fn event(&mut self, event: &[u8], step: &mut dyn FnMut(Delta<'_>)) -> Result<(), Fault> {
        let data = sse::data(event);
        let data = data.trim_ascii();
        if data.is_empty() {
            step(Delta::Ping);
            return Ok(());
        }
        let chunk: AnswerWire<'_> = read::document(data)?;
        if let Some(error) = chunk.error {
            failure(error.get(), step);
            return Ok(());
        }
        let usage = chunk.usage.and_then(|raw| parse_usage(raw.get().as_bytes()));
        if !self.started {
            self.started = true;
            let id = chunk.id.unwrap_or_default();
            self.id = if id.is_empty() { format!("{:016x}", fastrand::u64(..)) } else { id.to_string() };
            step(Delta::Start { id, model: chunk.model.unwrap_or_default(), created: None, usage });
        }
        if let Some(text) = chunk.feedback.and_then(|feedback| feedback.refusal()) {
            (self.begun, self.finished) = (self.begun | 1, self.finished | 1);
            step(Delta::Refusal { choice: 0, text: text.into() });
            step(Delta::Finish { choice: 0, reason: Finish::ContentFilter, stopped_by: None });
        }
        for candidate in chunk.candidates.into_iter().flatten() {
            self.candidate(candidate, step)?;
        }
        if let Some(usage) = usage.filter(|_| !self.told && self.begun != 0 && self.begun == self.finished) {
            self.told = true;
            step(Delta::Usage(usage));
        }
        Ok(())
    }

    fn candidate(&mut self, candidate: CandidateWire<'_>, step: &mut dyn FnMut(Delta<'_>)) -> Result<(), Fault> {
        let choice = candidate.index;
        if choice >= CHOICES_MAX {
            return Err(Fault::invalid("candidates[].index", "too many candidates"));
        }
        self.begun |= 1 << choice;
        if self.called.len() <= choice as usize {
            self.called.resize(choice as usize + 1, 0);
        }
        let cited = candidate.citations();
        for raw in candidate.content.and_then(|content| content.parts).unwrap_or_default() {
            let part: PartWire<'_> = read::value("candidates[].content.parts[]", raw)?;
            self.part(choice, part, step);
        }
        if let Some(citations) = cited {
            step(Delta::Citation { choice, citations });
        }
        if let Some(raw) = candidate.logprobs.and_then(super::logprobs::to_chat) {
            step(Delta::Logprobs { choice, raw: &raw });
        }
        if let Some(reason) = candidate.finish.filter(|_| self.finished & 1 << choice == 0) {
            self.finished |= 1 << choice;
            let called = self.called.get(choice as usize).is_some_and(|calls| *calls > 0);
            step(Delta::Finish { choice, reason: finish(&reason, called), stopped_by: None });
        }
        Ok(())
    }

    fn part(&mut self, choice: u32, part: PartWire<'_>, step: &mut dyn FnMut(Delta<'_>)) {
        let signature = part.signature.filter(|signature| !signature.is_empty());
        if let Some(call) = part.call {
            let Some(calls) = self.called.get_mut(choice as usize) else { return };
            let index = *calls;
            *calls += 1;
            let arguments = call.arguments();
            let id =
                call.id.filter(|id| !id.is_empty()).unwrap_or_else(|| call_id(&self.id, self.calls as usize).into());
            self.calls += 1;
            step(Delta::ToolStart { choice, index, id, name: call.name, signature });
            step(Delta::ToolArguments { choice, index, json: arguments });
            return;
        }
        let Some(text) = part.text else { return };
        if part.thought != Some(true) {
            if !text.is_empty() {
                step(Delta::Text { choice, text });
            }
            return;
        }
        if !text.is_empty() {
            step(Delta::Reasoning { choice, text });
        }
        match signature.map(unwrapped) {
            Some(Proof::Signature(signature)) => step(Delta::ReasoningSignature { choice, signature }),
            Some(Proof::Encrypted(data)) => {
                let (data, id) = unsealed(data);
                step(Delta::ReasoningEncrypted { choice, data, id });
            }
            None => {}
        }
    }
}

fn failure(error: &str, step: &mut dyn FnMut(Delta<'_>)) {
    #[derive(Default, Deserialize)]
    struct Wire<'a> {
        #[serde(default, borrow)]
        status: Option<Text<'a>>,
        #[serde(default, borrow)]
        message: Option<Text<'a>>,
    }
    let wire: Wire<'_> = serde_json::from_str(error).unwrap_or_default();
    let kind = super::error::kind(wire.status.as_deref().unwrap_or_default());
    let message = wire.message.unwrap_or_else(|| "The provider reported a failure.".into());
    step(Delta::Error { kind: kind.into(), message });
}
