//! How busy an inference engine is, by its own metrics: requests that run and wait, and how full its key-value cache is.
//!
//! vLLM, SGLang, llama.cpp and TGI tell it in the Prometheus text format (their documentation, read 2026-11).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::Due;
use super::call;
use crate::clock::monotonic_ns;
use crate::event::Event;
use crate::shard::{Shard, SnapshotRef};
use crate::snapshot::RequestTemplate;
use crate::state::DeploymentState;

const RUNNING: [&str; 4] =
    ["vllm:num_requests_running", "sglang:num_running_reqs", "llamacpp:requests_processing", "tgi_batch_current_size"];
const WAITING: [&str; 4] =
    ["vllm:num_requests_waiting", "sglang:num_queue_reqs", "llamacpp:requests_deferred", "tgi_queue_size"];
const CACHE: [&str; 4] =
    ["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", "sglang:token_usage", "llamacpp:kv_cache_usage_ratio"];

/// A request that waits counts as much as so many that run: it is behind all of them.
const QUEUED: u64 = 4;
/// A cache fuller than this counts as this full.
const FULLEST: u64 = 950;

/// How an engine is asked.
#[derive(Debug)]
pub struct Poll {
    pub template: RequestTemplate,
    pub every: Duration,
    pub timeout: Duration,
    /// What is older says nothing.
    pub stale: Duration,
}

/// What an engine said last.
#[derive(Debug, Default)]
pub struct Engine {
    pub due: Due,
    at_ns: AtomicU64,
    running: AtomicU32,
    waiting: AtomicU32,
    /// Of 1,000.
    cache: AtomicU32,
    /// Requests of this node in flight when it was asked.
    ours: AtomicU32,
    silent: AtomicBool,
    pub failed: AtomicU64,
}

/// What an engine says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    pub running: u32,
    pub waiting: u32,
    /// Of 1,000.
    pub cache: u32,
}

impl Engine {
    /// What it said, if that is not too old, and how long ago.
    pub fn load(&self, now: u64, stale: Duration) -> Option<(Load, Duration)> {
        let at = self.at_ns.load(Relaxed);
        let age = Duration::from_nanos(now.saturating_sub(at));
        if at == 0 || age > stale {
            return None;
        }
        let load = Load {
            running: self.running.load(Relaxed),
            waiting: self.waiting.load(Relaxed),
            cache: self.cache.load(Relaxed),
        };
        Some((load, age))
    }

    fn told(&self, load: Load, ours: u32, now: u64) {
        self.running.store(load.running, Relaxed);
        self.waiting.store(load.waiting, Relaxed);
        self.cache.store(load.cache, Relaxed);
        self.ours.store(ours, Relaxed);
        self.at_ns.store(now.max(1), Relaxed);
    }

    /// How much it has to do, lower is better: requests that run and, four times, those that wait, with what this node has
    /// sent since; per weight; the more the fuller its cache is: `(running + 4 waiting + sent) / (1 - cache)`. Without
    /// fresh metrics the requests that this node has in flight there.
    pub fn score(&self, in_flight: u32, weight: u64, now: u64, stale: Duration) -> u64 {
        let (requests, cache) = match self.load(now, stale) {
            None => (u64::from(in_flight), 0),
            Some((load, _)) => {
                let sent = in_flight.saturating_sub(self.ours.load(Relaxed));
                let busy = u64::from(load.running) + QUEUED * u64::from(load.waiting) + u64::from(sent);
                (busy, u64::from(load.cache).min(FULLEST))
            }
        };
        // One more than there are, so that an empty engine with a full cache is not as good as any.
        (requests + 1).saturating_mul(1_000 << 32) / ((1_000 - cache) * weight.max(1))
    }
}

/// Asks an engine once.
pub async fn run(shard: Arc<Shard>, snapshot: SnapshotRef, index: usize) {
    let Some(deployment) = snapshot.deployments.get(index) else { return };
    let Some(poll) = &deployment.engine else { return };
    let state = &deployment.state;
    let ours = state.in_flight();
    let found = match call::ask(deployment, &poll.template, None, poll.timeout).await {
        Ok((200, body)) => parse(&String::from_utf8_lossy(&body)).ok_or("it tells no metric that is known".to_string()),
        Ok((status, _)) => Err(format!("status {status}")),
        Err(fault) => Err(fault.text().to_string()),
    };
    match found {
        Ok(load) => {
            state.engine.told(load, ours, monotonic_ns());
            if state.engine.silent.swap(false, Relaxed) {
                tell(&shard, state, "info", "the metrics of the engine are there again".to_string());
            }
        }
        Err(fault) => {
            state.engine.failed.fetch_add(1, Relaxed);
            if !state.engine.silent.swap(true, Relaxed) {
                tell(&shard, state, "warning", format!("no metrics of the engine: {fault}"));
            }
        }
    }
    state.engine.due.done();
}

