//! The counters as Prometheus reads them.

use std::fmt::Write;
use std::sync::Arc;

use super::{Histogram, Outcome, Repeat, ShardMetrics};
use crate::clock::monotonic_ns;
use crate::endpoint::Operation;
use crate::error::Code;
use crate::kernel::breaker::State;
use crate::snapshot::{Deployment, Rows};
use crate::state::pools::Pools;
use crate::state::{CredentialSlot, DeploymentState, ModelState};

/// Writes the Prometheus text format.
pub struct Exposition {
    out: String,
}

impl Exposition {
    pub fn new() -> Self {
        Exposition { out: String::with_capacity(16 * 1024) }
    }

    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// One sample; `labels` is written as given, values already escaped by [`label`].
    pub fn sample(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = if labels.is_empty() {
            writeln!(self.out, "{name} {value}")
        } else {
            writeln!(self.out, "{name}{{{labels}}} {value}")
        };
    }

    /// What guardrails found.
    pub fn guardrails(&mut self, cells: &[Arc<crate::guard::record::RuleCell>]) {
        if cells.is_empty() {
            return;
        }
        let name = "ailink_guardrail_verdicts_total";
        self.family(name, "counter", "Requests and answers in which a guardrail found something.");
        for cell in cells {
            for (output, side) in [(false, "input"), (true, "output")] {
                for (shadow, mode) in [(false, "enforce"), (true, "shadow")] {
                    let labels = format!("rule=\"{}\",side=\"{side}\",mode=\"{mode}\"", label(&cell.name));
                    self.sample(name, &labels, cell.get(output, shadow));
                }
            }
        }
        let name = "ailink_guardrail_check_errors_total";
        self.family(name, "counter", "Checks of guardrails that could not be made.");
        for cell in cells {
            let errors = cell.errors.load(std::sync::atomic::Ordering::Relaxed);
            self.sample(name, &format!("rule=\"{}\"", label(&cell.name)), errors);
        }
    }

    /// What policies did.
    pub fn policies(&mut self, cells: &[Arc<crate::guard::record::RuleCell>]) {
        if cells.is_empty() {
            return;
        }
        let name = "ailink_policy_verdicts_total";
        self.family(name, "counter", "Requests that a policy held for.");
        for cell in cells {
            for (shadow, mode) in [(false, "enforce"), (true, "shadow")] {
                let labels = format!("policy=\"{}\",mode=\"{mode}\"", label(&cell.name));
                self.sample(name, &labels, cell.get(false, shadow) + cell.get(true, shadow));
            }
        }
    }

