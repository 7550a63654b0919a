//! Requests, answers and streams of every format, changed at random: the targets of `fuzz/` without a nightly compiler.
//! A second per format, or as long as `STORM_SECONDS` says; `STORM_SEED` repeats a run.

use std::time::{Duration, Instant};

use ailink_core::dialect::Format;

#[path = "../fuzz/fuzz_targets/dialect/mod.rs"]
mod dialect;

/// What a format looks like: a request, an answer, a stream (one event a line; Converse's with their kind in front).
const SEEDS: [(Format, &[&str]); 6] = [
    (
        Format::Chat,
        &[
            r#"{"model":"m","messages":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA","detail":"low"}},{"type":"input_audio","input_audio":{"data":"AAAA","format":"wav"}},{"type":"file","file":{"file_data":"data:application/pdf;base64,AAAA","filename":"f"}}]},{"role":"assistant","content":null,"reasoning_content":"r","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},{"role":"tool","tool_call_id":"c","content":"r"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"},"strict":true}}],"tool_choice":{"type":"function","function":{"name":"f"}},"response_format":{"type":"json_schema","json_schema":{"name":"j","schema":{"type":"object"}}},"stream":true,"n":2,"stop":["x"],"logprobs":true,"reasoning_effort":"high","max_completion_tokens":5}"#,
            r#"{"id":"i","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"t","refusal":null,"reasoning_content":"r","annotations":[{"type":"url_citation","url_citation":{"url":"u","title":"t","start_index":0,"end_index":1}}],"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},"logprobs":{"content":[{"token":"t","logprob":-0.1,"bytes":[116],"top_logprobs":[]}]},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,"prompt_tokens_details":{"cached_tokens":1}}}"#,
            "{\"id\":\"i\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"a\"}}]}\n{\"id\":\"i\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}]}}]}\n{\"id\":\"i\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n{\"id\":\"i\",\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n[DONE]",
        ],
    ),
    (
        Format::Messages,
        &[
            r#"{"model":"m","max_tokens":9,"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}],"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}},{"type":"document","source":{"type":"text","media_type":"text/plain","data":"d"},"citations":{"enabled":true}}]},{"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":"s"},{"type":"tool_use","id":"c","name":"f","input":{"a":1}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":[{"type":"text","text":"r"}],"is_error":true}]}],"tools":[{"name":"f","input_schema":{"type":"object"}}],"tool_choice":{"type":"any","disable_parallel_tool_use":true},"thinking":{"type":"enabled","budget_tokens":1024},"stop_sequences":["x"],"top_k":3,"stream":true}"#,
            r#"{"id":"i","type":"message","role":"assistant","model":"m","content":[{"type":"thinking","thinking":"t","signature":"s"},{"type":"redacted_thinking","data":"d"},{"type":"text","text":"x","citations":[{"type":"char_location","cited_text":"c","document_index":0,"document_title":"t","start_char_index":0,"end_char_index":1}]},{"type":"tool_use","id":"c","name":"f","input":{}}],"stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":2,"cache_read_input_tokens":3}}"#,
            "{\"type\":\"message_start\",\"message\":{\"id\":\"i\",\"model\":\"m\",\"usage\":{\"input_tokens\":1}}}\n{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\"}}\n{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"t\"}}\n{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"signature_delta\",\"signature\":\"s\"}}\n{\"type\":\"content_block_stop\",\"index\":0}\n{\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"tool_use\",\"id\":\"c\",\"name\":\"f\",\"input\":{}}}\n{\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{}\"}}\n{\"type\":\"content_block_stop\",\"index\":1}\n{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"},\"usage\":{\"output_tokens\":2}}\n{\"type\":\"message_stop\"}",
        ],
    ),
    (
        Format::Responses,
        &[
            r#"{"model":"m","instructions":"i","input":[{"role":"user","content":[{"type":"input_text","text":"a"},{"type":"input_image","image_url":"data:image/png;base64,AAAA","detail":"auto"},{"type":"input_file","file_data":"data:application/pdf;base64,AAAA","filename":"f"}]},{"type":"reasoning","id":"rs","summary":[{"type":"summary_text","text":"s"}],"encrypted_content":"e"},{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":"o"}],"tools":[{"type":"function","name":"f","parameters":{"type":"object"},"strict":false}],"tool_choice":"required","text":{"format":{"type":"json_schema","name":"j","schema":{}},"verbosity":"low"},"reasoning":{"effort":"high","summary":"auto"},"stream":true,"store":false,"max_output_tokens":9,"truncation":"auto"}"#,
            r#"{"id":"r","object":"response","created_at":1,"status":"completed","model":"m","output":[{"type":"reasoning","id":"rs","summary":[{"type":"summary_text","text":"s"}],"encrypted_content":"e"},{"type":"message","id":"m","role":"assistant","status":"completed","content":[{"type":"output_text","text":"t","annotations":[{"type":"url_citation","url":"u","title":"t","start_index":0,"end_index":1}],"logprobs":[]},{"type":"refusal","refusal":"no"}]},{"type":"function_call","id":"fc","call_id":"c","name":"f","arguments":"{}"}],"usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3,"input_tokens_details":{"cached_tokens":0},"output_tokens_details":{"reasoning_tokens":1}}}"#,
            "{\"type\":\"response.created\",\"response\":{\"id\":\"r\",\"model\":\"m\",\"status\":\"in_progress\",\"output\":[]}}\n{\"type\":\"response.output_item.added\",\"output_index\":0,\"item\":{\"type\":\"message\",\"id\":\"m\",\"role\":\"assistant\",\"content\":[]}}\n{\"type\":\"response.output_text.delta\",\"item_id\":\"m\",\"output_index\":0,\"content_index\":0,\"delta\":\"t\"}\n{\"type\":\"response.output_item.added\",\"output_index\":1,\"item\":{\"type\":\"function_call\",\"id\":\"fc\",\"call_id\":\"c\",\"name\":\"f\",\"arguments\":\"\"}}\n{\"type\":\"response.function_call_arguments.delta\",\"output_index\":1,\"delta\":\"{}\"}\n{\"type\":\"response.completed\",\"response\":{\"id\":\"r\",\"status\":\"completed\",\"output\":[],\"usage\":{\"input_tokens\":1,\"output_tokens\":2}}}",
        ],
    ),
    (
        Format::Gemini,
        &[
            r#"{"systemInstruction":{"parts":[{"text":"s"}]},"contents":[{"role":"user","parts":[{"text":"a"},{"inlineData":{"mimeType":"image/png","data":"AAAA"}},{"fileData":{"mimeType":"video/mp4","fileUri":"u"}}]},{"role":"model","parts":[{"text":"t","thought":true,"thoughtSignature":"s"},{"functionCall":{"name":"f","args":{"a":1}}}]},{"role":"user","parts":[{"functionResponse":{"name":"f","response":{"r":1}}}]}],"tools":[{"functionDeclarations":[{"name":"f","parameters":{"type":"OBJECT"}}]}],"toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["f"]}},"generationConfig":{"temperature":1,"topK":3,"candidateCount":2,"stopSequences":["x"],"responseMimeType":"application/json","responseSchema":{"type":"OBJECT"},"thinkingConfig":{"thinkingBudget":5,"includeThoughts":true}}}"#,
            r#"{"candidates":[{"index":0,"content":{"role":"model","parts":[{"text":"r","thought":true},{"text":"t"},{"functionCall":{"name":"f","args":{}},"thoughtSignature":"s"},{"inlineData":{"mimeType":"image/png","data":"AAAA"}}]},"finishReason":"STOP","groundingMetadata":{"groundingChunks":[{"web":{"uri":"u","title":"t"}}],"groundingSupports":[{"segment":{"startIndex":0,"endIndex":1,"text":"t"},"groundingChunkIndices":[0]}]},"logprobsResult":{"chosenCandidates":[{"token":"t","logProbability":-1}],"topCandidates":[]}}],"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":2,"thoughtsTokenCount":3},"modelVersion":"m","responseId":"i"}"#,
            "{\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"a\"}]}}],\"responseId\":\"i\"}\n{\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"name\":\"f\",\"args\":{}}}]},\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":1,\"candidatesTokenCount\":2}}",
        ],
    ),
    (
        Format::Cohere,
        &[
            r#"{"model":"m","messages":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]},{"role":"assistant","tool_plan":"p","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":[{"type":"document","document":{"id":"d","data":"x"}}]}],"tools":[{"type":"function","function":{"name":"f","parameters":{}}}],"documents":["d"],"response_format":{"type":"json_object","json_schema":{}},"k":3,"p":0.5,"stop_sequences":["x"],"thinking":{"type":"enabled","token_budget":5},"stream":true,"max_tokens":5}"#,
            r#"{"id":"i","finish_reason":"COMPLETE","message":{"role":"assistant","tool_plan":"p","content":[{"type":"thinking","thinking":"t"},{"type":"text","text":"x"}],"citations":[{"start":0,"end":1,"text":"x","sources":[{"type":"document","id":"d","document":{"url":"u"}}]}],"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},"usage":{"tokens":{"input_tokens":1,"output_tokens":2},"billed_units":{"input_tokens":1,"output_tokens":2}}}"#,
            "{\"type\":\"message-start\",\"id\":\"i\",\"delta\":{\"message\":{\"role\":\"assistant\"}}}\n{\"type\":\"content-start\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"type\":\"text\",\"text\":\"\"}}}}\n{\"type\":\"content-delta\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"text\":\"a\"}}}}\n{\"type\":\"content-end\",\"index\":0}\n{\"type\":\"tool-call-start\",\"index\":0,\"delta\":{\"message\":{\"tool_calls\":{\"id\":\"c\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}}}}\n{\"type\":\"tool-call-delta\",\"index\":0,\"delta\":{\"message\":{\"tool_calls\":{\"function\":{\"arguments\":\"{}\"}}}}}\n{\"type\":\"tool-call-end\",\"index\":0}\n{\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"TOOL_CALL\",\"usage\":{\"tokens\":{\"input_tokens\":1,\"output_tokens\":2}}}}",
        ],
    ),
    (
        Format::Converse,
        &[
            r#"{"system":[{"text":"s"},{"cachePoint":{"type":"default"}}],"messages":[{"role":"user","content":[{"text":"a"},{"image":{"format":"png","source":{"bytes":"AAAA"}}},{"document":{"format":"pdf","name":"d","source":{"bytes":"AAAA"}}}]},{"role":"assistant","content":[{"reasoningContent":{"reasoningText":{"text":"t","signature":"s"}}},{"toolUse":{"toolUseId":"c","name":"f","input":{"a":1}}}]},{"role":"user","content":[{"toolResult":{"toolUseId":"c","content":[{"json":{"r":1}}],"status":"error"}}]}],"toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{"type":"object"}}}}],"toolChoice":{"tool":{"name":"f"}}},"inferenceConfig":{"maxTokens":5,"stopSequences":["x"]},"additionalModelRequestFields":{"top_k":3}}"#,
            r#"{"output":{"message":{"role":"assistant","content":[{"reasoningContent":{"reasoningText":{"text":"t","signature":"s"}}},{"text":"x"},{"toolUse":{"toolUseId":"c","name":"f","input":{}}},{"citationsContent":{"content":[{"text":"c"}],"citations":[{"title":"t","location":{"web":{"url":"u"}}}]}}]}},"stopReason":"tool_use","usage":{"inputTokens":1,"outputTokens":2,"totalTokens":3,"cacheReadInputTokens":1},"metrics":{"latencyMs":5}}"#,
            "messageStart {\"role\":\"assistant\"}\ncontentBlockDelta {\"contentBlockIndex\":0,\"delta\":{\"text\":\"a\"}}\ncontentBlockStop {\"contentBlockIndex\":0}\ncontentBlockStart {\"contentBlockIndex\":1,\"start\":{\"toolUse\":{\"toolUseId\":\"c\",\"name\":\"f\"}}}\ncontentBlockDelta {\"contentBlockIndex\":1,\"delta\":{\"toolUse\":{\"input\":\"{}\"}}}\ncontentBlockStop {\"contentBlockIndex\":1}\nmessageStop {\"stopReason\":\"tool_use\"}\nmetadata {\"usage\":{\"inputTokens\":1,\"outputTokens\":2}}",
        ],
    ),
];

