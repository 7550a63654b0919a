//! The view into what is encoded: runs of base64 and of hexadecimal digits that stand for text.

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::{Hit, Views};

/// Shortest run that is looked into.
const RUN_MIN: usize = 16;
/// Longest; of a longer one every such part, the next beginning [`OVERLAP`] before its end. Both multiples of four.
const RUN_MAX: usize = 8192;
const OVERLAP: usize = 2048;

const LOOSE: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, LOOSE);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::URL_SAFE, LOOSE);

fn in_run(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'_' | b'-')
}

/// The run that is open at the end of a text, and the runs that were complete.
#[derive(Clone, Debug, Default)]
pub(super) struct Encoded {
    run: Vec<u8>,
    /// Where the run begins; how much of the text there was.
    start: usize,
    at: usize,
}

impl Encoded {
    /// Adds more of a text. `look` is given what runs stand for, and where they stand.
    pub fn push(&mut self, text: &str, ends: bool, views: Views, look: &mut impl FnMut(&str, Hit)) {
        for byte in text.bytes() {
            if in_run(byte) {
                if self.run.is_empty() {
                    self.start = self.at;
                }
                self.run.push(byte);
                if self.run.len() == RUN_MAX {
                    self.complete(views, look);
                    self.run.drain(..RUN_MAX - OVERLAP);
                    self.start += RUN_MAX - OVERLAP;
                }
            } else {
                self.complete(views, look);
                self.run.clear();
            }
            self.at += 1;
        }
        if ends {
            self.complete(views, look);
        }
    }

    /// The first byte of the run that may go on.
    pub fn safe(&self) -> usize {
        if self.run.is_empty() { self.at } else { self.start }
    }

    fn complete(&self, views: Views, look: &mut impl FnMut(&str, Hit)) {
        if self.run.len() < RUN_MIN {
            return;
        }
        let end = self.start + self.run.len();
        let place = Hit { pattern: 0, start: self.start, end, first: end };
        if views.hex && self.run.iter().all(u8::is_ascii_hexdigit) {
            let digit =
                |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap_or(0);
            let bytes: Vec<u8> = self
                .run
                .chunks_exact(2)
                .map(|pair| pair.iter().fold(0, |sum: u8, byte| sum.wrapping_mul(16).wrapping_add(digit(*byte))))
                .collect();
            if let Some(text) = readable(bytes) {
                look(&text, place);
            }
        }
        if views.base64 {
            let url = self.run.iter().any(|byte| matches!(byte, b'-' | b'_'));
            let engine = if url { &URL_SAFE } else { &STANDARD };
            // Letters in front of it may belong to the run: it begins at any of four places.
            for skip in 0..4 {
                let part = self.run.get(skip..).unwrap_or_default();
                // A last character alone stands for no byte.
                let part = part.get(..part.len() - usize::from(part.len() % 4 == 1)).unwrap_or_default();
                if let Some(text) = engine.decode(part).ok().and_then(readable) {
                    look(&text, place);
                }
            }
        }
    }
}

/// The text that bytes are, when they are one.
fn readable(bytes: Vec<u8>) -> Option<String> {
    let text = String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    let odd =
        text.chars().filter(|c| *c == char::REPLACEMENT_CHARACTER || (c.is_control() && !c.is_whitespace())).count();
    (odd * 8 <= text.len()).then_some(text)
}