    pub fn histogram<const N: usize>(&mut self, name: &str, labels: &str, parts: &[&Histogram<N>]) {
        let Some(first) = parts.first() else { return };
        let mut cumulative = 0;
        let comma = if labels.is_empty() { "" } else { "," };
        for (index, bound) in first.bounds.iter().enumerate() {
            cumulative += parts.iter().map(|part| part.buckets[index].get()).sum::<u64>();
            let _ = writeln!(self.out, "{name}_bucket{{{labels}{comma}le=\"{}\"}} {cumulative}", Seconds(*bound));
        }
        cumulative += parts.iter().map(|part| part.over.get()).sum::<u64>();
        let sum: u64 = parts.iter().map(|part| part.sum_us.get()).sum();
        let _ = writeln!(self.out, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {cumulative}");
        self.sample(&format!("{name}_sum"), labels, Seconds(sum));
        self.sample(&format!("{name}_count"), labels, cumulative);
    }

    /// The series of the I/O threads.
    pub fn shards(&mut self, shards: &[&ShardMetrics]) {
        let sum = |pick: &dyn Fn(&ShardMetrics) -> u64| shards.iter().map(|shard| pick(shard)).sum::<u64>();
        let gauge = |pick: &dyn Fn(&ShardMetrics) -> i64| shards.iter().map(|shard| pick(shard)).sum::<i64>();
        self.family("ailink_requests_total", "counter", "Requests answered, by operation and status class.");
        for operation in Operation::ALL {
            for class in 1..6 {
                let count = sum(&|shard| shard.requests[*operation as usize][class].get());
                if count > 0 {
                    let labels = format!("operation=\"{}\",status=\"{class}xx\"", operation.name());
                    self.sample("ailink_requests_total", &labels, count);
                }
            }
        }
        self.family("ailink_errors_total", "counter", "Errors answered by the gateway, by code.");
        for code in 0..64u8 {
            let count = sum(&|shard| shard.errors[usize::from(code)].get());
            if let (true, Some(name)) = (count > 0, code_name(code)) {
                self.sample("ailink_errors_total", &format!("code=\"{name}\""), count);
            }
        }
        let name = "ailink_repeats_total";
        self.family(name, "counter", "Requests with an Idempotency-Key, by what became of them.");
        for (repeat, outcome) in Repeat::ALL {
            let count = sum(&|shard| shard.repeats[repeat as usize].get());
            if count > 0 {
                self.sample(name, &format!("outcome=\"{outcome}\""), count);
            }
        }
        let name = "ailink_overhead_seconds";
        self.family(name, "histogram", "Time the gateway itself spent on a request, without the provider's.");
        let parts: Vec<_> = shards.iter().map(|shard| &shard.overhead).collect();
        self.histogram(name, "", &parts);
        for (name, kind, help, value) in [
            ("ailink_connections_total", "counter", "Client connections accepted.", sum(&|s| s.connections.get())),
            ("ailink_retries_total", "counter", "Attempts beyond the first.", sum(&|s| s.retries.get())),
            ("ailink_fallbacks_total", "counter", "Requests handed to a fallback model.", sum(&|s| s.fallbacks.get())),
            ("ailink_cache_hits_total", "counter", "Requests answered from the cache.", sum(&|s| s.cache_hits.get())),
            (
                "ailink_cache_misses_total",
                "counter",
                "Cacheable requests not in the cache.",
                sum(&|s| s.cache_misses.get()),
            ),
            ("ailink_panics_total", "counter", "Requests that ended in a caught panic.", sum(&|s| s.panics.get())),
        ] {
            self.family(name, kind, help);
            self.sample(name, "", value);
        }
        for (name, help, value) in [
            ("ailink_open_connections", "Client connections open.", gauge(&|s| s.connections_open.get())),
            ("ailink_requests_in_flight", "Requests in flight.", gauge(&|s| s.in_flight.get())),
            ("ailink_shell_requests_in_flight", "Requests at the control plane.", gauge(&|s| s.shell_in_flight.get())),
            ("ailink_body_bytes_in_flight", "Bytes of request bodies held.", gauge(&|s| s.body_bytes.get())),
        ] {
            self.family(name, "gauge", help);
            self.sample(name, "", value);
        }
    }

    /// The series of the deployments.
    pub fn deployments(&mut self, deployments: &[Arc<DeploymentState>]) {
        let labels: Vec<String> = deployments
            .iter()
            .map(|d| {
                format!(
                    "deployment=\"{}\",provider=\"{}\",model=\"{}\"",
                    label(&d.id),
                    label(&d.provider),
                    label(&d.model)
                )
            })
            .collect();
        let rows = || deployments.iter().zip(&labels);
        self.family("ailink_attempts_total", "counter", "Attempts sent to providers, by outcome.");
        for (deployment, labels) in rows() {
            for (outcome, name) in Outcome::ALL {
                let count = deployment.metrics.sum(|c| c.outcomes[outcome as usize].get());
                if count > 0 {
                    self.sample("ailink_attempts_total", &format!("{labels},outcome=\"{name}\""), count);
                }
            }
        }
        self.family("ailink_tokens_total", "counter", "Tokens counted, by type.");
        for (deployment, labels) in rows() {
            let metrics = &deployment.metrics;
            for (kind, count) in [
                ("input", metrics.sum(|c| c.input.get())),
                ("output", metrics.sum(|c| c.output.get())),
                ("cache_read", metrics.sum(|c| c.cached.get())),
                ("cache_write", metrics.sum(|c| c.written.get())),
            ] {
                self.sample("ailink_tokens_total", &format!("{labels},type=\"{kind}\""), count);
            }
        }
        self.family("ailink_cost_usd_total", "counter", "Cost of settled attempts in USD.");
        for (deployment, labels) in rows() {
            self.sample("ailink_cost_usd_total", labels, Pico(deployment.metrics.sum(|c| c.cost_pico.get())));
        }
        self.family("ailink_upstream_seconds", "histogram", "Duration of an attempt, to the last byte.");
        for (deployment, labels) in rows() {
            let parts: Vec<_> = deployment.metrics.threads.iter().map(|c| &c.latency).collect();
            self.histogram("ailink_upstream_seconds", labels, &parts);
        }
        self.family("ailink_first_byte_seconds", "histogram", "Time from sending to the first byte of the answer.");
        for (deployment, labels) in rows() {
            let parts: Vec<_> = deployment.metrics.threads.iter().map(|c| &c.first_byte).collect();
            self.histogram("ailink_first_byte_seconds", labels, &parts);
        }
        self.family("ailink_upstream_in_flight", "gauge", "Attempts in flight.");
        for (deployment, labels) in rows() {
            self.sample("ailink_upstream_in_flight", labels, deployment.in_flight());
        }
        self.family("ailink_deployment_state", "gauge", "0: used, 1: tried again, 2: left out.");
        for (deployment, labels) in rows() {
            let state = match deployment.health.state(monotonic_ns()) {
                State::Closed => 0,
                State::HalfOpen => 1,
                State::Open { .. } => 2,
            };
            self.sample("ailink_deployment_state", labels, state);
        }
        self.family("ailink_deployment_transitions_total", "counter", "Times a deployment was left out or taken back.");
        for (deployment, labels) in rows() {
            self.sample("ailink_deployment_transitions_total", labels, deployment.health.changes());
        }
        self.family("ailink_deployment_limit", "gauge", "Requests at a time it was found to bear; 0: not sought.");
        for (deployment, labels) in rows() {
            self.sample("ailink_deployment_limit", labels, deployment.limiter.found());
        }
        self.family("ailink_queued_requests", "gauge", "Requests that wait for a place.");
        for (deployment, labels) in rows() {
            self.sample("ailink_queued_requests", labels, deployment.queue.waiting());
        }
        self.family("ailink_shed_total", "counter", "Requests turned away because a deployment bears no more.");
        for (deployment, labels) in rows() {
            self.sample("ailink_shed_total", labels, deployment.shed.get());
        }
    }

    /// Connections that rest, by the origin they lead to.
    pub fn pools(&mut self, pools: &Pools) {
        self.family("ailink_upstream_idle_connections", "gauge", "Pooled connections.");
        for (origin, idle) in pools.idle() {
            self.sample("ailink_upstream_idle_connections", &format!("origin=\"{}\"", label(&origin)), idle);
        }
    }

    /// The series of credentials of deployments that have several, by their place in the configuration.
    pub fn keys(&mut self, deployments: &Rows<Deployment>) {
        type Pick = fn(&CredentialSlot) -> u64;
        if deployments.iter().all(|deployment| deployment.keys.is_none()) {
            return;
        }
        let families: [(&str, &str, &str, Pick); 3] = [
            ("ailink_credential_requests_total", "counter", "Attempts made with a credential.", |slot| slot.used.get()),
            (
                "ailink_credential_refusals_total",
                "counter",
                "Attempts a credential was refused or limited for.",
                |slot| slot.refused.get(),
            ),
            ("ailink_credential_resting", "gauge", "1 while a credential is not used.", |slot| {
                u64::from(slot.rest(monotonic_ns()) > 0)
            }),
        ];
        for (name, kind, help, pick) in families {
            self.family(name, kind, help);
            for deployment in deployments.iter() {
                for (place, slot) in deployment.keys.iter().flat_map(|keys| keys.slots()).enumerate() {
                    let labels = format!("deployment=\"{}\",key=\"{}\"", label(&deployment.id), place + 1);
                    self.sample(name, &labels, pick(slot));
                }
            }
        }
    }

    /// The series of models.
    pub fn models(&mut self, models: &[(String, Arc<ModelState>)]) {
        type Pick = fn(&ModelState) -> u64;
        let families: [(&str, &str, Pick); 7] = [
            ("ailink_mirrored_requests_total", "Requests that went to a mirror too.", |m| m.mirrored.sent.get()),
            (
                "ailink_mirror_skipped_total",
                "Requests that a mirror did not get because as many as may be were under way.",
                |m| m.mirrored.skipped.get(),
            ),
            ("ailink_hedges_total", "Second attempts while the first was waited for.", |m| m.hedged.sent.get()),
            ("ailink_hedges_won_total", "Second attempts that answered first.", |m| m.hedged.won.get()),
            ("ailink_hedges_refused_total", "Second attempts that the budget did not allow.", |m| {
                m.hedged.refused.get()
            }),
            (
                "ailink_strategy_otherwise_total",
                "Requests for which a strategy of the operator's own had no weights.",
                |m| m.otherwise.get(),
            ),
            ("ailink_spilled_total", "Requests that provisioned capacity or a service tier had no room for.", |m| {
                m.spilled.get()
            }),
        ];
        for (name, help, pick) in families {
            let told: Vec<_> =
                models.iter().map(|(model, state)| (model, pick(state))).filter(|(_, n)| *n > 0).collect();
            if told.is_empty() {
                continue;
            }
            self.family(name, "counter", help);
            for (model, count) in told {
                self.sample(name, &format!("model=\"{}\"", label(model)), count);
            }
        }
    }

    pub fn finish(self) -> String {
        self.out
    }
}

impl Default for Exposition {
    fn default() -> Self {
        Self::new()
    }
}

fn code_name(code: u8) -> Option<&'static str> {
    Code::ALL.iter().find(|known| **known as u8 == code).map(|known| known.facts().code)
}

