mod operators;

use super::*;
use serde_json::json;

struct Known(Value);

impl Facts for Known {
    fn fact(&self, field: &Field) -> Fact<'_> {
        let Value::Object(root) = &self.0 else { return Fact::Missing };
        let path = match field {
            Field::Metadata(name) => vec!["metadata".to_string(), name.clone()],
            Field::Param(path) => [&["params".to_string()], path.as_slice()].concat(),
            Field::InputTokens => vec!["tokens".to_string()],
            Field::Model => vec!["model".to_string()],
            _ => return Fact::Missing,
        };
        member(root, &path).map_or(Fact::Missing, Fact::from)
    }
}

#[test]
fn operators_hold_as_documented() {
    let facts = Known(json!({
        "metadata": {"user_plan": "paid", "age": "21", "score": 0.5},
        "params": {"model": "smart", "temperature": 0.7, "stream": true, "deep": {"list": [{"x": 3}]}},
        "tokens": 1200, "model": "gpt",
    }));
    for (condition, expected) in [
        (json!({"metadata.user_plan": "paid"}), true),
        (json!({"metadata.user_plan": {"$eq": "paid"}}), true),
        (json!({"metadata.user_plan": {"$eq": "free"}}), false),
        (json!({"metadata.user_plan": {"$ne": "free"}}), true),
        (json!({"metadata.nothing": {"$ne": "free"}}), false),
        (json!({"metadata.nothing": {"$nin": ["free"]}}), false),
        (json!({"metadata.nothing": {"$exists": false}}), true),
        (json!({"metadata.age": {"$gt": 18}}), true),
        (json!({"metadata.age": {"$gte": 21, "$lt": 30}}), true),
        (json!({"metadata.age": 21}), false),
        (json!({"metadata.user_plan": {"$in": ["paid", "trial"]}}), true),
        (json!({"metadata.user_plan": {"$nin": ["paid"]}}), false),
        (json!({"metadata.user_plan": {"$regex": "^pa"}}), true),
        (json!({"params.temperature": {"$lte": 0.7}}), true),
        (json!({"params.stream": true}), true),
        (json!({"params.deep.list.0.x": 3}), true),
        (json!({"$and": [{"metadata.user_plan": "paid"}, {"params.model": "smart"}]}), true),
        (json!({"$or": [{"metadata.user_plan": "free"}, {"metadata.score": {"$lt": 1}}]}), true),
        // Siblings count, unlike in the original.
        (json!({"$or": [{"metadata.user_plan": "paid"}], "params.model": "other"}), false),
        (json!({"params.model": {"$regex": "sma", "$ne": "smart"}}), false),
        (json!({"not": {"any": [{"model": "x"}, {"all": [{"tokens.input": {"$gt": 2000}}]}]}}), true),
    ] {
        let compiled = Condition::compile(&condition).unwrap_or_else(|fault| panic!("{condition}: {fault:?}"));
        assert_eq!(compiled.holds(&facts), expected, "{condition}");
    }
}

#[test]
fn faults_name_their_place() {
    for (condition, path, message) in [
        (json!({"metdata.x": 1}), "metdata.x", "unknown field `metdata.x`"),
        (json!({"modell": 1}), "modell", "did you mean `model`"),
        (json!({"model": {"$equals": 1}}), "model.$equals", "unknown operator `$equals`"),
        (json!({"$and": [{"model": {"$gt": "x"}}]}), "$and[0].model.$gt", "a number"),
        (json!({"$or": []}), "$or", "1 to"),
        (json!({"$or": {}}), "$or", "a list"),
        (json!({"model": {"$regex": "("}}), "model.$regex", "unclosed"),
        (json!({"model": {"$in": "x"}}), "model.$in", "a list"),
        (json!({"model": null}), "model", "expected text"),
        (json!({}), "", "at least one"),
        (json!([]), "", "an object"),
        (json!({"metadata.": 1}), "metadata.", "unknown field"),
    ] {
        let fault = Condition::compile(&condition).expect_err(&condition.to_string());
        assert_eq!(fault.path, path, "{condition}");
        assert!(fault.message.contains(message), "{condition}: {}", fault.message);
    }
    let mut deep = json!({"model": "x"});
    for _ in 0..40 {
        deep = json!({"not": deep});
    }
    assert!(Condition::compile(&deep).is_err());
}
