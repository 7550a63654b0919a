//! Guardrails: what may not pass, in either direction, and what happens to it.
//!
//! A rule has patterns, a side and an action. The rules that hold for a model are compiled into a [`Plan`], one pattern set
//! for each side, so a text is searched once however many rules there are. [`input`] looks at requests, [`output`] at
//! whole answers, [`stream`] at streams; all of them report to the [`record`].

mod apply;
pub mod check;
pub mod checks;
pub mod documents;
mod escapes;
pub mod hook;
mod nested;
pub mod notice;
pub mod output;
pub mod record;
pub mod remote;
pub mod stream;
pub mod texts;
pub mod trial;
pub mod unseen;
pub mod vault;
pub mod walk;

use std::sync::Arc;

pub use apply::{Finding, Judged, judge, tokenized};
use check::Scope;
use hook::{Hook, Run};
use record::{Record, RuleCell};
use unseen::Unscannable;

use crate::kernel::patterns::{PatternSet, Source, Spec, Validator, Views, shared};
use crate::snapshot::wire;

/// What is done about a match. Ordered by severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Counted and kept in the report.
    Log,
    /// Told to the caller in a header, too.
    Flag,
    /// All but the last four letters and digits become `*`.
    Mask,
    /// Replaced by a token, and put back into the answer.
    Tokenize,
    /// Replaced by the name of what it is.
    Redact,
    Block,
}

impl Action {
    pub fn name(self) -> &'static str {
        match self {
            Action::Log => "log",
            Action::Flag => "flag",
            Action::Mask => "mask",
            Action::Tokenize => "tokenize",
            Action::Redact => "redact",
            Action::Block => "block",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        if Then::of(name) != Then::Refuse {
            return Some(Action::Block);
        }
        [Action::Log, Action::Flag, Action::Mask, Action::Tokenize, Action::Redact, Action::Block]
            .into_iter()
            .find(|action| action.name() == name)
    }

    /// Changes what passes.
    pub fn alters(self) -> bool {
        self >= Action::Mask
    }

    /// Puts something else in the place of what is found.
    pub fn replaces(self) -> bool {
        self.alters() && self != Action::Block
    }
}

/// What follows when a rule blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Then {
    #[default]
    Refuse,
    /// Another model is asked, if one stands in.
    Fallback,
    /// The same model is asked for another answer.
    Retry,
}

impl Then {
    fn of(action: &str) -> Then {
        match action {
            "fallback" => Then::Fallback,
            "retry" => Then::Retry,
            _ => Then::Refuse,
        }
    }
}

/// How streams are looked at. Ordered by strictness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Passed on at once; what is found is only told.
    Audit,
    /// Held back until nothing in it can be the start of a match.
    Window,
    /// Held back to the end.
    Hold,
}

/// One rule of the configuration.
#[derive(Debug)]
pub struct Rule {
    pub name: Arc<str>,
    pub action: Action,
    pub then: Then,
    /// Evaluated and recorded, without effect.
    pub shadow: bool,
    /// What cannot be looked at is refused.
    pub fails_closed: bool,
    pub mode: Mode,
    pub views: Views,
    /// How long tokens are kept, in seconds; 0: for their request.
    pub keeps_s: u32,
    pub cell: Arc<RuleCell>,
}

impl Rule {
    /// What is really done.
    pub fn effect(&self) -> Action {
        if self.shadow { Action::Log } else { self.action }
    }
}

/// The patterns of one side and whose they are.
#[derive(Debug)]
pub struct Side {
    pub set: Arc<PatternSet>,
    /// By pattern: the rule, and what it finds.
    owners: Vec<(Arc<Rule>, Arc<str>)>,
    pub mode: Mode,
    pub fails_closed: bool,
    /// Some rule that blocks does not leave it at that: a stream has to be known whole before any of it leaves.
    pub goes_on: bool,
    /// Some rule puts tokens in the place of values.
    pub tokenizes: bool,
    /// Some of them outlive their request; whether it needs the store.
    pub keeps: Option<bool>,
}

