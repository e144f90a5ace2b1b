//! Sums of what ended runs cost, computed from all journals.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use stepladder_core::journal::Record;
use stepladder_core::{RunId, RunRow};
use stepladder_engine::ports::{CostQuery, CostSum, RunCost, RunCostCounter};

pub(super) fn sum<'a>(
    rows: impl Iterator<Item = &'a RunRow>,
    journals: &HashMap<RunId, Vec<Record>>,
    query: &CostQuery,
) -> Vec<CostSum> {
    let mut sums: BTreeMap<(usize, Arc<str>), (u64, RunCost)> = BTreeMap::new();
    let rows = rows.filter(|row| query.function.as_deref().is_none_or(|function| function == &*row.function));
    for row in rows {
        let Some(step) = row.ended.and_then(|(at, _)| query.step_of(at)) else { continue };
        let mut counter = RunCostCounter::default();
        let entries = journals.get(&row.run).into_iter().flatten().flat_map(|record| &record.entries);
        entries.for_each(|entry| counter.add(entry));
        let (runs, cost) = sums.entry((step, row.function.clone())).or_default();
        *runs += 1;
        *cost += counter.cost();
    }
    let of = |((step, function), (runs, cost))| CostSum { step, function, runs, cost };
    sums.into_iter().map(of).collect()
}
