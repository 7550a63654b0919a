//! `usageMetadata`: `promptTokenCount` includes what was cached, thoughts stand beside the candidates.

use serde::Deserialize;

use crate::dialect::hub::Text;
use crate::kernel::cost::Usage;
use crate::kernel::price::Service;
use crate::wire::json::write::Writer;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Wire<'a> {
    prompt_token_count: u64,
    candidates_token_count: u64,
    /// The same, as Live says it.
    response_token_count: u64,
    cached_content_token_count: u64,
    thoughts_token_count: u64,
    tool_use_prompt_token_count: u64,
    total_token_count: Option<u64>,
    /// How urgently it worked: Vertex AI's word, and the Gemini API's.
    #[serde(borrow)]
    traffic_type: Option<Text<'a>>,
    #[serde(borrow)]
    service_tier: Option<Text<'a>>,
    #[serde(borrow)]
    prompt_tokens_details: Vec<Modality<'a>>,
    #[serde(borrow)]
    cache_tokens_details: Vec<Modality<'a>>,
    #[serde(borrow)]
    candidates_tokens_details: Vec<Modality<'a>>,
    #[serde(borrow)]
    response_tokens_details: Vec<Modality<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Modality<'a> {
    #[serde(borrow)]
    modality: Text<'a>,
    token_count: u64,
}

