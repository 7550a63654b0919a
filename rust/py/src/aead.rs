//! AES-256-GCM for the store's sealed values.

use ailink_core::aead;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

fn sized<const N: usize>(bytes: &[u8], what: &str) -> PyResult<[u8; N]> {
    bytes.try_into().map_err(|_| PyValueError::new_err(format!("{what} has {N} bytes, not {}", bytes.len())))
}

/// Ciphertext and tag.
#[pyfunction]
fn aead_seal<'py>(
    py: Python<'py>,
    key: &[u8],
    nonce: &[u8],
    plaintext: &[u8],
    data: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    let sealed = aead::seal(&sized(key, "a key")?, sized(nonce, "a nonce")?, plaintext, data)
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(PyBytes::new(py, &sealed))
}

/// The plaintext; None when the sealed bytes are damaged or belong to other data or another key.
#[pyfunction]
fn aead_open<'py>(
    py: Python<'py>,
    key: &[u8],
    nonce: &[u8],
    sealed: &[u8],
    data: &[u8],
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let plain = aead::open(&sized(key, "a key")?, sized(nonce, "a nonce")?, sealed, data).ok();
    Ok(plain.map(|plain| PyBytes::new(py, &plain)))
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(aead_seal, module)?)?;
    module.add_function(wrap_pyfunction!(aead_open, module)?)
}
