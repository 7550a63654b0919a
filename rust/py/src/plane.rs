//! The running data plane.

use std::net::IpAddr;
use std::time::Duration;

use ailink_core::metrics::Outcome;
use ailink_core::plane::{Plane as Core, PlaneError};
use ailink_core::query::QueryError;
use ailink_core::stage::Stage;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyTimeoutError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::keys::digest;

fn bad(error: PlaneError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

#[pyclass(frozen, module = "ailink._core")]
struct Plane(Core);

#[pymethods]
impl Plane {
    #[new]
    fn new(py: Python<'_>, options: &[u8]) -> PyResult<Self> {
        py.detach(|| Core::new(options)).map(Plane).map_err(bad)
    }

    fn start(&self, py: Python<'_>) -> PyResult<u16> {
        py.detach(|| self.0.start()).map_err(|error| PyOSError::new_err(error.to_string()))
    }

    fn publish(&self, py: Python<'_>, snapshot: &[u8]) -> PyResult<u64> {
        py.detach(|| self.0.publish(snapshot)).map_err(bad)
    }

    fn upsert_keys(&self, py: Python<'_>, rows: &[u8]) -> PyResult<usize> {
        py.detach(|| self.0.upsert_keys(rows)).map_err(bad)
    }

    fn remove_keys(&self, digests: Vec<Vec<u8>>) -> PyResult<usize> {
        let digests = digests.iter().map(|bytes| digest(bytes)).collect::<PyResult<Vec<_>>>()?;
        Ok(self.0.remove_keys(&digests))
    }

    fn apply_subjects(&self, py: Python<'_>, upserts: &[u8], removals: &[u8]) -> PyResult<usize> {
        py.detach(|| self.0.apply_subjects(upserts, removals)).map_err(bad)
    }

    fn subject_spend(&self, kind: &str, ids: Vec<String>) -> PyResult<Vec<i128>> {
        self.0.subject_spend(kind, &ids).map_err(bad)
    }

    fn limit_usage<'py>(&self, py: Python<'py>, subjects: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let usage = self.0.limit_usage(subjects).map_err(bad)?;
        Ok(PyBytes::new(py, &usage))
    }

    fn lease_fd(&self) -> PyResult<i32> {
        self.0.lease_fd().map_err(bad)
    }

    fn lease_calls<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let calls = py.detach(|| self.0.lease_calls()).map_err(bad)?;
        Ok(PyBytes::new(py, &calls))
    }

    fn lease_report<'py>(&self, py: Python<'py>, which: &str) -> PyResult<Bound<'py, PyBytes>> {
        let report = py.detach(|| self.0.lease_report(which)).map_err(bad)?;
        Ok(PyBytes::new(py, &report))
    }

    fn lease_grant(&self, py: Python<'_>, grants: &[u8]) -> PyResult<()> {
        py.detach(|| self.0.lease_grant(grants)).map_err(bad)
    }

    fn lease_shrink<'py>(&self, py: Python<'py>, leases: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let left = py.detach(|| self.0.lease_shrink(leases)).map_err(bad)?;
        Ok(PyBytes::new(py, &left))
    }

    fn lease_heard(&self, online: bool, valid_s: Option<f64>) -> PyResult<()> {
        let valid = valid_s.map(Duration::try_from_secs_f64).transpose();
        let valid = valid.map_err(|error| PyValueError::new_err(error.to_string()))?;
        self.0.lease_heard(online, valid).map_err(bad)
    }

    fn push_credentials(&self, rows: &[u8]) -> PyResult<()> {
        self.0.push_credentials(rows).map_err(bad)
    }

    fn vault_forget(&self) {
        self.0.vault_forget();
    }

    fn set_status(&self, ready: bool, details: &[u8]) {
        self.0.set_status(ready, details.to_vec());
    }

    fn spend(&self, key_ids: Vec<String>) -> Vec<i128> {
        self.0.spend(&key_ids)
    }

    fn last_used(&self, key_ids: Vec<String>) -> Vec<(i64, Option<String>)> {
        let told = |(used_us, from): (i64, Option<IpAddr>)| (used_us, from.map(|from| from.to_string()));
        self.0.last_used(&key_ids).into_iter().map(told).collect()
    }

    fn take_key_uses(&self, py: Python<'_>) -> Vec<(String, i64, String)> {
        let uses = py.detach(|| self.0.take_key_uses());
        uses.into_iter().map(|(id, used_us, from)| (id.to_string(), used_us, from.to_string())).collect()
    }

    fn metrics<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let text = py.detach(|| self.0.metrics());
        PyBytes::new(py, text.as_bytes())
    }

    fn deployment_health<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.deployment_health())
    }

    fn set_checking(&self, checking: bool) {
        self.0.set_checking(checking);
    }

    fn health_findings<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.health_findings())
    }

    fn take_findings(&self, findings: &[u8]) -> PyResult<()> {
        self.0.take_findings(findings).map_err(bad)
    }

    fn routing_state<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.routing_state())
    }

    fn take_routing_state(&self, nodes: Vec<Vec<u8>>) -> PyResult<()> {
        self.0.take_routing_state(&nodes).map_err(bad)
    }

    fn give_weights(&self, weights: &[u8]) -> PyResult<()> {
        self.0.give_weights(weights).map_err(bad)
    }

    fn explain(&self, request_id: &str) -> Option<String> {
        self.0.explain(request_id)
    }

    fn cache_report<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let report = py.detach(|| self.0.cache_report()).map_err(bad)?;
        Ok(PyBytes::new(py, &report))
    }

    fn cache_entry<'py>(&self, py: Python<'py>, key: &str) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let entry = self.0.cache_entry(key).map_err(bad)?;
        Ok(entry.map(|entry| PyBytes::new(py, &entry)))
    }

    fn cache_redis_info<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let info = py.detach(|| self.0.cache_redis_info()).map_err(bad)?;
        Ok(info.map(|info| PyBytes::new(py, &info)))
    }

    fn cache_purge(&self, py: Python<'_>, purge: &[u8]) -> PyResult<u64> {
        py.detach(|| self.0.cache_purge(purge)).map_err(bad)
    }

    fn guard_report<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let report = py.detach(|| self.0.guard_report()).map_err(bad)?;
        Ok(PyBytes::new(py, &report))
    }

    fn policy_report<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let report = py.detach(|| self.0.policy_report()).map_err(bad)?;
        Ok(PyBytes::new(py, &report))
    }

    /// Whoever waits for these approvals looks at them.
    fn approvals_changed(&self, ids: Vec<String>) {
        self.0.approvals_changed(&ids);
    }

    fn policy_replay(&self, py: Python<'_>, trial: &[u8], from_us: i64, to_us: i64) -> PyResult<String> {
        py.detach(|| self.0.policy_replay(trial, from_us, to_us)).map_err(bad)
    }

    fn batch_check<'py>(&self, py: Python<'py>, asked: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let told = self.0.batch_check(asked).map_err(bad)?;
        Ok(PyBytes::new(py, &told))
    }

    fn batch_hold<'py>(&self, py: Python<'py>, setting: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let told = self.0.batch_hold(setting).map_err(bad)?;
        Ok(PyBytes::new(py, &told))
    }

    fn batch_release(&self, id: &str) {
        self.0.batch_release(id);
    }

    fn batch_requests<'py>(&self, py: Python<'py>, lines: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let told = py.detach(|| self.0.batch_requests(lines)).map_err(bad)?;
        Ok(PyBytes::new(py, &told))
    }

    fn batch_settle<'py>(&self, py: Python<'py>, settling: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let told = py.detach(|| self.0.batch_settle(settling)).map_err(bad)?;
        Ok(PyBytes::new(py, &told))
    }

    fn provider_call<'py>(&self, py: Python<'py>, asked: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let answer = py.detach(|| self.0.provider_call(asked));
        let answer = answer.map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        Ok(PyBytes::new(py, &answer))
    }

    fn event_fd(&self) -> i32 {
        self.0.event_fd()
    }

    fn take_events<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.take_events())
    }

    /// Traces so many of a million requests whose callers do not say.
    fn set_tracing(&self, share: Option<u32>) {
        self.0.set_tracing(share);
    }

    fn take_traces<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let told = py.detach(|| self.0.take_traces());
        PyBytes::new(py, &told)
    }

    fn reload_tls(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.0.reload_tls()).map_err(bad)
    }

    fn listen_fds(&self) -> Vec<i32> {
        self.0.listen_fds()
    }

    fn flush(&self, py: Python<'_>, timeout_s: f64) -> PyResult<()> {
        let limit = Duration::try_from_secs_f64(timeout_s).map_err(|error| PyValueError::new_err(error.to_string()))?;
        py.detach(|| self.0.flush(limit)).map_err(|error| PyRuntimeError::new_err(error.to_string()))
    }

    fn ledger_query<'py>(
        &self,
        py: Python<'py>,
        sql: &str,
        params: &[u8],
        timeout_ms: u64,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let limit = Duration::from_millis(timeout_ms);
        let rows = py.detach(|| self.0.ledger_query(sql, params, limit)).map_err(|error| match error {
            QueryError::TooLong => PyTimeoutError::new_err(error.to_string()),
            QueryError::Failed(text) => PyRuntimeError::new_err(text),
        })?;
        Ok(PyBytes::new(py, &rows))
    }

    fn ledger_forget(&self, py: Python<'_>, before_us: i64, most: u32) -> PyResult<u64> {
        py.detach(|| self.0.ledger_forget(before_us, most)).map_err(|error| PyRuntimeError::new_err(error.to_string()))
    }

    fn drain(&self, py: Python<'_>) {
        py.detach(|| self.0.drain());
    }

    fn stop(&self, py: Python<'_>) {
        py.detach(|| self.0.stop());
    }
}

/// The stages in the order they run, with the file each is found in.
#[pyfunction]
fn stages() -> Vec<(&'static str, String)> {
    Stage::ORDER.iter().map(|stage| (stage.name(), stage.source())).collect()
}

/// Names of the outcomes of an attempt, by the code in the ledger.
#[pyfunction]
fn outcomes() -> Vec<&'static str> {
    Outcome::ALL.iter().map(|(_, name)| *name).collect()
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Plane>()?;
    module.add_function(wrap_pyfunction!(stages, module)?)?;
    module.add_function(wrap_pyfunction!(outcomes, module)?)
}
