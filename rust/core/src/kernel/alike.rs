//! Whether two questions that look alike may be answered the same: what an embedding does not see.
//!
//! Vectors of "enable it" and "disable it", of "in 2023" and "in 2024", lie closer together than those of many true
//! paraphrases. So before an answer is given to a question that merely resembles another one, the words are compared:
//! numbers, negation, opposites, names, what is asked for, members of the same kind (Monday, Tuesday), direction, and a
//! single word that was exchanged. Any doubt is a difference: it costs a call, while a wrong answer costs trust.
//!
//! English is known best; numbers, names, code, quotations and exchanged words are told apart in any language, negation in
//! some.

mod lexicon;
mod reader;

use std::collections::BTreeSet;

use reader::{Word, read};

/// What two questions differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    Number,
    Negation,
    Opposite,
    /// A name, an identifier, a quotation.
    Name,
    /// Who, when, where, why, how many.
    Asked,
    /// Another one of a kind: a day, a unit, a language.
    Kind,
    /// The same words the other way round.
    Direction,
    /// Otherwise the same, but for a word or two.
    Word,
}

impl Difference {
    pub const ALL: [Difference; 8] = [
        Difference::Number,
        Difference::Negation,
        Difference::Opposite,
        Difference::Name,
        Difference::Asked,
        Difference::Kind,
        Difference::Direction,
        Difference::Word,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Difference::Number => "number",
            Difference::Negation => "negation",
            Difference::Opposite => "opposite",
            Difference::Name => "name",
            Difference::Asked => "asked",
            Difference::Kind => "kind",
            Difference::Direction => "direction",
            Difference::Word => "word",
        }
    }
}

/// Most words exchanged in one place that make another question of it.
const EXCHANGED: usize = 2;

/// The first difference that matters; `None`: an embedding may decide.
pub fn difference(a: &str, b: &str) -> Option<Difference> {
    let (a, b) = (read(a), read(b));
    if a.numbers != b.numbers {
        return Some(Difference::Number);
    }
    if a.negations != b.negations {
        return Some(Difference::Negation);
    }
    if opposite(&a.words, &b.words) {
        return Some(Difference::Opposite);
    }
    if !same_names(&a, &b) {
        return Some(Difference::Name);
    }
    if a.asked != b.asked {
        return Some(Difference::Asked);
    }
    if lexicon::kinds().iter().any(|kind| among(kind, &a.words) != among(kind, &b.words)) {
        return Some(Difference::Kind);
    }
    of_words(&a.words, &b.words)
}

fn among<'w>(kind: &lexicon::Words, words: &'w [Word]) -> BTreeSet<&'w str> {
    let known = |word: &&str| kind.contains(word);
    words.iter().flat_map(|word| [word.text.as_str(), word.stem.as_str()]).filter(known).collect()
}

/// Every name of one stands in the other.
fn same_names(a: &reader::Read, b: &reader::Read) -> bool {
    let has = |all: &reader::Read, name: &String| all.words.iter().any(|word| word.text == *name || word.stem == *name);
    a.quoted == b.quoted && a.names.iter().all(|name| has(b, name)) && b.names.iter().all(|name| has(a, name))
}

/// Words that only one of them has.
fn only<'w>(these: &'w [Word], those: &[Word]) -> Vec<&'w Word> {
    let mut left: Vec<&str> = those.iter().filter(|word| word.content).map(|word| word.stem.as_str()).collect();
    let mut only = Vec::new();
    for word in these.iter().filter(|word| word.content) {
        match left.iter().position(|stem| *stem == word.stem) {
            Some(at) => _ = left.swap_remove(at),
            None => only.push(word),
        }
    }
    only
}

fn opposite(a: &[Word], b: &[Word]) -> bool {
    // Small words have opposites too (before, with, in): all are looked at here.
    let has = |all: &[Word], word: &Word| all.iter().any(|other| other.stem == word.stem);
    let (of_a, of_b): (Vec<&Word>, Vec<&Word>) =
        (a.iter().filter(|word| !has(b, word)).collect(), b.iter().filter(|word| !has(a, word)).collect());
    of_a.iter().any(|x| of_b.iter().any(|y| lexicon::opposed(x, y)))
}

