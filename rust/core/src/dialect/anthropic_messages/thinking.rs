//! How a wish for reasoning is said to a Claude model, and how much it may write then.

use crate::dialect::format::Target;
use crate::dialect::hub::{Effort, Feature, Losses, Part, Request, Role, ToolChoice};
use crate::wire::json::write::Writer;

/// Output allowed when the caller names no limit: Anthropic wants one named, and every Claude model can write this much.
const MAX_TOKENS: u64 = 4096;
/// Smallest budget that Anthropic takes.
const BUDGET_MIN: u64 = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// The model's default.
    Unsaid,
    Disabled,
    Budget(u64),
    /// The model decides itself, guided by an effort.
    Adaptive,
}

/// What is written of it.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    mode: Mode,
    visible: Option<bool>,
    pub effort: Option<Effort>,
    pub max_tokens: u64,
}

impl Plan {
    pub fn thinks(&self) -> bool {
        matches!(self.mode, Mode::Budget(_) | Mode::Adaptive)
    }

    pub fn write(&self, out: &mut Writer) {
        let kind = match self.mode {
            Mode::Unsaid => return,
            Mode::Disabled => "disabled",
            Mode::Budget(_) => "enabled",
            Mode::Adaptive => "adaptive",
        };
        out.key("thinking").begin_object().member("type", kind);
        if let Mode::Budget(budget) = self.mode {
            out.key("budget_tokens").uint(budget);
        }
        if let Some(visible) = self.visible.filter(|_| self.thinks()) {
            out.member("display", if visible { "summarized" } else { "omitted" });
        }
        out.end_object();
    }
}

pub fn plan(request: &Request<'_>, target: &Target<'_>, losses: &mut Losses) -> Plan {
    let limit = request.max_output.or(target.max_output);
    let unsaid = Plan { mode: Mode::Unsaid, visible: None, effort: None, max_tokens: limit.unwrap_or(MAX_TOKENS) };
    let Some(reasoning) = request.reasoning else { return unsaid };
    let plan = Plan { visible: reasoning.visible, ..unsaid };
    let budget = reasoning.budget();
    if budget == Some(0) {
        return Plan { mode: Mode::Disabled, ..plan };
    }
    let forced = matches!(request.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_)));
    if forced && !request.tools.is_empty() {
        // A forced tool and thinking exclude each other; the tool is what the caller's code counts on.
        losses.add(Feature::Reasoning);
        return unsaid;
    }
    if adaptive(target.model) {
        let effort = reasoning.effort.or_else(|| reasoning.budget.and_then(|_| reasoning.effort()));
        return Plan { mode: Mode::Adaptive, effort, ..plan };
    }
    let Some(budget) = budget.map(|budget| budget.max(BUDGET_MIN)) else { return unsaid };
    // The limit covers thinking and answer together.
    let max_tokens = limit.unwrap_or(budget + MAX_TOKENS);
    let budget = budget.min(max_tokens.saturating_sub(1));
    if budget < BUDGET_MIN || unproved(request) {
        losses.add(Feature::Reasoning);
        return unsaid;
    }
    Plan { mode: Mode::Budget(budget), max_tokens, ..plan }
}

/// The turn that is to be continued called tools without giving its reasoning back: Anthropic refuses to think then.
fn unproved(request: &Request<'_>) -> bool {
    let mut turn = request.messages.iter().rev().take_while(|message| message.role != Role::User);
    let called = turn.find(|message| message.parts.iter().any(|part| matches!(part, Part::ToolCall { .. })));
    let proved = |part: &Part<'_>| {
        matches!(part, Part::Reasoning { signature: Some(_), .. } | Part::Reasoning { encrypted: Some(_), .. })
    };
    called.is_some_and(|message| !message.parts.iter().any(proved))
}

/// Models since Claude 4.6 decide themselves how much to think; later ones take no budget any more.
fn adaptive(model: &str) -> bool {
    let version =
        ["opus-", "sonnet-", "haiku-"].iter().find_map(|family| model.split_once(family)).map(|(_, rest)| rest);
    let Some(version) = version else { return false };
    // A date is no version.
    let mut numbers =
        version.split(['-', '.', '@']).map_while(|piece| piece.parse::<u32>().ok().filter(|number| *number < 1000));
    let (major, minor) = (numbers.next(), numbers.next().unwrap_or(0));
    major.is_some_and(|major| (major, minor) >= (4, 6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_that_decide_themselves_are_told_by_their_version() {
        for model in ["claude-opus-4-6", "claude-sonnet-4-6-20260210", "anthropic.claude-opus-4-7-v1", "claude-opus-5"]
        {
            assert!(adaptive(model), "{model}");
        }
        for model in ["claude-3-7-sonnet-20250219", "claude-sonnet-4-20250514", "claude-opus-4-5@20251101", "mock"] {
            assert!(!adaptive(model), "{model}");
        }
    }
}
