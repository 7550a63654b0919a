//! Trying rules on a text, without a request.

use serde::{Deserialize, Serialize};

use super::record::Record;
use super::vault::Tokens;
use super::{compile, tokenized};
use crate::kernel::patterns::Hit;
use crate::snapshot::wire;

/// What is tried, as Python writes it (MessagePack).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    pub guardrails: Vec<wire::Guardrail>,
    pub text: String,
    pub output: bool,
}

/// One match: bytes of the text.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Match {
    pub rule: String,
    pub label: String,
    pub action: &'static str,
    pub shadow: bool,
    pub start: usize,
    pub end: usize,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Report {
    pub matches: Vec<Match>,
    /// The strongest effect.
    pub action: Option<&'static str>,
    /// The text as it would pass; none when it is blocked.
    pub text: Option<String>,
}

/// The same with MessagePack on both sides.
///
/// # Errors
/// Those of [`run`], and for what is no trial.
pub fn packed(trial: &[u8]) -> Result<Vec<u8>, String> {
    let trial: Trial = rmp_serde::from_slice(trial).map_err(|error| error.to_string())?;
    rmp_serde::to_vec_named(&run(&trial)?).map_err(|error| error.to_string())
}

/// What is wrong with the checks of a guardrail, if anything is.
pub fn fault(name: &str, checks: &str) -> Option<String> {
    let rule = wire::Guardrail {
        name: name.to_string(),
        input: true,
        output: true,
        action: "block".to_string(),
        shadow: false,
        fails_closed: true,
        stream: "hold".to_string(),
        normalise: Vec::new(),
        patterns: Vec::new(),
        checks: Some(checks.to_string()),
        keeps_s: 0,
        unscannable: "allow".into(),
        webhook: None,
    };
    compile(&[rule], &[0], &Record::default(), 400).err()
}

/// The compiled rules of a trial.
///
/// # Errors
/// Those of [`run`], and for rules that do not look at this side.
pub fn side(trial: &[u8]) -> Result<super::Side, String> {
    let trial: Trial = rmp_serde::from_slice(trial).map_err(|error| error.to_string())?;
    let chosen: Vec<u32> = (0..trial.guardrails.len() as u32).collect();
    let plan = compile(&trial.guardrails, &chosen, &Record::default(), 400)?;
    let side = if trial.output { plan.output } else { plan.input };
    side.ok_or_else(|| "the rules do not look at this side".to_string())
}

/// Tries rules on a text.
///
/// # Errors
/// Which rule cannot be compiled, and why.
pub fn run(trial: &Trial) -> Result<Report, String> {
    let chosen: Vec<u32> = (0..trial.guardrails.len() as u32).collect();
    let plan = compile(&trial.guardrails, &chosen, &Record::default(), 400)?;
    let side = if trial.output { plan.output } else { plan.input };
    let Some(side) = side else {
        return Ok(Report { matches: Vec::new(), action: None, text: Some(trial.text.clone()) });
    };
    let mut hits = Vec::new();
    side.set.scan(&trial.text, &mut hits).map_err(|error| error.to_string())?;
    let quoted = serde_json::to_vec(&trial.text).map_err(|error| error.to_string())?;
    let judged =
        tokenized(&side, &quoted, &mut Tokens::default()).map_err(|_| "the text cannot be judged".to_string())?;
    let action = judged.findings.iter().map(|finding| finding.rule.effect()).max();
    let text = match (judged.block(), &judged.rewritten) {
        (Some(_), _) => None,
        (None, None) => Some(trial.text.clone()),
        (None, Some(json)) => serde_json::from_slice(json).ok(),
    };
    let matches = spans(hits).into_iter().filter_map(|hit| {
        let (rule, label) = side.owner(hit.pattern)?;
        Some(Match {
            rule: rule.name.to_string(),
            label: label.to_string(),
            action: rule.action.name(),
            shadow: rule.shadow,
            start: hit.start,
            end: hit.end,
        })
    });
    Ok(Report { matches: matches.collect(), action: action.map(super::Action::name), text })
}

/// Each match once, in the order of the text.
fn spans(mut hits: Vec<Hit>) -> Vec<Hit> {
    hits.sort();
    let mut out: Vec<Hit> = Vec::new();
    for hit in hits {
        match out.last_mut() {
            Some(last) if last.pattern == hit.pattern && hit.start < last.end => last.end = last.end.max(hit.end),
            _ => out.push(hit),
        }
    }
    out.sort_by_key(|hit| (hit.start, hit.end));
    out
}
