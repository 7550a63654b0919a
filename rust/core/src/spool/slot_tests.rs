//! Slots word by word: what every instant, and every mixture of words that power loss may leave, reads as.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::cast_possible_truncation)]

use super::*;

fn blank() -> Cell {
    let zero = || AtomicU64::new(0);
    Cell { head: zero(), intent: std::array::from_fn(|_| zero()), settle: std::array::from_fn(|_| zero()) }
}

type Image = [u64; 24];

fn image(cell: &Cell) -> Image {
    let mut all = std::iter::once(&cell.head).chain(&cell.intent).chain(&cell.settle);
    std::array::from_fn(|_| all.next().unwrap().load(Ordering::Relaxed))
}

fn restore(image: &Image) -> Cell {
    let cell = blank();
    let all = std::iter::once(&cell.head).chain(&cell.intent).chain(&cell.settle);
    for (to, word) in all.zip(image) {
        to.store(*word, Ordering::Relaxed);
    }
    cell
}

/// xorshift64*: repeatable, and no crate for a dozen lines.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Any number, with extremes more often than chance has them.
    fn number(&mut self) -> u64 {
        match self.roll() % 4 {
            0 => 0,
            1 => u64::MAX,
            _ => self.roll(),
        }
    }

    fn attempt(&mut self) -> (u64, u16, Intent, Settle) {
        let bytes = |a: u64, b: u64| (u128::from(a) << 64 | u128::from(b)).to_le_bytes();
        let intent = Intent {
            request_id: bytes(self.number(), self.number()),
            trace_id: bytes(self.number(), self.number()),
            at_us: self.number().cast_signed(),
            reserved_cost: self.number().cast_signed(),
            key: self.number() as u32,
            org: self.number() as u32,
            model: self.number() as u32,
            deployment: self.number() as u32,
            price: self.number() as u32,
            team: self.number() as u32,
            decision: self.number() as u32,
            user: self.number() as u32,
            project: self.number() as u32,
            customer: self.number() as u32,
            tags: self.number() as u32,
            question: self.number(),
            est_input: self.number() as u32,
            operation: self.number() as u16,
            flags: self.number() as u16,
            attempt_no: self.number() as u8,
        };
        let settle = Settle {
            source: Source::from_code((self.roll() % 4) as u8).unwrap(),
            class: self.number() as u8,
            status: self.number() as u16,
            input: self.number() as u32,
            output: self.number() as u32,
            cache_read: self.number() as u32,
            cache_write: self.number() as u32,
            reasoning: self.number() as u32,
            audio_input: self.number() as u32,
            audio_output: self.number() as u32,
            units: self.number() as u32,
            cost: self.number().cast_signed(),
            duration_us: self.number() as u32,
            ttft_us: self.number() as u32,
            overhead_us: self.number() as u32,
        };
        (self.roll() >> 1, self.number() as u16, intent, settle)
    }
}

#[test]
fn every_field_survives() {
    let mut dice = Dice(1);
    let cell = blank();
    for _ in 0..10_000 {
        let (id, node, intent, settle) = dice.attempt();
        let unknown = Row::unknown(id, node, intent);
        assert_eq!(cell.read(), Reading::Free);
        cell.open(AttemptId(id), node, &intent);
        assert_eq!(cell.read(), Reading::Open(unknown));
        match dice.roll() % 4 {
            0 => {
                cell.lose();
                assert_eq!(cell.read(), Reading::Lost(unknown));
            }
            1 => {
                cell.release();
                assert_eq!(cell.read(), Reading::Released);
            }
            _ => {
                cell.settle(&settle);
                assert_eq!(cell.read(), Reading::Settled(Row { settle, ..unknown }));
            }
        }
        cell.clear();
    }
}

/// Power loss leaves words of different ages. Whatever the mixture of a slot's last life and its
/// present one, it reads as something that was true, or as damage; never as a row nobody wrote.
#[test]
fn no_mixture_of_old_and_new_words_is_a_row() {
    let mut dice = Dice(2);
    for _ in 0..2_000 {
        let ((old_id, node, old_intent, old_settle), (new_id, _, new_intent, new_settle)) =
            (dice.attempt(), dice.attempt());
        let cell = blank();
        let mut ages = vec![image(&cell)];
        cell.open(AttemptId(old_id), node, &old_intent);
        ages.push(image(&cell));
        cell.settle(&old_settle);
        ages.push(image(&cell));
        cell.clear();
        ages.push(image(&cell));
        cell.open(AttemptId(new_id), node, &new_intent);
        ages.push(image(&cell));
        cell.settle(&new_settle);
        ages.push(image(&cell));
        let (old, new) = (Row::unknown(old_id, node, old_intent), Row::unknown(new_id, node, new_intent));
        let truths = [
            Reading::Free,
            Reading::Open(old),
            Reading::Settled(Row { settle: old_settle, ..old }),
            Reading::Lost(old),
            Reading::Open(new),
            Reading::Settled(Row { settle: new_settle, ..new }),
            Reading::Lost(new),
            Reading::Torn,
            Reading::Corrupt,
        ];
        for _ in 0..500 {
            let oldest = dice.roll() as usize % ages.len();
            let span = ages.len() - oldest;
            let mixed = std::array::from_fn(|word| ages[oldest + dice.roll() as usize % span][word]);
            let reading = restore(&mixed).read();
            assert!(truths.contains(&reading), "{reading:?}");
        }
    }
}

/// Stores reach memory in program order: every prefix of them is a whole state.
#[test]
fn every_prefix_of_the_stores_is_a_state() {
    let mut dice = Dice(3);
    for _ in 0..1_000 {
        let (_, _, stale_intent, stale_settle) = dice.attempt();
        let (id, node, intent, settle) = dice.attempt();
        let cell = blank();
        cell.open(AttemptId(5), node, &stale_intent);
        cell.settle(&stale_settle);
        cell.clear();
        let free = image(&cell);
        cell.open(AttemptId(id), node, &intent);
        let opened = image(&cell);
        cell.settle(&settle);
        let settled = image(&cell);
        let row = Row::unknown(id, node, intent);
        for stored in 0..24 {
            // The head, word 0, is stored last.
            let prefix = |before: &Image, after: &Image| {
                std::array::from_fn(|word| if (1..=stored).contains(&word) { after[word] } else { before[word] })
            };
            assert_eq!(restore(&prefix(&free, &opened)).read(), Reading::Free);
            assert_eq!(restore(&prefix(&opened, &settled)).read(), Reading::Open(row));
        }
        assert_eq!(restore(&settled).read(), Reading::Settled(Row { settle, ..row }));
    }
}

#[test]
fn a_flipped_bit_is_noticed() {
    let (id, node, intent, settle) = Dice(4).attempt();
    let cell = blank();
    cell.open(AttemptId(id), node, &intent);
    cell.settle(&settle);
    let whole = image(&cell);
    let row = Row::unknown(id, node, intent);
    for bit in 0..24 * 64 {
        let mut flipped = whole;
        flipped[bit / 64] ^= 1 << (bit % 64);
        let reading = restore(&flipped).read();
        match bit / 64 {
            0..16 => assert_eq!(reading, Reading::Corrupt, "bit {bit}"),
            // The settlement is lost, the intent is not. The last word has 32 unused bits under its sum.
            _ => assert_eq!(reading, Reading::Lost(row), "bit {bit}"),
        }
    }
}
