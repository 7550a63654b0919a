//! How many tokens a text or a chat request is: exact for OpenAI's encodings, labelled estimates for all others.
//!
//! A vocabulary is unpacked when first asked for (`vocabulary.rs`), on the asking thread: some 15 ms and 8 MB.

mod chat;
mod picture;
mod pieces;
mod vocabulary;

use std::sync::OnceLock;

pub use chat::{Count, of_bytes, of_request};
use pieces::Classes;
use vocabulary::Vocabulary;

/// Bytes of text per token where no vocabulary is at hand; English and code have 3.5 to 4.5.
const ESTIMATE_BYTES: usize = 4;

static O200K: OnceLock<Vocabulary> = OnceLock::new();
static CL100K: OnceLock<Vocabulary> = OnceLock::new();
static CLASSES: OnceLock<Classes> = OnceLock::new();

fn o200k() -> &'static Vocabulary {
    O200K.get_or_init(|| Vocabulary::unpack(include_bytes!("../../../data/o200k_base.zz")))
}

fn cl100k() -> &'static Vocabulary {
    CL100K.get_or_init(|| Vocabulary::unpack(include_bytes!("../../../data/cl100k_base.zz")))
}

fn classes() -> &'static Classes {
    CLASSES.get_or_init(Classes::load)
}

/// What texts are counted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    O200k,
    Cl100k,
    /// None that is known here.
    Estimate,
}

impl Encoding {
    /// The encoding of a model, by the families that OpenAI names. A provider's name may stand in front.
    #[must_use]
    pub fn of(model: &str) -> Encoding {
        let name = ["openai/", "azure/"].iter().find_map(|prefix| model.strip_prefix(prefix)).unwrap_or(model);
        let name = name.strip_prefix("ft:").unwrap_or(name);
        let begins = |families: &[&str]| families.iter().any(|family| name.starts_with(family));
        if begins(&["gpt-4o", "gpt-4.1", "gpt-4.5", "gpt-5", "chatgpt-4o", "o1", "o3", "o4-"]) {
            Encoding::O200k
        } else if begins(&["gpt-4", "gpt-3.5", "gpt-35", "text-embedding-3-", "text-embedding-ada-002"]) {
            Encoding::Cl100k
        } else {
            Encoding::Estimate
        }
    }

    /// An encoding by its own name.
    #[must_use]
    pub fn named(name: &str) -> Option<Encoding> {
        match name {
            "o200k_base" => Some(Encoding::O200k),
            "cl100k_base" => Some(Encoding::Cl100k),
            _ => None,
        }
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Encoding::O200k => "o200k_base",
            Encoding::Cl100k => "cl100k_base",
            Encoding::Estimate => "estimate",
        }
    }

    /// Counting needs nothing unpacked.
    #[must_use]
    pub fn is_loaded(self) -> bool {
        let tables = match self {
            Encoding::O200k => O200K.get().is_some(),
            Encoding::Cl100k => CL100K.get().is_some(),
            Encoding::Estimate => return true,
        };
        tables && CLASSES.get().is_some()
    }

    /// Tokens of a text, its special tokens taken as text. As good as linear in its length, whatever it holds.
    #[must_use]
    pub fn count(self, text: &str) -> u64 {
        let classes = classes();
        let tokens = match self {
            Encoding::O200k => count(text, o200k(), |at| classes.o200k(text, at)),
            Encoding::Cl100k => count(text, cl100k(), |at| classes.cl100k(text, at)),
            Encoding::Estimate => text.len().div_ceil(ESTIMATE_BYTES),
        };
        tokens as u64
    }
}

