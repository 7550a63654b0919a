//! The endpoint table.

use ailink_core::endpoint::{Operation, Owner, TABLE};
use pyo3::prelude::*;

type Row = (&'static str, &'static str, &'static str, &'static str);

/// Every row: method, pattern, owner (`plane` or `shell`), operation.
#[pyfunction]
fn endpoints() -> Vec<Row> {
    TABLE
        .iter()
        .map(|row| {
            let (owner, operation) = match row.owner {
                Owner::Plane | Owner::Live => ("plane", row.operation.name()),
                Owner::Stored => ("plane", "stored"),
                Owner::Turns => ("plane", "turns"),
                Owner::Approvals => ("plane", "approvals"),
                Owner::Models => ("plane", "models"),
                Owner::Health => ("plane", "health"),
                Owner::Ended => ("plane", "ended"),
                Owner::PassThrough => ("plane", "pass_through"),
                Owner::Shell => ("shell", "none"),
            };
            (row.method.as_str(), row.pattern, owner, operation)
        })
        .collect()
}

/// Names of the operations, by the code in the ledger.
#[pyfunction]
fn operations() -> Vec<&'static str> {
    Operation::ALL.iter().map(|operation| operation.name()).collect()
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(endpoints, module)?)?;
    module.add_function(wrap_pyfunction!(operations, module)?)
}
