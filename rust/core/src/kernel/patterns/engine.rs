//! The compiled set and the search over a piece of text.

use regex_automata::hybrid::dfa::{Cache, DFA, OverlappingState};
use regex_automata::nfa::thompson;
use regex_automata::util::pool::Pool;
use regex_automata::{Anchored, Input, MatchKind, PatternID};
use regex_syntax::hir::Hir;
use smallvec::SmallVec;

use super::encoded::Encoded;
use super::spaced::{Spaced, is_spaced};
use super::syntax::{self, PatternError};
use super::view::{self, Cooked};
use super::{BLOCK, Hit, Spec, Validator, Views, WINDOW};

/// Patterns in one automaton. More make each of its states larger, fewer make more passes.
const SHARD: usize = 256;
/// Most memory for the states of one automaton in one thread; when it is full they are made anew.
const CACHE: usize = 6 << 20;
/// Largest program of one pattern, and of all patterns of an automaton.
const NFA_MAX: usize = 64 << 20;
/// Longest candidate that is given to a validator.
const CANDIDATE: usize = 1024;

/// A search was given up; the text must be treated as not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the search was given up")]
pub struct Failed;

/// Facts about one pattern that the search needs.
#[derive(Debug)]
struct Pattern {
    validator: Option<Validator>,
    views: Views,
    /// Longest match in bytes.
    longest: usize,
}

/// Up to [`SHARD`] patterns, forwards and backwards.
#[derive(Debug)]
struct Shard {
    forward: DFA,
    backward: DFA,
    /// Number of the first pattern.
    first: u32,
}

/// States of the automata, made as texts need them.
#[derive(Debug)]
pub(super) struct Caches(Vec<(Cache, Cache)>);

type MakeCaches = Box<dyn Fn() -> Caches + Send + Sync + std::panic::UnwindSafe + std::panic::RefUnwindSafe>;

/// Words and expressions compiled together.
pub struct PatternSet {
    shards: std::sync::Arc<Vec<Shard>>,
    patterns: Vec<Pattern>,
    pub(super) views: Views,
    pool: Pool<Caches, MakeCaches>,
}

impl std::fmt::Debug for PatternSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PatternSet").field("patterns", &self.patterns.len()).finish_non_exhaustive()
    }
}

impl PatternSet {
    /// Compiles all patterns; takes about 20 µs for each.
    ///
    /// # Errors
    /// The first pattern that cannot be compiled, by its place, and why.
    pub fn new(specs: &[Spec]) -> Result<Self, (usize, PatternError)> {
        let mut hirs = Vec::with_capacity(specs.len());
        let mut patterns = Vec::with_capacity(specs.len());
        let mut views = Views::default();
        for (index, spec) in specs.iter().enumerate() {
            let hir = syntax::compile(&spec.source, spec.ignore_case).map_err(|error| (index, error))?;
            let longest = hir.properties().maximum_len().unwrap_or(usize::MAX);
            let longest = if spec.validator.is_some() { longest.min(CANDIDATE) } else { longest };
            patterns.push(Pattern { validator: spec.validator, views: spec.views, longest });
            views = views.with(spec.views);
            hirs.push(hir);
        }
        let mut shards = Vec::new();
        for (number, part) in hirs.chunks(SHARD).enumerate() {
            let first = number * SHARD;
            let shard = shard(part, first).map_err(|text| (first, PatternError::TooLarge(text)))?;
            shards.push(shard);
        }
        let shards = std::sync::Arc::new(shards);
        let make: MakeCaches = Box::new({
            let shards = shards.clone();
            move || {
                let caches = shards.iter().map(|shard| (shard.forward.create_cache(), shard.backward.create_cache()));
                Caches(caches.collect())
            }
        });
        Ok(PatternSet { shards, patterns, views, pool: Pool::new(make) })
    }