fn tell(shard: &Shard, state: &DeploymentState, level: &'static str, message: String) {
    shard.shared.events.push(Event {
        kind: "engine_metrics",
        level,
        message,
        model: Some(state.model.clone()),
        deployment: Some(state.id.clone()),
        ..Event::default()
    });
}

/// The load in a Prometheus exposition; counts of several series (models, ranks) add up, of caches the fullest counts.
pub fn parse(text: &str) -> Option<Load> {
    let (mut running, mut waiting, mut cache) = (None, None, None);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let slot = if RUNNING.contains(&name) {
            &mut running
        } else if WAITING.contains(&name) {
            &mut waiting
        } else if CACHE.contains(&name) {
            &mut cache
        } else {
            continue;
        };
        // Behind the labels, whose values may hold blanks.
        let rest = line.rsplit_once('}').map_or(line.get(name.len()..).unwrap_or_default(), |(_, rest)| rest);
        let value = rest.split_whitespace().next().and_then(|value| value.parse::<f64>().ok());
        let Some(value) = value.filter(|value| value.is_finite() && *value >= 0.0) else { continue };
        let before = slot.unwrap_or(0.0);
        *slot = Some(if CACHE.contains(&name) { value.max(before) } else { before + value });
    }
    if running.is_none() && waiting.is_none() {
        return None;
    }
    let count = |value: Option<f64>| value.unwrap_or(0.0).min(1e9) as u32;
    Some(Load {
        running: count(running),
        waiting: count(waiting),
        cache: (cache.unwrap_or(0.0).min(1.0) * 1_000.0) as u32,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expositions_are_read() {
        let vllm = "# HELP vllm:num_requests_running Number of requests\n# TYPE vllm:num_requests_running gauge\n\
            vllm:num_requests_running{engine=\"0\",model_name=\"a b}\"} 3.0\n\
            vllm:num_requests_running{engine=\"1\",model_name=\"a\"} 4.0\n\
            vllm:num_requests_waiting{model_name=\"a\"} 1e1 1700000000\nvllm:num_requests_waiting_by_x 99\n\
            vllm:kv_cache_usage_perc{engine=\"0\"} 0.25\nvllm:kv_cache_usage_perc{engine=\"1\"} 0.5\n";
        assert_eq!(parse(vllm), Some(Load { running: 7, waiting: 10, cache: 500 }));
        let sglang = "sglang:num_running_reqs{model_name=\"m\"} 2.0\nsglang:num_queue_reqs{model_name=\"m\"} 0.0\n\
            sglang:token_usage{model_name=\"m\"} 0.28\n";
        assert_eq!(parse(sglang), Some(Load { running: 2, waiting: 0, cache: 280 }));
        assert_eq!(parse("tgi_queue_size 5\n"), Some(Load { running: 0, waiting: 5, cache: 0 }));
        for text in ["", "up 1\n", "vllm:num_requests_running NaN\n", "vllm:num_requests_running", "<html>"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_least_busy_engine_scores_lowest() {
        let (engine, second, stale) = (Engine::default(), 1_000_000_000, Duration::from_secs(5));
        let score = |engine: &Engine, in_flight, now| engine.score(in_flight, 1, now, stale);
        let blind = score(&engine, 3, second);
        engine.told(Load { running: 3, waiting: 0, cache: 0 }, 0, second);
        assert_eq!(score(&engine, 0, second), blind);
        assert!(score(&engine, 2, second) > blind, "what was sent since counts");
        assert_eq!(engine.score(0, 2, second, stale), blind / 2);
        engine.told(Load { running: 0, waiting: 1, cache: 0 }, 0, second);
        assert!(score(&engine, 0, second) > blind, "those that wait count more");
        engine.told(Load { running: 3, waiting: 0, cache: 500 }, 0, second);
        assert_eq!(score(&engine, 0, second), blind * 2);
        engine.told(Load { running: 3, waiting: 0, cache: 1_000 }, 0, second);
        assert_eq!(score(&engine, 0, second), blind * 20);
        assert_eq!(score(&engine, 3, 7 * second), blind, "what is stale says nothing");
        assert!(engine.load(7 * second, stale).is_none());
    }
}
