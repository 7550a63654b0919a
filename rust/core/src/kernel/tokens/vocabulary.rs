//! A byte-pair vocabulary: from the bytes of a token to its rank, and the merging of a piece of text into tokens.
//!
//! The tables are packed (`scripts/token_tables.py`) and unpacked when first used: 6 MB for o200k instead of the 70 that
//! ready-made automata take, in some 15 ms. Most pieces of a text are tokens as they are: one look into a hash table.

use flate2::{Decompress, FlushDecompress};

/// No token of OpenAI's vocabularies is longer.
const LONGEST: usize = 128;
/// Pieces up to this many bytes are merged by looking over all pairs again after each merge, which is quicker than a heap
/// while they are few.
const SHORT: usize = 48;
const NONE: u32 = u32::MAX;

pub struct Vocabulary {
    /// Bytes of all tokens in the order of their ranks.
    bytes: Vec<u8>,
    /// Where each token begins; one more than there are tokens.
    starts: Vec<u32>,
    /// Open addressing: the upper half of the hash, and the rank.
    table: Vec<(u32, u32)>,
    mask: usize,
    /// Ranks of pairs of bytes, by far the most asked for.
    pairs: Vec<u32>,
}

impl Vocabulary {
    /// Unpacks a table; empty when it is damaged, which a test rules out.
    pub fn unpack(packed: &[u8]) -> Vocabulary {
        let plain = inflate(packed);
        let count = plain.get(..4).and_then(|head| head.try_into().ok()).map_or(0, u32::from_le_bytes) as usize;
        let lengths = plain.get(4..4 + count).unwrap_or_default();
        let bytes = plain.get(4 + count..).unwrap_or_default().to_vec();
        let mut starts = Vec::with_capacity(lengths.len() + 1);
        let mut at = 0_u32;
        starts.push(0);
        starts.extend(lengths.iter().map(|length| {
            at += u32::from(*length);
            at
        }));
        let size = (count * 2).next_power_of_two().max(2);
        let mut vocabulary =
            Vocabulary { bytes, starts, table: vec![(0, NONE); size], mask: size - 1, pairs: vec![NONE; 1 << 16] };
        for rank in 0..count {
            vocabulary.insert(rank);
        }
        vocabulary
    }

    fn insert(&mut self, rank: usize) {
        let token = self.token(rank as u32);
        let hash = hash(token);
        if let [first, second] = token {
            let pair = usize::from(*first) << 8 | usize::from(*second);
            self.pairs[pair] = rank as u32;
        }
        let mut at = hash as usize & self.mask;
        while self.table[at].1 != NONE {
            at = (at + 1) & self.mask;
        }
        self.table[at] = ((hash >> 32) as u32, rank as u32);
    }

    fn token(&self, rank: u32) -> &[u8] {
        let rank = rank as usize;
        &self.bytes[self.starts[rank] as usize..self.starts[rank + 1] as usize]
    }

    /// The rank of a token, or [`NONE`].
    #[inline]
    fn rank(&self, bytes: &[u8]) -> u32 {
        if let [first, second] = bytes {
            return self.pairs[usize::from(*first) << 8 | usize::from(*second)];
        }
        if bytes.len() > LONGEST {
            return NONE;
        }
        let hash = hash(bytes);
        let mut at = hash as usize & self.mask;
        loop {
            let (tag, rank) = self.table[at];
            if rank == NONE {
                return NONE;
            }
            if tag == (hash >> 32) as u32 && self.token(rank) == bytes {
                return rank;
            }
            at = (at + 1) & self.mask;
        }
    }

    /// How many tokens a piece is.
    #[inline]
    pub fn count(&self, piece: &[u8]) -> usize {
        if piece.len() < 2 || self.rank(piece) != NONE {
            return piece.len().min(1);
        }
        if piece.len() <= SHORT { self.merge_short(piece) } else { self.merge_long(piece) }
    }