/// A label value, escaped.
pub fn label(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Microseconds written as seconds, exactly.
pub struct Seconds(pub u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        decimal(f, self.0 / 1_000_000, self.0 % 1_000_000, 6)
    }
}

/// Pico-USD written as USD, exactly.
pub struct Pico(pub u64);

impl std::fmt::Display for Pico {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const USD: u64 = 1_000_000_000_000;
        decimal(f, self.0 / USD, self.0 % USD, 12)
    }
}

fn decimal(f: &mut std::fmt::Formatter<'_>, whole: u64, fraction: u64, digits: usize) -> std::fmt::Result {
    if fraction == 0 {
        return write!(f, "{whole}");
    }
    let text = format!("{fraction:0digits$}");
    write!(f, "{whole}.{}", text.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn decimals_are_exact() {
        assert_eq!(Seconds(1_500_000).to_string(), "1.5");
        assert_eq!(Seconds(10).to_string(), "0.00001");
        assert_eq!(Pico(1).to_string(), "0.000000000001");
        assert_eq!(Pico(2_000_000_000_000).to_string(), "2");
    }

    #[test]
    fn histograms_are_cumulative() {
        let metrics = ShardMetrics::new();
        for us in [5, 15, 15, 900_000] {
            metrics.overhead.record(Duration::from_micros(us));
        }
        let mut exposition = Exposition::new();
        exposition.shards(&[&metrics]);
        let text = exposition.finish();
        assert!(text.contains("ailink_overhead_seconds_bucket{le=\"0.00001\"} 1\n"), "{text}");
        assert!(text.contains("ailink_overhead_seconds_bucket{le=\"0.00002\"} 3\n"), "{text}");
        assert!(text.contains("ailink_overhead_seconds_bucket{le=\"+Inf\"} 4\n"), "{text}");
    }
}
