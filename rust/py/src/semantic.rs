//! The semantic cache's parts, for evaluation and for measuring; and a lookup of the exact cache.

use std::path::PathBuf;

use ailink_core::cache::key::CacheKey;
use ailink_core::cache::probe;
use ailink_core::cache::semantic::Question;
use ailink_core::cache::semantic::index::Index;
use ailink_core::kernel::alike;
use ailink_core::kernel::vector::Vector;
use ailink_core::static_model;
use parking_lot::Mutex;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// What two questions differ in, so that one answer will not do for both.
#[pyfunction]
fn question_difference(a: &str, b: &str) -> Option<&'static str> {
    alike::difference(a, b).map(alike::Difference::name)
}

/// A static model's files.
#[pyclass(frozen, module = "ailink._core")]
struct StaticModel(static_model::StaticModel);

#[pymethods]
impl StaticModel {
    #[new]
    fn new(py: Python<'_>, directory: PathBuf) -> PyResult<Self> {
        let opened = py.detach(|| static_model::StaticModel::open(&directory));
        opened.map(StaticModel).map_err(PyValueError::new_err)
    }

    fn embed(&self, text: &str) -> Vec<f32> {
        self.0.embed(text)
    }
}

/// Questions of one partition, as the semantic cache's thread holds them.
#[pyclass(frozen, module = "ailink._core")]
struct QuestionIndex {
    index: Mutex<Index>,
}

fn asked(text: &str) -> Question {
    Question { partition: CacheKey::default(), text: text.to_string(), max_age_us: None, threshold: None }
}

fn vector(values: &[f32]) -> PyResult<Vector> {
    Vector::new(values).ok_or_else(|| PyValueError::new_err("a vector without a direction"))
}

#[pymethods]
impl QuestionIndex {
    #[new]
    fn new() -> Self {
        QuestionIndex { index: Mutex::default() }
    }

    fn put(&self, number: u64, text: &str, values: Vec<f32>) -> PyResult<()> {
        let mut key = CacheKey::default();
        key[..8].copy_from_slice(&number.to_le_bytes());
        self.index.lock().put(CacheKey::default(), text, &vector(&values)?, (key, i64::MAX));
        Ok(())
    }

    /// What a look costs the thread: a vector of the text, the search, the comparison of words.
    fn look(&self, model: &StaticModel, text: &str, threshold: f32, top: usize) -> PyResult<Vec<(String, f32)>> {
        let question = asked(text);
        let vector = vector(&model.0.embed(text))?;
        let mut near = self.index.lock().near(&question, &vector, threshold, 0, top);
        near.retain(|near| alike::difference(text, &near.text).is_none());
        Ok(near.into_iter().map(|near| (near.text.into(), near.similarity)).collect())
    }
}

/// An exact cache with many entries, of which one answers a chat.
#[pyclass(frozen, module = "ailink._core")]
struct CacheProbe(probe::Probe);

#[pymethods]
impl CacheProbe {
    #[new]
    fn new(body: Vec<u8>, entries: u64) -> PyResult<Self> {
        probe::Probe::new(body.into(), entries).map(CacheProbe).map_err(PyValueError::new_err)
    }

    /// The key of the chat, and whether there is an entry under it.
    fn look(&self) -> bool {
        self.0.look()
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<StaticModel>()?;
    module.add_class::<QuestionIndex>()?;
    module.add_class::<CacheProbe>()?;
    module.add_function(wrap_pyfunction!(question_difference, module)?)
}