impl Side {
    pub fn owner(&self, pattern: u32) -> Option<&(Arc<Rule>, Arc<str>)> {
        self.owners.get(pattern as usize)
    }
}

/// What holds for a model.
#[derive(Debug)]
pub struct Plan {
    pub input: Option<Side>,
    pub output: Option<Side>,
    /// Guardrails with checks.
    pub hooks: Vec<Arc<Hook>>,
    pub block_status: u16,
    /// What happens to what cannot be looked at, of requests and of answers.
    pub unscannable: [Unscannable; 2],
}

impl Plan {
    /// Whether some rule asks for another answer in place of one that it blocks.
    pub fn goes_on(&self) -> bool {
        let hook = |hook: &Arc<Hook>| hook.output && !hook.shadow && hook.then != Then::Refuse;
        self.output.as_ref().is_some_and(|side| side.goes_on) || self.hooks.iter().any(hook)
    }

    /// Whether it insists on checks, which are made of whole requests and answers and not in a session.
    pub fn is_beyond_sessions(&self) -> bool {
        let insists = |hook: &Arc<Hook>| !hook.shadow && hook.run != Run::Async;
        self.unscannable != [Unscannable::Allow; 2] && self.hooks.iter().any(insists)
    }
}

/// Compiles the rules; the plans are found by the numbers of their rules.
///
/// # Errors
/// Which rule cannot be compiled, and why.
pub fn compile(rules: &[wire::Guardrail], chosen: &[u32], record: &Record, block_status: u16) -> Result<Plan, String> {
    let mut sides = [Vec::new(), Vec::new()];
    let mut hooks = Vec::new();
    let mut unscannable = [Unscannable::Allow; 2];
    for index in chosen {
        let rule = rules.get(*index as usize).ok_or_else(|| format!("there is no guardrail {index}"))?;
        if let Some(checks) = &rule.checks {
            hooks.push(Arc::new(hook(rule, checks, record)?));
        }
        let compiled = Arc::new(Rule {
            name: rule.name.as_str().into(),
            action: Action::parse(&rule.action)
                .ok_or_else(|| format!("guardrail {:?}: action {:?} is not known", rule.name, rule.action))?,
            then: Then::of(&rule.action),
            shadow: rule.shadow,
            fails_closed: rule.fails_closed && !rule.shadow,
            mode: match rule.stream.as_str() {
                "hold" => Mode::Hold,
                "window" => Mode::Window,
                _ => Mode::Audit,
            },
            views: Views::parse(&rule.normalise)
                .map_err(|view| format!("guardrail {:?}: there is nothing to normalise called {view:?}", rule.name))?,
            keeps_s: rule.keeps_s,
            cell: record.rule(&rule.name),
        });
        let level = insisted(rule, &compiled, hooks.last().filter(|_| rule.checks.is_some()))?;
        for (known, wanted) in unscannable.iter_mut().zip([rule.input, rule.output]) {
            *known = (*known).max(if wanted { level } else { Unscannable::Allow });
        }
        for (side, wanted) in sides.iter_mut().zip([rule.input, rule.output]) {
            if wanted {
                side.extend(rule.patterns.iter().map(|pattern| (compiled.clone(), pattern)));
            }
        }
    }
    let [input, output] = sides;
    Ok(Plan { input: side(&input)?, output: side(&output)?, hooks, block_status, unscannable })
}

/// What a rule does about what it cannot look at. One without effect refuses nothing; one that only tells refuses what it
/// was asked to.
fn insisted(rule: &wire::Guardrail, compiled: &Rule, hook: Option<&Arc<Hook>>) -> Result<Unscannable, String> {
    let level = Unscannable::parse(&rule.unscannable)
        .ok_or_else(|| format!("guardrail {:?}: unscannable {:?} is not known", rule.name, rule.unscannable))?;
    let idle = compiled.shadow || hook.is_some_and(|hook| hook.run == Run::Async);
    Ok(match level {
        _ if idle => Unscannable::Allow,
        Unscannable::Whole if !compiled.action.alters() => Unscannable::Allow,
        level => level,
    })
}

