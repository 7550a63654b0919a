//! Policies: checking and trying them.

use ailink_core::policy::trial;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

fn bad(error: impl ToString) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// What is wrong with the policies of a trial; None when they can be used.
#[pyfunction]
fn policy_fault(py: Python<'_>, trial: &[u8]) -> Option<String> {
    py.detach(|| trial::fault(trial))
}

/// What the policies of a trial would do with its request: JSON. Raises ValueError.
#[pyfunction]
fn policy_simulate(py: Python<'_>, trial: &[u8]) -> PyResult<String> {
    py.detach(|| trial::simulate(trial)).map_err(bad)
}

/// Policies compiled once, for measuring.
#[pyclass(frozen, module = "ailink._core")]
struct PolicySet(trial::Set);

#[pymethods]
impl PolicySet {
    #[new]
    fn new(py: Python<'_>, trial: &[u8]) -> PyResult<Self> {
        py.detach(|| trial::Set::new(trial)).map(PolicySet).map_err(bad)
    }

    /// Asks all conditions about the request of the trial; returns how many hold.
    fn ask(&self) -> usize {
        self.0.ask()
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PolicySet>()?;
    module.add_function(wrap_pyfunction!(policy_fault, module)?)?;
    module.add_function(wrap_pyfunction!(policy_simulate, module)?)
}