/// What is put in somewhere.
const PIECES: [&str; 22] = [
    "null",
    "true",
    "[]",
    "{}",
    "\"\"",
    "-1",
    "1e400",
    "18446744073709551616",
    "0.5",
    "\\u0000",
    "\\ud83d",
    "\u{1f600}",
    "\\n",
    ",",
    ":",
    "\"",
    "}",
    "]",
    "[[[[",
    "\"type\":\"x\",",
    "\"index\":4294967296,",
    "\n",
];

/// A few changes to one of `seeds`.
fn mutant(random: &mut fastrand::Rng, seeds: &[&str]) -> Vec<u8> {
    let mut bytes = seeds[random.usize(..seeds.len())].as_bytes().to_vec();
    for _ in 0..random.usize(1..6) {
        let at = random.usize(..=bytes.len());
        let end = (at + random.usize(..24)).min(bytes.len());
        match random.u8(..6) {
            0 => drop(bytes.splice(at..end, PIECES[random.usize(..PIECES.len())].bytes())),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let copied = bytes[at..end].to_vec();
                let to = random.usize(..=bytes.len());
                drop(bytes.splice(to..to, copied));
            }
            3 => {
                let other = seeds[random.usize(..seeds.len())].as_bytes();
                let from = random.usize(..other.len());
                let to = (from + random.usize(..200)).min(other.len());
                drop(bytes.splice(at..end, other[from..to].iter().copied()));
            }
            4 => value(random, &mut bytes),
            _ => bytes.get_mut(at).into_iter().for_each(|byte| *byte = random.u8(..)),
        }
    }
    bytes.insert(0, random.u8(..));
    bytes
}

