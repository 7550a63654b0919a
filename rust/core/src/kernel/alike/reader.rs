//! What of a question is compared: its words, numbers, names and quotations.

use std::collections::BTreeSet;

use super::lexicon;

/// A word, in small letters.
#[derive(Debug)]
pub struct Word {
    pub text: String,
    /// Without its ending, and one for words of the same meaning.
    pub stem: String,
    /// It says something, other than "the" or "please".
    pub content: bool,
}

#[derive(Debug, Default)]
pub struct Read {
    pub words: Vec<Word>,
    /// In the order they stand; written in digits or in letters.
    pub numbers: Vec<String>,
    pub negations: usize,
    /// Capitalised within a sentence, in capitals, or of letters mixed with digits and signs.
    pub names: BTreeSet<String>,
    pub quoted: BTreeSet<String>,
    pub asked: BTreeSet<&'static str>,
}

/// A word as it stands.
struct Token<'t> {
    text: &'t str,
    /// First of a sentence.
    first: bool,
}

pub fn read(text: &str) -> Read {
    let mut read = Read { quoted: quoted(text), ..Read::default() };
    let tokens = tokens(text);
    // Where everything is capitalised, capitals say nothing.
    let capitals = tokens.iter().filter(|token| token.text.starts_with(char::is_uppercase)).count();
    let titled = capitals * 2 > tokens.len() && tokens.len() > 2;
    let mut spelled = Spelled::default();
    let mut before = String::new();
    for token in &tokens {
        let lower = token.text.to_lowercase().replace('’', "'");
        let lower = lower.strip_suffix("'s").unwrap_or(&lower).to_string();
        if let Some(number) = digits(&lower) {
            read.numbers.extend(spelled.take());
            read.numbers.push(number);
        } else if !spelled.eat(&lower) {
            read.numbers.extend(spelled.take());
            if lexicon::negates(&lower) {
                read.negations += 1;
            }
            if name(token, titled) {
                read.names.insert(lower.clone());
            }
            if let Some(asked) = lexicon::asks(&before, &lower) {
                read.asked.insert(asked);
            }
            let stem = lexicon::stem(&lower);
            let content = !lexicon::small(&lower) && !lexicon::negates(&lower);
            read.words.push(Word { text: lower.clone(), stem, content });
        }
        before = lower;
    }
    read.numbers.extend(spelled.take());
    read
}

/// Scripts that are written without spaces: every character is a word.
fn unspaced(character: char) -> bool {
    matches!(u32::from(character), 0x0e00..=0x0eff | 0x2e80..=0x9fff | 0xac00..=0xd7af | 0xf900..=0xfaff | 0x20000..=0x3ffff)
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut first = true;
    let mut start = None;
    let characters: Vec<(usize, char)> = text.char_indices().collect();
    for (index, (at, character)) in characters.iter().enumerate() {
        let next = characters.get(index + 1).map(|(_, next)| *next);
        let inside = start.is_some()
            && match character {
                '_' | '\'' | '’' | '.' | '-' | '/' | ':' | '@' | ',' => {
                    let joined = next.is_some_and(char::is_alphanumeric);
                    let digit = |other: Option<char>| other.is_some_and(|other| other.is_ascii_digit());
                    let before = index.checked_sub(1).and_then(|before| characters.get(before)).map(|(_, one)| *one);
                    joined && (*character != ',' || digit(next) && digit(before))
                }
                // C++, C#, 5%
                '+' | '#' | '%' => next.is_none_or(|next| !next.is_alphanumeric()),
                _ => false,
            };
        if unspaced(*character) {
            end(text, &mut start, *at, &mut first, &mut tokens);
            tokens.push(Token { text: &text[*at..*at + character.len_utf8()], first: true });
        } else if character.is_alphanumeric() || inside {
            start.get_or_insert(*at);
        } else {
            end(text, &mut start, *at, &mut first, &mut tokens);
            first |= matches!(character, '.' | '!' | '?' | ':' | '\n' | '"' | '“' | '`');
        }
    }
    end(text, &mut start, text.len(), &mut first, &mut tokens);
    tokens
}

fn end<'t>(text: &'t str, start: &mut Option<usize>, at: usize, first: &mut bool, tokens: &mut Vec<Token<'t>>) {
    if let Some(start) = start.take() {
        tokens.push(Token { text: &text[start..at], first: *first });
        *first = false;
    }
}

fn name(token: &Token, titled: bool) -> bool {
    let text = token.text;
    if text == "I" || text.starts_with("I'") || text.starts_with("I’") {
        return false;
    }
    let letters = || text.chars().filter(|character| character.is_alphabetic());
    let shouted = letters().count() > 1 && letters().all(char::is_uppercase) && !titled;
    let mixed = text.chars().skip(1).any(char::is_uppercase) && text.chars().any(char::is_lowercase);
    let signed = text.chars().any(|character| matches!(character, '_' | '/' | '@' | '.' | '#' | '+'))
        || text.chars().any(|character| character.is_ascii_digit());
    signed || mixed || shouted || text.starts_with(char::is_uppercase) && !token.first && !titled
}

/// What stands between quotation marks or backticks.
fn quoted(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (open, close) in [('"', '"'), ('“', '”'), ('`', '`'), ('«', '»'), ('„', '“')] {
        let mut rest = text;
        while let Some((_, behind)) = rest.split_once(open) {
            let Some((inner, after)) = behind.split_once(close) else { break };
            found.insert(inner.trim().to_lowercase());
            rest = after;
        }
    }
    found
}

/// A number in digits, in one form: `1,000` and `1000.0` are one, `2nd` is `2`.
fn digits(word: &str) -> Option<String> {
    if !word.starts_with(|character: char| character.is_ascii_digit()) {
        return None;
    }
    let length = word.find(|character: char| !matches!(character, '0'..='9' | '.' | ',')).unwrap_or(word.len());
    let (number, unit) = word.split_at(length);
    let unit = if matches!(unit, "st" | "nd" | "rd" | "th") { "" } else { unit };
    let plain = number.replace(',', "");
    // Versions and dates are texts.
    let value = plain.parse::<f64>().map_or(plain, |value| value.to_string());
    Some(format!("{value}{unit}"))
}

/// A number that is being read from its words.
#[derive(Default)]
struct Spelled {
    total: u64,
    part: u64,
    any: bool,
}

impl Spelled {
    /// Whether the word is part of a number.
    fn eat(&mut self, word: &str) -> bool {
        let Some(value) = lexicon::number(word) else {
            // "a hundred and five"; "the second one" is no more than the second.
            return word == "and" && self.any && self.part.is_multiple_of(100) && self.part + self.total >= 100;
        };
        match value {
            100 => self.part = self.part.max(1).saturating_mul(100),
            1_000.. => {
                self.total = self.total.saturating_add(self.part.max(1).saturating_mul(value));
                self.part = 0;
            }
            _ => self.part = self.part.saturating_add(value),
        }
        self.any = true;
        true
    }

    fn take(&mut self) -> Option<String> {
        let found = self.any.then(|| (self.total.saturating_add(self.part)).to_string());
        *self = Spelled::default();
        found
    }
}
