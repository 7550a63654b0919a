//! Parameters that a config takes out of a request: `a`, `a.b`, `a[0].b`, `a[*].b`.

use serde_json::Value;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Member(String),
    Element(usize),
    Every,
}

/// The path to what is taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drop(Vec<Step>);

impl Drop {
    /// None for what is no path.
    pub fn read(text: &str) -> Option<Drop> {
        let mut steps = Vec::new();
        for part in text.split('.') {
            let (name, places) = part.split_once('[').map_or((part, ""), |(name, places)| (name, places));
            if name.is_empty() || part.ends_with('[') {
                return None;
            }
            steps.push(Step::Member(name.to_string()));
            if places.is_empty() {
                continue;
            }
            for place in places.strip_suffix(']')?.split("][") {
                steps.push(if place == "*" { Step::Every } else { Step::Element(place.parse().ok()?) });
            }
        }
        Some(Drop(steps))
    }

    /// Takes out what stands there; what does not is no fault.
    pub fn apply(&self, body: &mut Value) {
        take(body, &self.0);
    }
}

fn take(value: &mut Value, path: &[Step]) {
    let Some((step, rest)) = path.split_first() else { return };
    match (step, value) {
        (Step::Member(name), Value::Object(members)) if rest.is_empty() => _ = members.remove(name),
        (Step::Member(name), Value::Object(members)) => {
            if let Some(inner) = members.get_mut(name) {
                take(inner, rest);
            }
        }
        (Step::Element(at), Value::Array(items)) if rest.is_empty() && *at < items.len() => _ = items.remove(*at),
        (Step::Element(at), Value::Array(items)) if !rest.is_empty() => {
            if let Some(inner) = items.get_mut(*at) {
                take(inner, rest);
            }
        }
        (Step::Every, Value::Array(items)) if rest.is_empty() => items.clear(),
        (Step::Every, Value::Array(items)) => items.iter_mut().for_each(|inner| take(inner, rest)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parameters_are_taken_out_by_path() {
        let before = json!({
            "seed": 1, "metadata": {"internal": 1, "kept": 2},
            "tools": [{"function": {"name": "a", "strict": true}}, {"function": {"name": "b", "strict": true}}],
        });
        let without = |paths: &[&str]| {
            let mut body = before.clone();
            paths.iter().for_each(|path| Drop::read(path).expect(path).apply(&mut body));
            body
        };
        assert_eq!(without(&["seed"]).get("seed"), None);
        assert_eq!(without(&["metadata.internal"])["metadata"], json!({"kept": 2}));
        let first = without(&["tools[0].function.strict"]);
        assert_eq!(first["tools"][0]["function"], json!({"name": "a"}));
        assert_eq!(first["tools"][1]["function"], json!({"name": "b", "strict": true}));
        assert!(!without(&["tools[*].function.strict"]).to_string().contains("strict"));
        assert_eq!(without(&["tools[1]"])["tools"].as_array().map(Vec::len), Some(1));
        // What is not there is no fault.
        assert_eq!(without(&["nothing", "seed.inner", "tools[9]", "metadata[0]", "seed[*].x"]), before);
        for wrong in ["", ".a", "a.", "a[", "a[]", "a[x]", "[0]", "a[0", "a[-1]", "a[0]b"] {
            assert_eq!(Drop::read(wrong), None, "{wrong}");
        }
    }
}