fn of(details: &[Modality<'_>], modality: &str) -> u64 {
    details.iter().filter(|detail| &*detail.modality == modality).map(|detail| detail.token_count).sum()
}

/// Takes up to `wanted` tokens out of what is `left` of a total.
fn part(left: &mut u64, wanted: u64) -> u64 {
    let taken = wanted.min(*left);
    *left -= taken;
    taken
}

/// How urgently Google worked, by its name of that. Its client takes the names in any case.
pub fn service(name: &str) -> Service {
    let name = name.to_ascii_lowercase();
    Service::parse(name.strip_prefix("on_demand_").unwrap_or(&name))
}

/// Reads a `usageMetadata` object; counts that are parts of another are taken out of it, so that each token is priced once.
pub fn parse_usage(raw: &[u8]) -> Option<Usage> {
    let wire: Wire<'_> = serde_json::from_slice(raw).ok()?;
    let prompt = wire.prompt_token_count;
    let mut fresh = prompt;
    let mut cache_read = part(&mut fresh, wire.cached_content_token_count);
    let cache_read_audio = part(&mut cache_read, of(&wire.cache_tokens_details, "AUDIO"));
    let cache_read_image = part(&mut cache_read, of(&wire.cache_tokens_details, "IMAGE"));
    let prompted = |modality: &str, cached: u64| of(&wire.prompt_tokens_details, modality).saturating_sub(cached);
    let audio_input = part(&mut fresh, prompted("AUDIO", cache_read_audio));
    let image_input = part(&mut fresh, prompted("IMAGE", cache_read_image));
    let (candidates, details) = match wire.response_token_count {
        0 => (wire.candidates_token_count, &wire.candidates_tokens_details),
        response => (response, &wire.response_tokens_details),
    };
    let thoughts = wire.thoughts_token_count;
    let known = prompt.saturating_add(wire.tool_use_prompt_token_count).saturating_add(candidates);
    // A total without the thoughts tells that they are among the candidates already.
    let inside = wire.total_token_count == Some(known) && thoughts <= candidates;
    let mut output = if inside { candidates } else { candidates.saturating_add(thoughts) };
    let audio_output = part(&mut output, of(details, "AUDIO"));
    let image_output = part(&mut output, of(details, "IMAGE"));
    Some(Usage {
        input: fresh.saturating_add(wire.tool_use_prompt_token_count),
        output,
        cache_read,
        audio_input,
        audio_output,
        cache_read_audio,
        image_input,
        image_output,
        cache_read_image,
        reasoning: thoughts,
        service: wire.service_tier.or(wire.traffic_type).map_or(Service::Standard, |name| service(&name)),
        ..Usage::default()
    })
}

/// Writes the object in Google's accounting.
pub fn write_usage(out: &mut Writer, usage: &Usage) {
    let prompt = usage.prompt();
    let output = usage.answer();
    let thoughts = usage.reasoning.min(output);
    out.begin_object().key("promptTokenCount").uint(prompt);
    out.key("candidatesTokenCount").uint(output - thoughts);
    if usage.cached() > 0 {
        out.key("cachedContentTokenCount").uint(usage.cached());
    }
    if thoughts > 0 {
        out.key("thoughtsTokenCount").uint(thoughts);
    }
    out.key("totalTokenCount").uint(prompt.saturating_add(output));
    details(out, "promptTokensDetails", prompt - usage.audio_input, usage.audio_input);
    details(out, "candidatesTokensDetails", usage.output.saturating_sub(thoughts), usage.audio_output);
    out.end_object();
}

/// Counts by modality, where there is more than text.
fn details(out: &mut Writer, name: &str, text: u64, audio: u64) {
    if audio == 0 {
        return;
    }
    out.key(name).begin_array();
    for (modality, count) in [("TEXT", text), ("AUDIO", audio)] {
        out.begin_object().member("modality", modality).key("tokenCount").uint(count).end_object();
    }
    out.end_array();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Usage {
        parse_usage(json.as_bytes()).expect("usage")
    }

    #[test]
    fn every_token_is_counted_once() {
        let usage = of(r#"{"promptTokenCount":100,"candidatesTokenCount":40,"cachedContentTokenCount":30,
            "thoughtsTokenCount":20,"toolUsePromptTokenCount":5,"totalTokenCount":165,
            "promptTokensDetails":[{"modality":"TEXT","tokenCount":85},{"modality":"AUDIO","tokenCount":15}],
            "cacheTokensDetails":[{"modality":"AUDIO","tokenCount":5}],
            "candidatesTokensDetails":[{"modality":"AUDIO","tokenCount":8}]}"#);
        assert_eq!((usage.input, usage.audio_input), (65, 10));
        assert_eq!((usage.cache_read, usage.cache_read_audio), (25, 5));
        assert_eq!((usage.output, usage.audio_output, usage.reasoning), (52, 8, 20));
        assert_eq!(usage.prompt() + usage.answer(), 165);
    }

    #[test]
    fn how_urgently_it_worked_is_told_in_two_words() {
        for (told, service) in [
            (r#""trafficType":"ON_DEMAND_PRIORITY""#, Service::Priority),
            (r#""trafficType":"ON_DEMAND_FLEX""#, Service::Flex),
            (r#""trafficType":"ON_DEMAND""#, Service::Standard),
            (r#""trafficType":"PROVISIONED_THROUGHPUT""#, Service::Standard),
            (r#""serviceTier":"flex""#, Service::Flex),
            (r#""serviceTier":"PRIORITY""#, Service::Priority),
            (r#""serviceTier":null"#, Service::Standard),
        ] {
            assert_eq!(of(&format!(r#"{{"promptTokenCount":1,{told}}}"#)).service, service, "{told}");
        }
    }

    #[test]
    fn thoughts_among_the_candidates_are_not_added() {
        let usage =
            of(r#"{"promptTokenCount":10,"candidatesTokenCount":40,"thoughtsTokenCount":20,"totalTokenCount":50}"#);
        assert_eq!((usage.output, usage.reasoning), (40, 20));
    }

    #[test]
    fn lying_details_do_not_underflow() {
        let usage = of(r#"{"promptTokenCount":1,"cachedContentTokenCount":9,
            "promptTokensDetails":[{"modality":"AUDIO","tokenCount":99}]}"#);
        assert_eq!((usage.input, usage.cache_read, usage.audio_input), (0, 1, 0));
    }

    #[test]
    fn what_is_written_reads_back() {
        let usage = Usage {
            input: 65,
            output: 52,
            cache_read: 30,
            audio_input: 10,
            audio_output: 8,
            reasoning: 20,
            ..Usage::default()
        };
        let mut out = Writer::default();
        write_usage(&mut out, &usage);
        assert_eq!(parse_usage(&out.finish()), Some(usage));
    }
}