fn of_words(a: &[Word], b: &[Word]) -> Option<Difference> {
    let (of_a, of_b) = (only(a, b), only(b, a));
    let stems = |words: &[Word]| -> Vec<String> {
        words.iter().filter(|word| word.content).map(|word| word.stem.clone()).collect()
    };
    match (of_a.len(), of_b.len()) {
        (0, 0) => {
            let directed = |words: &[Word]| words.iter().any(|word| lexicon::directs(&word.text));
            let turned = stems(a) != stems(b) && (directed(a) || directed(b));
            turned.then_some(Difference::Direction)
        }
        // One says more than the other: it asks for something narrower.
        (0, _) | (_, 0) => Some(Difference::Word),
        (x, y) if x <= EXCHANGED && y <= EXCHANGED => exchanged(a, b).then_some(Difference::Word),
        _ => None,
    }
}

/// They are the same up to one place.
fn exchanged(a: &[Word], b: &[Word]) -> bool {
    let same = |(x, y): &(&Word, &Word)| x.stem == y.stem;
    let before = a.iter().zip(b).take_while(same).count();
    let shorter = a.len().min(b.len()) - before;
    let behind = a.iter().rev().zip(b.iter().rev()).take(shorter).take_while(same).count();
    let changed = |words: &[Word]| {
        let place = words.get(before..words.len() - behind).unwrap_or_default();
        place.iter().filter(|word| word.content).count()
    };
    (1..=EXCHANGED).contains(&changed(a)) && (1..=EXCHANGED).contains(&changed(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_are_told_apart() {
        use Difference as D;
        for (a, b, expected) in [
            ("What happened in 2023?", "What happened in 2024?", D::Number),
            ("convert 5 km to miles", "convert five hundred km to miles", D::Number),
            ("divide 10 by 5", "divide 5 by 10", D::Number),
            ("Which foods are safe?", "Which foods are not safe?", D::Negation),
            ("Can I take it with milk", "Can I take it without milk", D::Negation),
            ("Was darf ich essen?", "Was darf ich nicht essen?", D::Negation),
            ("How do I enable logging?", "How do I disable logging?", D::Opposite),
            ("is it legal to park here", "is it illegal to park here", D::Opposite),
            ("the tallest building in town", "the shortest building in town", D::Opposite),
            ("weather in Paris today", "weather in London today", D::Name),
            ("what does foo_bar do", "what does foo_baz do", D::Name),
            ("translate \"cat\" into French", "translate \"dog\" into French", D::Name),
            ("when was it built", "where was it built", D::Asked),
            ("opening hours on monday", "opening hours on tuesday", D::Kind),
            ("sort a list in python", "sort a list in java", D::Kind),
            ("is tea healthier than coffee", "is coffee healthier than tea", D::Direction),
            ("the capital of france", "the capital of spain", D::Kind),
            ("how to cook rice", "how to cook pasta", D::Word),
            ("side effects of aspirin", "side effects of aspirin in children", D::Word),
            ("写一首关于春天的诗", "写一首关于秋天的诗", D::Word),
        ] {
            assert_eq!(difference(a, b), Some(expected), "{a} | {b}");
            assert_eq!(difference(b, a), Some(expected), "{b} | {a}");
        }
    }

    #[test]
    fn what_means_the_same_passes() {
        for (a, b) in [
            ("How do I reset my password?", "how can i reset my password"),
            ("How do I reset my password?", "Please tell me how to reset my password."),
            ("What is the capital of France?", "Which one is France's capital?"),
            ("convert 1,000 metres to feet", "Convert 1000 metres to feet, please"),
            ("twenty five percent of 80", "25 percent of 80"),
            ("Why is the sky blue?", "Explain why the sky looks blue"),
            ("How can I buy a ticket?", "How do I purchase tickets?"),
            ("Don't I need a visa for Japan?", "Do I not need a visa for Japan?"),
            ("", ""),
        ] {
            assert_eq!(difference(a, b), None, "{a} | {b}");
        }
    }
}
