//! How much a provider has generated so far, for attempts that end before it tells.

use crate::kernel::cost::Usage;

/// Longest mean text of an event, in bytes, for which an event is taken to be one token.
const TOKEN_EVENT: u64 = 12;
/// Bytes of text per token otherwise.
const TOKEN_BYTES: u64 = 4;

/// A running estimate of generated tokens. Most providers send one token an event; those that send more are counted by
/// the length of their text.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    events: u64,
    text: u64,
    /// Input and cache tokens where the provider told them early.
    pub told: Option<Usage>,
    /// The provider has begun to answer.
    pub answered: bool,
    pub status: u16,
}

impl Progress {
    /// One event with so many bytes of generated text.
    pub fn content(&mut self, text: u32) {
        self.events += 1;
        self.text += u64::from(text);
    }

    /// Generated text that is not in events.
    pub fn plain(&mut self, bytes: usize) {
        self.events = self.events.max(1);
        self.text += bytes as u64;
    }

    /// Tokens so far.
    pub fn output(&self) -> u64 {
        if self.text <= TOKEN_EVENT * self.events { self.events } else { self.text.div_ceil(TOKEN_BYTES) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_counts_events_or_text() {
        let mut progress = Progress::default();
        assert_eq!(progress.output(), 0);
        for _ in 0..10 {
            progress.content(5);
        }
        assert_eq!(progress.output(), 10);
        for _ in 0..10 {
            progress.content(80);
        }
        assert_eq!(progress.output(), 213);
    }
}
