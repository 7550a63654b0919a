//! Sets by their content: what is published again is not compiled again. And what is wrong with a pattern by itself.
//!
//! A set lives as long as somebody uses it. Equal sets of several models, and of one snapshot and the next, are one, and so
//! are the states that their automata have made.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::{PatternError, PatternSet, Source, Spec, Views, syntax};

static KNOWN: LazyLock<Mutex<HashMap<[u8; 32], Weak<PatternSet>>>> = LazyLock::new(Mutex::default);

/// What is wrong with a regular expression. Only counted repetitions and classes of Unicode grow beyond what their text
/// shows, so only those are compiled for it.
#[must_use]
pub fn fault(regex: &str, ignore_case: bool) -> Option<PatternError> {
    let source = Source::Regex(regex.to_string());
    if !["{", "\\p", "\\P"].iter().any(|grows| regex.contains(grows)) {
        return syntax::compile(&source, ignore_case).err();
    }
    let spec = Spec { source, ignore_case, validator: None, views: Views::default() };
    PatternSet::new(&[spec]).err().map(|(_, error)| error)
}

/// The set of these patterns, compiled unless it is in use.
///
/// # Errors
/// Those of [`PatternSet::new`].
pub fn shared(specs: &[Spec]) -> Result<Arc<PatternSet>, (usize, PatternError)> {
    let print = print(specs);
    if let Some(set) = KNOWN.lock().get(&print).and_then(Weak::upgrade) {
        return Ok(set);
    }
    // Not under the lock: a long list takes seconds.
    let set = Arc::new(PatternSet::new(specs)?);
    let mut known = KNOWN.lock();
    if known.len() == known.capacity() {
        known.retain(|_, set| set.strong_count() > 0);
    }
    known.insert(print, Arc::downgrade(&set));
    Ok(set)
}

/// Of everything that the set is made of.
fn print(specs: &[Spec]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    let mut text = |text: &str| {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text);
    };
    for Spec { source, ignore_case, validator, views } in specs {
        match source {
            Source::Regex(regex) => {
                text("regex");
                text(regex);
            }
            Source::Words { words, whole } => {
                text(if *whole { "words" } else { "parts" });
                text(&words.len().to_string());
                words.iter().for_each(|word| text(word));
            }
        }
        text(&format!("{ignore_case} {validator:?} {views:?}"));
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::patterns::Views;

    fn spec(source: Source) -> Spec {
        Spec { source, ignore_case: false, validator: None, views: Views::default() }
    }

    fn words(words: &[&str]) -> Spec {
        spec(Source::Words { words: words.iter().map(ToString::to_string).collect(), whole: true })
    }

    #[test]
    fn equal_patterns_are_one_set_while_it_is_in_use() {
        let specs = [spec(Source::Regex("known-[0-9]".into())), words(&["known"])];
        let one = shared(&specs).expect("compiles");
        assert!(Arc::ptr_eq(&one, &shared(&specs).expect("compiles")));
        let other = Arc::downgrade(&one);
        drop(one);
        assert!(other.upgrade().is_none());
    }

    #[test]
    fn what_differs_in_anything_is_another_set() {
        let plain = words(&["ab", "c"]);
        let mut all = vec![
            vec![words(&["a", "bc"])],
            vec![words(&["ab"]), words(&["c"])],
            vec![spec(Source::Regex("ab".into()))],
            vec![Spec { ignore_case: true, ..plain.clone() }],
            vec![Spec { views: Views { hex: true, ..Views::default() }, ..plain.clone() }],
            vec![spec(Source::Words { words: vec!["ab".into(), "c".into()], whole: false })],
            vec![plain],
        ];
        all.push(Vec::new());
        let prints: std::collections::HashSet<_> = all.iter().map(|specs| print(specs)).collect();
        assert_eq!(prints.len(), all.len());
    }
}
