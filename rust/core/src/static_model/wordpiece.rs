//! The tokenizer of BERT: texts into words, words into the longest pieces that are known.

use std::collections::HashMap;

use serde_json::Value as Json;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// What a word longer than this is: unknown.
const WORD: usize = 100;

#[derive(Debug)]
pub struct WordPiece {
    vocabulary: HashMap<Box<str>, u32>,
    prefix: Box<str>,
    longest: usize,
    lowercase: bool,
    strip_accents: bool,
    spaced_chinese: bool,
    tokens: usize,
}

impl WordPiece {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// Which part of it is not known.
    pub fn parse(bytes: &[u8]) -> Result<WordPiece, String> {
        let root: Json = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let kind = |value: &Json| value.get("type").and_then(Json::as_str).unwrap_or("none").to_string();
        let model = root.get("model").ok_or("there is no `model`")?;
        if kind(model) != "WordPiece" {
            return Err(format!("a tokenizer of the kind {:?}; only WordPiece is known", kind(model)));
        }
        let text =
            |name: &str, default: &'static str| model.get(name).and_then(Json::as_str).unwrap_or(default).to_string();
        let unknown = text("unk_token", "[UNK]");
        let members = model.get("vocab").and_then(Json::as_object).ok_or("there is no `model.vocab`")?;
        let mut vocabulary = HashMap::with_capacity(members.len());
        let mut tokens = 0;
        for (piece, id) in members {
            let id = id.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or("a token's number is none")?;
            tokens = tokens.max(id as usize + 1);
            // What is unknown has no meaning.
            if *piece != unknown {
                vocabulary.insert(piece.as_str().into(), id);
            }
        }
        let mut tokenizer = WordPiece {
            longest: vocabulary.keys().map(AsRef::<str>::as_ref).map(str::len).max().unwrap_or(0),
            vocabulary,
            prefix: text("continuing_subword_prefix", "##").into(),
            lowercase: false,
            strip_accents: false,
            spaced_chinese: false,
            tokens,
        };
        if let Some(normalizer) = root.get("normalizer").filter(|value| !value.is_null()) {
            tokenizer.normalizer(normalizer, &kind(normalizer))?;
        }
        match root.get("pre_tokenizer").map(kind).as_deref() {
            Some("BertPreTokenizer") | None => Ok(tokenizer),
            Some(other) => Err(format!("a pre_tokenizer of the kind {other:?}; only BertPreTokenizer is known")),
        }
    }

    fn normalizer(&mut self, value: &Json, kind: &str) -> Result<(), String> {
        let flag = |name: &str, default: bool| value.get(name).and_then(Json::as_bool).unwrap_or(default);
        match kind {
            "BertNormalizer" => {
                self.lowercase = flag("lowercase", true);
                self.strip_accents = flag("strip_accents", self.lowercase);
                self.spaced_chinese = flag("handle_chinese_chars", true);
            }
            "Lowercase" => self.lowercase = true,
            "StripAccents" => self.strip_accents = true,
            "NFD" | "NFKD" | "NFC" | "NFKC" => {}
            "Sequence" => {
                for one in value.get("normalizers").and_then(Json::as_array).into_iter().flatten() {
                    self.normalizer(one, one.get("type").and_then(Json::as_str).unwrap_or("none"))?;
                }
            }
            other => return Err(format!("a normalizer of the kind {other:?} is not known")),
        }
        Ok(())
    }

    /// The largest number of a token, and one.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The known tokens of a text, at most `most`.
    pub fn encode(&self, text: &str, most: usize) -> Vec<u32> {
        let mut out = Vec::with_capacity(text.len() / 4);
        let mut word = String::with_capacity(32);
        let mut each = |character: char, word: &mut String| {
            if character.is_whitespace() {
                self.pieces(word, &mut out);
            } else if punctuation(character) || self.spaced_chinese && chinese(character) {
                self.pieces(word, &mut out);
                word.push(character);
                self.pieces(word, &mut out);
            } else {
                word.push(character);
            }
            out.len() < most
        };
        for character in text.chars() {
            if !self.normal(character, &mut |character| each(character, &mut word)) {
                break;
            }
        }
        each(' ', &mut word);
        out.truncate(most);
        out
    }

