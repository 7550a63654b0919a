//! The words the mock says. Every content event is one word, and one word is told as one output token.

use serde_json::value::RawValue;

use super::script::Script;

/// Words in an answer that is not told how many.
pub const DEFAULT_WORDS: u64 = 64;

/// Most of these are one token for the common tokenizers.
const WORDS: [&str; 32] = [
    " Gateways",
    " forwarding",
    " requests",
    " between",
    " independent",
    " programs",
    " and",
    " language",
    " models",
    " maintain",
    " accurate",
    " accounts",
    " describing",
    " every",
    " consumed",
    " token,",
    " therefore",
    " operators",
    " understand",
    " immediately",
    " which",
    " upstream",
    " providers",
    " answered",
    " correctly,",
    " whichever",
    " requests",
    " encountered",
    " failures,",
    " and",
    " exactly",
    " why.",
];

/// The content of an answer in the pieces in which a stream sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pieces {
    /// So many words of the fixed text.
    Words(u64),
    /// These.
    Parts(Vec<String>),
}

/// What an answer says, and what that counts as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Speech {
    pub pieces: Pieces,
    /// Output tokens: words, or a quarter of the characters of a scripted text.
    pub tokens: u64,
    /// Was it cut short by the request's token limit?
    pub cut_short: bool,
}

impl Pieces {
    pub fn count(&self) -> u64 {
        match self {
            Self::Words(count) => *count,
            Self::Parts(parts) => parts.len() as u64,
        }
    }

    /// The piece at `index`, empty beyond the end.
    pub fn get(&self, index: u64) -> &str {
        match self {
            Self::Words(count) if index < *count => {
                let word = WORDS.get((index % WORDS.len() as u64) as usize).copied().unwrap_or_default();
                if index == 0 { word.trim_start() } else { word }
            }
            Self::Words(_) => "",
            Self::Parts(parts) => parts.get(index as usize).map_or("", String::as_str),
        }
    }

    /// All pieces in one string.
    pub fn joined(&self) -> String {
        (0..self.count()).map(|index| self.get(index)).collect()
    }
}

impl Speech {
    /// What the script asks for, within `limit` output tokens.
    pub fn plan(script: &Script, said: Option<&str>, limit: Option<u64>) -> Self {
        let scripted = script.text.as_deref().or(if script.echo { said } else { None });
        if let Some(text) = scripted {
            return Self::of_text(text, script.events);
        }
        let wanted = script.events.unwrap_or(DEFAULT_WORDS);
        if let Some(bytes) = script.bytes {
            return Self::of_size(bytes, wanted.max(1));
        }
        let words = wanted.min(limit.unwrap_or(u64::MAX));
        Self { pieces: Pieces::Words(words), tokens: words, cut_short: words < wanted }
    }

    /// A given text, cut before its spaces, or into `events` even pieces.
    fn of_text(text: &str, events: Option<u64>) -> Self {
        let characters: Vec<char> = text.chars().collect();
        let parts: Vec<String> = match events {
            Some(events) => {
                let size = characters.len().div_ceil(events.max(1) as usize).max(1);
                characters.chunks(size).map(|piece| piece.iter().collect()).collect()
            }
            None => characters.chunk_by(|_, next| *next != ' ').map(|piece| piece.iter().collect()).collect(),
        };
        let tokens = (characters.len() as u64).div_ceil(4);
        Self { pieces: Pieces::Parts(parts), tokens, cut_short: false }
    }

    /// Filler of exactly `bytes` ASCII bytes in `events` pieces.
    fn of_size(bytes: usize, events: u64) -> Self {
        Self::of_text(&filler(bytes), Some(events))
    }
}

/// Text of exactly `bytes` ASCII letters, spaces and points.
pub fn filler(bytes: usize) -> String {
    WORDS.concat().trim_start().chars().cycle().take(bytes).collect()
}

/// The text of the last message whose role is `user`; text parts are joined.
pub fn last_user_text(messages: &RawValue) -> Option<String> {
    let messages: Vec<serde_json::Value> = serde_json::from_str(messages.get()).ok()?;
    let last = messages.iter().rev().find(|message| message.get("role").is_some_and(|role| role == "user"))?;
    match last.get("content")? {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Array(parts) => {
            Some(parts.iter().filter_map(|part| part.get("text")?.as_str()).collect::<Vec<_>>().join("\n"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_tokens_and_respect_the_limit() {
        let script = Script::parse("events=10").unwrap();
        let speech = Speech::plan(&script, None, Some(4));
        assert_eq!((speech.pieces.count(), speech.tokens, speech.cut_short), (4, 4, true));
        assert_eq!(speech.pieces.joined(), "Gateways forwarding requests between");
        assert_eq!(Speech::plan(&Script::default(), None, None).tokens, DEFAULT_WORDS);
    }

    #[test]
    fn sizes_and_texts_are_exact() {
        let speech = Speech::plan(&Script::parse("bytes=1000;events=7").unwrap(), None, None);
        assert_eq!((speech.pieces.joined().len(), speech.tokens), (1000, 250));
        assert!(speech.pieces.count() <= 7);
        let speech = Speech::plan(&Script::parse("echo").unwrap(), Some("grüße an alle"), None);
        assert_eq!(speech.pieces, Pieces::Parts(vec!["grüße".into(), " an".into(), " alle".into()]));
    }
}
