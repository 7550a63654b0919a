use serde_json::{Value, json};

use super::super::*;

struct Known(Value);

impl Facts for Known {
    fn fact(&self, field: &Field) -> Fact<'_> {
        let path: Vec<String> = match field {
            Field::Model => vec!["model".into()],
            Field::Hour(_) => vec!["hour".into()],
            Field::Clock(_) => vec!["clock".into()],
            Field::Date(_) => vec!["date".into()],
            Field::Tags => vec!["tags".into()],
            Field::Ip => vec!["ip".into()],
            Field::Stream => vec!["stream".into()],
            Field::Owner(Holder::Team) => vec!["team".into()],
            Field::Param(path) => [vec!["body".to_string()], path.clone()].concat(),
            Field::Header(name) => vec!["headers".into(), name.clone()],
            Field::ToolCalls => vec!["calls".into()],
            _ => return Fact::Missing,
        };
        fact_at(&self.0, &path)
    }
}

fn known() -> Known {
    Known(json!({
        "model": "gpt-4o", "hour": 20, "clock": "23:30", "date": "2026-12-24", "tags": ["beta", "eu-1"],
        "ip": "10.1.2.3", "stream": true, "team": "t1", "calls": ["search", "delete_user"],
        "body": {"max_tokens": 500, "n": "3", "messages": [{"role": "user", "content": "Hello"}, {"role": "system"}]},
        "headers": {"x-team": "Red"},
    }))
}

fn holds(condition: &Value) -> bool {
    let condition = Condition::compile(condition).unwrap_or_else(|fault| panic!("{condition}: {fault:?}"));
    condition.holds(&known())
}

#[test]
fn operators_with_field_op_and_value() {
    for (field, op, value, expected) in [
        ("model", "eq", json!("gpt-4o"), true),
        ("model", "neq", json!("gpt-4o"), false),
        ("model", "in", json!(["a", "gpt-4o"]), true),
        ("model", "not_in", json!(["a", "b", "c", "d", "e", "f", "g", "h", "gpt-4o"]), false),
        ("model", "not_in", json!(["a", "b", "c", "d", "e", "f", "g", "h", "i"]), true),
        ("model", "glob", json!("gpt-?o"), true),
        ("model", "glob", json!("gpt"), false),
        ("model", "regex", json!("^gpt-[0-9]"), true),
        ("model", "contains", json!("4"), true),
        ("model", "not_contains", json!("4"), false),
        ("model", "starts_with", json!("gpt"), true),
        ("model", "ends_with", json!("4o"), true),
        ("body.max_tokens", "gt", json!(499), true),
        ("body.max_tokens", "lte", json!("499"), false),
        ("body.n", "eq", json!(3), true),
        ("body.n", "gte", json!(3), true),
        ("time.hour", "between", json!([8, 18]), false),
        ("time.hour", "between", json!([18, 8]), true),
        ("time.clock", "between", json!(["22:00", "06:00"]), true),
        ("time.date", "gte", json!("2026-12-24"), true),
        ("time.date", "lt", json!("2026-12-24"), false),
        ("ip", "cidr", json!("10.0.0.0/8"), true),
        ("context.ip", "cidr", json!(["192.168.0.0/16", "fd00::/8"]), false),
        ("tags", "contains", json!("beta"), true),
        ("tags", "contains", json!("bet"), false),
        ("tags", "not_contains", json!("beta"), false),
        ("tags", "starts_with", json!("eu"), true),
        ("tags", "in", json!(["beta"]), true),
        ("tags", "not_in", json!(["beta"]), false),
        ("tool_calls", "glob", json!("delete_*"), true),
        ("request.body.messages[*].role", "eq", json!("system"), true),
        ("body.messages[0].content", "eq", json!("Hello"), true),
        ("body.messages[7].content", "neq", json!("Hello"), false),
        ("body.missing", "exists", json!(false), true),
        ("body.missing", "exists", json!(true), false),
        ("user.id", "neq", json!("x"), false),
    ] {
        let condition = json!({"field": field, "op": op, "value": value});
        assert_eq!(holds(&condition), expected, "{condition}");
    }
    assert!(holds(&json!({"field": "headers.X-Team", "op": "eq", "value": "RED", "ignore_case": true})));
    assert!(holds(&json!({"field": "model", "op": "exists"})));
    assert!(holds(&json!({"always": true})));
}

#[test]
fn expressions_come_to_the_same() {
    for (text, expected) in [
        ("model == 'gpt-4o'", true),
        ("model != \"gpt-4o\"", false),
        ("\"gpt-4o\" == model && stream", true),
        ("!stream || time.hour >= 20", true),
        ("500 > body.max_tokens", false),
        ("500 >= body.max_tokens", true),
        ("model in ['a', 'gpt-4o'] && !(team.id in [\"t2\"])", true),
        ("'beta' in tags", true),
        ("has(body.n) && !has(body.m)", true),
        ("model.startsWith('gpt') && model.endsWith('4o') && model.contains('-')", true),
        ("model.matches('^gpt-\\d')", true),
        ("headers['x-team'] == 'Red'", true),
        ("body.messages[0].role == 'user'", true),
        ("(time.hour < 8 || time.hour > 18) && true", true),
        ("false", false),
    ] {
        assert_eq!(holds(&json!(text)), expected, "{text}");
    }
}

#[test]
fn faults_of_both_name_their_place() {
    for (condition, path, message) in [
        (json!({"field": "modell", "op": "eq", "value": 1}), "field", "did you mean `model`"),
        (json!({"field": "model", "op": "equals", "value": 1}), "op", "unknown operator `equals`"),
        (json!({"field": "model", "op": "startswith", "value": "x"}), "op", "did you mean `starts_with`"),
        (json!({"field": "model", "op": "eq"}), "", "`value` is missing"),
        (json!({"field": "model", "op": "eq", "valeu": 1}), "valeu", "did you mean `value`"),
        (json!({"all": [{"field": "ip", "op": "cidr", "value": "10.0.0.0/99"}]}), "all[0].value", "10.0.0.0/99"),
        (json!({"field": "time.hour", "op": "between", "value": [1]}), "value", "two values"),
        (json!({"field": "response.status", "op": "eq", "value": 200}), "field", "asked before"),
        (json!({"always": false}), "always", "is true"),
        (json!("model = 'x'"), "character 7", "the end, `&&` or `||`"),
        (json!("model == gpt"), "character 10", "text stands in quotes"),
        (json!("modell == 'x'"), "character 1", "did you mean `model`"),
        (json!("model == 'x"), "character 10", "no end"),
        (json!("model.size() == 3"), "character 1", "`size` is no method"),
        (json!("(model == 'x'"), "character 14", "`)`"),
        (json!(""), "character 1", "a field or a constant"),
        (json!("history.key.requests.1y > 3"), "character 1", "unknown field"),
    ] {
        let fault = Condition::compile(&condition).expect_err(&condition.to_string());
        assert_eq!(fault.path, path, "{condition}: {}", fault.message);
        assert!(fault.message.contains(message), "{condition}: {}", fault.message);
    }
    let deep = "(".repeat(100_000);
    assert!(Condition::compile(&json!(deep)).is_err());
    assert!(Condition::compile(&json!("!".repeat(1000) + "stream")).is_err());
}
