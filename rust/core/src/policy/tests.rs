use serde_json::json;

use super::*;

fn compiled(policies: serde_json::Value) -> Result<Policies, String> {
    let told = json!({"policies": policies, "attachments": [], "zones": [[]], "calendars": {}, "keep": 0});
    let told: wire::Policies = serde_json::from_value(told).map_err(|error| error.to_string())?;
    let record = crate::guard::record::Record::default();
    Policies::compile(&told, |name| record.rule(name), |_| Ok(0))
}

fn policy(phase: &str, when: serde_json::Value, then: serde_json::Value) -> serde_json::Value {
    json!([{"name": "p", "version": 1, "phase": phase, "shadow": false, "priority": 0, "when": when.to_string(),
        "then": then.to_string(), "zone": 0}])
}

#[test]
fn what_cannot_work_is_refused_with_its_place() {
    let always = json!({"always": true});
    for (phase, when, then, text) in [
        ("pree", always.clone(), json!([{"allow": {}}]), "\"pree\" is not known"),
        ("pre", always.clone(), json!([{"dney": {}}]), "unknown variant `dney`"),
        ("pre", always.clone(), json!([]), "1 to 32 actions"),
        ("pre", always.clone(), json!([{"deny": {"status": 200, "message": ""}}]), "then[0].deny.status"),
        ("pre", json!({"field": "modle", "op": "eq", "value": 1}), json!([{"allow": {}}]), "when.field: unknown field"),
        ("pre", json!("response.status == 200"), json!([{"allow": {}}]), "when.character 1"),
        ("post", always.clone(), json!([{"route": {"model": "x", "provider": null}}]), "no effect in the phase `post`"),
        ("async", always.clone(), json!([{"deny": {"status": 403, "message": ""}}]), "no effect in the phase `async`"),
        ("pre", always.clone(), json!([{"override": {"set": {"model": "x"}}}]), "changed by `route`"),
        (
            "pre",
            always.clone(),
            json!([{"transform": {"ops": [{"op": "regex_replace", "pattern": "(", "replacement": ""}]}}]),
            "then[0].transform.ops[0].pattern",
        ),
        (
            "post",
            always.clone(),
            json!([{"validate_schema": {"schema": {"typ": "x"}, "not": false, "field": null, "message": ""}}]),
            "did you mean `type`",
        ),
    ] {
        let error = compiled(policy(phase, when, then)).expect_err(text);
        assert!(error.contains(text), "{error}");
        assert!(error.contains("policy \"p\""), "{error}");
    }
}

#[test]
fn policies_run_by_priority_and_then_as_they_stand() {
    let one = |name: &str, priority: i32| {
        json!({"name": name, "version": 1, "phase": "pre", "shadow": false, "priority": priority, "when": null,
            "then": "[{\"allow\": {}}]", "zone": 0})
    };
    let policies = compiled(json!([one("c", 5), one("a", -1), one("d", 5), one("b", 0)])).expect("compiles");
    assert_eq!(policies.list.iter().map(|policy| &*policy.name).collect::<Vec<_>>(), ["a", "b", "c", "d"]);
}

#[test]
fn ten_thousand_policies_compile() {
    let many: Vec<_> = (0..10_000)
        .map(|at| {
            json!({"name": format!("p{at}"), "version": 1, "phase": "pre", "shadow": false, "priority": 0,
                "when": format!("model == 'm{at}' && team.id in ['a', 'b']"), "then": "[{\"allow\": {}}]", "zone": 0})
        })
        .collect();
    assert_eq!(compiled(json!(many)).expect("compiles").list.len(), 10_000);
}
