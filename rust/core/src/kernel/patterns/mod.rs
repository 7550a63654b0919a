//! Many patterns over one text, in linear time, with the same verdict however the text arrives.
//!
//! A [`PatternSet`] compiles words and regular expressions together into lazily determinised automata: one pass tells
//! whether anything matches, a second, backwards from each end, where it begins. Nothing backtracks; patterns that would
//! need it are refused when they are compiled ([`syntax`]). What a pattern cannot express (check digits, entropy) is asked
//! of a [`Validator`] for each candidate.
//!
//! A text is looked at in two views ([`view`]): as it stands, and with look-alikes, invisible characters and escapes
//! resolved. A hit in either counts, and is told in offsets of the text as it stands. Patterns may ask for more of them:
//! letters that stand apart ([`spaced`]), and what is encoded ([`encoded`]).
//!
//! ## What a match is
//! Every pair of an end and its leftmost start, limited by [`WINDOW`]: the text is cut into blocks of [`BLOCK`] bytes at
//! fixed offsets, and a match ends at most a block and a window behind its start. As this depends on the text alone,
//! [`Scanner`], which is fed piece by piece, finds exactly what [`PatternSet::scan`] finds, and never holds back more
//! than a block and a window.
//!
//! ## Tried
//! * A dense automaton: over 150 patterns with counted repetitions it does not fit into memory.
//! * Words in an Aho-Corasick automaton beside the regular expressions: a second pass over the text; as a trie inside the
//!   same automaton they cost nothing.
//! * Keeping the automaton's state between pieces: states of a lazy automaton do not outlive its cache, so each stream
//!   would need one of its own. Starting again at the earliest place that may still become a match costs a word.

mod encoded;
mod engine;
mod known;
mod scanner;
mod spaced;
mod syntax;
#[cfg(test)]
mod tests;
mod validate;
mod view;

pub use engine::{Failed, PatternSet};
pub use known::{fault, shared};
pub use scanner::Scanner;
pub use syntax::PatternError;
pub use validate::Validator;
pub use view::plain;

/// The longest match that is found wherever it stands, in bytes.
pub const WINDOW: usize = 4096;
/// Longer ones are found too unless they cross a multiple of this by more than a window.
pub const BLOCK: usize = 32 * 1024;

/// Views of a text besides those that are always looked at, for patterns that ask for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Views {
    /// Words whose letters stand apart.
    pub spacing: bool,
    /// Text in base64.
    pub base64: bool,
    /// Text in hexadecimal digits.
    pub hex: bool,
}

impl Views {
    /// The views with these names.
    ///
    /// # Errors
    /// The first name that is not known.
    pub fn parse(names: &[String]) -> Result<Self, String> {
        let mut views = Views::default();
        for name in names {
            match name.as_str() {
                "spacing" => views.spacing = true,
                "base64" => views.base64 = true,
                "hex" => views.hex = true,
                other => return Err(other.to_string()),
            }
        }
        Ok(views)
    }

    fn with(self, other: Views) -> Views {
        Views {
            spacing: self.spacing || other.spacing,
            base64: self.base64 || other.base64,
            hex: self.hex || other.hex,
        }
    }

    fn encoded(self) -> bool {
        self.base64 || self.hex
    }
}

/// One thing to look for.
#[derive(Clone, Debug)]
pub struct Spec {
    pub source: Source,
    /// Letters of either case.
    pub ignore_case: bool,
    pub validator: Option<Validator>,
    pub views: Views,
}

/// How it is written.
#[derive(Clone, Debug)]
pub enum Source {
    /// A regular expression without look-around and back-references; `\d`, `\w`, `\s` and `\b` are ASCII.
    Regex(String),
    /// Any of these words or phrases; `whole`: not as a part of a longer word.
    Words { words: Vec<String>, whole: bool },
}

/// A pattern (by its place in the set) and the bytes of the text it was found in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hit {
    pub pattern: u32,
    pub start: usize,
    pub end: usize,
    /// The end of the shortest match from there that is not one of an earlier start.
    pub first: usize,
}
