//! Guardrails: trying rules on a text.

use ailink_core::endpoint::{Dialect, Operation};
use ailink_core::guard::stream::Watch;
use ailink_core::guard::unseen::Reach;
use ailink_core::guard::{Finding, trial};
use ailink_core::kernel::patterns::{Validator, fault};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

fn bad(error: impl ToString) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// MessagePack of guardrails and a text; returns that of the matches. Raises ValueError for a rule that cannot be
/// compiled.
#[pyfunction]
fn guard_trial<'py>(py: Python<'py>, trial: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let report = py.detach(|| trial::packed(trial)).map_err(bad)?;
    Ok(PyBytes::new(py, &report))
}

/// What is wrong with the checks (JSON) of a guardrail; None: nothing.
#[pyfunction]
fn guard_fault(name: &str, checks: &str) -> Option<String> {
    trial::fault(name, checks)
}

/// What is wrong with regular expressions: which, and why.
#[pyfunction]
fn pattern_faults(py: Python<'_>, patterns: Vec<String>, ignore_case: bool) -> Vec<(usize, String)> {
    py.detach(|| {
        let all = patterns.iter().enumerate();
        all.filter_map(|(place, text)| Some((place, fault(text, ignore_case)?.to_string()))).collect()
    })
}

/// Guardrails compiled once, for measuring.
#[pyclass(frozen, module = "ailink._core")]
struct GuardSet(ailink_core::guard::Side);

#[pymethods]
impl GuardSet {
    /// From the same MessagePack as `guard_trial`.
    #[new]
    fn new(py: Python<'_>, trial: &[u8]) -> PyResult<Self> {
        py.detach(|| trial::side(trial)).map(GuardSet).map_err(bad)
    }

    /// Searches a JSON body; returns how many rules found something.
    fn judge(&self, body: &[u8]) -> usize {
        ailink_core::guard::judge(&self.0, body, true).map_or(0, |judged| judged.findings.len())
    }

    /// Passes the packets of an OpenAI stream through; returns how many bytes leave.
    fn stream(&self, packets: Vec<Vec<u8>>) -> usize {
        let mut watch = Watch::new(Dialect::OpenAi);
        let mut report = |_: &Finding| Ok(());
        let mut left = 0;
        for packet in packets {
            left += watch.push(&self.0, packet.into(), &mut report).0.len();
        }
        left + watch.end(&self.0, &mut report).0.len()
    }
}

/// Names of the validators that a pattern may ask for.
#[pyfunction]
fn guard_validators() -> Vec<&'static str> {
    Validator::ALL.iter().map(|(name, _)| *name).collect()
}

/// What guardrails can look at, of requests and of answers, by operation.
#[pyfunction]
fn guard_reach() -> Vec<(&'static str, &'static str, &'static str)> {
    let all = Operation::ALL.iter().map(|operation| (operation.name(), Reach::of(*operation)));
    all.map(|(name, reach)| (name, reach.request.name(), reach.answer.name())).collect()
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<GuardSet>()?;
    module.add_function(wrap_pyfunction!(guard_fault, module)?)?;
    module.add_function(wrap_pyfunction!(guard_reach, module)?)?;
    module.add_function(wrap_pyfunction!(pattern_faults, module)?)?;
    module.add_function(wrap_pyfunction!(guard_trial, module)?)?;
    module.add_function(wrap_pyfunction!(guard_validators, module)?)
}
