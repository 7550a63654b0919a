//! What an answer says, whatever the dialect it is said in.

use serde_json::Value;

use super::json::Quoted;
use super::script::Script;
use super::text::{Pieces, Speech};
use super::tools::{ToolCall, asks_for_tool, example};

/// Proof of a thought, where a dialect has such.
pub const SIGNATURE: &str = "bW9jayBzaWduYXR1cmU=";

/// What a request asks for, in the words of no dialect.
#[derive(Default)]
pub struct Wish<'a> {
    /// Most output tokens.
    pub limit: Option<u64>,
    /// The schema that the output shall follow.
    pub schema: Option<Value>,
    /// Each with its name and its schema, in any dialect's form.
    pub tools: Vec<Value>,
    /// The tool that must be called.
    pub named: Option<&'a str>,
    /// Whether any must be called, or none; None: if the last user message asks for it.
    pub forced: Option<bool>,
}

/// The content of one answer.
pub struct Said {
    pub speech: Speech,
    pub tools: Vec<ToolCall>,
    /// Tokens of it.
    pub output: u64,
}

impl Said {
    /// `text`: the last user message; asked for only where it matters.
    pub fn plan(script: &Script, wish: &Wish<'_>, text: impl Fn() -> Option<String>) -> Self {
        let wanted = || match (script.tool, wish.forced) {
            (Some(wanted), _) | (None, Some(wanted)) => wanted,
            (None, None) => text().is_some_and(|text| asks_for_tool(&text)),
        };
        let tools: Vec<ToolCall> = if !wish.tools.is_empty() && wanted() {
            (0..script.calls).filter_map(|turn| ToolCall::of(&wish.tools, wish.named, turn as usize)).collect()
        } else {
            Vec::new()
        };
        let speech = match wish.schema.as_ref().filter(|_| script.text.is_none() && !script.echo) {
            Some(schema) => structured(schema),
            None => Speech::plan(script, if script.echo { text() } else { None }.as_deref(), wish.limit),
        };
        let called: usize = tools.iter().map(|tool| tool.arguments.len()).sum();
        let output = if tools.is_empty() { speech.tokens } else { (called as u64).div_ceil(4) };
        Self { speech, tools, output }
    }

    /// Why it ends: calls, the limit, its own end.
    pub fn finish(&self, script: &Script, [calls, limit, end]: [&str; 3]) -> String {
        let natural = match (self.tools.is_empty(), self.speech.cut_short) {
            (false, _) => calls,
            (true, true) => limit,
            (true, false) => end,
        };
        script.finish.as_deref().unwrap_or(natural).to_owned()
    }

    /// What a stream sends piece by piece: the text, or the arguments of the last call.
    pub fn pieces(&self) -> Pieces {
        self.tools.last().map_or_else(|| self.speech.pieces.clone(), |tool| argument_pieces(&tool.arguments))
    }

    /// The calls that come whole before the last one.
    pub fn earlier(&self) -> impl Iterator<Item = (usize, &ToolCall)> {
        self.tools.iter().take(self.tools.len().saturating_sub(1)).enumerate()
    }
}

fn structured(schema: &Value) -> Speech {
    let json = example(schema, 0).to_string();
    let tokens = (json.len() as u64).div_ceil(4);
    Speech { pieces: argument_pieces(&json), tokens, cut_short: false }
}

/// Tool arguments come in pieces of a few characters.
pub fn argument_pieces(arguments: &str) -> Pieces {
    let characters: Vec<char> = arguments.chars().collect();
    Pieces::Parts(characters.chunks(5).map(|piece| piece.iter().collect()).collect())
}

/// JSON members or elements, those that there are.
pub fn joined(parts: impl IntoIterator<Item = Option<String>>) -> String {
    parts.into_iter().flatten().collect::<Vec<_>>().join(",")
}

/// `"name":"text"` for a text that there is.
pub fn member(name: &str, text: Option<&str>) -> Option<String> {
    text.map(|text| format!(r#""{name}":{}"#, Quoted(text)))
}