    /// How many patterns it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.patterns.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Everything found in a whole text, in no particular order; a hit may be told more than once.
    ///
    /// # Errors
    /// When the search was given up.
    pub fn scan(&self, text: &str, hits: &mut Vec<Hit>) -> Result<(), Failed> {
        if self.patterns.is_empty() || text.is_empty() {
            return Ok(());
        }
        let mut caches = self.pool.get();
        let mut searched = self.seen(&mut caches, text, self.views.spacing, hits);
        if self.views.encoded() {
            Encoded::default().push(text, true, self.views, &mut |inner, place| {
                let looked = self.inside(&mut caches, inner, place, hits);
                searched = searched.and(looked);
            });
        }
        searched
    }

    /// Everything found in the views of a whole text, but for what is encoded.
    fn seen(&self, caches: &mut Caches, text: &str, spacing: bool, hits: &mut Vec<Hit>) -> Result<(), Failed> {
        self.all(caches, text.as_bytes(), hits)?;
        let spacing = spacing && is_spaced(text);
        if view::is_plain(text) && !spacing {
            return Ok(());
        }
        let mut cooked = Cooked::default();
        cooked.push(text, true);
        let mut found = Vec::new();
        self.all(caches, cooked.bytes(), &mut found)?;
        hits.extend(found.iter().map(|hit| cooked.in_text(*hit)));
        if spacing {
            let mut spaced = Spaced::default();
            spaced.push(&String::from_utf8_lossy(cooked.bytes()), true);
            found.clear();
            self.all(caches, spaced.bytes(), &mut found)?;
            let asked = found.into_iter().filter(|hit| self.asks(hit.pattern, |views| views.spacing));
            hits.extend(asked.map(|hit| cooked.in_text(spaced.in_text(hit))));
        }
        Ok(())
    }

    /// What is found in a text that stands encoded at `place`: all of that is the hit.
    pub(super) fn inside(
        &self,
        caches: &mut Caches,
        text: &str,
        place: Hit,
        hits: &mut Vec<Hit>,
    ) -> Result<(), Failed> {
        let mut found = Vec::new();
        let searched = self.seen(caches, text, false, &mut found);
        found.sort_by_key(|hit| hit.pattern);
        found.dedup_by_key(|hit| hit.pattern);
        let asked = found.into_iter().filter(|hit| self.asks(hit.pattern, Views::encoded));
        hits.extend(asked.map(|hit| Hit { pattern: hit.pattern, ..place }));
        searched
    }

    pub(super) fn asks(&self, pattern: u32, view: impl Fn(Views) -> bool) -> bool {
        self.patterns.get(pattern as usize).is_some_and(|pattern| view(pattern.views))
    }

    fn all(&self, caches: &mut Caches, bytes: &[u8], hits: &mut Vec<Hit>) -> Result<(), Failed> {
        self.advance(caches, Piece { bytes, base: 0, ends: true }, &mut Progress::default(), hits)
    }

