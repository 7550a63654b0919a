//! Key digests.

use ailink_core::state::{aws_pairs, keys};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

pub fn digest(bytes: &[u8]) -> PyResult<[u8; 32]> {
    bytes.try_into().map_err(|_| PyValueError::new_err("32 bytes are expected"))
}

/// HMAC-SHA-256(pepper, SHA-256(key)): what is stored of a key.
#[pyfunction]
fn key_digest<'py>(py: Python<'py>, pepper: &[u8], key: &str) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(py, &keys::key_digest(&digest(pepper)?, key.as_bytes())))
}

/// The same digest for a key of which only the SHA-256 (hex) is known.
#[pyfunction]
fn token_digest<'py>(py: Python<'py>, pepper: &[u8], sha256_hex: &str) -> PyResult<Bound<'py, PyBytes>> {
    let bad = || PyValueError::new_err("64 hexadecimal digits are expected");
    if sha256_hex.len() != 64 || !sha256_hex.is_ascii() {
        return Err(bad());
    }
    let mut token = [0u8; 32];
    for (byte, pair) in token.iter_mut().zip(sha256_hex.as_bytes().chunks_exact(2)) {
        let text = std::str::from_utf8(pair).map_err(|_| bad())?;
        *byte = u8::from_str_radix(text, 16).map_err(|_| bad())?;
    }
    Ok(PyBytes::new(py, &keys::token_digest(&digest(pepper)?, &token)))
}

/// The AWS access key pair beside a virtual key: access key id and secret, derived from its digest.
#[pyfunction]
fn aws_key_pair(pepper: &[u8], key: &[u8]) -> PyResult<(String, String)> {
    let (pepper, key) = (digest(pepper)?, digest(key)?);
    let secret = aws_pairs::Pairs::new(&pepper).secret(&key);
    let secret = secret.ok_or_else(|| PyValueError::new_err("no secret can be derived"))?;
    Ok((aws_pairs::access_key_id(&key), secret))
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(key_digest, module)?)?;
    module.add_function(wrap_pyfunction!(aws_key_pair, module)?)?;
    module.add_function(wrap_pyfunction!(token_digest, module)?)
}
