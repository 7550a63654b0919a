use super::*;
use serde_json::json;

#[test]
fn values_are_judged() {
    let schema = json!({
        "type": "object", "required": ["name", "age"], "additionalProperties": false,
        "properties": {
            "name": {"type": "string", "minLength": 2, "pattern": "^[a-z]+$"},
            "age": {"type": "integer", "minimum": 0, "exclusiveMaximum": 150},
            "kind": {"enum": ["a", "b"]},
            "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 2, "uniqueItems": true},
            "next": {"$ref": "#"},
            "step": {"multipleOf": 0.1},
            "either": {"oneOf": [{"type": "number"}, {"type": "string", "maxLength": 1}]},
            "other": {"not": {"const": 5}}, "unit": {"$ref": "#/$defs/unit"},
        },
        "$defs": {"unit": {"enum": ["m", "s"]}},
    });
    let schema = Schema::compile(&schema).expect("compiles");
    let good = json!({"name": "ab", "age": 7.0, "kind": "a", "tags": ["x"], "step": 0.3, "either": "x",
        "other": 4, "unit": "m", "next": {"name": "cd", "age": 1}});
    assert_eq!(schema.validate(&good), Ok(()));
    for (value, at) in [
        (json!([]), ""),
        (json!({"name": "ab"}), ""),
        (json!({"name": "a", "age": 1}), "name"),
        (json!({"name": "aB", "age": 1}), "name"),
        (json!({"name": "ab", "age": 1.5}), "age"),
        (json!({"name": "ab", "age": 150}), "age"),
        (json!({"name": "ab", "age": 1, "more": 1}), "more"),
        (json!({"name": "ab", "age": 1, "tags": ["x", 1]}), "tags[1]"),
        (json!({"name": "ab", "age": 1, "tags": ["x", "x"]}), "tags"),
        (json!({"name": "ab", "age": 1, "either": "xy"}), "either"),
        (json!({"name": "ab", "age": 1, "other": 5}), "other"),
        (json!({"name": "ab", "age": 1, "unit": "kg"}), "unit"),
        (json!({"name": "ab", "age": 1, "next": {"name": "ab"}}), "next"),
    ] {
        assert_eq!(schema.validate(&value).expect_err("bad").0, at, "{value}");
    }
}

#[test]
fn what_is_not_known_is_refused() {
    for (schema, at, text) in [
        (json!({"minLenght": 3}), "", "did you mean `minLength`"),
        (json!({"properties": {"a": {"type": "text"}}}), "properties.a.type", "no type"),
        (json!({"$ref": "https://example.com/x"}), "", "not in the schema"),
        (json!(3), "", "an object"),
    ] {
        let (place, message) = Schema::compile(&schema).expect_err("bad");
        assert_eq!(place, at);
        assert!(message.contains(text), "{message}");
    }
}
