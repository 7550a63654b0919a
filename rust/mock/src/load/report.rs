//! What a run found: counts, errors by class, latencies.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::plan::{Pace, Plan};
use crate::Error;

/// The longest latency that is told apart from longer ones: ten minutes, in ns.
const LONGEST: u64 = 600_000_000_000;

/// Latencies in ns, with three significant digits.
pub struct Latencies(Histogram<u64>);

impl Latencies {
    /// An empty histogram.
    pub fn new() -> Result<Self, Error> {
        let histogram = Histogram::new_with_bounds(1, LONGEST, 3);
        histogram.map(Self).map_err(|error| Error::usage(format!("histogram: {error}")))
    }

    /// Notes one latency.
    pub fn record(&mut self, ns: u64) {
        self.0.saturating_record(ns.max(1));
    }

    /// Adds those of another thread.
    pub fn add(&mut self, other: &Self) {
        // Both have the same bounds.
        let _ = self.0.add(&other.0);
    }

    /// Percentiles in µs; null without any.
    pub fn to_json(&self) -> Value {
        if self.0.is_empty() {
            return Value::Null;
        }
        let us = |ns: u64| (ns as f64 / 100.0).round() / 10.0;
        let at = |percentile: f64| us(self.0.value_at_percentile(percentile));
        json!({
            "count": self.0.len(),
            "mean": (self.0.mean() / 100.0).round() / 10.0,
            "min": us(self.0.min()),
            "p50": at(50.0),
            "p90": at(90.0),
            "p99": at(99.0),
            "p999": at(99.9),
            "max": us(self.0.max()),
        })
    }
}

/// What one thread found in the measured time.
pub struct Stats {
    /// Requests that were due.
    pub sent: u64,
    pub ok: u64,
    pub left: u64,
    pub errors: BTreeMap<String, u64>,
    pub body_bytes: u64,
    pub events: u64,
    /// From the scheduled time to the last byte.
    pub total: Latencies,
    /// `total` minus the mock's own time, of the same request.
    pub added: Latencies,
    /// The same from the time of sending.
    pub added_since_sent: Latencies,
    /// From the scheduled time to the first byte of the answer.
    pub first_byte: Latencies,
    /// From the mock's stamp of an event to its arrival.
    pub event_added: Latencies,
    /// How late requests were sent.
    pub send_lag: Latencies,
    /// Stamps that lay in the future: the clocks are not the same, or the answer was replayed.
    pub negative: u64,
    pub connections_opened: u64,
    pub connections_most: u64,
    pub cpu_ns: u64,
    /// All requests, the warm-up's too, for the CPU figure.
    pub finished: u64,
}

impl Stats {
    /// Nothing found yet.
    pub fn new() -> Result<Self, Error> {
        Ok(Self {
            sent: 0,
            ok: 0,
            left: 0,
            errors: BTreeMap::new(),
            body_bytes: 0,
            events: 0,
            total: Latencies::new()?,
            added: Latencies::new()?,
            added_since_sent: Latencies::new()?,
            first_byte: Latencies::new()?,
            event_added: Latencies::new()?,
            send_lag: Latencies::new()?,
            negative: 0,
            connections_opened: 0,
            connections_most: 0,
            cpu_ns: 0,
            finished: 0,
        })
    }

    /// Counts an error.
    pub fn error(&mut self, class: &str) {
        match self.errors.get_mut(class) {
            Some(count) => *count += 1,
            None => {
                self.errors.insert(class.to_owned(), 1);
            }
        }
    }

    /// Adds what another thread found.
    pub fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.ok += other.ok;
        self.left += other.left;
        for (class, count) in &other.errors {
            *self.errors.entry(class.clone()).or_default() += count;
        }
        self.body_bytes += other.body_bytes;
        self.events += other.events;
        self.total.add(&other.total);
        self.added.add(&other.added);
        self.added_since_sent.add(&other.added_since_sent);
        self.first_byte.add(&other.first_byte);
        self.event_added.add(&other.event_added);
        self.send_lag.add(&other.send_lag);
        self.negative += other.negative;
        self.connections_opened += other.connections_opened;
        self.connections_most += other.connections_most;
        self.cpu_ns += other.cpu_ns;
        self.finished += other.finished;
    }

    /// The report of a run that measured for so long.
    pub fn report(&self, plan: &Plan, measured: Duration) -> Value {
        let seconds = measured.as_secs_f64().max(1e-9);
        let per_second = |count: u64| (count as f64 / seconds * 10.0).round() / 10.0;
        let errors: u64 = self.errors.values().sum();
        let mut report = Map::new();
        let mut put = |name: &str, value: Value| {
            report.insert(name.to_owned(), value);
        };
        put("target", json!(plan.target.to_string()));
        put(
            "pace",
            match plan.pace {
                Pace::Closed { connections } => {
                    json!({"kind": "closed", "connections": connections})
                }
                Pace::Open { rate, poisson } => {
                    json!({"kind": "open", "rate": rate, "poisson": poisson})
                }
            },
        );
        put("threads", json!(plan.threads));
        put("duration_s", json!((seconds * 1e3).round() / 1e3));
        put("sent", json!(self.sent));
        put("finished", json!(self.finished));
        put("ok", json!(self.ok));
        put("left", json!(self.left));
        put("failed", json!(errors));
        put("errors", json!(self.errors));
        put("ok_per_s", json!(per_second(self.ok)));
        put("events", json!(self.events));
        put("events_per_s", json!(per_second(self.events)));
        put("body_bytes", json!(self.body_bytes));
        put(
            "latency_us",
            json!({
                "total": self.total.to_json(),
                "first_byte": self.first_byte.to_json(),
                "added": self.added.to_json(),
                "added_since_sent": self.added_since_sent.to_json(),
                "event_added": self.event_added.to_json(),
                "send_lag": self.send_lag.to_json(),
            }),
        );
        put("negative_added", json!(self.negative));
        put("connections", json!({"opened": self.connections_opened, "most_at_once": self.connections_most}));
        let cpu = self.cpu_ns as f64 / 1e3 / self.finished.max(1) as f64;
        put("generator_cpu_us_per_request", json!((cpu * 100.0).round() / 100.0));
        Value::Object(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_in_microseconds() {
        let mut latencies = Latencies::new().unwrap();
        for us in 1..=1000 {
            latencies.record(us * 1000);
        }
        let told = latencies.to_json();
        assert_eq!(told["count"], 1000);
        for (name, expected) in [("p50", 500.0), ("p99", 990.0), ("max", 1000.0), ("min", 1.0), ("mean", 500.5)] {
            let value = told[name].as_f64().unwrap();
            assert!((value - expected).abs() <= expected * 0.002, "{name} {value}");
        }
        assert_eq!(Latencies::new().unwrap().to_json(), Value::Null);
        latencies.record(u64::MAX);
        assert!(latencies.to_json()["max"].as_f64().unwrap() >= 6e8);
    }

    #[test]
    fn threads_add_up() {
        let (mut a, mut b) = (Stats::new().unwrap(), Stats::new().unwrap());
        a.error("reset");
        b.error("reset");
        b.error("timeout");
        b.total.record(5000);
        a.add(&b);
        assert_eq!((a.errors["reset"], a.errors["timeout"]), (2, 1));
        assert_eq!(a.total.to_json()["count"], 1);
    }
}
