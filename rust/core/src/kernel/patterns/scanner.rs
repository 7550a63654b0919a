//! A text that arrives in pieces.

use super::Hit;
use super::encoded::Encoded;
use super::engine::{Caches, Failed, PatternSet, Piece, Progress};
use super::spaced::Spaced;
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
    /// Where patterns ask for them.
    spaced: Option<Box<(Spaced, Progress)>>,
    encoded: Option<Box<Encoded>>,
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
        let mut safe = self.progress.safe();
        if let Some(cooked) = &self.cooked {
            safe = safe.min(cooked.0.start(cooked.1.safe()));
            if let Some(spaced) = &self.spaced {
                safe = safe.min(cooked.0.start(spaced.0.start(spaced.1.safe())));
            }
        }
        self.encoded.as_ref().map_or(safe, |encoded| safe.min(encoded.safe()))
    }

    fn go_on(&mut self, set: &PatternSet, text: &str, ends: bool, hits: &mut Vec<Hit>) -> Result<(), Failed> {
        if self.cooked.is_none() && (set.views.spacing || !is_plain(text)) {
            self.cooked = Some(Box::new((Cooked::behind(&self.bytes, self.base), self.progress.clone())));
        }
        let mut caches = set.caches();
        self.bytes.extend_from_slice(text.as_bytes());
        let piece = Piece { bytes: &self.bytes, base: self.base, ends };
        go(set, &mut caches, piece, &mut self.progress, hits)?;
        let keep = self.progress.live.saturating_sub(BEHIND);
        if keep > self.base + SPARE {
            self.bytes.drain(..keep - self.base);
            self.base = keep;
        }
        if set.views.encoded() {
            let mut searched = Ok(());
            self.encoded.get_or_insert_default().push(text, ends, set.views, &mut |inner, place| {
                searched = searched.and(set.inside(&mut caches, inner, place, hits));
            });
            searched?;
        }
        let Some(both) = &mut self.cooked else { return Ok(()) };
        let (cooked, progress) = &mut **both;
        cooked.push(text, ends);
        let mut found = Vec::new();
        let piece = Piece { bytes: cooked.bytes(), base: cooked.base(), ends };
        go(set, &mut caches, piece, progress, &mut found)?;
        hits.extend(found.iter().map(|hit| cooked.in_text(*hit)));
        let mut keep = progress.safe();
        if set.views.spacing {
            found.clear();
            let (spaced, progress) = &mut **self.spaced.get_or_insert_default();
            let new = cooked.bytes().get(spaced.fed() - cooked.base()..).unwrap_or_default();
            spaced.push(&String::from_utf8_lossy(new), ends);
            let piece = Piece { bytes: spaced.bytes(), base: spaced.base(), ends };
            go(set, &mut caches, piece, progress, &mut found)?;
            let asked = found.into_iter().filter(|hit| set.asks(hit.pattern, |views| views.spacing));
            hits.extend(asked.map(|hit| cooked.in_text(spaced.in_text(hit))));
            keep = keep.min(spaced.start(progress.safe()));
            let behind = progress.safe().saturating_sub(BEHIND);
            if behind > spaced.base() + SPARE {
                spaced.trim(behind);
            }
        }
        let keep = keep.saturating_sub(BEHIND);
        if keep > cooked.base() + SPARE {
            cooked.trim(keep);
        }
        Ok(())
    }
}

/// Searches on in one view.
fn go(
    set: &PatternSet,
    caches: &mut Caches,
    piece: Piece<'_>,
    progress: &mut Progress,
    hits: &mut Vec<Hit>,
) -> Result<(), Failed> {
    set.advance(caches, piece, progress, hits)?;
    if piece.ends {
        progress.live = piece.base + piece.bytes.len();
        return Ok(());
    }
    set.settle(caches, piece, progress)
}