    /// Tells the characters that stand for one; false when no more are wanted.
    fn normal(&self, character: char, each: &mut impl FnMut(char) -> bool) -> bool {
        if character.is_ascii() && !character.is_ascii_control() {
            return each(if self.lowercase { character.to_ascii_lowercase() } else { character });
        }
        if matches!(character, '\t' | '\n' | '\r') {
            return each(' ');
        }
        // As BERT's own cleaning does.
        if character == '\0' || character == '\u{fffd}' || character.is_control() {
            return true;
        }
        let mut more = true;
        let mut lower = |character: char| {
            if self.lowercase {
                character.to_lowercase().for_each(|character| more = each(character));
            } else {
                more = each(character);
            }
        };
        if self.strip_accents {
            std::iter::once(character).nfd().filter(|character| !is_combining_mark(*character)).for_each(&mut lower);
        } else {
            lower(character);
        }
        more
    }

    /// The pieces of a word, longest first; nothing of one that cannot be put together.
    fn pieces(&self, word: &mut String, out: &mut Vec<u32>) {
        let began = out.len();
        let known = !word.is_empty() && word.chars().count() <= WORD && self.split(word, out);
        if !known {
            out.truncate(began);
        }
        word.clear();
    }

    fn split(&self, word: &str, out: &mut Vec<u32>) -> bool {
        let mut piece = String::with_capacity(word.len() + 2);
        let mut at = 0;
        while at < word.len() {
            let mut end = word.len().min(at + self.longest);
            let found = loop {
                while !word.is_char_boundary(end) {
                    end -= 1;
                }
                if end <= at {
                    break None;
                }
                let part = &word[at..end];
                let found = if at == 0 {
                    self.vocabulary.get(part)
                } else {
                    piece.clear();
                    piece.push_str(&self.prefix);
                    piece.push_str(part);
                    self.vocabulary.get(piece.as_str())
                };
                if let Some(id) = found {
                    break Some(*id);
                }
                end -= 1;
            };
            let Some(id) = found else { return false };
            out.push(id);
            at = end;
        }
        true
    }
}

fn punctuation(character: char) -> bool {
    character.is_ascii_punctuation()
        || !character.is_ascii()
            && matches!(u32::from(character), 0xa1 | 0xa7 | 0xab | 0xb6 | 0xb7 | 0xbb | 0xbf | 0x2010..=0x2027
                | 0x2030..=0x205e | 0x3001..=0x3003 | 0x3008..=0x3011 | 0x3014..=0x301f | 0xff01..=0xff0f
                | 0xff1a..=0xff20 | 0xff3b..=0xff3d | 0xff3f | 0xff5b | 0xff5d | 0xff5f..=0xff65)
}

fn chinese(character: char) -> bool {
    matches!(u32::from(character), 0x4e00..=0x9fff | 0x3400..=0x4dbf | 0x20000..=0x2a6df | 0x2a700..=0x2b73f
        | 0x2b740..=0x2b81f | 0x2b820..=0x2ceaf | 0xf900..=0xfaff | 0x2f800..=0x2fa1f)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer(pieces: &[&str]) -> WordPiece {
        let vocabulary: serde_json::Map<String, Json> =
            pieces.iter().enumerate().map(|(id, piece)| ((*piece).to_string(), id.into())).collect();
        let root = serde_json::json!({
            "normalizer": {"type": "BertNormalizer", "lowercase": true, "strip_accents": null},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "model": {"type": "WordPiece", "vocab": vocabulary},
        });
        WordPiece::parse(root.to_string().as_bytes()).expect("valid")
    }

    #[test]
    fn the_longest_pieces_win() {
        let tokenizer = tokenizer(&["[UNK]", "un", "##aff", "##able", "##afford", "cafe", "!", "世", "界"]);
        assert_eq!(tokenizer.encode("Unaffordable", 9), [1, 4, 3]);
        assert_eq!(tokenizer.encode("unaffx Café!", 9), [5, 6]);
        assert_eq!(tokenizer.encode("世界\u{0}", 9), [7, 8]);
        assert_eq!(tokenizer.encode("! ! ! !", 2), [6, 6]);
        assert!(tokenizer.encode(&"un".repeat(60), 9).is_empty());
    }
}
