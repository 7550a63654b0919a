//! The key: a hash of everything that changes the answer, and of whose it is. Equal for requests that mean the same.
//!
//! SHA-256, because callers choose what is hashed: nobody may find two requests with one key. A chat of 1 KiB costs about
//! a microsecond on a processor with SHA instructions.

use std::cell::RefCell;

use http::{HeaderMap, HeaderName};
use sha2::{Digest, Sha256};

use super::control::Scope;
use super::replay;
use super::terms::Terms;
use crate::endpoint::Operation;
use crate::exchange::Exchange;
use crate::state::keys::Key;
use crate::state::subjects::Kind;
use crate::wire::json::Value;
use crate::wire::json::canonical::Canonical;
use crate::wire::multipart;

/// SHA-256 over tenant, operation, model and the meaning of the body.
pub type CacheKey = [u8; 32];

/// Buffers larger than this are not kept for the next request.
const KEPT: usize = 256 * 1024;

thread_local! {
    static BUFFER: RefCell<Canonical> = RefCell::new(Canonical::default());
}

/// Headers that change what a provider makes of a request.
const HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("anthropic-version"),
    HeaderName::from_static("anthropic-beta"),
    HeaderName::from_static("openai-beta"),
];

/// Members of a request that say nothing of its answer: who asks, for which records, how the answer shall travel.
/// `model` stands in the key as what it stands for.
fn ignored(operation: Operation) -> &'static [&'static str] {
    use Operation as Op;
    match operation {
        Op::Chat => &[
            "model",
            "user",
            "metadata",
            "stream",
            "stream_options",
            "store",
            "safety_identifier",
            "prompt_cache_key",
            "prompt_cache_retention",
            "cache",
        ],
        Op::Responses => &[
            "model",
            "user",
            "metadata",
            "stream",
            "stream_options",
            "safety_identifier",
            "prompt_cache_key",
            "prompt_cache_retention",
            "cache",
        ],
        Op::Messages => &["model", "metadata", "stream", "cache"],
        Op::GenerateContent | Op::StreamGenerateContent => &["model", "labels"],
        Op::Converse | Op::ConverseStream => &["requestMetadata", "performanceConfig"],
        Op::CohereChat => &["model", "stream", "cache"],
        Op::EmbedContent | Op::BatchEmbedContents => &["model"],
        _ => &["model", "user", "cache"],
    }
}

/// One name for operations that give the same answer in two ways.
pub(super) fn class(operation: Operation) -> Operation {
    match operation {
        Operation::StreamGenerateContent => Operation::GenerateContent,
        Operation::ConverseStream => Operation::Converse,
        other => other,
    }
}

/// Whose answers these are: nobody else is ever given them.
pub fn tenant(key: Option<&Key>, terms: &Terms<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    let mut part = |kind: &[u8], id: &[u8]| {
        out.extend_from_slice(kind);
        out.push(0);
        out.extend_from_slice(id);
    };
    let owner = |wanted: Kind| {
        let mut subjects = key.into_iter().flat_map(|key| &key.subjects);
        subjects.find(|subject| subject.kind == wanted)
    };
    let wanted = match terms.scope {
        Scope::Key => None,
        Scope::User => owner(Kind::User),
        Scope::Team => owner(Kind::Team),
        Scope::Organization => owner(Kind::Organization),
        Scope::Shared => {
            part(b"shared", terms.namespace.as_bytes());
            return out;
        }
    };
    match (wanted, key) {
        (Some(subject), _) => part(subject.kind.name().as_bytes(), subject.id.as_bytes()),
        (None, Some(key)) => part(b"key", key.id.as_bytes()),
        (None, None) => part(b"nobody", b""),
    }
    out
}

/// The parts of a key that stand before the body.
pub struct Begin<'r> {
    pub operation: Operation,
    pub streamed: bool,
    pub tenant: &'r [u8],
    pub namespace: &'r [u8],
    pub model: &'r [u8],
    pub provider: &'r [u8],
    pub prints: &'r [u8],
    pub headers: &'r HeaderMap,
}

impl Begin<'_> {
    fn write(&self, out: &mut Canonical) {
        out.text(&[class(self.operation) as u8, u8::from(self.streamed)]);
        [self.tenant, self.namespace, self.model, self.provider, self.prints].iter().for_each(|part| out.text(part));
        for name in &HEADERS {
            for value in self.headers.get_all(name) {
                out.text(name.as_str().as_bytes());
                out.text(value.as_bytes());
            }
        }
    }
}

