//! Counting tokens.

use ailink_core::kernel::tokens::{Encoding, of_bytes};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Tokens of a request as JSON (`messages`, `tools`, `prompt`, `input` or `text`) for a model, or for an encoding by its
/// name: the count, whether it is exact, and what it was counted with.
#[pyfunction]
fn count_tokens(py: Python<'_>, request: &[u8], model: &str) -> PyResult<(u64, bool, &'static str)> {
    let encoding = Encoding::named(model).unwrap_or_else(|| Encoding::of(model));
    let counted = py.detach(|| of_bytes(model, request));
    let count = counted.map_err(PyValueError::new_err)?;
    Ok((count.tokens, count.exact, encoding.name()))
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(count_tokens, module)?)
}
