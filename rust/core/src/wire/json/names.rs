//! The keys of one object: which are wanted, and whether one was given twice.
//!
//! Up to [`FEW`] short keys without escapes (every honest request) are compared by a 64-bit fingerprint in an array. Of
//! any other object every key leaves a hash with a secret seed, so that nobody can choose keys that collide, and the
//! hashes are sorted at its end: a million keys cost 8 bytes and 51 ns each.
//!
//! ## Tried
//! A hash table over the keys: every insertion misses the cache, 209 ns for each of a million keys, and 760 ns if it read
//! the keys again to grow.

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use super::scanner::fail;
use super::{JsonError, JsonErrorKind};

/// Keys held in the array.
const FEW: usize = 32;
/// Longest key held in the array: comparing two such keys costs next to nothing even if fingerprints are made to agree.
const SHORT: usize = 64;
/// Characters of a key shown in an error.
const SHOWN: usize = 64;

pub(super) struct Names<'a, 'w, const N: usize> {
    body: &'a [u8],
    wanted: &'w [&'w str; N],
    wanted_prints: [u64; N],
    prints: [u64; FEW],
    keys: [(u32, u32); FEW],
    count: u32,
    marks: Option<Box<Marks>>,
}

impl<'a, 'w, const N: usize> Names<'a, 'w, N> {
    pub(super) fn new(body: &'a [u8], wanted: &'w [&'w str; N]) -> Self {
        Self {
            body,
            wanted,
            wanted_prints: wanted.map(|name| fingerprint(name.as_bytes())),
            prints: [0; FEW],
            keys: [(0, 0); FEW],
            count: 0,
            marks: None,
        }
    }

    /// Keys added so far.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Notes the key whose content lies at `at`; returns its index among the wanted ones.
    #[inline(always)]
    pub(super) fn add(&mut self, at: Range<usize>, escaped: bool) -> Result<Option<usize>, JsonError> {
        let index = self.count as usize;
        if escaped || index >= FEW || at.len() > SHORT || self.marks.is_some() {
            return Ok(self.mark(at));
        }
        let key = &self.body[at.clone()];
        let print = fingerprint(key);
        for (known, &(start, end)) in self.prints[..index].iter().zip(&self.keys) {
            if *known == print && self.body[start as usize..end as usize] == *key {
                return duplicate(at.start, key);
            }
        }
        self.prints[index] = print;
        #[allow(clippy::cast_possible_truncation)]
        let place = (at.start as u32, at.end as u32);
        self.keys[index] = place;
        self.count += 1;
        let mut prints = self.wanted_prints.iter().zip(self.wanted);
        Ok(prints.position(|(wanted, name)| *wanted == print && name.as_bytes() == key))
    }

    #[cold]
    #[inline(never)]
    fn mark(&mut self, at: Range<usize>) -> Option<usize> {
        let marks = self.marks.get_or_insert_with(|| {
            let mut marks = Box::new(Marks::new());
            for &(start, end) in &self.keys[..self.count as usize] {
                marks.add(&self.body[start as usize..end as usize], start as usize);
            }
            marks
        });
        let key = unescape(&self.body[at.clone()]);
        marks.add(&key, at.start);
        self.count += 1;
        self.wanted.iter().position(|name| name.as_bytes() == &*key)
    }

    /// Refuses a key given twice, as far as `add` could not yet.
    pub(super) fn finish(self) -> Result<(), JsonError> {
        let first = self.marks.and_then(|mut marks| marks.first_duplicate(self.body));
        first.map_or(Ok(()), |start| duplicate(start, &unescape(&self.body[content(self.body, start)])))
    }
}

#[cold]
fn duplicate<T>(content: usize, key: &[u8]) -> Result<T, JsonError> {
    let text: String = String::from_utf8_lossy(key).chars().take(SHOWN).collect();
    fail(content - 1, JsonErrorKind::DuplicateKey(text.into_boxed_str()))
}

/// Length, first and last bytes mixed; equal keys have equal prints, and keys up to 16 bytes rarely share one.
#[inline(always)]
fn fingerprint(key: &[u8]) -> u64 {
    let (first, last) = if let (Some(first), Some(last)) = (key.first_chunk::<8>(), key.last_chunk::<8>()) {
        (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
    } else if let (Some(first), Some(last)) = (key.first_chunk::<4>(), key.last_chunk::<4>()) {
        (u64::from(u32::from_le_bytes(*first)), u64::from(u32::from_le_bytes(*last)))
    } else {
        let middle = key.get(key.len() / 2).copied().unwrap_or(0);
        let edges = [key.first().copied().unwrap_or(0), middle, key.last().copied().unwrap_or(0), 0];
        (u64::from(u32::from_le_bytes(edges)), 0)
    };
    (first.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ last.rotate_left(29)).wrapping_add((key.len() as u64) << 56)
}

/// A mark per key, for objects with many or odd keys: 32 bits of its hash, and below them the offset of its content.
struct Marks {
    marks: Vec<u64>,
    seed: RandomState,
}

impl Marks {
    fn new() -> Self {
        Self { marks: Vec::with_capacity(FEW * 4), seed: RandomState::new() }
    }

    fn add(&mut self, key: &[u8], start: usize) {
        self.marks.push(self.seed.hash_one(key) >> 32 << 32 | start as u64);
    }

    /// The offset of the content of the first key that was given before.
    fn first_duplicate(&mut self, body: &[u8]) -> Option<usize> {
        let place = |mark: u64| (mark & 0xffff_ffff) as usize;
        let key = |mark: u64| unescape(&body[content(body, place(mark))]);
        self.marks.sort_unstable();
        let alike = self.marks.chunk_by(|one, other| one >> 32 == other >> 32);
        // Marks with one hash are in the order of the document; all but a few are of one key.
        let duplicates = alike.filter(|marks| marks.len() > 1).filter_map(|marks| {
            let given = |index: usize| {
                let again = key(marks[index]);
                marks[..index].iter().any(|mark| key(*mark) == again)
            };
            (1..marks.len()).find(|index| given(*index)).map(|index| place(marks[index]))
        });
        duplicates.min()
    }
}

/// The content of a string known to be valid, from its first byte to before its closing quote.
fn content(body: &[u8], start: usize) -> Range<usize> {
    let mut at = start;
    while let Some(offset) = memchr::memchr2(b'"', b'\\', body.get(at..).unwrap_or_default()) {
        at += offset;
        if body[at] == b'"' {
            return start..at;
        }
        at += 2;
    }
    start..body.len()
}

/// The bytes a string's content stands for. Surrogate pairs are joined; a lone surrogate becomes the three bytes of its
/// generalised UTF-8, which keeps different keys different and is no valid text. Content must have passed the grammar;
/// what has not is copied as it is.
pub(super) fn unescape(content: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr::memchr(b'\\', content) else {
        return Cow::Borrowed(content);
    };
    let mut out = Vec::with_capacity(content.len());
    let mut rest = content;
    let mut next = Some(first);
    while let Some(at) = next {
        out.extend_from_slice(&rest[..at]);
        let escape = &rest[at..];
        let used = match escape.get(1) {
            Some(b'u') => unit(escape).map_or(1, |unit| push_unit(&mut out, unit, &escape[6..]) + 6),
            Some(&short) => {
                out.push(match short {
                    b'b' => 0x08,
                    b'f' => 0x0c,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    same => same,
                });
                2
            }
            None => 1,
        };
        rest = &escape[used..];
        next = memchr::memchr(b'\\', rest);
    }
    out.extend_from_slice(rest);
    Cow::Owned(out)
}

/// The code unit of the `\uXXXX` at the start of `escape`.
fn unit(escape: &[u8]) -> Option<u32> {
    if !escape.starts_with(b"\\u") {
        return None;
    }
    escape.get(2..6)?.iter().try_fold(0, |sum, &digit| Some(sum * 16 + char::from(digit).to_digit(16)?))
}

/// Appends the character of `unit`; returns how many bytes of `rest` (6 or 0) went into it as the second half of a pair.
fn push_unit(out: &mut Vec<u8>, unit_: u32, rest: &[u8]) -> usize {
    let low = unit(rest).filter(|low| (0xdc00..0xe000).contains(low));
    let (code, used) = match (unit_, low) {
        (0xd800..0xdc00, Some(low)) => (0x1_0000 + ((unit_ - 0xd800) << 10) + (low - 0xdc00), 6),
        _ => (unit_, 0),
    };
    if let Some(character) = char::from_u32(code) {
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    } else {
        // A lone surrogate: 1110xxxx 10xxxxxx 10xxxxxx.
        #[allow(clippy::cast_possible_truncation)]
        out.extend([0xe0 | (code >> 12) as u8, 0x80 | (code >> 6 & 0x3f) as u8, 0x80 | (code & 0x3f) as u8]);
    }
    used
}
