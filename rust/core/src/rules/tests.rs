use proptest::prelude::*;

use super::*;
use crate::wire::json::scan_object;

fn rule(parameter: &str) -> wire::Rule {
    wire::Rule {
        parameter: parameter.to_string(),
        to: None,
        reject: None,
        drop: false,
        set: None,
        min: None,
        max: None,
        default: None,
        require: false,
    }
}

fn some(text: &str) -> Option<String> {
    Some(text.to_string())
}

/// The body after the rules, and what is announced.
fn after(rules: &[wire::Rule], body: &str) -> Result<(String, Vec<String>), Refusal> {
    let rules = Rules::compile(rules).expect("valid").expect("not empty");
    let root = scan_object(body.as_bytes(), &[]).expect("JSON").root;
    let mut applied = rules.apply(body.as_bytes(), root)?;
    applied.edits.sort_by_key(|edit| (edit.start, edit.end));
    let (mut out, mut at) = (String::new(), 0);
    for edit in &applied.edits {
        assert!(edit.start >= at, "edits overlap: {:?}", applied.edits);
        out.push_str(&body[at..edit.start]);
        out.push_str(std::str::from_utf8(&edit.text).expect("UTF-8"));
        at = edit.end;
    }
    out.push_str(&body[at..]);
    Ok((out, applied.dropped.iter().map(ToString::to_string).collect()))
}

