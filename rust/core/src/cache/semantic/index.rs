//! Questions by what they may be compared with, and the nearest of them.
//!
//! A partition holds questions of requests that are otherwise equal. Up to 4,096 of them are compared one by one; of more,
//! those whose sketch is near enough.

use std::collections::{HashMap, VecDeque};

use super::super::key::CacheKey;
use super::Question;
use crate::kernel::vector::{Sketches, Vector, farthest};

/// Partitions of more are searched by sketches.
const PLAIN: usize = 4096;
/// Most candidates of a search by sketches that are compared exactly.
const CANDIDATES: usize = 512;

/// A question near to another one.
#[derive(Clone, Debug, PartialEq)]
pub struct Near {
    pub key: CacheKey,
    pub similarity: f32,
    pub text: Box<str>,
}

struct Item {
    key: CacheKey,
    vector: Vector,
    text: Box<str>,
    until_us: i64,
}

#[derive(Default)]
struct Partition {
    sketches: Sketches,
    items: Vec<Item>,
    places: HashMap<CacheKey, usize>,
}

impl Partition {
    fn put(&mut self, item: Item) -> bool {
        if let Some(at) = self.places.get(&item.key).copied() {
            self.sketches.set(at, item.vector.sketch);
            if let Some(known) = self.items.get_mut(at) {
                *known = item;
            }
            return false;
        }
        self.places.insert(item.key, self.items.len());
        self.sketches.push(item.vector.sketch);
        self.items.push(item);
        true
    }

    fn remove(&mut self, key: &CacheKey) -> bool {
        let Some(at) = self.places.remove(key) else { return false };
        self.items.swap_remove(at);
        self.sketches.swap_remove(at);
        if let Some(moved) = self.items.get(at) {
            self.places.insert(moved.key, at);
        }
        true
    }

    /// Where those stand that may be near enough.
    fn candidates(&self, vector: &Vector, threshold: f32) -> Vec<usize> {
        if self.items.len() <= PLAIN {
            return (0..self.items.len()).collect();
        }
        let mut near = self.sketches.within(&vector.sketch, farthest(threshold));
        if near.len() > CANDIDATES {
            near.select_nth_unstable(CANDIDATES);
            near.truncate(CANDIDATES);
        }
        near.into_iter().map(|(_, at)| at).collect()
    }
}

/// All questions of a node.
#[derive(Default)]
pub struct Index {
    partitions: HashMap<CacheKey, Partition>,
    /// In the order they came; some are gone.
    order: VecDeque<(CacheKey, CacheKey)>,
    count: usize,
}

impl Index {
    /// Questions and partitions.
    pub fn size(&self) -> (usize, usize) {
        (self.count, self.partitions.len())
    }

    /// `to`: the entry that a question leads to, and until when.
    pub fn put(&mut self, partition: CacheKey, text: &str, vector: &Vector, to: (CacheKey, i64)) {
        let (key, until_us) = to;
        let item = Item { key, vector: vector.clone(), text: text.into(), until_us };
        if self.partitions.entry(partition).or_default().put(item) {
            self.count += 1;
            self.order.push_back((partition, key));
        }
    }

    /// Until when a question is remembered.
    pub fn until(&self, partition: &CacheKey, key: &CacheKey) -> Option<i64> {
        let held = self.partitions.get(partition)?;
        held.items.get(*held.places.get(key)?).map(|item| item.until_us)
    }

    pub fn remove(&mut self, partition: &CacheKey, key: &CacheKey) {
        let Some(found) = self.partitions.get_mut(partition) else { return };
        self.count -= usize::from(found.remove(key));
        if found.items.is_empty() {
            self.partitions.remove(partition);
        }
    }

    /// Removes the oldest.
    pub fn drop_oldest(&mut self) {
        if let Some((partition, key)) = self.order.pop_front() {
            self.remove(&partition, &key);
        }
    }