    pub(super) fn caches(&self) -> regex_automata::util::pool::PoolGuard<'_, Caches, MakeCaches> {
        self.pool.get()
    }

    /// Searches on from where `progress` stands. Without `piece.ends` the last byte is only looked at as what follows.
    pub(super) fn advance(
        &self,
        caches: &mut Caches,
        piece: Piece<'_>,
        progress: &mut Progress,
        hits: &mut Vec<Hit>,
    ) -> Result<(), Failed> {
        let length = piece.base + piece.bytes.len();
        let limit = if piece.ends { length } else { length.saturating_sub(1) };
        while progress.scanned < limit {
            let block = progress.scanned / BLOCK * BLOCK;
            let from = progress.live.max(block.saturating_sub(WINDOW)).max(piece.base);
            let to = limit.min(block + BLOCK);
            for (shard, (forward, backward)) in self.shards.iter().zip(&mut caches.0) {
                let mut search = Search { set: self, shard, backward, piece, progress, hits, from };
                search.run(forward, to)?;
            }
            progress.scanned = to;
        }
        Ok(())
    }

    /// Moves `progress.live` to the first place from which a match could still grow.
    pub(super) fn settle(&self, caches: &mut Caches, piece: Piece<'_>, progress: &mut Progress) -> Result<(), Failed> {
        let length = piece.base + piece.bytes.len();
        let block = progress.scanned / BLOCK * BLOCK;
        let mut at = progress.live.max(block.saturating_sub(WINDOW)).max(piece.base);
        let mut budget = 2048 + 8 * length.saturating_sub(at).min(1024);
        while at < length && budget > 0 {
            let mut alive = false;
            for (shard, (forward, _)) in self.shards.iter().zip(&mut caches.0) {
                if shard.alive(forward, piece.bytes, at - piece.base, &mut budget)? {
                    alive = true;
                    break;
                }
            }
            if alive {
                break;
            }
            at += 1;
        }
        progress.live = at;
        Ok(())
    }
}

fn shard(hirs: &[Hir], first: usize) -> Result<Shard, String> {
    let nfa = |reverse| {
        let config = thompson::Config::new().utf8(false).reverse(reverse).nfa_size_limit(Some(NFA_MAX));
        let config = config.which_captures(thompson::WhichCaptures::None);
        thompson::Compiler::new().configure(config).build_many_from_hir(hirs).map_err(|error| error.to_string())
    };
    let config = DFA::config().match_kind(MatchKind::All).cache_capacity(CACHE).skip_cache_capacity_check(true);
    let build = |config: regex_automata::hybrid::dfa::Config, nfa| {
        DFA::builder().configure(config).build_from_nfa(nfa).map_err(|error| error.to_string())
    };
    Ok(Shard {
        forward: build(config.clone(), nfa(false)?)?,
        backward: build(config.starts_for_each_pattern(true), nfa(true)?)?,
        first: u32::try_from(first).unwrap_or(u32::MAX),
    })
}

impl Shard {
    /// Whether a match that begins at `at` is still possible behind the last byte.
    fn alive(&self, cache: &mut Cache, bytes: &[u8], at: usize, budget: &mut usize) -> Result<bool, Failed> {
        let input = Input::new(bytes).range(at..).anchored(Anchored::Yes);
        let mut state = self.forward.start_state_forward(cache, &input).map_err(|_| Failed)?;
        for byte in &bytes[at..] {
            if *budget == 0 {
                return Ok(true);
            }
            *budget -= 1;
            state = self.forward.next_state(cache, state, *byte).map_err(|_| Failed)?;
            if state.is_dead() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Consecutive bytes of a text.
#[derive(Clone, Copy)]
pub(super) struct Piece<'a> {
    pub bytes: &'a [u8],
    /// Offset of the first of them in the text.
    pub base: usize,
    /// The last of them is the last of the text.
    pub ends: bool,
}

/// How far a text has been searched. Offsets are those of the text.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// Every end up to here is known.
    pub scanned: usize,
    /// No match that is still open begins before.
    pub live: usize,
    /// The latest span of each pattern that was found.
    latest: SmallVec<[Hit; 4]>,
}

impl Progress {
    /// No hit still to come begins before: neither one that is open, nor a known one that an open one may lengthen.
    pub fn safe(&self) -> usize {
        let lengthened = |hit: &&Hit| hit.end > self.live && hit.start + WINDOW >= self.live;
        self.latest.iter().filter(lengthened).map(|hit| hit.start).fold(self.live, usize::min)
    }

