use std::collections::HashSet;
use std::time::Duration;

use super::*;
use crate::state::draw::{Ask, Grants, Refused, Told, draw};
use crate::state::line::Rank;
use crate::state::rules::{Exhausted, LimitRule, Metric, SubjectRow, WindowRow};
use crate::state::scope::Aim;

fn rule(metric: Metric, max: u64, length_ms: u64, each: Option<Each>) -> LimitRule {
    LimitRule {
        name: String::new(),
        metric,
        max,
        window: (metric != Metric::Parallel).then_some(WindowRow::Sliding { length_ms }),
        models: None,
        endpoints: None,
        providers: None,
        each,
        soft: false,
        on_exhausted: Exhausted::Refuse,
        reserved: [0; 2],
    }
}

fn subject(subjects: &Subjects, kind: Kind, id: &str, limits: Vec<LimitRule>) -> Arc<Subject> {
    let row = SubjectRow { kind, id: id.to_string(), alias: None, parents: vec![], blocked: false, limits: vec![] };
    let subject = subjects.put(&row);
    set(&subject, limits);
    subject
}

fn set(subject: &Subject, limits: Vec<LimitRule>) {
    let rules = limits.into_iter().map(|row| Arc::new(Rule::compile(row).expect("valid"))).collect();
    subject.set_rules(rules, Vec::new(), now(), None);
}

fn now() -> Now {
    Now::at(Instant::now(), wall_us())
}

fn take(subjects: &Subjects, whole: &Arc<Subject>, value: &str) -> Result<Grants, Box<Refused>> {
    let mut payers = SmallVec::new();
    payers.push(whole.clone());
    subjects.parts(whole, None, |_| Some((value.to_string(), value.to_string())), &mut payers);
    let ask = Ask {
        aim: Aim::default(),
        metrics: Metric::ARRIVAL,
        amounts: [1; 6],
        elastic: None,
        now: now(),
        rank: Rank::default(),
    };
    let mut grants = Grants::new();
    draw(payers.iter().map(|payer| &**payer), &ask, &mut grants, &mut Told::default())?;
    Ok(grants)
}

fn parts(subjects: &Subjects) -> u64 {
    subjects.retain(Kind::Part, |_| true)
}

#[test]
fn each_has_a_count_of_its_own_and_all_have_one_together() {
    let subjects = Subjects::default();
    let limits = vec![rule(Metric::Requests, 5, 3_600_000, None), rule(Metric::Requests, 2, 3_600_000, Some(Each::Ip))];
    let team = subject(&subjects, Kind::Team, "t", limits);
    for value in ["a", "b", "a", "b"] {
        take(&subjects, &team, value).expect("room");
    }
    let refused = take(&subjects, &team, "a").expect_err("two are used");
    assert_eq!((refused.kind, refused.used), (Kind::Part, 2));
    assert_eq!(refused.who, "The address 'a' with the team 't'");
    // What a part refused the whole did not count.
    take(&subjects, &team, "c").expect("the fifth of all");
    assert_eq!(take(&subjects, &team, "d").expect_err("five are used").kind, Kind::Team);
}

#[test]
fn a_change_of_the_limit_reaches_those_who_are_counted() {
    let subjects = Subjects::default();
    let limit = |max| vec![rule(Metric::Requests, max, 3_600_000, Some(Each::Key))];
    let global = subject(&subjects, Kind::Global, "", limit(1));
    take(&subjects, &global, "k").expect("room");
    assert_eq!(take(&subjects, &global, "k").expect_err("one is used").who, "The key 'k'");
    set(&global, limit(2));
    take(&subjects, &global, "k").expect("one more, what was used still counts");
    take(&subjects, &global, "k").expect_err("two are used");
    set(&global, vec![]);
    assert!(take(&subjects, &global, "k").expect("no limit").is_empty());
}

#[test]
fn those_that_count_nothing_any_more_are_forgotten() {
    let subjects = Subjects::default();
    let short = subject(&subjects, Kind::Global, "", vec![rule(Metric::Requests, 5, 20, Some(Each::Ip))]);
    let long = subject(&subjects, Kind::Model, "m", vec![rule(Metric::Requests, 5, 3_600_000, Some(Each::Ip))]);
    take(&subjects, &long, "stays").expect("room");
    for value in 0..FEWEST - 1 {
        take(&subjects, &short, &value.to_string()).expect("room");
    }
    assert_eq!(parts(&subjects), FEWEST);
    std::thread::sleep(Duration::from_millis(45));
    take(&subjects, &short, "x").expect("room");
    assert_eq!(parts(&subjects), 2, "one that counts, and the new one");
    for _ in 0..4 {
        take(&subjects, &long, "stays").expect("room");
    }
    take(&subjects, &long, "stays").expect_err("it was not forgotten");
}

#[test]
fn those_who_come_when_there_are_too_many_share_one_count() {
    let subjects = Subjects::default();
    let global = subject(&subjects, Kind::Global, "", vec![rule(Metric::Requests, 2, 3_600_000, Some(Each::Ip))]);
    for value in 0..MOST {
        take(&subjects, &global, &value.to_string()).expect("room");
    }
    let refused: HashSet<bool> = (0..4).map(|at| take(&subjects, &global, &format!("late {at}")).is_err()).collect();
    assert_eq!(refused, HashSet::from([false, true]));
    assert_eq!(parts(&subjects), MOST + 1);
    assert!(take(&subjects, &global, "7").is_ok(), "who is known goes on");
    let told = take(&subjects, &global, "late 9").expect_err("shared").who;
    assert_eq!(told, "The address 'any other'");
}

#[test]
fn what_holds_for_each_of_many_ends() {
    let mut row = rule(Metric::Spend, 5, 1_000, Some(Each::Session));
    row.window = Some(WindowRow::Lifetime { since_us: 0 });
    assert!(Rule::compile(row).is_err_and(|text| text.contains("a window that ends")));
}
