//! Embeddings, cached input by input: of a list of which some are known, only the others are asked for.

use std::sync::Arc;

use bytes::Bytes;

use super::entry::{About, Entry, Form, Worth};
use super::key::{self, CacheKey};
use crate::exchange::Exchange;
use crate::wire::json::{self, Kind, Value, elements, scan_object, scan_value_object};

/// Most inputs that are looked up one by one.
const MOST: usize = 2048;

/// The entries of single inputs.
pub type Kept = Vec<(CacheKey, Arc<Entry>)>;

/// What of the known is wanted.
#[derive(Clone, Copy)]
pub struct Wanted {
    /// Nothing.
    pub fresh: bool,
    /// What is not older.
    pub max_age_us: Option<i64>,
}

/// The inputs of one request.
pub struct Items {
    keys: Vec<CacheKey>,
    /// What is known of each.
    found: Vec<Option<Arc<Entry>>>,
    /// How much of the input's tokens each has, by its length.
    lengths: Vec<u64>,
}

/// The elements of `input`, where it is a list of inputs or one of them.
fn inputs(exchange: &Exchange) -> Option<(Value, Vec<Value>)> {
    let call = &exchange.call;
    let input = scan_value_object(&call.body, call.root?, &["input"]).ok()?.fields[0]?;
    if input.kind == Kind::String {
        return Some((input, vec![input]));
    }
    let items: Vec<Value> = elements(&call.body, input).take(MOST + 1).collect();
    if items.is_empty() || items.len() > MOST {
        return None;
    }
    // Numbers: the tokens of a single input.
    if items.iter().all(|item| item.kind == Kind::Number) {
        return Some((input, vec![input]));
    }
    items.iter().all(|item| matches!(item.kind, Kind::String | Kind::Array)).then_some((input, items))
}

impl Items {
    /// What is known of the request's inputs; `None` when it has none that can be told apart.
    pub fn look_up(exchange: &Exchange, tenant: &[u8], namespace: &str, wanted: Wanted) -> Option<Items> {
        let (_, items) = inputs(exchange)?;
        let keys = key::of_items(exchange, tenant, namespace, &items);
        let cache = &exchange.shard.shared.state.cache;
        let now_us = exchange.wall_us;
        let young = |entry: &Arc<Entry>| {
            let oldest = wanted.max_age_us.is_none_or(|age| now_us - entry.stored_us <= age);
            !wanted.fresh && oldest && entry.expires_us > now_us
        };
        let found = keys.iter().map(|key| cache.get(key, now_us).filter(young));
        let found = found.collect();
        let lengths = items.iter().map(|item| u64::from(item.end - item.start)).collect();
        Some(Items { found, keys, lengths })
    }

    pub fn known(&self) -> usize {
        self.found.iter().flatten().count()
    }

    /// What the known ones saved.
    pub fn worth(&self) -> Worth {
        self.found.iter().flatten().fold(Worth::default(), |sum, entry| Worth {
            pico: sum.pico + entry.worth.pico,
            input: sum.input + entry.worth.input,
            output: 0,
            micros: sum.micros.max(entry.worth.micros),
        })
    }

    /// When the oldest of the known ones was stored.
    pub fn oldest_us(&self) -> i64 {
        self.found.iter().flatten().map(|entry| entry.stored_us).min().unwrap_or(0)
    }

