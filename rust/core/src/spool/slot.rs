//! A slot's words: encoding, checksums, decoding.
//!
//! A slot is 24 little-endian 64-bit words. The first holds the state and the checksum of the
//! intent and is stored last, so that at any instant (which is what `kill -9` leaves behind) the
//! slot is either still free or wholly an intent. Intent and settlement have words of their own, so
//! that a settlement cut short leaves the intent whole.
//!
//! ```text
//!  0  state u32 · crc u32 of 1..16     16  source u8 · class u8 · status u16 · crc u32
//!  1  attempt id                       17  input · output
//!  2  request id (2 words)             18  cache_read · cache_write
//!  4  trace id (2 words)               19  reasoning · audio_input
//!  6  at_us                            20  audio_output · units
//!  7  reserved_cost                    21  cost
//!  8  key · org                        22  duration_us · ttft_us
//!  9  model · deployment               23  overhead_us
//! 10  price · est_input
//! 11  operation u16 · flags u16 · attempt_no u8 · 0 u8 · node u16
//! 12  team · user
//! 13  project · customer
//! 14  tags · decision
//! 15  question
//! ```
//!
//! The checksums are for what power loss and failing disks leave behind: words of different ages.
//! CRC-32 (IEEE); the settlement's starts from the intent's, so that an old settlement never passes
//! for that of a newer intent in the same slot.

use std::sync::atomic::{AtomicU64, Ordering};

use super::record::{AttemptId, Intent, Row, Settle, Source};

/// Bytes in a slot: three cache lines.
pub(super) const SLOT_BYTES: usize = 192;
/// Words of the intent, after the head.
const INTENT: usize = 15;
/// Words of the settlement.
const SETTLE: usize = 8;

/// States, far apart in bits. A free slot is 0, which is what a new file holds.
mod state {
    pub(super) const FREE: u32 = 0;
    pub(super) const INTENT: u32 = 0x1A1A_3C3C;
    pub(super) const SETTLED: u32 = 0x5E5E_7171;
    pub(super) const LOST: u32 = 0x1057_A6A6;
    pub(super) const RELEASED: u32 = 0x7E7E_9494;
}

/// One slot, mapped. All access is atomic: the other side may be another thread or, should the lock
/// on the directory fail, another process, and neither can then cause undefined behaviour.
#[repr(C, align(64))]
pub(super) struct Cell {
    head: AtomicU64,
    intent: [AtomicU64; INTENT],
    settle: [AtomicU64; SETTLE],
}

const _: () = assert!(size_of::<Cell>() == SLOT_BYTES);

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Nothing that counts.
    Free,
    /// An attempt under way.
    Open(Row),
    /// An attempt that is over, with its figures.
    Settled(Row),
    /// An attempt whose settlement is lost; the row is made from its intent.
    Lost(Row),
    /// Nothing was sent after all.
    Released,
    /// Claims to be an intent, but is none: the power failed while it was written.
    Torn,
    /// Claims to be settled, but neither half is whole: the disk failed.
    Corrupt,
}

impl Cell {
    /// Makes a free slot an intent.
    #[inline]
    pub(super) fn open(&self, id: AttemptId, node: u16, intent: &Intent) {
        let body = intent_words(id, node, intent);
        for (cell, word) in self.intent.iter().zip(body) {
            cell.store(word.to_le(), Ordering::Relaxed);
        }
        self.restate(state::INTENT, crc(0, &body));
    }

    /// Makes an intent a settled attempt.
    #[inline]
    pub(super) fn settle(&self, settle: &Settle) {
        let check = high(self.head(Ordering::Relaxed));
        let mut body = settle_words(settle);
        let sum = crc(check, &body);
        body[0] |= u64::from(sum) << 32;
        for (cell, word) in self.settle.iter().zip(body) {
            cell.store(word.to_le(), Ordering::Relaxed);
        }
        self.restate(state::SETTLED, check);
    }

    /// Gives an intent up: its settlement will never come.
    pub(super) fn lose(&self) {
        self.restate(state::LOST, high(self.head(Ordering::Relaxed)));
    }

    /// Takes an intent back: nothing was sent.
    pub(super) fn release(&self) {
        self.restate(state::RELEASED, high(self.head(Ordering::Relaxed)));
    }

    /// Makes any slot free.
    pub(super) fn clear(&self) {
        self.restate(state::FREE, 0);
    }

    /// Whether the slot claims to be settled.
    pub(super) fn is_settled(&self) -> bool {
        low(self.head(Ordering::Relaxed)) == state::SETTLED
    }

    /// Reads the slot. An attempt under way may be settled meanwhile: it is then read as it was.
    pub(super) fn read(&self) -> Reading {
        let head = self.head(Ordering::Acquire);
        let intent = self.intent.each_ref().map(|word| u64::from_le(word.load(Ordering::Relaxed)));
        let settle = self.settle.each_ref().map(|word| u64::from_le(word.load(Ordering::Relaxed)));
        decode(low(head), high(head), &intent, settle)
    }

    fn head(&self, order: Ordering) -> u64 {
        u64::from_le(self.head.load(order))
    }

