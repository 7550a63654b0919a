//! Marks where a provider shall keep the beginning of a prompt, once it has been seen before.
//!
//! Writing such a beginning costs a quarter more than reading it as usual, reading it again a tenth: it pays when the next
//! request comes within five minutes. So nothing is marked on the first sight of a beginning, and everything from the second
//! on. What counts is what was measured: the instructions and tools of a request, and the conversation up to its last two
//! messages, each by the hash of its bytes. A request that says itself where to cut is left alone.
//!
//! <https://docs.claude.com/en/docs/build-with-claude/prompt-caching>: at most four marks; beginnings of fewer than 1,024
//! tokens are not kept. <https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html>: `cachePoint`.

use std::ops::Range;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use smallvec::{SmallVec, smallvec};

use crate::endpoint::Operation;
use crate::exchange::Exchange;
use crate::snapshot::Deployment;
use crate::wire::json::edit::splice;
use crate::wire::json::{Kind, Value, elements, scan_object, scan_value_object, string};

/// Shorter beginnings are not kept by any provider: about 1,024 tokens.
const SHORTEST: usize = 4 * 1024;

const ANTHROPIC: &str = "\"cache_control\":{\"type\":\"ephemeral\"}";
const BEDROCK: &str = "{\"cachePoint\":{\"type\":\"default\"}}";

type Edit = (Range<usize>, Vec<u8>);
type Body = SmallVec<[Bytes; 5]>;

/// The body with marks, where they pay.
pub fn mark(exchange: &Exchange, deployment: &Deployment, operation: Operation, body: Body) -> Body {
    let bedrock = matches!(operation, Operation::Converse | Operation::ConverseStream);
    if !bedrock && operation != Operation::Messages {
        return body;
    }
    let whole = body.iter().map(|part| &part[..]).collect::<Vec<_>>().concat();
    let own: &[u8] = if bedrock { b"\"cachePoint\"" } else { b"\"cache_control\"" };
    if memchr::memmem::find(&whole, own).is_some() {
        return body;
    }
    match edits(exchange, deployment, bedrock, &whole) {
        Some(edits) if !edits.is_empty() => smallvec![Bytes::from(splice(&whole, edits))],
        _ => body,
    }
}

/// Where marks go; and what was seen is remembered.
fn edits(exchange: &Exchange, deployment: &Deployment, bedrock: bool, body: &[u8]) -> Option<Vec<Edit>> {
    let [system, tools, config, messages] =
        scan_object(body, &["system", "tools", "toolConfig", "messages"]).ok()?.fields;
    let tools = if bedrock { config } else { tools };
    let mut hash = Sha256::new();
    hash.update(deployment.id.as_bytes());
    hash.update([0]);
    let mut length = 0;
    for part in [tools, system].into_iter().flatten() {
        hash.update(part.raw(body));
        hash.update([0]);
        length += part.raw(body).len();
    }
    let seen =
        |hash: &Sha256| exchange.shard.shared.state.prefixes.seen(hash.clone().finalize().into(), exchange.wall_us);
    let mut edits = Vec::new();
    if length >= SHORTEST && seen(&hash) {
        edits.extend(system.and_then(|system| at_end(body, system, bedrock)));
    }
    let said: Vec<Value> = elements(body, messages.filter(|messages| messages.kind == Kind::Array)?).collect();
    let mut before = length;
    let mut continued = None;
    for (place, message) in said.iter().enumerate() {
        hash.update(message.raw(body));
        hash.update([0]);
        before += message.raw(body).len();
        // An earlier request ended here: this one goes on with the answer and the next question.
        let last = place + 1 == said.len();
        if before >= SHORTEST && (last || place + 3 == said.len()) {
            // The end of this request is remembered for the next one.
            let known = seen(&hash);
            if known && !last {
                continued = said.last();
            }
        }
    }
    if let Some(last) = continued {
        edits.extend(in_message(body, *last, bedrock));
    }
    Some(edits)
}

/// A mark behind the last block of a list of blocks, or on a text that becomes one.
fn at_end(body: &[u8], blocks: Value, bedrock: bool) -> Option<Edit> {
    match blocks.kind {
        Kind::String if !bedrock => {
            let text = String::from_utf8_lossy(blocks.raw(body));
            let block = format!("[{{\"type\":\"text\",\"text\":{text},{ANTHROPIC}}}]");
            Some((blocks.range(), block.into_bytes()))
        }
        Kind::Array => {
            let last =
                elements(body, blocks).last().filter(|last| last.kind == Kind::Object && last.raw(body).len() > 2)?;
            let end = last.range().end;
            let mark = format!(",{}", if bedrock { BEDROCK } else { ANTHROPIC });
            // Bedrock's is a block of its own, Anthropic's a member.
            let at = if bedrock { end } else { end - 1 };
            Some((at..at, mark.into_bytes()))
        }
        _ => None,
    }
}

fn in_message(body: &[u8], message: Value, bedrock: bool) -> Option<Edit> {
    let [role, content] = scan_value_object(body, message, &["role", "content"]).ok()?.fields;
    // What a model thought cannot be marked.
    let user = role.and_then(|role| string(body, role)).is_some_and(|role| role == "user");
    at_end(body, content.filter(|_| user)?, bedrock)
}