    /// Removes what has expired, and what is not alive.
    pub fn sweep(&mut self, now_us: i64, alive: &dyn Fn(&CacheKey) -> bool) {
        let gone = self.partitions.iter().flat_map(|(partition, held)| {
            held.items
                .iter()
                .filter(|item| item.until_us <= now_us || !alive(&item.key))
                .map(|item| (*partition, item.key))
        });
        for (partition, key) in gone.collect::<Vec<_>>() {
            self.remove(&partition, &key);
        }
        let partitions = &self.partitions;
        self.order
            .retain(|(partition, key)| partitions.get(partition).is_some_and(|held| held.places.contains_key(key)));
    }

    /// The nearest of the same partition, nearest first, of at least `threshold`.
    pub fn near(&self, question: &Question, vector: &Vector, threshold: f32, now_us: i64, top: usize) -> Vec<Near> {
        let Some(partition) = self.partitions.get(&question.partition) else { return Vec::new() };
        let mut best: Vec<(f32, &Item)> = Vec::with_capacity(top + 1);
        for at in partition.candidates(vector, threshold) {
            let Some(item) = partition.items.get(at).filter(|item| item.until_us > now_us) else { continue };
            let similarity = item.vector.cosine(vector);
            if similarity >= threshold {
                let place = best.partition_point(|(other, _)| *other >= similarity);
                if place < top {
                    best.insert(place, (similarity, item));
                    best.truncate(top);
                }
            }
        }
        best.into_iter().map(|(similarity, item)| Near { key: item.key, similarity, text: item.text.clone() }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(partition: u8, text: &str) -> Question {
        Question { partition: [partition; 32], text: text.to_string(), max_age_us: None, threshold: None }
    }

    fn key(number: usize) -> CacheKey {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&(number as u64).to_le_bytes());
        key
    }

    fn drawn(random: &mut fastrand::Rng) -> Vec<f32> {
        (0..64).map(|_| random.f32() - 0.5).collect()
    }

    #[test]
    fn a_search_by_sketches_finds_what_a_slow_one_finds() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut index = Index::default();
        let all: Vec<Vec<f32>> = (0..PLAIN + 500).map(|_| drawn(&mut random)).collect();
        for (number, values) in all.iter().enumerate() {
            index.put([1; 32], "q", &Vector::new(values).expect("valid"), (key(number), 10));
        }
        let mut found = 0;
        for (number, values) in all.iter().enumerate().step_by(17) {
            let near: Vec<f32> = values.iter().map(|value| value + (random.f32() - 0.5) * 0.3).collect();
            let near = Vector::new(&near).expect("valid");
            let best = index.near(&question(1, "q"), &near, 0.9, 0, 3);
            found += usize::from(best.first().is_some_and(|best| best.key == key(number)));
            assert!(index.near(&question(2, "q"), &near, 0.9, 0, 3).is_empty());
        }
        assert!(found * 100 >= all.len().div_ceil(17) * 99, "{found}");
    }

    #[test]
    fn what_is_gone_is_not_found() {
        let mut random = fastrand::Rng::with_seed(6);
        let mut index = Index::default();
        let vectors: Vec<Vector> = (0..4).map(|_| Vector::new(&drawn(&mut random)).expect("valid")).collect();
        for (number, vector) in vectors.iter().enumerate() {
            index.put([1; 32], "q", vector, (key(number), 10 * number as i64 + 10));
        }
        index.put([1; 32], "again", &vectors[1], (key(1), 20));
        assert_eq!(index.size(), (4, 1));
        let found = |number: usize, now_us: i64, index: &mut Index| {
            index.near(&question(1, "q"), &vectors[number], 0.99, now_us, 1).first().map(|near| near.text.to_string())
        };
        assert_eq!(found(1, 0, &mut index).as_deref(), Some("again"));
        assert_eq!(found(0, 10, &mut index), None);
        index.remove(&[1; 32], &key(1));
        assert_eq!(found(1, 0, &mut index), None);
        assert!(found(3, 0, &mut index).is_some() && found(2, 0, &mut index).is_some());
        index.drop_oldest();
        assert_eq!((index.size(), found(0, 0, &mut index)), ((2, 1), None));
        index.sweep(30, &|_| true);
        assert_eq!((index.size(), found(2, 0, &mut index)), ((1, 1), None));
        index.sweep(0, &|_| false);
        assert_eq!(index.size(), (0, 0));
        assert!(index.order.is_empty());
    }
}
