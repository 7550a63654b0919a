//! Sums of rows, made in memory per batch: the database sees one upsert per sum, not per row.

use std::collections::BTreeMap;

use crate::spool::Row;

/// Pico-USD in a USD.
pub(super) const PICO: i64 = 1_000_000_000_000;
pub(super) const DAY_US: i64 = 86_400_000_000;

/// What rows are summed by; ordered as the table is, so that upserts walk it in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct By {
    pub(super) day: i64,
    pub(super) key: u32,
    pub(super) org: u32,
    pub(super) team: u32,
    pub(super) user: u32,
    pub(super) project: u32,
    pub(super) customer: u32,
    pub(super) tags: u32,
    pub(super) model: u32,
    pub(super) deployment: u32,
    pub(super) source: u8,
}

/// The sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) requests: i64,
    pub(super) errors: i64,
    /// input, output, `cache_read`, `cache_write`, reasoning, `audio_input`, `audio_output`, units
    pub(super) counts: [i64; 8],
    pub(super) cost: i128,
}

/// The sums of a batch.
pub(super) type Rollup = BTreeMap<By, Sums>;

/// Adds a row.
pub(super) fn add(rollup: &mut Rollup, row: &Row) {
    let (intent, settle) = (&row.intent, &row.settle);
    let by = By {
        day: intent.at_us.div_euclid(DAY_US),
        key: intent.key,
        org: intent.org,
        team: intent.team,
        user: intent.user,
        project: intent.project,
        customer: intent.customer,
        tags: intent.tags,
        model: intent.model,
        deployment: intent.deployment,
        source: settle.source as u8,
    };
    let sums = rollup.entry(by).or_default();
    sums.requests += 1;
    sums.errors += i64::from(settle.class != 0 || settle.status >= 400);
    for (sum, count) in sums.counts.iter_mut().zip(counts(row)) {
        *sum += i64::from(count);
    }
    sums.cost += i128::from(settle.cost);
}

/// The row's counts, in the order of the tables' columns.
pub(super) const fn counts(row: &Row) -> [u32; 8] {
    let s = &row.settle;
    [s.input, s.output, s.cache_read, s.cache_write, s.reasoning, s.audio_input, s.audio_output, s.units]
}

/// Whole USD (rounded down) and the pico-USD left over, 0 to 10¹² − 1.
pub(super) fn split(cost: i128) -> (i64, i64) {
    let unit = i128::from(PICO);
    let whole = i64::try_from(cost.div_euclid(unit)).unwrap_or(if cost < 0 { i64::MIN } else { i64::MAX });
    (whole, i64::try_from(cost.rem_euclid(unit)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::Intent;

    #[test]
    fn split_keeps_the_sum_and_the_range() {
        for cost in
            [0, 1, -1, i128::from(PICO), -i128::from(PICO), i128::from(i64::MAX) * 1000, i128::from(i64::MIN) * 1000]
        {
            let (usd, pico) = split(cost);
            assert!((0..PICO).contains(&pico));
            assert_eq!(i128::from(usd) * i128::from(PICO) + i128::from(pico), cost);
        }
    }

    #[test]
    fn days_are_utc_and_round_down() {
        let mut rollup = Rollup::new();
        for at_us in [-1, 0, DAY_US - 1, DAY_US] {
            add(&mut rollup, &Row::unknown(1, 0, Intent { at_us, ..Intent::default() }));
        }
        let days: Vec<_> = rollup.iter().map(|(by, sums)| (by.day, sums.requests)).collect();
        assert_eq!(days, [(-1, 1), (0, 2), (1, 1)]);
    }
}
