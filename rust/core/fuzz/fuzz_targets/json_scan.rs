//! The scanner accepts exactly what `serde_json` accepts, but for its own limits, and finds the same members.
#![no_main]

use std::collections::BTreeMap;
use std::fmt;

use ailink_core::wire::json::{
    JsonErrorKind, Kind, Value, as_bool, as_u64, elements, scan_object, scan_value_object, string,
};
use libfuzzer_sys::fuzz_target;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// An object's members in order, duplicates included.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

fn read(body: &[u8], value: Value) {
    let raw = value.raw(body);
    match value.kind {
        Kind::String => assert_eq!(string(body, value).map(|text| text.into_owned()), serde_json::from_slice(raw).ok()),
        Kind::Bool => assert_eq!(as_bool(body, value), serde_json::from_slice(raw).ok()),
        Kind::Number => {
            let plain = raw.iter().all(u8::is_ascii_digit);
            assert_eq!(as_u64(body, value), serde_json::from_slice(raw).ok().filter(|_: &u64| plain));
        }
        Kind::Array => {
            let theirs: Vec<&RawValue> = serde_json::from_slice(raw).unwrap();
            let ours: Vec<Value> = elements(body, value).collect();
            assert_eq!(ours.len(), theirs.len());
            for (ours, theirs) in ours.into_iter().zip(theirs) {
                assert_eq!(ours.raw(body), theirs.get().as_bytes());
                read(body, ours);
            }
        }
        Kind::Object => {
            let scan = scan_value_object(body, value, &["a"]);
            // A key that is a lone surrogate is no text.
            if let Ok(Members(theirs)) = serde_json::from_slice(raw) {
                let unique: BTreeMap<_, _> = theirs.iter().map(|(key, value)| (key.as_str(), value.get())).collect();
                assert_eq!(scan.is_ok(), unique.len() == theirs.len());
                if let Ok(scan) = scan {
                    let ours = scan.fields[0].map(|value| value.raw(body));
                    assert_eq!(ours, unique.get("a").map(|value| value.as_bytes()));
                }
            }
        }
        Kind::Null => assert_eq!(raw, b"null"),
    }
}

fuzz_target!(|body: &[u8]| {
    let ours = scan_object(body, &["model", "a", ""]);
    let text = std::str::from_utf8(body).is_ok();
    let grammar = text && serde_json::from_slice::<IgnoredAny>(body).is_ok();
    let object = body.trim_ascii_start().starts_with(b"{");
    let members = serde_json::from_slice::<Members>(body);
    match ours {
        Ok(scan) => {
            assert!(grammar && object);
            if let Ok(Members(theirs)) = members {
                assert_eq!(scan.keys as usize, theirs.len());
                let theirs: BTreeMap<_, _> = theirs.into_iter().collect();
                assert_eq!(scan.keys as usize, theirs.len());
                for (name, field) in ["model", "a", ""].into_iter().zip(scan.fields) {
                    assert_eq!(field.map(|value| value.raw(body)), theirs.get(name).map(|raw| raw.get().as_bytes()));
                }
            }
            for field in scan.fields.into_iter().flatten() {
                read(body, field);
            }
        }
        Err(error) => {
            assert!(error.offset <= body.len());
            match &error.kind {
                JsonErrorKind::DuplicateKey(_) => {
                    if let Ok(Members(theirs)) = members {
                        let count = theirs.len();
                        let unique: BTreeMap<_, _> = theirs.into_iter().collect();
                        assert!(unique.len() < count);
                    }
                }
                JsonErrorKind::TooDeep | JsonErrorKind::TooLong => {}
                _ => assert!(!(grammar && object), "refused: {error}"),
            }
        }
    }
});