/// Another value behind one of the colons: the JSON stays whole.
fn value(random: &mut fastrand::Rng, bytes: &mut Vec<u8>) {
    let colons: Vec<usize> =
        bytes.windows(2).enumerate().filter(|(_, two)| *two == b"\":").map(|(at, _)| at + 2).collect();
    let Some(at) = (!colons.is_empty()).then(|| colons[random.usize(..colons.len())]) else { return };
    let mut values = serde_json::Deserializer::from_slice(&bytes[at..]).into_iter::<&serde_json::value::RawValue>();
    let Some(Ok(old)) = values.next() else { return };
    let end = at + old.get().len();
    drop(bytes.splice(at..end, PIECES[random.usize(..9)].bytes()));
}

#[test]
fn nothing_comes_through_that_should_not() {
    let of = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seconds = of("STORM_SECONDS").unwrap_or(1);
    let seed = of("STORM_SEED").unwrap_or(20_261_122);
    for (format, seeds) in SEEDS {
        for whole in seeds {
            dialect::run(format, &[b"\x07", whole.as_bytes()].concat());
        }
        let mut random = fastrand::Rng::with_seed(seed);
        let (begun, mut count) = (Instant::now(), 0u64);
        while begun.elapsed() < Duration::from_secs(seconds) {
            let input = mutant(&mut random, seeds);
            let run = std::panic::catch_unwind(|| dialect::run(format, &input));
            assert!(run.is_ok(), "{format:?}, input {:?}", String::from_utf8_lossy(&input));
            count += 1;
        }
        println!("{format:?}: {count} inputs in {seconds} s");
    }
}
