//! Messages of Google's Live API. What one message says may mean several things.

use super::Heard;
use crate::dialect::gemini::parse_usage;
use crate::error::Result;
use crate::wire::json::{self, Kind, Value, elements, scan_object, scan_value_object};

/// Reads one message of the provider. Google counts turn by turn, each with all that was said before it; every count is
/// told once and paid for.
pub fn hear(message: &[u8], mut step: impl FnMut(Heard) -> Result<()>) -> Result<()> {
    let Ok(scan) = scan_object(message, &["serverContent", "toolCall", "usageMetadata"]) else { return Ok(()) };
    let [content, call, counted] = scan.fields.map(|value| value.filter(|value| value.kind == Kind::Object));
    let content = content.and_then(|content| scan_value_object(message, content, &["modelTurn", "turnComplete"]).ok());
    let [turn, complete] = content.map_or([None, None], |content| content.fields);
    if call.is_some() || turn.is_some() {
        step(Heard::Begun)?;
    }
    let bytes = turn.map_or(0, |turn| text_bytes(message, turn));
    if bytes > 0 {
        step(Heard::Text(bytes))?;
    }
    match counted.and_then(|counted| parse_usage(counted.raw(message))) {
        Some(usage) => step(Heard::Done(Some(usage))),
        None if complete.and_then(|complete| json::as_bool(message, complete)) == Some(true) => step(Heard::Turned),
        None => Ok(()),
    }
}

/// How much text a turn has.
fn text_bytes(message: &[u8], turn: Value) -> u32 {
    let parts = (turn.kind == Kind::Object).then(|| scan_value_object(message, turn, &["parts"]).ok()).flatten();
    let parts = parts.and_then(|turn| turn.fields[0]).filter(|parts| parts.kind == Kind::Array);
    let texts = parts.into_iter().flat_map(|parts| elements(message, parts)).filter_map(|part| {
        let part = (part.kind == Kind::Object).then(|| scan_value_object(message, part, &["text"]).ok()).flatten()?;
        part.fields[0].filter(|text| text.kind == Kind::String)
    });
    texts.map(|text| text.end - text.start).sum()
}

/// The model that a client's first message names, without what stands before its name, and where.
pub fn setup_model(message: &[u8]) -> Option<(String, Value)> {
    let scan = scan_object(message, &["setup"]).ok()?;
    let setup = scan.fields[0].filter(|setup| setup.kind == Kind::Object)?;
    let inner = scan_value_object(message, setup, &["model"]).ok()?;
    let value = inner.fields[0]?;
    let named = json::string(message, value)?;
    let name = named.rsplit_once("models/").map_or(&*named, |(_, name)| name);
    (!name.is_empty()).then(|| (name.to_string(), value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::cost::Usage;

    fn heard(message: &str) -> Vec<Heard> {
        let mut all = Vec::new();
        hear(message.as_bytes(), |heard| {
            all.push(heard);
            Ok(())
        })
        .expect("nothing refuses");
        all
    }

    #[test]
    fn messages_are_understood() {
        assert_eq!(heard(r#"{"setupComplete":{}}"#), []);
        assert_eq!(heard("sound"), []);
        assert_eq!(
            heard(r#"{"serverContent":{"modelTurn":{"parts":[{"text":"four"},{"inlineData":{"data":"AAAA"}},5]}}}"#),
            [Heard::Begun, Heard::Text(6)]
        );
        assert_eq!(heard(r#"{"serverContent":{"turnComplete":true}}"#), [Heard::Turned]);
        assert_eq!(heard(r#"{"serverContent":{"generationComplete":true}}"#), []);
        assert_eq!(heard(r#"{"toolCall":{"functionCalls":[]}}"#), [Heard::Begun]);
        let counted = r#"{"serverContent":{"turnComplete":true},"usageMetadata":{"promptTokenCount":100,
            "responseTokenCount":40,"totalTokenCount":140,"cachedContentTokenCount":0,
            "promptTokensDetails":[{"modality":"AUDIO","tokenCount":90},{"modality":"TEXT","tokenCount":10}],
            "responseTokensDetails":[{"modality":"AUDIO","tokenCount":30},{"modality":"TEXT","tokenCount":10}]}}"#;
        let expected = Usage { input: 10, audio_input: 90, output: 10, audio_output: 30, ..Usage::default() };
        assert_eq!(heard(counted), [Heard::Done(Some(expected))]);
    }

    #[test]
    fn the_model_is_in_the_setup() {
        let model = |text: &str| setup_model(text.as_bytes()).map(|(name, _)| name);
        assert_eq!(model(r#"{"setup":{"model":"models/a"}}"#).as_deref(), Some("a"));
        let vertex = r#"{"setup":{"model":"projects/p/locations/l/publishers/google/models/b"}}"#;
        assert_eq!(model(vertex).as_deref(), Some("b"));
        for text in [r#"{"setup":{}}"#, r#"{"setup":"x"}"#, r#"{"setup":{"model":"models/"}}"#, "{}", ""] {
            assert_eq!(model(text), None, "{text}");
        }
    }
}
