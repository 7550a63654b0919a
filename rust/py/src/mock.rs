//! The mock provider in process, and the command line of `ailink mock` and `ailink bench`.

use std::sync::Mutex;

use ailink_mock::provider::{self, Handle, Options};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

/// A mock provider on a thread of its own. Options as a JSON object, see `ailink mock --help`.
#[pyclass(frozen, module = "ailink._core")]
struct Mock {
    options: Options,
    running: Mutex<Option<Handle>>,
}

#[pymethods]
impl Mock {
    #[new]
    fn new(options_json: &str) -> PyResult<Self> {
        let options = Options::from_json(options_json).map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(Mock { options, running: Mutex::new(None) })
    }

    /// Binds and serves; returns the TCP port, 0 for a Unix socket.
    fn start(&self, py: Python<'_>) -> PyResult<u16> {
        let failed = |error: String| PyRuntimeError::new_err(error);
        let handle = py.detach(|| provider::serve(self.options.clone())).map_err(|error| failed(error.to_string()))?;
        let port = handle.address().map_or(0, |address| address.port());
        let mut running = self.running.lock().map_err(|error| failed(error.to_string()))?;
        let before = running.replace(handle);
        drop(running);
        py.detach(|| drop(before));
        Ok(port)
    }

    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        let handle = self.running.lock().map_err(|error| PyRuntimeError::new_err(error.to_string()))?.take();
        py.detach(|| drop(handle));
        Ok(())
    }
}

/// Runs the `ailink-mock` command line (`provider`, `load`, `proxy`, `static`) and returns its exit status.
#[pyfunction]
fn mock_main(py: Python<'_>, args: Vec<String>) -> i32 {
    py.detach(|| ailink_mock::main_with(args))
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Mock>()?;
    module.add_function(wrap_pyfunction!(mock_main, module)?)
}
