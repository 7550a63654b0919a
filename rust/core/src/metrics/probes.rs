//! The series of health checks and of engines.

use super::{Exposition, label};
use crate::clock::monotonic_ns;
use crate::probe::health::Standing;
use crate::snapshot::{Deployment, Rows};

impl Exposition {
    /// Those of deployments that are asked how they do.
    pub fn probes(&mut self, deployments: &Rows<Deployment>) {
        let labels = |one: &Deployment| format!("deployment=\"{}\"", label(&one.id));
        let checked: Vec<_> = deployments.iter().filter(|one| one.check.is_some()).collect();
        if !checked.is_empty() {
            self.family("ailink_health_checks_total", "counter", "Health checks, by result.");
            for one in &checked {
                let found = one.state.checked.found();
                for (result, count) in [("pass", found.passed), ("fail", found.failed)] {
                    let labels = format!("{},result=\"{result}\"", labels(one));
                    self.sample("ailink_health_checks_total", &labels, count);
                }
            }
            self.family("ailink_health_check_failing", "gauge", "1 while a deployment's health checks fail.");
            for one in &checked {
                let failing = one.state.checked.found().standing == Standing::Failing;
                self.sample("ailink_health_check_failing", &labels(one), u8::from(failing));
            }
        }
        let now = monotonic_ns();
        let engines = deployments.iter().filter_map(|one| Some((one, one.engine.as_ref()?)));
        let told: Vec<_> =
            engines.filter_map(|(one, poll)| Some((labels(one), one.state.engine.load(now, poll.stale)?.0))).collect();
        for (name, help, pick) in [
            ("ailink_engine_running", "Requests an engine says it works at.", 0),
            ("ailink_engine_waiting", "Requests an engine says wait in it.", 1),
            ("ailink_engine_cache_percent", "How full an engine says its key-value cache is.", 2),
        ] {
            if told.is_empty() {
                continue;
            }
            self.family(name, "gauge", help);
            for (labels, load) in &told {
                let value = [load.running, load.waiting, load.cache / 10].get(pick).copied().unwrap_or(0);
                self.sample(name, labels, value);
            }
        }
    }
}
