//! The keys of one object: which are wanted, and whether one was given twice.
//!
//! Up to [`FEW`] short keys without escapes (every honest request) are compared by a 64-bit fingerprint in an array. Any
//! other object gets a hash table with a secret seed over the unescaped keys, so that a million keys cost linear time and
//! eight bytes each, and nobody can choose keys that collide.

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use super::scanner::fail;
use super::{JsonError, JsonErrorKind};

/// Keys held in the array; beyond, the table pays.
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
    table: Option<Box<Table>>,
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
            table: None,
        }
    }

    /// Keys added so far.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Notes the key whose content lies at `at`; returns its index among the wanted ones.
    #[inline(always)]
    pub(super) fn add(
        &mut self,
        at: Range<usize>,
        escaped: bool,
    ) -> Result<Option<usize>, JsonError> {
        let index = self.count as usize;
        if escaped || index >= FEW || at.len() > SHORT || self.table.is_some() {
            return self.add_to_table(at);
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
    fn add_to_table(&mut self, at: Range<usize>) -> Result<Option<usize>, JsonError> {
        if self.table.is_none() {
            let mut table = Box::new(Table::new());
            for &(start, end) in &self.keys[..self.count as usize] {
                table.insert(self.body, start as usize..end as usize);
            }
            self.table = Some(table);
        }
        let start = at.start;
        let key = unescape(&self.body[at.clone()]);
        if self
            .table
            .as_mut()
            .is_some_and(|table| !table.insert(self.body, at))
        {
            return duplicate(start, &key);
        }
        self.count += 1;
        Ok(self.wanted.iter().position(|name| name.as_bytes() == &*key))
    }
}

#[cold]
fn duplicate<T>(content: usize, key: &[u8]) -> Result<T, JsonError> {
    let text: String = String::from_utf8_lossy(key).chars().take(SHOWN).collect();
    fail(
        content - 1,
        JsonErrorKind::DuplicateKey(text.into_boxed_str()),
    )
}

/// Length, first and last bytes mixed; equal keys have equal prints, and keys up to 16 bytes rarely share one.
#[inline(always)]
fn fingerprint(key: &[u8]) -> u64 {
    let (first, last) =
        if let (Some(first), Some(last)) = (key.first_chunk::<8>(), key.last_chunk::<8>()) {
            (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
        } else if let (Some(first), Some(last)) = (key.first_chunk::<4>(), key.last_chunk::<4>()) {
            (
                u64::from(u32::from_le_bytes(*first)),
                u64::from(u32::from_le_bytes(*last)),
            )
        } else {
            let middle = key.get(key.len() / 2).copied().unwrap_or(0);
            let edges = [
                key.first().copied().unwrap_or(0),
                middle,
                key.last().copied().unwrap_or(0),
                0,
            ];
            (u64::from(u32::from_le_bytes(edges)), 0)
        };
    (first.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ last.rotate_left(29))
        .wrapping_add((key.len() as u64) << 56)
}

/// Open addressing with linear probing. A slot holds the upper half of the hash and the offset of the key's content,
/// which is never 0; the content itself is read again from the document when the halves agree.
struct Table {
    slots: Vec<(u32, u32)>,
    used: usize,
    seed: RandomState,
}

impl Table {
    fn new() -> Self {
        Self {
            slots: vec![(0, 0); FEW * 4],
            used: 0,
            seed: RandomState::new(),
        }
    }

    /// Adds the key whose content lies at `at`; `false` if it is there already.
    fn insert(&mut self, body: &[u8], at: Range<usize>) -> bool {
        if self.used * 4 >= self.slots.len() * 3 {
            self.grow(body);
        }
        let key = unescape(&body[at.clone()]);
        let hash = self.seed.hash_one(&*key);
        let mut index = self.home(hash);
        loop {
            let (tag, known) = self.slots[index];
            if known == 0 {
                break;
            }
            if tag == half(hash) && unescape(&body[content(body, known as usize)]) == key {
                return false;
            }
            index = (index + 1) & (self.slots.len() - 1);
        }
        #[allow(clippy::cast_possible_truncation)]
        let place = at.start as u32;
        self.slots[index] = (half(hash), place);
        self.used += 1;
        true
    }

    #[allow(clippy::cast_possible_truncation)]
    fn home(&self, hash: u64) -> usize {
        hash as usize & (self.slots.len() - 1)
    }

    fn grow(&mut self, body: &[u8]) {
        let size = self.slots.len() * 2;
        let old = std::mem::replace(&mut self.slots, vec![(0, 0); size]);
        for (tag, at) in old.into_iter().filter(|slot| slot.1 != 0) {
            let mut index = self.home(
                self.seed
                    .hash_one(&*unescape(&body[content(body, at as usize)])),
            );
            while self.slots[index].1 != 0 {
                index = (index + 1) & (size - 1);
            }
            self.slots[index] = (tag, at);
        }
    }
}

#[allow(clippy::cast_possible_truncation)]
fn half(hash: u64) -> u32 {
    (hash >> 32) as u32
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
            Some(b'u') => {
                unit(escape).map_or(1, |unit| push_unit(&mut out, unit, &escape[6..]) + 6)
            }
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
    escape.get(2..6)?.iter().try_fold(0, |sum, &digit| {
        Some(sum * 16 + char::from(digit).to_digit(16)?)
    })
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
        out.extend([
            0xe0 | (code >> 12) as u8,
            0x80 | (code >> 6 & 0x3f) as u8,
            0x80 | (code & 0x3f) as u8,
        ]);
    }
    used
}
