//! `ailink._core`: what Python may ask of the data plane. A file per core module, same names; no algorithm here.

mod aead;
mod allocator;
mod endpoint;
mod guard;
mod kernels;
mod keys;
mod mock;
mod plane;
mod policy;
mod semantic;
mod tokens;

use pyo3::prelude::*;

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

/// The cargo profile this module was built with: `release`, `fast`, `debug`.
#[pyfunction]
fn build_profile() -> &'static str {
    env!("AILINK_BUILD_PROFILE")
}

#[pymodule(gil_used = true)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(build_profile, module)?)?;
    plane::register(module)?;
    policy::register(module)?;
    semantic::register(module)?;
    aead::register(module)?;
    endpoint::register(module)?;
    keys::register(module)?;
    guard::register(module)?;
    kernels::register(module)?;
    tokens::register(module)?;
    mock::register(module)
}