    /// The request with only those inputs that are not known.
    pub fn rest(&self, exchange: &Exchange) -> Option<Bytes> {
        let (input, items) = inputs(exchange)?;
        let body = &exchange.call.body;
        let mut out = Vec::with_capacity(body.len());
        out.extend_from_slice(body.get(..input.start as usize)?);
        out.push(b'[');
        let missing = items.iter().zip(&self.found).filter(|(_, found)| found.is_none());
        for (index, (item, _)) in missing.enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(item.raw(body));
        }
        out.push(b']');
        out.extend_from_slice(body.get(input.end as usize..)?);
        Some(out.into())
    }

    /// The answer when all are known.
    pub fn answer(&self) -> Option<Bytes> {
        let embeddings: Option<Vec<&[u8]>> = self.found.iter().map(|found| embedding(found.as_ref()?)).collect();
        let model = self.found.first()?.as_ref().and_then(|entry| model(entry))?;
        Some(written(&embeddings?, model, self.worth().input))
    }

    /// The provider's answer about the unknown ones, completed by the known; and the entries of the fresh ones.
    pub fn complete(&mut self, body: &Bytes, fresh: &Entry) -> Option<(Bytes, Kept)> {
        let scan = scan_object(body, &["data", "model"]).ok()?;
        let data = scan.fields[0]?;
        let model_raw = scan.fields[1]?.raw(body);
        let mut asked: Vec<usize> = Vec::new();
        asked.extend((0..self.keys.len()).filter(|index| self.found.get(*index).is_some_and(Option::is_none)));
        let mut new: Vec<Option<&[u8]>> = vec![None; asked.len()];
        for (position, element) in elements(body, data).enumerate() {
            let member = scan_value_object(body, element, &["embedding", "index"]).ok()?;
            let index = member.fields[1].and_then(|index| json::as_u64(body, index));
            let index = index.and_then(|index| usize::try_from(index).ok()).unwrap_or(position);
            *new.get_mut(index)? = Some(member.fields[0]?.raw(body));
        }
        let total: u64 = asked.iter().filter_map(|index| self.lengths.get(*index)).sum();
        let known = self.worth();
        let mut entries = Vec::with_capacity(asked.len());
        for (embedding, index) in new.iter().zip(&asked) {
            let share = |amount: u64| {
                let length = self.lengths.get(*index).copied().unwrap_or(0);
                (u128::from(amount) * u128::from(length)).div_ceil(u128::from(total.max(1)))
            };
            let worth = Worth {
                pico: i64::try_from(share(u64::try_from(fresh.worth.pico).unwrap_or(0))).unwrap_or(0),
                input: u64::try_from(share(fresh.worth.input)).unwrap_or(0),
                ..fresh.worth
            };
            let body = [b"{\"model\":", model_raw, b",\"embedding\":", (*embedding)?, b"}"].concat();
            let entry = Entry { form: Form::Whole, body: body.into(), worth, ..fresh.clone() };
            entries.push((*self.keys.get(*index)?, Arc::new(entry)));
        }
        let mut all = self.found.clone();
        for ((_, entry), index) in entries.iter().zip(&asked) {
            *all.get_mut(*index)? = Some(entry.clone());
        }
        let embeddings: Option<Vec<&[u8]>> = all.iter().map(|found| embedding(found.as_ref()?)).collect();
        let answer = match known.input {
            // Nothing was known: the provider's answer is the answer.
            0 if asked.len() == self.keys.len() => body.clone(),
            known => written(&embeddings?, model_raw, known + fresh.worth.input),
        };
        Some((answer, entries))
    }
}

fn member<'e>(entry: &'e Entry, name: &str) -> Option<&'e [u8]> {
    Some(scan_object(&entry.body, &[name]).ok()?.fields[0]?.raw(&entry.body))
}

fn embedding(entry: &Arc<Entry>) -> Option<&[u8]> {
    member(entry, "embedding")
}

fn model(entry: &Entry) -> Option<&[u8]> {
    member(entry, "model")
}

/// OpenAI's list of embeddings.
fn written(embeddings: &[&[u8]], model: &[u8], tokens: u64) -> Bytes {
    let size: usize = embeddings.iter().map(|embedding| embedding.len() + 64).sum();
    let mut out = Vec::with_capacity(size + 128);
    out.extend_from_slice(b"{\"object\":\"list\",\"data\":[");
    for (index, embedding) in embeddings.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"object\":\"embedding\",\"index\":");
        out.extend_from_slice(itoa::Buffer::new().format(index).as_bytes());
        out.extend_from_slice(b",\"embedding\":");
        out.extend_from_slice(embedding);
        out.push(b'}');
    }
    out.extend_from_slice(b"],\"model\":");
    out.extend_from_slice(model);
    out.extend_from_slice(b",\"usage\":{\"prompt_tokens\":");
    out.extend_from_slice(itoa::Buffer::new().format(tokens).as_bytes());
    out.extend_from_slice(b",\"total_tokens\":");
    out.extend_from_slice(itoa::Buffer::new().format(tokens).as_bytes());
    out.extend_from_slice(b"}}");
    out.into()
}

/// What the fresh inputs of an answer become: the whole answer, and its entries.
pub fn keep(items: &mut Items, made: &super::store::Made, about: &About, ends: (i64, i64)) -> Option<(Bytes, Kept)> {
    let fresh = Entry {
        form: Form::Whole,
        content_type: made.content_type.clone(),
        body: Bytes::new(),
        stored_us: made.now_us,
        expires_us: ends.0,
        stale_us: ends.1,
        worth: made.worth,
        about: about.clone(),
    };
    items.complete(&made.body, &fresh)
}
