//! Names of models as lists of keys and limits give them.

/// A model name, or a glob with `*` for any run of characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    Exact(String),
    Glob(Vec<String>),
}

impl Pattern {
    pub fn new(text: &str) -> Self {
        if text.contains('*') {
            Pattern::Glob(text.split('*').map(str::to_string).collect())
        } else {
            Pattern::Exact(text.to_string())
        }
    }

    pub fn matches(&self, name: &str) -> bool {
        match self {
            Pattern::Exact(exact) => exact == name,
            Pattern::Glob(pieces) => glob(pieces, name),
        }
    }
}

fn glob(pieces: &[String], name: &str) -> bool {
    let [first, middle @ .., last] = pieces else { return false };
    let Some(mut rest) = name.strip_prefix(first.as_str()) else { return false };
    for piece in middle {
        let Some(at) = rest.find(piece.as_str()) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.len() >= last.len() && rest.ends_with(last.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_names() {
        for (pattern, name, expected) in [
            ("gpt-4o", "gpt-4o", true),
            ("gpt-4o", "gpt-4o-mini", false),
            ("gpt-*", "gpt-4o-mini", true),
            ("*", "anything", true),
            ("openai/*-mini", "openai/gpt-4o-mini", true),
            ("openai/*-mini", "openai/gpt-4o", false),
            ("a*b*a", "aba", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(Pattern::new(pattern).matches(name), expected, "{pattern} {name}");
        }
    }
}
