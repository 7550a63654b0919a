//! How objects are called.
//!
//! An entry lies under its key. Beside it lies an empty object whose name tells what purges and sweeps must know: when the
//! entry ends, and whose it is, as codes that say nothing to whoever has no key. So no entry need be read to be removed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::super::entry::{About, Entry};
use super::super::key::CacheKey;
use super::super::purge::{Purge, hex};

/// What changes with every purge, whichever node makes it.
pub const PURGED: &str = "purged";
pub const INDEX: &str = "i/";
/// Of a code.
const CODE: usize = 8;
/// Longest name that a directory takes is 255 bytes: key, end and four codes leave room for that many tags.
const TAGS: usize = 18;
/// In place of the tags of an entry that has more: it goes with any of them.
const MANY: &str = "~~~~~~~~";

/// Of an entry.
pub fn entry(key: &str) -> String {
    let folder = key.get(..2).unwrap_or_default();
    format!("e/{folder}/{key}")
}

/// Where the names of an entry's index begin.
pub fn index_of(key: &str) -> String {
    format!("{INDEX}{key}.")
}

/// What the name of an index object tells.
pub struct Told<'n> {
    pub key: &'n str,
    pub expires_s: i64,
    codes: &'n str,
}

impl<'n> Told<'n> {
    pub fn read(name: &'n str) -> Option<Told<'n>> {
        let mut parts = name.strip_prefix(INDEX)?.split('.');
        let (key, end, codes) = (parts.next()?, parts.next()?, parts.next()?);
        (key.len() == 64 && codes.is_ascii()).then_some(Told { key, expires_s: end.parse().ok()?, codes })
    }

    fn code(&self, at: usize) -> Option<&'n str> {
        self.codes.get(at * CODE..(at + 1) * CODE)
    }
}

/// Makes codes.
pub struct Namer {
    key: [u8; 32],
}

/// The kinds of what a purge may name, in the order of their codes. Tags follow.
const KINDS: [&str; 4] = ["tenant", "key", "model", "namespace"];

impl Namer {
    pub fn new(seal: [u8; 32]) -> Self {
        Namer { key: seal }
    }

    fn code(&self, kind: &str, value: &str) -> String {
        // HMAC takes keys of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return MANY.to_string() };
        for part in ["ailink cache names 1", "\0", kind, "\0", value] {
            mac.update(part.as_bytes());
        }
        let [a, b, c, d, e, f, ..] = <[u8; 32]>::from(mac.finalize().into_bytes());
        URL_SAFE_NO_PAD.encode([a, b, c, d, e, f])
    }

    /// The name of an entry's index object.
    pub fn index(&self, key: &CacheKey, entry: &Entry) -> String {
        let About { tenant: _, key_id, model, namespace, tags } = &entry.about;
        let tenant = entry.about.tenant_text();
        // An entry goes when the second it ends in is over.
        let mut name = format!("{}{}.", index_of(&hex(key)), entry.expires_us / 1_000_000 + 1);
        for (kind, value) in KINDS.iter().zip([&*tenant, key_id, model, namespace]) {
            name.push_str(&self.code(kind, value));
        }
        if tags.len() > TAGS {
            name.push_str(MANY);
        } else {
            tags.iter().for_each(|tag| name.push_str(&self.code("tag", tag)));
        }
        name
    }

    /// What the purge looks for.
    pub fn wanted(&self, purge: &Purge) -> Wanted {
        let given = [&purge.tenant, &purge.key_id, &purge.model, &purge.namespace];
        let mut codes = KINDS.iter().zip(given).map(|(kind, value)| Some(self.code(kind, value.as_deref()?)));
        Wanted {
            codes: std::array::from_fn(|_| codes.next().flatten()),
            tag: purge.tag.as_deref().map(|tag| self.code("tag", tag)),
        }
    }
}

pub struct Wanted {
    codes: [Option<String>; 4],
    tag: Option<String>,
}

impl Wanted {
    /// Keys are looked at by whoever lists.
    pub fn fits(&self, told: &Told<'_>) -> bool {
        let named =
            |(at, code): (usize, &Option<String>)| code.as_deref().is_none_or(|code| told.code(at) == Some(code));
        let tagged = |code: &String| {
            let mut tags = (self.codes.len()..).map_while(|at| told.code(at));
            tags.any(|tag| tag == code || tag == MANY)
        };
        self.codes.iter().enumerate().all(named) && self.tag.as_ref().is_none_or(tagged)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderValue;

    use super::*;
    use crate::cache::entry::{Form, Worth};

    fn entry_of(tags: &[String]) -> Entry {
        Entry {
            form: Form::Whole,
            content_type: HeaderValue::from_static("application/json"),
            body: Bytes::new(),
            stored_us: 0,
            expires_us: 5_500_000,
            stale_us: 0,
            worth: Worth::default(),
            about: About {
                tenant: b"team\0red"[..].into(),
                key_id: "k1".into(),
                model: "gpt".into(),
                namespace: "n".into(),
                tags: tags.into(),
            },
        }
    }

    #[test]
    fn names_tell_what_purges_ask() {
        let namer = Namer::new([3; 32]);
        let name = namer.index(&[7; 32], &entry_of(&["a".into(), "b".into()]));
        let told = Told::read(&name).expect("reads");
        assert_eq!((told.key, told.expires_s), ("07".repeat(32).as_str(), 6));
        assert!(!name.contains("red") && !name.contains("gpt"));
        let some = |text: &str| Some(text.to_string());
        let fits = |purge: &Purge| namer.wanted(purge).fits(&told);
        assert!(fits(&Purge::default()));
        for (purge, goes) in [
            (Purge { tenant: some("team:red"), ..Purge::default() }, true),
            (Purge { tenant: some("team:blue"), ..Purge::default() }, false),
            (Purge { tag: some("b"), model: some("gpt"), ..Purge::default() }, true),
            (Purge { tag: some("b"), model: some("other"), ..Purge::default() }, false),
            (Purge { tag: some("c"), ..Purge::default() }, false),
            // A model's name is no tag.
            (Purge { tag: some("gpt"), ..Purge::default() }, false),
            (Purge { key_id: some("k1"), namespace: some("n"), ..Purge::default() }, true),
            (Purge { key_id: some("k2"), ..Purge::default() }, false),
        ] {
            assert_eq!(fits(&purge), goes, "{purge:?}");
        }
        let tags: Vec<String> = (0..40).map(|number| format!("t{number}")).collect();
        for tags in [&tags[..TAGS], &tags] {
            let name = namer.index(&[7; 32], &entry_of(tags));
            assert!(name.len() - INDEX.len() <= 255, "{}", name.len());
            let wanted = namer.wanted(&Purge { tag: some("t17"), ..Purge::default() });
            assert!(wanted.fits(&Told::read(&name).expect("reads")));
        }
        for none in ["i/", "i/x.1.", "x", "i/07.6.abc"] {
            assert!(Told::read(none).is_none(), "{none}");
        }
    }
}