/// A guardrail of the configuration with checks; what its file says may be asked for, private addresses too.
fn hook(rule: &wire::Guardrail, checks: &str, record: &Record) -> Result<Hook, String> {
    let fail = |place: &str, text: &str| format!("guardrail {:?}: {place}: {text}", rule.name);
    let told = serde_json::from_str(checks).map_err(|error| fail("checks", &error.to_string()))?;
    let action = Action::parse(&rule.action).filter(|action| *action != Action::Tokenize);
    let action = action.ok_or_else(|| fail("action", "is not known to checks"))?;
    let hook = Hook {
        name: rule.name.as_str().into(),
        input: rule.input,
        output: rule.output,
        action,
        then: Then::of(&rule.action),
        shadow: rule.shadow,
        fails_closed: rule.fails_closed,
        run: Run::Before,
        sequential: false,
        scope: Scope::All,
        on_success: None,
        on_fail: None,
        checks: Vec::new(),
        cell: record.rule(&rule.name),
        told: false,
    };
    hook.read(&told, false).map_err(|(place, text)| fail(&place, &text))
}

fn side(patterns: &[(Arc<Rule>, &wire::Pattern)]) -> Result<Option<Side>, String> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let specs = patterns.iter().map(|(rule, pattern)| spec(rule, pattern)).collect::<Result<Vec<_>, _>>()?;
    let set = shared(&specs).map_err(|(index, error)| match patterns.get(index) {
        Some((rule, pattern)) => {
            let shown = pattern.regex.as_deref().unwrap_or(&pattern.label);
            format!("guardrail {:?}, pattern {shown:?}: {error}", rule.name)
        }
        None => error.to_string(),
    })?;
    let effective = |rule: &Arc<Rule>| if rule.effect().alters() { rule.mode } else { Mode::Audit };
    Ok(Some(Side {
        set,
        mode: patterns.iter().map(|(rule, _)| effective(rule)).max().unwrap_or(Mode::Audit),
        fails_closed: patterns.iter().any(|(rule, _)| rule.fails_closed),
        goes_on: patterns
            .iter()
            .any(|(rule, _)| rule.effect() == Action::Block && rule.mode != Mode::Audit && rule.then != Then::Refuse),
        tokenizes: patterns.iter().any(|(rule, _)| rule.effect() == Action::Tokenize),
        keeps: kept(patterns),
        owners: patterns.iter().map(|(rule, pattern)| (rule.clone(), pattern.label.as_str().into())).collect(),
    }))
}

/// Whether tokens outlive their request, and then whether one of their rules insists on it.
fn kept(patterns: &[(Arc<Rule>, &wire::Pattern)]) -> Option<bool> {
    let mut keeping =
        patterns.iter().filter(|(rule, _)| rule.effect() == Action::Tokenize && rule.keeps_s > 0).peekable();
    keeping.peek()?;
    Some(keeping.any(|(rule, _)| rule.fails_closed))
}

fn spec(rule: &Rule, pattern: &wire::Pattern) -> Result<Spec, String> {
    let validator = pattern.validator.as_deref().map(|name| {
        Validator::parse(name).ok_or_else(|| format!("guardrail {:?}: validator {name:?} is not known", rule.name))
    });
    Ok(Spec {
        source: match &pattern.regex {
            Some(regex) => Source::Regex(regex.clone()),
            None => Source::Words { words: pattern.words.clone(), whole: pattern.whole },
        },
        ignore_case: pattern.ignore_case,
        validator: validator.transpose()?,
        views: rule.views,
    })
}