    fn restate(&self, state: u32, check: u32) {
        self.head.store(join(state, check).to_le(), Ordering::Release);
    }
}

fn decode(state: u32, check: u32, intent: &[u64; INTENT], settle: [u64; SETTLE]) -> Reading {
    match state {
        state::FREE => return Reading::Free,
        state::RELEASED => return Reading::Released,
        state::INTENT | state::SETTLED | state::LOST => {}
        _ => return Reading::Corrupt,
    }
    if crc(0, intent) != check {
        return if state == state::INTENT { Reading::Torn } else { Reading::Corrupt };
    }
    let row = intent_row(intent);
    match state {
        state::INTENT => Reading::Open(row),
        state::SETTLED => match decode_settle(settle, check) {
            Some(settle) => Reading::Settled(Row { settle, ..row }),
            None => Reading::Lost(row),
        },
        _ => Reading::Lost(row),
    }
}

fn intent_words(id: AttemptId, node: u16, intent: &Intent) -> [u64; INTENT] {
    let (request, trace) = (halves(intent.request_id), halves(intent.trace_id));
    let tail = u64::from(intent.operation)
        | u64::from(intent.flags) << 16
        | u64::from(intent.attempt_no) << 32
        | u64::from(node) << 48;
    [
        id.0,
        request.0,
        request.1,
        trace.0,
        trace.1,
        intent.at_us.cast_unsigned(),
        intent.reserved_cost.cast_unsigned(),
        join(intent.key, intent.org),
        join(intent.model, intent.deployment),
        join(intent.price, intent.est_input),
        tail,
        join(intent.team, intent.user),
        join(intent.project, intent.customer),
        join(intent.tags, intent.decision),
        intent.question,
    ]
}

fn intent_row(words: &[u64; INTENT]) -> Row {
    let [id, r0, r1, t0, t1, at, reserved, ids, names, price, tail, owners, others, tags, question] = *words;
    let intent = Intent {
        request_id: whole(r0, r1),
        trace_id: whole(t0, t1),
        at_us: at.cast_signed(),
        reserved_cost: reserved.cast_signed(),
        key: low(ids),
        org: high(ids),
        model: low(names),
        deployment: high(names),
        price: low(price),
        team: low(owners),
        user: high(owners),
        project: low(others),
        customer: high(others),
        tags: low(tags),
        decision: high(tags),
        question,
        est_input: high(price),
        operation: (tail & 0xFFFF) as u16,
        flags: (tail >> 16 & 0xFFFF) as u16,
        attempt_no: (tail >> 32 & 0xFF) as u8,
    };
    Row::unknown(id, (tail >> 48) as u16, intent)
}

fn settle_words(settle: &Settle) -> [u64; SETTLE] {
    [
        u64::from(settle.source as u8) | u64::from(settle.class) << 8 | u64::from(settle.status) << 16,
        join(settle.input, settle.output),
        join(settle.cache_read, settle.cache_write),
        join(settle.reasoning, settle.audio_input),
        join(settle.audio_output, settle.units),
        settle.cost.cast_unsigned(),
        join(settle.duration_us, settle.ttft_us),
        u64::from(settle.overhead_us),
    ]
}

fn decode_settle(mut words: [u64; SETTLE], check: u32) -> Option<Settle> {
    let sum = high(words[0]);
    words[0] &= 0xFFFF_FFFF;
    if crc(check, &words) != sum {
        return None;
    }
    let [first, tokens, cache, reasoning, audio, cost, time, overhead] = words;
    Some(Settle {
        source: Source::from_code((first & 0xFF) as u8)?,
        class: (first >> 8 & 0xFF) as u8,
        status: (first >> 16 & 0xFFFF) as u16,
        input: low(tokens),
        output: high(tokens),
        cache_read: low(cache),
        cache_write: high(cache),
        reasoning: low(reasoning),
        audio_input: high(reasoning),
        audio_output: low(audio),
        units: high(audio),
        cost: cost.cast_signed(),
        duration_us: low(time),
        ttft_us: high(time),
        overhead_us: low(overhead),
    })
}

/// CRC-32 of the words' bytes, started from `seed`.
///
/// 8 ns for the 120 bytes of an intent. Tried: CRC-32C (4 ns) and a folded multiplication (6 ns);
/// not worth a second format or a stranger one.
#[inline]
fn crc<const N: usize>(seed: u32, words: &[u64; N]) -> u32 {
    let bytes = words.map(u64::to_le_bytes);
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes.as_flattened());
    hasher.finalize()
}

const fn join(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

const fn low(word: u64) -> u32 {
    (word & 0xFFFF_FFFF) as u32
}

const fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

fn halves(bytes: [u8; 16]) -> (u64, u64) {
    let whole = u128::from_le_bytes(bytes);
    (u64::try_from(whole & u128::from(u64::MAX)).unwrap_or_default(), u64::try_from(whole >> 64).unwrap_or_default())
}

const fn whole(low: u64, high: u64) -> [u8; 16] {
    (low as u128 | (high as u128) << 64).to_le_bytes()
}

#[cfg(test)]
#[path = "slot_tests.rs"]
mod tests;