    fn latest(&mut self, pattern: u32) -> Option<&mut Hit> {
        self.latest.iter_mut().find(|hit| hit.pattern == pattern)
    }
}

/// One automaton over one block.
struct Search<'s, 'p> {
    set: &'s PatternSet,
    shard: &'s Shard,
    backward: &'s mut Cache,
    piece: Piece<'p>,
    progress: &'s mut Progress,
    hits: &'s mut Vec<Hit>,
    /// Where the block's matches may begin.
    from: usize,
}

impl Search<'_, '_> {
    fn run(&mut self, forward: &mut Cache, to: usize) -> Result<(), Failed> {
        let base = self.piece.base;
        let input = Input::new(self.piece.bytes).range(self.from - base..to - base);
        // Nearly every text ends here.
        let gate = input.clone().earliest(true);
        if self.shard.forward.try_search_fwd(forward, &gate).map_err(|_| Failed)?.is_none() {
            return Ok(());
        }
        let mut state = OverlappingState::start();
        loop {
            self.shard.forward.try_search_overlapping_fwd(forward, &input, &mut state).map_err(|_| Failed)?;
            let Some(found) = state.get_match() else { return Ok(()) };
            let end = found.offset() + base;
            if end > self.progress.scanned {
                self.ended(found.pattern(), end)?;
            }
        }
    }

    /// A pattern has a match that ends at `end`: where does it begin?
    fn ended(&mut self, id: PatternID, end: usize) -> Result<(), Failed> {
        let pattern = self.shard.first + id.as_u32();
        let Some(facts) = self.set.patterns.get(pattern as usize) else { return Ok(()) };
        let lowest = self.from.max(end.saturating_sub(facts.longest));
        if let Some(validator) = facts.validator {
            return self.validated(id, pattern, lowest..end, validator);
        }
        let before =
            self.progress.latest(pattern).map(|hit| hit.end).filter(|before| *before < end && *before > lowest);
        let range = before.unwrap_or(lowest)..end;
        let found = self.start(id, range.clone())?;
        let hit = match (found, self.progress.latest(pattern)) {
            (Some(start), _) => Hit { pattern, start, end, first: end },
            // It begins inside the span before: only what lies behind that is new.
            (None, Some(latest)) if before.is_some() => Hit { end, ..*latest },
            (None, _) => return Ok(()),
        };
        self.note(hit);
        Ok(())
    }

    fn note(&mut self, hit: Hit) {
        match self.progress.latest(hit.pattern) {
            Some(latest) => *latest = hit,
            None => self.progress.latest.push(hit),
        }
        match self.hits.last_mut() {
            Some(last) if last.pattern == hit.pattern && last.start == hit.start => last.end = hit.end,
            _ => self.hits.push(hit),
        }
    }

    /// The leftmost start within `range` of a match that ends with it.
    fn start(&mut self, id: PatternID, range: std::ops::Range<usize>) -> Result<Option<usize>, Failed> {
        let base = self.piece.base;
        let input =
            Input::new(self.piece.bytes).range(range.start - base..range.end - base).anchored(Anchored::Pattern(id));
        let found = self.shard.backward.try_search_rev(self.backward, &input).map_err(|_| Failed)?;
        Ok(found.map(|half| half.offset() + base))
    }

    /// The longest candidate that passes.
    fn validated(
        &mut self,
        id: PatternID,
        pattern: u32,
        range: std::ops::Range<usize>,
        validator: Validator,
    ) -> Result<(), Failed> {
        let base = self.piece.base;
        let bytes = self.piece.bytes;
        let input = Input::new(bytes).range(range.start - base..range.end - base).anchored(Anchored::Pattern(id));
        let mut state = OverlappingState::start();
        let mut best = None;
        loop {
            self.shard.backward.try_search_overlapping_rev(self.backward, &input, &mut state).map_err(|_| Failed)?;
            let Some(found) = state.get_match() else { break };
            let text = bytes.get(found.offset()..range.end - base).unwrap_or_default();
            if validator.accepts(text) {
                best = Some(found.offset() + base);
            }
        }
        if let Some(start) = best {
            self.hits.push(Hit { pattern, start, end: range.end, first: range.end });
        }
        Ok(())
    }
}