    /// Merges the pair of the lowest rank, leftmost first, until none is left.
    fn merge_short(&self, piece: &[u8]) -> usize {
        // Beginnings of the parts, and the rank of each part joined with the next.
        let mut starts = [0_u8; SHORT + 1];
        let mut ranks = [NONE; SHORT + 1];
        let mut parts = piece.len();
        for (at, start) in starts.iter_mut().enumerate().take(parts + 1) {
            *start = at as u8;
        }
        for at in 0..parts - 1 {
            ranks[at] = self.rank(&piece[at..at + 2]);
        }
        loop {
            let mut least = NONE;
            let mut found = 0;
            for (at, rank) in ranks[..parts - 1].iter().enumerate() {
                if *rank < least {
                    (least, found) = (*rank, at);
                }
            }
            if least == NONE {
                return parts;
            }
            starts.copy_within(found + 2..=parts, found + 1);
            ranks.copy_within(found + 1..parts, found);
            parts -= 1;
            let joined = |at: usize| {
                let end = starts.get(at + 2).filter(|_| at + 2 <= parts);
                end.map_or(NONE, |end| self.rank(&piece[usize::from(starts[at])..usize::from(*end)]))
            };
            let (own, former) = (joined(found), found.checked_sub(1).map(joined));
            ranks[found] = own;
            if let Some(former) = former {
                ranks[found - 1] = former;
            }
        }
    }

    /// The same with a heap: as good as linear, whatever the piece holds.
    fn merge_long(&self, piece: &[u8]) -> usize {
        use std::cmp::Reverse;
        use std::collections::BinaryHeap;
        let length = piece.len();
        // A part is where it begins; who comes before and behind it. An entry of the heap that speaks of a pair which is
        // no more is passed over.
        let mut next: Vec<u32> = (1..=length as u32).collect();
        let mut former: Vec<u32> = (0..length as u32).map(|at| at.wrapping_sub(1)).collect();
        let mut heap = BinaryHeap::with_capacity(length);
        let offer = |heap: &mut BinaryHeap<_>, start: u32, end: u32| {
            let rank = self.rank(&piece[start as usize..end as usize]);
            if rank != NONE {
                heap.push(Reverse((rank, start, end)));
            }
        };
        for at in 0..length as u32 - 1 {
            offer(&mut heap, at, at + 2);
        }
        let mut parts = length;
        while let Some(Reverse((_, start, end))) = heap.pop() {
            let middle = next[start as usize];
            // Swallowed parts have no next; others may have grown.
            if middle == NONE || middle >= length as u32 || next[middle as usize] != end {
                continue;
            }
            next[start as usize] = end;
            next[middle as usize] = NONE;
            parts -= 1;
            if (end as usize) < length {
                former[end as usize] = start;
                offer(&mut heap, start, next[end as usize]);
            }
            let before = former[start as usize];
            if before != NONE {
                offer(&mut heap, before, end);
            }
        }
        parts
    }

    #[cfg(test)]
    pub fn tokens(&self) -> usize {
        self.starts.len() - 1
    }

    /// The same in the plainest way.
    #[cfg(test)]
    pub fn count_plainly(&self, piece: &[u8]) -> usize {
        let mut parts: Vec<Vec<u8>> = piece.iter().map(|byte| vec![*byte]).collect();
        loop {
            let ranked = parts.windows(2).enumerate().map(|(at, pair)| (self.rank(&pair.concat()), at));
            match ranked.min() {
                Some((rank, at)) if rank != NONE => {
                    let second = parts.remove(at + 1);
                    parts[at].extend(second);
                }
                _ => return parts.len(),
            }
        }
    }
}

fn inflate(packed: &[u8]) -> Vec<u8> {
    const MOST: usize = 4 << 20;
    let mut plain = Vec::with_capacity(MOST);
    // What is damaged ends early, and is found out by whoever reads it.
    let _ = Decompress::new(true).decompress_vec(packed, &mut plain, FlushDecompress::Finish);
    plain.shrink_to_fit();
    plain
}

/// Folded multiplication over eight bytes at a time.
#[inline]
fn hash(bytes: &[u8]) -> u64 {
    const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
    const FACTOR: u64 = 0xd6e8_feb8_6659_fd93;
    let fold = |one: u64, other: u64| {
        let product = u128::from(one) * u128::from(other);
        (product as u64) ^ (product >> 64) as u64
    };
    let mut state = SEED ^ bytes.len() as u64;
    let mut rest = bytes;
    while let Some((eight, more)) = rest.split_first_chunk::<8>() {
        state = fold(state ^ u64::from_le_bytes(*eight), FACTOR);
        rest = more;
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        state = fold(state ^ u64::from_le_bytes(last), FACTOR);
    }
    fold(state, SEED)
}
