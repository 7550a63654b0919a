//! An event stream while it is being sent: which event comes next and when it is due.

use tokio::time::Instant;

use super::answer::{Event, EventStream};
use super::delay::Delay;
use super::json::Escaped;
use super::script::Script;
use super::sse::SseForm;
use crate::clock::monotonic_ns;

/// Opens a JSON object that never closes, with a byte that is no UTF-8.
const GARBAGE_EVENT: &[u8] = b"data: {\"choices\":[{\"delta\":\xff\n\n";

/// Where a stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Opening(usize),
    /// The content event with this number.
    Delta(u64),
    Closing(usize),
    Terminator,
    Over,
}

/// A stream on its way.
pub struct RunningStream {
    stream: EventStream,
    form: SseForm,
    step: Step,
    due: Instant,
    gap: Option<Delay>,
    random: fastrand::Rng,
    error_at: Option<u64>,
    garbage_at: Option<u64>,
    tells_done: bool,
}

impl RunningStream {
    /// Starts the clock: the first event is due after the script's time to first token.
    pub fn new(stream: EventStream, script: &Script, mut random: fastrand::Rng) -> Self {
        let mut due = Instant::now();
        if let Some(ttft) = script.ttft {
            due += ttft.sample(&mut random);
        }
        Self {
            form: SseForm::new(script).in_frames(stream.frames),
            stream,
            step: Step::Opening(0),
            due,
            gap: script.gap,
            random,
            error_at: script.error_at_event,
            garbage_at: script.garbage_at_event,
            tells_done: script.done,
        }
    }

    pub const fn step(&self) -> Step {
        self.step
    }

    /// When the next event is due. Gaps add up from the first event on, so a late timer does not stretch the stream.
    pub const fn due(&self) -> Instant {
        self.due
    }

    /// How many content events there are.
    pub fn deltas(&self) -> u64 {
        self.stream.deltas()
    }

    /// Writes the next event, if there is one at this step, and moves on. True when it was a content event.
    pub fn write_next(&mut self, out: &mut Vec<u8>) -> bool {
        match self.step {
            Step::Opening(index) => {
                self.step = match self.stream.opening.get(index) {
                    Some(event) => {
                        self.form.write_event(out, event, monotonic_ns);
                        Step::Opening(index + 1)
                    }
                    None => Step::Delta(0),
                };
            }
            Step::Delta(index) => return self.write_delta(index, out),
            Step::Closing(index) => {
                self.step = match self.stream.closing.get(index) {
                    Some(event) => {
                        self.form.write_event(out, event, monotonic_ns);
                        Step::Closing(index + 1)
                    }
                    None => Step::Terminator,
                };
            }
            Step::Terminator => {
                if let Some(event) = self.stream.terminator.take_if(|_| self.tells_done) {
                    self.form.write_event(out, &event, monotonic_ns);
                }
                self.step = Step::Over;
            }
            Step::Over => {}
        }
        false
    }

    fn write_delta(&mut self, index: u64, out: &mut Vec<u8>) -> bool {
        if self.error_at == Some(index.min(self.deltas())) {
            let Event { name, data } = self.stream.error.clone();
            self.form.write(out, name, [&data, "", ""], monotonic_ns);
            self.step = Step::Over;
            return false;
        }
        if self.garbage_at == Some(index) {
            self.garbage_at = None;
            out.extend_from_slice(GARBAGE_EVENT);
            return false;
        }
        let choices = self.stream.delta_templates.len() as u64;
        let choice = self.stream.delta_templates.get(index.checked_rem(choices).unwrap_or(0) as usize);
        let Some((before, after)) = choice.filter(|_| index < self.stream.deltas()) else {
            self.step = Step::Closing(0);
            return false;
        };
        let piece = Escaped(self.stream.pieces.get(index / choices)).to_string();
        self.form.write(out, self.stream.delta_name, [before, &piece, after], monotonic_ns);
        self.step = Step::Delta(index + 1);
        if let Some(gap) = self.gap
            && (index + 1).is_multiple_of(choices)
            && index + 1 < self.stream.deltas()
        {
            self.due += gap.sample(&mut self.random);
        }
        true
    }
}
