//! A text that arrives in pieces.

use super::Hit;
use super::engine::{Failed, PatternSet, Piece, Progress};
use super::view::{Cooked, is_plain};

/// What has been searched stays in memory until there is this much of it.
const SPARE: usize = 1024;
/// Bytes kept before the first that may begin a match, for boundaries.
const BEHIND: usize = 8;

/// Searches one text piece by piece. The verdict is that of [`PatternSet::scan`] over the whole, wherever it is cut.
#[derive(Clone, Debug, Default)]
pub struct Scanner {
    bytes: Vec<u8>,
    base: usize,
    progress: Progress,
    /// From the first character on whose view differs.
    cooked: Option<Box<(Cooked, Progress)>>,
}

impl Scanner {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Length of the text so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.base + self.bytes.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a piece; appends what is found, in offsets of the whole text. A hit may be told again, or longer.
    ///
    /// # Errors
    /// When the search was given up.
    pub fn push(&mut self, set: &PatternSet, text: &str, hits: &mut Vec<Hit>) -> Result<(), Failed> {
        self.go_on(set, text, false, hits)
    }

    /// The text ends here, or is judged as if it did; more may still be pushed.
    ///
    /// # Errors
    /// When the search was given up.
    pub fn finish(&mut self, set: &PatternSet, hits: &mut Vec<Hit>) -> Result<(), Failed> {
        self.go_on(set, "", true, hits)
    }

    /// No hit still to come begins before this offset.
    #[must_use]
    pub fn safe(&self) -> usize {
        let plain = self.progress.live;
        self.cooked.as_ref().map_or(plain, |cooked| plain.min(cooked.0.start(cooked.1.live)))
    }

    fn go_on(&mut self, set: &PatternSet, text: &str, ends: bool, hits: &mut Vec<Hit>) -> Result<(), Failed> {
        if self.cooked.is_none() && !is_plain(text) {
            self.cooked = Some(Box::new((Cooked::behind(&self.bytes, self.base), self.progress.clone())));
        }
        let mut caches = set.caches();
        self.bytes.extend_from_slice(text.as_bytes());
        let piece = Piece { bytes: &self.bytes, base: self.base, ends };
        set.advance(&mut caches, piece, &mut self.progress, hits)?;
        if ends {
            self.progress.live = piece.base + piece.bytes.len();
        } else {
            set.settle(&mut caches, piece, &mut self.progress)?;
        }
        let keep = self.progress.live.saturating_sub(BEHIND);
        if keep > self.base + SPARE {
            self.bytes.drain(..keep - self.base);
            self.base = keep;
        }
        let Some(both) = &mut self.cooked else { return Ok(()) };
        let (cooked, progress) = &mut **both;
        cooked.push(text, ends);
        let mut found = Vec::new();
        let piece = Piece { bytes: cooked.bytes(), base: cooked.base(), ends };
        set.advance(&mut caches, piece, progress, &mut found)?;
        if ends {
            progress.live = piece.base + piece.bytes.len();
        } else {
            set.settle(&mut caches, piece, progress)?;
        }
        hits.extend(found.into_iter().map(|hit| cooked.in_text(hit)));
        let keep = progress.live.saturating_sub(BEHIND);
        if keep > cooked.base() + SPARE {
            cooked.trim(keep);
        }
        Ok(())
    }
}
