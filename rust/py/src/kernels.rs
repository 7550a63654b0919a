//! Kernels that Python measures and tests against slow twins.

use ailink_core::kernel::condition::Condition;
use ailink_core::kernel::features::{Features, complexity, features};
use ailink_core::kernel::{router, window};
use ailink_core::portkey::Config;
use ailink_core::prompt;
use ailink_core::snapshot::boundary;
use ailink_core::wire::json::scan_object;
use ailink_core::wire::sse::Framer;
use bytes::Bytes;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// What a router sees of a request's body: the dense features, the vector, the complexity.
#[pyfunction]
fn router_features(body: &[u8]) -> PyResult<(Vec<f32>, Vec<i8>, f32)> {
    scan_object(body, &[]).map_err(|error| PyValueError::new_err(error.to_string()))?;
    let found = features(&prompt::read(body));
    let score = complexity(&found.dense);
    Ok((found.dense.to_vec(), found.vector.to_vec(), score))
}

/// How much thought a prompt of such features asks for.
#[pyfunction]
fn router_complexity(dense: Vec<f32>) -> PyResult<f32> {
    let dense = dense.try_into().map_err(|_| PyValueError::new_err("features of another size"))?;
    Ok(complexity(&dense))
}

/// A trained router.
#[pyclass(frozen, module = "ailink._core")]
struct Router(router::Router);

#[pymethods]
impl Router {
    #[new]
    fn new(file: &[u8]) -> PyResult<Self> {
        router::Router::read(file).map(Router).map_err(|error| PyValueError::new_err(error.to_string()))
    }

    fn models(&self) -> Vec<String> {
        self.0.models.clone()
    }

    /// The candidate a body goes to, and the estimates.
    fn choose(&self, dense: Vec<f32>, vector: Vec<i8>, seed: u64) -> PyResult<(usize, Vec<f32>)> {
        let wrong = || PyValueError::new_err("features of another size");
        let found =
            Features { dense: dense.try_into().map_err(|_| wrong())?, vector: vector.try_into().map_err(|_| wrong())? };
        let mut state = seed;
        // Knuth's multiplier; an evaluation has to be repeatable, nothing more.
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u32 << 24) as f32
        };
        let estimates = self.0.estimates(&found, &mut random);
        let first = self.0.order(&estimates).first().copied().unwrap_or(0);
        Ok((first, estimates.to_vec()))
    }
}

/// Crosses the boundary and does nothing: what a call costs.
#[pyfunction]
fn noop() {}

/// Validates a JSON object and finds the members a chat request is routed by. Returns how many members it has.
#[pyfunction]
fn scan_chat(body: &[u8]) -> PyResult<u32> {
    scan_object(body, &["model", "stream", "stream_options", "max_tokens", "n", "messages"])
        .map(|scan| scan.keys)
        .map_err(|error| PyValueError::new_err(error.to_string()))
}

/// Cuts a stream of server-sent events. Returns how many events it holds.
#[pyfunction]
fn count_events(stream: Vec<u8>) -> PyResult<usize> {
    Framer::new(1 << 24)
        .push(Bytes::from(stream))
        .map(|batch| batch.ends.len())
        .map_err(|error| PyValueError::new_err(error.to_string()))
}

/// A sliding window of 60 slots over an injected clock.
#[pyclass(module = "ailink._core")]
struct Window(window::Window);

#[pymethods]
impl Window {
    #[new]
    fn new(limit: u64, period_ns: u64) -> Self {
        Window(window::Window::new(limit, period_ns))
    }

    /// Takes `n`; returns None when admitted, else the nanoseconds after which a retry succeeds.
    fn try_take(&mut self, now_ns: u64, n: u64) -> Option<u64> {
        self.0.try_take(now_ns, n).err().map(|refusal| refusal.retry_after_ns)
    }
}

/// What is wrong with a condition given as JSON: where in it, and why; None when it can be used.
#[pyfunction]
fn condition_fault(text: &str) -> Option<(String, String)> {
    Condition::parse(text).err().map(|fault| (fault.path, fault.message))
}

/// The same for a condition on whose a request is.
#[pyfunction]
fn boundary_fault(text: &str) -> Option<(String, String)> {
    boundary::condition(text).err()
}

/// What is wrong with a Portkey config object given as JSON.
#[pyfunction]
fn config_fault(text: &str) -> Option<(String, String)> {
    Config::parse(text.as_bytes()).err().map(|fault| (fault.path, fault.message))
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Window>()?;
    module.add_class::<Router>()?;
    module.add_function(wrap_pyfunction!(router_features, module)?)?;
    module.add_function(wrap_pyfunction!(router_complexity, module)?)?;
    module.add_function(wrap_pyfunction!(condition_fault, module)?)?;
    module.add_function(wrap_pyfunction!(boundary_fault, module)?)?;
    module.add_function(wrap_pyfunction!(config_fault, module)?)?;
    module.add_function(wrap_pyfunction!(noop, module)?)?;
    module.add_function(wrap_pyfunction!(scan_chat, module)?)?;
    module.add_function(wrap_pyfunction!(count_events, module)?)
}
