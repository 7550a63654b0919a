//! Changes to a JSON document at a path, as splices: all other bytes stay as they are.
//!
//! A path is a list of member names and places in lists; `*` stands for every element or member.

use std::ops::Range;

use super::{Kind, Value, elements, members, scan_object, string};

/// Most places that one path may come to.
const PLACES: usize = 10_000;

/// The values at a path of an object that is valid JSON.
#[must_use]
pub fn locate(body: &[u8], path: &[String]) -> Vec<Value> {
    let Ok(scan) = scan_object(body, &[]) else { return Vec::new() };
    let mut at = vec![scan.root];
    for step in path {
        let mut next = Vec::new();
        for value in at {
            match value.kind {
                Kind::Object => next.extend(
                    members(body, value)
                        .filter(|member| step == "*" || string(body, member.key).is_some_and(|key| key == *step))
                        .map(|member| member.value),
                ),
                Kind::Array if step == "*" => next.extend(elements(body, value)),
                Kind::Array => {
                    let place = step.parse::<usize>().ok();
                    next.extend(place.and_then(|place| elements(body, value).nth(place)));
                }
                _ => {}
            }
            next.truncate(PLACES);
        }
        at = next;
    }
    at
}

/// An object without some of its members; what stands between them goes, too. It is left open: the closing brace is the
/// caller's to write.
#[must_use]
pub fn without(body: &[u8], object: Value, names: &[&str]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 16);
    out.push(b'{');
    for member in members(body, object) {
        if string(body, member.key).is_some_and(|name| names.contains(&&*name)) {
            continue;
        }
        if out.len() > 1 {
            out.push(b',');
        }
        out.extend_from_slice(body.get(member.key.start as usize..member.value.end as usize).unwrap_or_default());
    }
    out
}

/// Puts texts in place of disjoint ranges.
#[must_use]
pub fn splice(body: &[u8], mut edits: Vec<(Range<usize>, Vec<u8>)>) -> Vec<u8> {
    edits.sort_by_key(|(range, _)| (range.start, range.end));
    let mut out = Vec::with_capacity(body.len() + edits.iter().map(|(_, text)| text.len()).sum::<usize>());
    let mut at = 0;
    for (range, text) in edits {
        if range.start < at {
            continue;
        }
        out.extend_from_slice(body.get(at..range.start).unwrap_or_default());
        out.extend_from_slice(&text);
        at = range.end;
    }
    out.extend_from_slice(body.get(at..).unwrap_or_default());
    out
}

/// Sets the value at a path. Objects that are missing on the way are made.
///
/// # Errors
/// The step at which there is something else than an object, or a place that a list does not have.
pub fn set(body: &[u8], path: &[String], json: &[u8]) -> Result<Vec<u8>, String> {
    let mut at = scan_object(body, &[]).map_err(|error| error.to_string())?.root;
    for (depth, step) in path.iter().enumerate() {
        let next = match at.kind {
            Kind::Object => members(body, at)
                .find(|member| string(body, member.key).is_some_and(|key| key == *step))
                .map(|member| member.value),
            Kind::Array => {
                let place = step.parse::<usize>().ok().and_then(|place| elements(body, at).nth(place));
                Some(place.ok_or_else(|| format!("there is no element `{step}`"))?)
            }
            _ => return Err(format!("`{step}` would stand in something that is neither an object nor a list")),
        };
        match next {
            Some(value) => at = value,
            None => {
                let rest = path.get(depth + 1..).unwrap_or_default();
                let mut text = json.to_vec();
                for name in rest.iter().rev() {
                    text = [b"{", quoted(name).as_slice(), b":", &text, b"}"].concat();
                }
                let empty = members(body, at).next().is_none();
                let comma: &[u8] = if empty { b"" } else { b"," };
                let start = at.start as usize + 1;
                let member = [quoted(step).as_slice(), b":", &text, comma].concat();
                return Ok(splice(body, vec![(start..start, member)]));
            }
        }
    }
    Ok(splice(body, vec![(at.range(), json.to_vec())]))
}

/// Puts a value in place of every one at a path; `None` when there is none.
#[must_use]
pub fn replace(body: &[u8], path: &[String], json: &[u8]) -> Option<Vec<u8>> {
    let found = locate(body, path);
    let edits: Vec<_> = found.into_iter().map(|value| (value.range(), json.to_vec())).collect();
    (!edits.is_empty()).then(|| splice(body, edits))
}

/// Takes a member or an element out; `None` when it is not there.
#[must_use]
pub fn remove(body: &[u8], path: &[String]) -> Option<Vec<u8>> {
    let (last, parents) = path.split_last()?;
    let holder = *locate(body, parents).first()?;
    let items: Vec<Range<usize>> = match holder.kind {
        Kind::Object => {
            members(body, holder).map(|member| member.key.start as usize..member.value.end as usize).collect()
        }
        Kind::Array => elements(body, holder).map(Value::range).collect(),
        _ => return None,
    };
    let at = match holder.kind {
        Kind::Object => {
            members(body, holder).position(|member| string(body, member.key).is_some_and(|key| key == *last))?
        }
        _ => last.parse::<usize>().ok()?,
    };
    let own = items.get(at)?.clone();
    // With the comma behind it, or before it for the last one.
    let range = match (items.get(at + 1), at.checked_sub(1).and_then(|before| items.get(before))) {
        (Some(next), _) => own.start..next.start,
        (None, Some(before)) => before.end..own.end,
        (None, None) => own,
    };
    Some(splice(body, vec![(range, Vec::new())]))
}

fn quoted(name: &str) -> Vec<u8> {
    serde_json::to_vec(name).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Vec<String> {
        text.split('.').map(str::to_string).collect()
    }

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn members_are_set_replaced_and_removed_in_place() {
        let body = br#"{"a": 1, "b" : {"c":[1,{"d":2} , 3]}, "e":"x"}"#;
        for (at, value, expected) in [
            ("a", "7", r#"{"a": 7, "b" : {"c":[1,{"d":2} , 3]}, "e":"x"}"#),
            ("b.c.1.d", "null", r#"{"a": 1, "b" : {"c":[1,{"d":null} , 3]}, "e":"x"}"#),
            ("b.n.m", "true", r#"{"a": 1, "b" : {"n":{"m":true},"c":[1,{"d":2} , 3]}, "e":"x"}"#),
        ] {
            assert_eq!(text(set(body, &path(at), value.as_bytes()).expect(at)), expected);
        }
        assert!(set(body, &path("e.f"), b"1").is_err());
        assert!(set(body, &path("b.c.9"), b"1").is_err());
        assert_eq!(text(set(b"{}", &path("x"), b"1").expect("set")), r#"{"x":1}"#);
        for (at, expected) in [
            ("a", r#"{"b" : {"c":[1,{"d":2} , 3]}, "e":"x"}"#),
            ("e", r#"{"a": 1, "b" : {"c":[1,{"d":2} , 3]}}"#),
            ("b.c.1", r#"{"a": 1, "b" : {"c":[1,3]}, "e":"x"}"#),
            ("b.c.2", r#"{"a": 1, "b" : {"c":[1,{"d":2}]}, "e":"x"}"#),
            ("b.c.1.d", r#"{"a": 1, "b" : {"c":[1,{} , 3]}, "e":"x"}"#),
        ] {
            assert_eq!(text(remove(body, &path(at)).expect(at)), expected);
        }
        assert!(remove(body, &path("nothing")).is_none());
        let all = replace(body, &path("b.c.*"), b"0").expect("there");
        assert_eq!(text(all), r#"{"a": 1, "b" : {"c":[0,0 , 0]}, "e":"x"}"#);
    }
}