fn begin(exchange: &Exchange, tenant: &[u8], namespace: &str, out: &mut Canonical) {
    let operation = exchange.endpoint.operation;
    // Plans of policies have no print: they look at what comes out of the cache.
    let prints = exchange.guards.iter().filter_map(|plan| exchange.snapshot.guard_prints.get(*plan as usize));
    let begin = Begin {
        operation,
        // Without a codec a stream and a whole answer cannot be made of one another.
        streamed: replay::format(operation).is_none() && exchange.call.stream,
        tenant,
        namespace: namespace.as_bytes(),
        model: exchange.model().map_or(b"".as_slice(), |model| model.name.as_bytes()),
        provider: exchange.provider.as_ref().map_or(b"".as_slice(), |provider| provider.as_bytes()),
        prints: &prints.flatten().copied().collect::<smallvec::SmallVec<[u8; 32]>>(),
        headers: &exchange.headers,
    };
    begin.write(out);
}

/// The key of a JSON body alone, as [`of`] makes it.
pub fn of_body(begin: &Begin, body: &[u8], root: Value) -> CacheKey {
    with_buffer(|out| {
        begin.write(out);
        members(begin.operation, body, root, out);
        finish(out)
    })
}

/// All members of a body that change the answer.
fn members(operation: Operation, body: &[u8], root: Value, out: &mut Canonical) {
    let ignored = ignored(operation);
    out.root(body, root, |name| ignored.iter().any(|ignored| ignored.as_bytes() == name));
}

fn finish(out: &Canonical) -> CacheKey {
    Sha256::digest(out.bytes()).into()
}

fn with_buffer<T>(work: impl FnOnce(&mut Canonical) -> T) -> T {
    BUFFER.with(|buffer| {
        let Ok(mut buffer) = buffer.try_borrow_mut() else { return work(&mut Canonical::default()) };
        buffer.clear();
        let done = work(&mut buffer);
        if buffer.capacity() > KEPT {
            *buffer = Canonical::default();
        }
        done
    })
}

/// The key of a request.
pub fn of(exchange: &Exchange, tenant: &[u8], namespace: &str) -> CacheKey {
    with_buffer(|out| {
        begin(exchange, tenant, namespace, out);
        let call = &exchange.call;
        if let Some(boundary) = &call.boundary {
            form(&call.body, boundary, out);
        } else if let Some(root) = call.root.or_else(|| whole(&call.body)) {
            members(exchange.endpoint.operation, &call.body, root, out);
        } else {
            out.text(&call.body);
        }
        finish(out)
    })
}

/// The keys of a request's inputs, each as if it were the only one.
pub fn of_items(exchange: &Exchange, tenant: &[u8], namespace: &str, items: &[Value]) -> Vec<CacheKey> {
    with_buffer(|out| {
        let call = &exchange.call;
        out.text(b"items");
        begin(exchange, tenant, namespace, out);
        let Some(root) = call.root else { return Vec::new() };
        let ignored = ignored(exchange.endpoint.operation);
        out.root(&call.body, root, |name| name == b"input" || ignored.iter().any(|skip| skip.as_bytes() == name));
        let mut base = Sha256::new();
        base.update(out.bytes());
        let keys = items.iter().map(|item| {
            out.clear();
            out.value(&call.body, *item);
            let mut hasher = base.clone();
            hasher.update(out.bytes());
            hasher.finalize().into()
        });
        keys.collect()
    })
}

/// Of everything but the question: `rest` is the body with an empty text in its place. `None` for a body that is no object.
pub fn of_rest(exchange: &Exchange, tenant: &[u8], namespace: &str, rest: &[u8]) -> Option<CacheKey> {
    let root = whole(rest)?;
    Some(with_buffer(|out| {
        out.text(b"question");
        begin(exchange, tenant, namespace, out);
        members(exchange.endpoint.operation, rest, root, out);
        finish(out)
    }))
}

/// The root of a body that was accepted before.
fn whole(body: &[u8]) -> Option<Value> {
    crate::wire::json::scan_object(body, &[]).ok().map(|scan| scan.root)
}

/// A form by its fields, in the order of their names; what a file is called does not matter, its content does.
fn form(body: &[u8], boundary: &str, out: &mut Canonical) {
    let Ok(mut parts) = multipart::parts(body, boundary) else { return out.text(body) };
    parts.sort_by(|a, b| a.name.cmp(&b.name));
    for part in parts.iter().filter(|part| !["model", "user"].contains(&part.name.as_str())) {
        out.text(part.name.as_bytes());
        out.text(body.get(part.content.clone()).unwrap_or_default());
    }
}
