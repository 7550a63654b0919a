//! Rows of a snapshot: those that it was compiled with, and behind them those that wildcards are made into as names are asked for.
//!
//! Rows that are added never move, so that who holds the number of one, or a reference to it, keeps it as long as the snapshot.

use std::sync::OnceLock;

/// Places of `fixed` come first. Added rows are set once each, in their order, by who holds the wildcards' lock.
pub struct Rows<T> {
    fixed: Vec<T>,
    added: Box<[OnceLock<Box<T>>]>,
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Rows::new(Vec::new(), 0)
    }
}

impl<T> Rows<T> {
    /// `room`: the most rows that will be added.
    pub fn new(fixed: Vec<T>, room: usize) -> Self {
        Rows { fixed, added: (0..room).map(|_| OnceLock::new()).collect() }
    }

    #[inline]
    pub fn get(&self, place: usize) -> Option<&T> {
        match self.fixed.get(place) {
            Some(row) => Some(row),
            None => self.added.get(place - self.fixed.len())?.get().map(Box::as_ref),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.fixed.iter().chain(self.added.iter().map_while(OnceLock::get).map(Box::as_ref))
    }

    /// How many there are without those added.
    pub fn fixed(&self) -> usize {
        self.fixed.len()
    }

    /// Adds a row at a place behind the fixed ones; `false` where there is none, or a row already.
    pub fn add(&self, place: usize, row: T) -> bool {
        let slot = place.checked_sub(self.fixed.len()).and_then(|place| self.added.get(place));
        slot.is_some_and(|slot| slot.set(Box::new(row)).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_added_behind_the_fixed_ones_up_to_the_room_there_is() {
        let rows = Rows::new(vec!["a"], 1);
        assert_eq!((rows.get(1), rows.iter().count()), (None, 1));
        assert!(!rows.add(0, "x"));
        assert!(rows.add(1, "b"));
        assert!(!rows.add(1, "c") && !rows.add(2, "c"));
        assert_eq!((rows.get(0), rows.get(1), rows.get(2)), (Some(&"a"), Some(&"b"), None));
        assert_eq!(rows.iter().collect::<Vec<_>>(), [&"a", &"b"]);
    }
}