#[test]
fn renames_unless_the_new_name_is_there() {
    let rules = [wire::Rule { to: some("max_tokens"), max: some("10"), ..rule("max_completion_tokens") }];
    let of = |body: &str| after(&rules, body).expect("accepted");
    assert_eq!(of(r#"{"max_completion_tokens":5,"n":1}"#), (r#"{"max_tokens":5,"n":1}"#.into(), vec![]));
    assert_eq!(of(r#"{"max_completion_toke\u006es" : 5}"#).0, r#"{"max_tokens" : 5}"#);
    let (body, told) = of(r#"{"n":1,"max_completion_tokens":50}"#);
    assert_eq!((body.as_str(), told), (r#"{"n":1,"max_tokens":10}"#, vec!["max_completion_tokens=10".to_string()]));
    let (body, told) = of(r#"{"max_tokens":7, "max_completion_tokens":5}"#);
    assert_eq!((body.as_str(), told), (r#"{"max_tokens":7}"#, vec!["max_completion_tokens".to_string()]));
    let (body, told) = of(r#"{"max_tokens":7,"max_completion_tokens":null}"#);
    assert_eq!((body.as_str(), told.len()), (r#"{"max_tokens":7}"#, 0));
}

#[test]
fn refuses_with_the_alternative_unless_nothing_is_asked() {
    let rules = [wire::Rule { reject: some("Leave it out."), ..rule("logprobs") }];
    let refusal = after(&rules, r#"{"m":1,"logprobs":true}"#).expect_err("refused");
    assert_eq!(refusal.message("groq"), "Provider 'groq' does not support the parameter 'logprobs'. Leave it out.");
    assert_eq!(refusal.parameter(), "logprobs");
    for nothing in ["null", "false"] {
        let body = format!(r#"{{"logprobs":{nothing},"m":1}}"#);
        assert_eq!(after(&rules, &body).expect("accepted"), (r#"{"m":1}"#.to_string(), vec![]));
    }
}

#[test]
fn drops_wherever_the_member_stands() {
    let rules = [wire::Rule { drop: true, ..rule("a") }, wire::Rule { drop: true, ..rule("b") }];
    for (body, left, told) in [
        (r#"{"a":1,"m":2}"#, r#"{"m":2}"#, 1),
        (r#"{"m":2,"a":1}"#, r#"{"m":2}"#, 1),
        (r#"{ "a": [1,2], "b": {}, "m": 2 }"#, r#"{ "m": 2 }"#, 2),
        (r#"{"m":2 , "a":1 ,"b":"}" }"#, r#"{"m":2 }"#, 2),
        (r#"{"a":1,"m":2,"b":3}"#, r#"{"m":2}"#, 2),
        (r#"{"a":1,"m":2,"b":3,"n":4}"#, r#"{"m":2,"n":4}"#, 2),
        (r#"{"a":null,"m":2}"#, r#"{"m":2}"#, 0),
        (r#"{"m":{"a":1}}"#, r#"{"m":{"a":1}}"#, 0),
    ] {
        let (found, dropped) = after(&rules, body).expect("accepted");
        assert_eq!((found.as_str(), dropped.len()), (left, told), "{body}");
    }
}

#[test]
fn bounds_fills_and_requires() {
    let rules = [
        wire::Rule { max: some("1.99"), min: some("0.01"), ..rule("temperature") },
        wire::Rule { default: some("4096"), ..rule("max_tokens") },
        wire::Rule { require: true, ..rule("user") },
    ];
    let (body, told) = after(&rules, r#"{"user":"u","temperature":2}"#).expect("accepted");
    assert_eq!(body, r#"{"max_tokens":4096,"user":"u","temperature":1.99}"#);
    assert_eq!(told, ["temperature=1.99"]);
    assert_eq!(
        after(&rules, r#"{"user":"u","temperature":0,"max_tokens":1}"#).expect("accepted").1,
        ["temperature=0.01"]
    );
    assert!(after(&rules, r#"{"user":"u","temperature":"hot","max_tokens":1}"#).expect("accepted").1.is_empty());
    for without in [r#"{"m":1}"#, r#"{"user":null}"#] {
        let refusal = after(&rules, without).expect_err("refused");
        assert_eq!(refusal, Refusal::Missing { parameter: "user".into() });
    }
}

#[test]
fn a_default_goes_by_the_new_name() {
    let rules = [wire::Rule { to: some("b"), default: some("[1]"), ..rule("a") }];
    assert_eq!(after(&rules, r#"{"m":1}"#).expect("accepted").0, r#"{"b":[1],"m":1}"#);
    assert_eq!(after(&rules, r#"{"b":2,"m":1}"#).expect("accepted").0, r#"{"b":2,"m":1}"#);
}

#[test]
fn broken_rules_do_not_compile() {
    assert!(Rules::compile(&[]).expect("valid").is_none());
    assert!(Rules::compile(&[wire::Rule { max: some("high"), ..rule("a") }]).is_err());
    assert!(Rules::compile(&[wire::Rule { default: some("{"), ..rule("a") }]).is_err());
}

proptest! {
    /// Against a twin that works on a tree.
    #[test]
    fn leaves_the_same_members_as_a_tree(
        names in prop::collection::btree_set("[a-f]", 0..6),
        order in any::<u64>(),
    ) {
        let mut names: Vec<String> = names.into_iter().chain(["messages".to_string()]).collect();
        let length = names.len();
        names.rotate_left((order % length as u64) as usize);
        let members: Vec<String> = names.iter().map(|name| format!("\"{name}\":[0]")).collect();
        let body = format!("{{{}}}", members.join(if order & 1 == 0 { "," } else { " , " }));
        let rules = [
            wire::Rule { drop: true, ..rule("a") },
            wire::Rule { drop: true, ..rule("b") },
            wire::Rule { drop: true, ..rule("c") },
            wire::Rule { to: some("e"), ..rule("d") },
        ];
        let (found, _) = after(&rules, &body).expect("accepted");
        let tree: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&found).expect("JSON");
        let mut wanted: Vec<&str> = names.iter().map(String::as_str).filter(|name| !["a", "b", "c"].contains(name)).collect();
        if wanted.contains(&"d") {
            wanted.retain(|name| *name != "d");
            if !wanted.contains(&"e") {
                wanted.push("e");
            }
        }
        wanted.sort_unstable();
        let mut keys: Vec<&str> = tree.keys().map(String::as_str).collect();
        keys.sort_unstable();
        prop_assert_eq!(keys, wanted);
    }
}

#[test]
fn what_is_set_stands_whatever_the_caller_says() {
    let tier = || wire::Rule { set: some(r#""flex""#), ..rule("service_tier") };
    for (body, after_it, told) in [
        (r#"{"a":1}"#, r#"{"service_tier":"flex","a":1}"#, None),
        (r#"{"a":1,"service_tier":"priority"}"#, r#"{"a":1,"service_tier":"flex"}"#, Some("service_tier")),
        (r#"{"service_tier":null,"a":1}"#, r#"{"service_tier":"flex","a":1}"#, Some("service_tier")),
        (r#"{"service_tier":"flex","a":1}"#, r#"{"service_tier":"flex","a":1}"#, None),
    ] {
        let told: Vec<String> = told.into_iter().map(String::from).collect();
        assert_eq!(after(&[tier()], body).expect("never refused"), (after_it.to_string(), told), "{body}");
    }
    assert!(Rules::compile(&[wire::Rule { set: some("flex"), ..rule("service_tier") }]).is_err());
}
