//! The view in which words whose letters stand apart are written as one: `b l u e`, `b.l.u.e`, `b-l-u-e`.
//!
//! Whether a letter stands alone is known one character behind it, so what is held back is a letter and a few separators,
//! and the view of a text does not depend on the pieces in which it arrives.

use std::collections::VecDeque;

use smallvec::SmallVec;

use super::Hit;

/// Separators that are kept in mind behind a single letter.
const HELD: usize = 6;

/// The view, as far as it has been decided and is still needed. Offsets it maps to are those of the view it is made from.
#[derive(Clone, Debug, Default)]
pub(super) struct Spaced {
    bytes: Vec<u8>,
    base: usize,
    /// Where runs of the view begin, and what they come from.
    segments: VecDeque<(usize, usize)>,
    /// Bytes that were taken in.
    fed: usize,
    /// The first letter of a word that may have no other.
    letter: Option<(char, usize)>,
    /// What stands behind a single letter.
    held: SmallVec<[(char, usize); HELD]>,
    /// The letter in front of `held` stood alone.
    alone: bool,
    in_word: bool,
}

/// Whether a text has letters that stand apart.
pub(super) fn is_spaced(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.windows(5).any(|five| {
        let word = |at: usize| five.get(at).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte >= 0x80);
        word(0) && !word(1) && word(2) && !word(3) && word(4)
    }) || !text.is_ascii()
}

fn separates(character: char) -> bool {
    character.is_whitespace() || matches!(character, '.' | '-' | '_' | '*' | '|' | '/' | ',' | '~' | '+' | '·' | '•')
}

impl Spaced {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn base(&self) -> usize {
        self.base
    }

    /// How much has been taken in.
    pub fn fed(&self) -> usize {
        self.fed
    }

    /// Adds more of the text; `ends`: there is no more.
    pub fn push(&mut self, text: &str, ends: bool) {
        for character in text.chars() {
            self.character(character, self.fed);
            self.fed += character.len_utf8();
        }
        if ends {
            self.settle();
        }
    }

    fn character(&mut self, character: char, at: usize) {
        if character.is_alphanumeric() {
            if self.in_word {
                self.emit(character, at);
            } else if let Some((letter, place)) = self.letter.take() {
                self.give_back();
                self.emit(letter, place);
                self.emit(character, at);
                self.in_word = true;
            } else {
                self.letter = Some((character, at));
            }
            return;
        }
        self.in_word = false;
        if self.letter.is_some() {
            self.single();
            self.alone = true;
        } else if self.held.len() >= HELD {
            self.give_back();
        }
        if self.alone {
            self.held.push((character, at));
        } else {
            self.emit(character, at);
        }
    }

    /// The letter stands alone: one separator between it and another such disappears; of several, which stand around
    /// what was there before, the first and the last.
    fn single(&mut self) {
        let apart = |held: Option<&(char, usize)>| held.is_some_and(|(character, _)| separates(*character));
        if self.alone && apart(self.held.last()) {
            self.held.pop();
            if self.held.len() > 1 && apart(self.held.first()) {
                self.held.remove(0);
            }
        }
        for (held, at) in std::mem::take(&mut self.held) {
            self.emit(held, at);
        }
        if let Some((letter, at)) = self.letter.take() {
            self.emit(letter, at);
        }
    }

    fn give_back(&mut self) {
        self.alone = false;
        for (held, at) in std::mem::take(&mut self.held) {
            self.emit(held, at);
        }
    }

    fn settle(&mut self) {
        if self.letter.is_some() {
            self.single();
        }
        self.give_back();
    }

    fn emit(&mut self, character: char, at: usize) {
        let view = self.base + self.bytes.len();
        if self.segments.back().is_none_or(|(from, to)| view - from != at - to) {
            self.segments.push_back((view, at));
        }
        self.bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }

    /// Where a byte of the view comes from; its end: the first byte that is not decided.
    pub fn start(&self, view: usize) -> usize {
        if view >= self.base + self.bytes.len() {
            let held = self.held.first().or(self.letter.as_ref());
            return held.map_or(self.fed, |(_, at)| *at);
        }
        let behind = self.segments.partition_point(|(from, _)| *from <= view);
        let segment = behind.checked_sub(1).and_then(|at| self.segments.get(at));
        segment.map_or(0, |(from, to)| to + view - from)
    }

    /// A hit in what the view was made from.
    pub fn in_text(&self, hit: Hit) -> Hit {
        let end = |view: usize| view.checked_sub(1).map_or(0, |last| self.start(last) + 1);
        Hit { start: self.start(hit.start), end: end(hit.end), first: end(hit.first), ..hit }
    }

    /// Forgets what stands before `view`.
    pub fn trim(&mut self, view: usize) {
        let count = view.saturating_sub(self.base).min(self.bytes.len());
        self.bytes.drain(..count);
        self.base += count;
        while self.segments.get(1).is_some_and(|next| next.0 <= self.base) {
            self.segments.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(text: &str) -> String {
        let mut spaced = Spaced::default();
        spaced.push(text, true);
        String::from_utf8(spaced.bytes).expect("UTF-8")
    }

    #[test]
    fn letters_that_stand_apart_are_joined() {
        for (text, expected) in [
            ("see b l u e b i r d now", "see bluebird now"),
            ("b.l.u.e", "blue"),
            ("b l u e  b i r d", "blue bird"),
            ("j.a...d.o.@.e", "ja.do@e"),
            ("a l l   r u l e s", "all rules"),
            ("I am a boy, a b", "I am a boy, ab"),
            ("plain words stay.", "plain words stay."),
            ("x", "x"),
            ("a!b c", "a!bc"),
            ("a @ b . c", "a@b.c"),
            ("b lé u", "b lé u"),
            ("б л ю", "блю"),
        ] {
            assert_eq!(view(text), expected, "{text}");
            let mut pieces = Spaced::default();
            for character in text.chars() {
                pieces.push(&character.to_string(), false);
            }
            pieces.push("", true);
            assert_eq!(pieces.bytes, view(text).as_bytes(), "{text}");
        }
    }
}
