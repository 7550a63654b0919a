//! The cache as Prometheus reads it. Labels are models, tiers and outcomes, never keys.

use std::collections::BTreeMap;

use super::count::{Counts, Line};
use super::gate::TierReport;
use super::store::Cache;
use crate::metrics::{CacheTimes, Exposition, Pico, Seconds, label};

/// All of it; `lines`: what requests did, `lookups`: the times of memory, by I/O thread.
pub fn expose(cache: &Cache, lines: &[Line], lookups: &[&CacheTimes], out: &mut Exposition) {
    memory(cache, out);
    requests(lines, out);
    tiers(cache, lookups, out);
    semantic(cache, out);
}

fn memory(cache: &Cache, out: &mut Exposition) {
    let (entries, bytes) = cache.size();
    let get = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
    for (name, kind, help, value) in [
        ("ailink_cache_entries", "gauge", "Answers in the cache.", entries),
        ("ailink_cache_bytes", "gauge", "Weight of the answers in the cache.", bytes),
        ("ailink_cache_max_bytes", "gauge", "Weight that the cache may reach; 0: it is off.", cache.max_bytes()),
        (
            "ailink_cache_in_flight",
            "gauge",
            "Requests whose answers equal ones may wait for.",
            cache.flights.len() as u64,
        ),
        ("ailink_cache_stored_total", "counter", "Answers kept.", get(&cache.stored)),
        (
            "ailink_cache_not_stored_total",
            "counter",
            "Answers too large, or purged before they came.",
            get(&cache.refused),
        ),
        ("ailink_cache_evictions_total", "counter", "Answers that went for want of room.", cache.evicted()),
    ] {
        out.family(name, kind, help);
        out.sample(name, "", value);
    }
}

/// What was done and saved, by model.
fn requests(lines: &[Line], out: &mut Exposition) {
    let mut models: BTreeMap<&str, Counts> = BTreeMap::new();
    for line in lines {
        models.entry(&line.model).or_default().merge(&line.counts);
    }
    if models.is_empty() {
        return;
    }
    let models: Vec<(String, Counts)> =
        models.into_iter().map(|(model, counts)| (format!("model=\"{}\"", label(model)), counts)).collect();
    let name = "ailink_cache_requests_total";
    out.family(name, "counter", "Requests that the cache took part in, by what became of them.");
    for (model, counts) in &models {
        for (outcome, count) in [
            ("hit", counts.hits),
            ("semantic", counts.semantic_hits),
            ("stale", counts.stale_hits),
            ("joined", counts.joined),
            ("miss", counts.misses),
            ("bypass", counts.bypassed),
        ] {
            out.sample(name, &format!("{model},outcome=\"{outcome}\""), count);
        }
    }
    let name = "ailink_cache_saved_usd_total";
    out.family(name, "counter", "What answers from the cache once cost, in USD.");
    for (model, counts) in &models {
        out.sample(name, model, Pico(u64::try_from(counts.saved_pico).unwrap_or(0)));
    }
    let name = "ailink_cache_saved_tokens_total";
    out.family(name, "counter", "Tokens that were not asked for again, by type.");
    for (model, counts) in &models {
        for (kind, count) in [("input", counts.saved_input), ("output", counts.saved_output)] {
            out.sample(name, &format!("{model},type=\"{kind}\""), count);
        }
    }
    let name = "ailink_cache_saved_seconds_total";
    out.family(name, "counter", "Time that providers once took for answers from the cache.");
    for (model, counts) in &models {
        out.sample(name, model, Seconds(counts.saved_us));
    }
}

fn tiers(cache: &Cache, lookups: &[&CacheTimes], out: &mut Exposition) {
    let (remote, objects) = (cache.remote(), cache.objects());
    let counts = [
        remote.as_ref().map(|remote| ("redis", remote.counts())),
        objects.as_ref().map(|objects| ("objects", objects.counts())),
    ];
    if cache.max_bytes() > 0 {
        let name = "ailink_cache_read_seconds";
        out.family(name, "histogram", "Time of a lookup by tier; of memory with the key, one request in 64.");
        out.histogram(name, "tier=\"memory\"", lookups);
        for (tier, counts) in counts.iter().flatten() {
            out.histogram(name, &format!("tier=\"{tier}\""), &[&counts.reads]);
        }
    }
    let redis = remote.as_ref().map(|remote| ("redis", remote.report()));
    let objects = objects.as_ref().map(|objects| ("objects", objects.report()));
    let tiers: Vec<(&str, TierReport)> = redis.into_iter().chain(objects).collect();
    if tiers.is_empty() {
        return;
    }
    let name = "ailink_cache_tier_total";
    out.family(name, "counter", "Reads and writes of a tier beneath memory, by what became of them.");
    for (tier, report) in &tiers {
        for (outcome, count) in [
            ("hit", report.hits),
            ("miss", report.misses),
            ("error", report.errors),
            ("timeout", report.timeouts),
            ("skipped", report.skipped),
            ("foreign", report.foreign),
            ("written", report.writes),
            ("dropped", report.dropped),
        ] {
            out.sample(name, &format!("tier=\"{tier}\",outcome=\"{outcome}\""), count);
        }
    }
    let name = "ailink_cache_tier_open";
    out.family(name, "gauge", "1 while a tier that failed is left alone.");
    for (tier, report) in &tiers {
        out.sample(name, &format!("tier=\"{tier}\""), u64::from(report.open));
    }
}

fn semantic(cache: &Cache, out: &mut Exposition) {
    let Some(report) = cache.semantic().map(|semantic| semantic.report()) else { return };
    out.family("ailink_cache_questions", "gauge", "Questions that answers can be found by.");
    out.sample("ailink_cache_questions", "", report.questions);
    let name = "ailink_cache_semantic_total";
    out.family(name, "counter", "Looks for a similar question, by what became of them.");
    for (outcome, count) in [
        ("look", report.looks),
        ("hit", report.hits),
        ("error", report.errors),
        ("timeout", report.timeouts),
        ("skipped", report.skipped),
        ("judged", report.judged),
        ("denied", report.denied),
    ] {
        out.sample(name, &format!("outcome=\"{outcome}\""), count);
    }
    let name = "ailink_cache_semantic_refused_total";
    out.family(name, "counter", "Near questions that were another one, by what they differ in.");
    for (difference, count) in &report.refused {
        out.sample(name, &format!("difference=\"{difference}\""), count);
    }
}
