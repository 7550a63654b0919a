//! Sums for the start, when spend counters in memory are filled.

use std::collections::HashMap;

use super::rollup::PICO;
use super::store::Store;
use super::{DictKind, LedgerError};
use crate::spool::Drain;

/// Cost in pico-USD by the ids of `kind`, of all rows and of what the spool holds settled.
pub(super) fn totals(store: &Store, kind: DictKind, drain: &Drain) -> Result<HashMap<u32, i128>, LedgerError> {
    let column = match kind {
        DictKind::Key => "key_id",
        DictKind::Org => "org_id",
        DictKind::Model => "model_id",
        DictKind::Deployment => "deployment_id",
        DictKind::Price => return Err(LedgerError::NotSummed(kind)),
    };
    let mut totals = HashMap::new();
    {
        // Halves of cost_pico are summed apart: 10 million sums below 10^12 would exceed 64 bits.
        let sql = format!(
            "SELECT {column}, sum(cost_usd), sum(cost_pico / 1000000), sum(cost_pico % 1000000) FROM rollup GROUP BY 1"
        );
        let connection = store.connection.lock();
        let mut statement = connection.prepare(&sql)?;
        let rows = statement.query_map([], |row| {
            Ok((row.get::<_, u32>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?, row.get::<_, i64>(3)?))
        })?;
        for row in rows {
            let (id, usd, micro, pico) = row?;
            let cost = i128::from(usd) * i128::from(PICO) + i128::from(micro) * 1_000_000 + i128::from(pico);
            totals.insert(id, cost);
        }
    }
    let mut pending = Vec::new();
    drain.visit(|row| {
        let id = match kind {
            DictKind::Org => row.intent.org,
            DictKind::Model => row.intent.model,
            DictKind::Deployment => row.intent.deployment,
            DictKind::Key | DictKind::Price => row.intent.key,
        };
        pending.push((row.attempt_id, id, row.settle.cost));
    });
    for (attempt, id, cost) in pending {
        // After a crash it may be a row already.
        if !store.has(attempt)? {
            *totals.entry(id).or_default() += i128::from(cost);
        }
    }
    Ok(totals)
}