#[inline]
fn count(text: &str, vocabulary: &Vocabulary, cut: impl Fn(usize) -> usize) -> usize {
    let (mut at, mut tokens) = (0, 0);
    while at < text.len() {
        let end = cut(at);
        tokens += vocabulary.count(&text.as_bytes()[at..end]);
        at = end;
    }
    tokens
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn count(model: &str, request: &str) -> Count {
        of_request(model, serde_json::from_str::<Value>(request).unwrap().as_object().unwrap()).unwrap()
    }

    #[test]
    fn families_have_their_encodings() {
        for (model, encoding) in [
            ("gpt-4o-mini", Encoding::O200k),
            ("openai/gpt-4.1", Encoding::O200k),
            ("o3-mini", Encoding::O200k),
            ("ft:gpt-4o:acme", Encoding::O200k),
            ("gpt-4-turbo", Encoding::Cl100k),
            ("text-embedding-3-small", Encoding::Cl100k),
            ("claude-sonnet-4", Encoding::Estimate),
            ("llama-3", Encoding::Estimate),
        ] {
            assert_eq!(Encoding::of(model), encoding, "{model}");
        }
    }

    #[test]
    fn texts_are_counted_as_tiktoken_does() {
        // Counts of tiktoken 0.14 for its own vocabularies.
        let golden: Vec<(String, u64, u64)> = serde_json::from_str(include_str!("golden.json")).unwrap();
        assert!(golden.len() > 200);
        for (text, o200k, cl100k) in golden {
            let counts = (Encoding::O200k.count(&text), Encoding::Cl100k.count(&text));
            assert_eq!(counts, (o200k, cl100k), "{text:?}");
        }
        assert_eq!(Encoding::Estimate.count("hello world"), 3);
    }

    #[test]
    fn vocabularies_are_whole() {
        assert_eq!((o200k().tokens(), cl100k().tokens()), (199_998, 100_256));
    }

    #[test]
    fn merging_is_that_of_the_plain_way() {
        for _ in 0..3_000 {
            let alphabet = ["ab", "aeiou", "xyz'#\u{e9}", "0aZ", "中文字"][fastrand::usize(..5)];
            let signs: Vec<char> = alphabet.chars().collect();
            let piece: String = (0..fastrand::usize(1..120)).map(|_| signs[fastrand::usize(..signs.len())]).collect();
            for vocabulary in [o200k(), cl100k()] {
                assert_eq!(vocabulary.count(piece.as_bytes()), vocabulary.count_plainly(piece.as_bytes()), "{piece}");
            }
        }
    }

    #[test]
    fn every_text_is_cut_without_rest() {
        // Any valid text, of any characters: pieces follow each other up to the end.
        for _ in 0..20_000 {
            let text: String = (0..fastrand::usize(..40)).map(|_| fastrand::char(..)).collect();
            for cut in [Classes::o200k, Classes::cl100k] {
                let mut at = 0;
                while at < text.len() {
                    let end = cut(classes(), &text, at);
                    assert!(end > at && text.is_char_boundary(end), "{text:?} at {at}");
                    at = end;
                }
            }
        }
    }

    #[test]
    fn long_runs_take_no_longer_than_their_length() {
        for sign in ["a", " ", "A", "\u{4e2d}", "=", "\n", "9", "\u{301}"] {
            let text = sign.repeat(200_000);
            assert!(Encoding::O200k.count(&text) > 0);
            assert!(Encoding::Cl100k.count(&text) > 0);
        }
    }

    #[test]
    fn the_cookbook_example_is_counted() {
        // Its messages are 129 tokens for gpt-3.5-turbo and gpt-4, 124 for gpt-4o.
        let request = r#"{"messages": [
            {"role": "system", "content": "You are a helpful, pattern-following assistant that translates corporate jargon into plain English."},
            {"role": "system", "name": "example_user", "content": "New synergies will help drive top-line growth."},
            {"role": "system", "name": "example_assistant", "content": "Things working well together will increase revenue."},
            {"role": "system", "name": "example_user", "content": "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage."},
            {"role": "system", "name": "example_assistant", "content": "Let's talk later when we're less busy about how to do better."},
            {"role": "user", "content": "This late pivot means we don't have time to boil the ocean for the client deliverable."}]}"#;
        assert_eq!(count("gpt-4-0613", request), Count { tokens: 129, exact: true });
        assert_eq!(count("gpt-4o", request), Count { tokens: 124, exact: true });
        assert!(!count("claude-sonnet-4", request).exact);
    }

    #[test]
    fn what_cannot_be_counted_is_told() {
        for bad in [r#"{"messages": 1}"#, r#"{"messages": [1]}"#, r#"{}"#, r#"{"input": 1}"#] {
            let request: Value = serde_json::from_str(bad).unwrap();
            assert!(of_request("gpt-4o", request.as_object().unwrap()).is_err(), "{bad}");
        }
    }
}
