//! Counts of what runs did, computed from all journals. This is slow, and independent of how other
//! adapters count.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use stepladder_core::journal::Record;
use stepladder_core::{RunId, RunRow, Status, Timestamp};
use stepladder_engine::ports::{DurationBin, TrendCount, TrendCounts, TrendKind, TrendQuery, UnstartedRuns};

type Counts = BTreeMap<(usize, Arc<str>, TrendKind, DurationBin), u64>;

pub(super) fn count<'a>(
    rows: impl Iterator<Item = &'a RunRow>,
    journals: &HashMap<RunId, Vec<Record>>,
    query: &TrendQuery,
) -> TrendCounts {
    let mut counts = Counts::new();
    let mut unstarted: BTreeMap<Arc<str>, (u64, RunId)> = BTreeMap::new();
    let rows = rows.filter(|row| query.function.as_deref().is_none_or(|function| function == &*row.function));
    for row in rows {
        let mut add = |at: Timestamp, kind, took: Option<Duration>, n: u64| {
            let slots = TrendQuery::slot_of(at) - TrendQuery::slot_of(query.from);
            let step = usize::try_from(slots.div_euclid(query.slots_per_step()));
            if let Some(step) = step.ok().filter(|step| *step < query.steps) {
                let bin = took.map(DurationBin::of).unwrap_or_default();
                *counts.entry((step, row.function.clone(), kind, bin)).or_default() += n;
            }
        };
        let entries = || journals.get(&row.run).into_iter().flatten().flat_map(|record| &record.entries);
        let started = entries().find(|entry| entry.fact.is_requested_by_handler()).map(|entry| entry.at);
        add(row.created_at, TrendKind::Created, None, 1);
        if let Some(at) = started {
            add(at, TrendKind::Started, Some(at.since(row.created_at)), 1);
        }
        match row.ended {
            Some((at, status)) => {
                let took = Some(at.since(row.created_at));
                match status {
                    Status::Completed => add(at, TrendKind::Completed, took, 1),
                    Status::Failed => add(at, TrendKind::Failed, took, 1),
                    Status::Cancelled => add(at, TrendKind::Cancelled, took, 1),
                    Status::Skipped => add(at, TrendKind::Skipped, None, 1),
                    Status::Scheduled | Status::Running => {}
                }
                if started.is_none() {
                    add(at, TrendKind::Unstarted, None, 1);
                }
            }
            None if started.is_none() => {
                let (runs, oldest) = unstarted.entry(row.function.clone()).or_insert((0, row.run));
                (*runs, *oldest) = (*runs + 1, row.run.min(*oldest));
            }
            None => {}
        }
        for entry in entries() {
            for used in entry.fact.report().into_iter().flat_map(|report| &report.usage) {
                for (kind, n) in [
                    (TrendKind::AiMicroDollars, used.micro_dollars.unwrap_or(0)),
                    (TrendKind::InputTokens, used.input_tokens),
                    (TrendKind::OutputTokens, used.output_tokens),
                ] {
                    if n > 0 {
                        add(entry.at, kind, None, n);
                    }
                }
            }
        }
    }
    let counts = counts
        .into_iter()
        .map(|((step, function, kind, bin), n)| TrendCount { step, function, kind, bin, n })
        .collect();
    let unstarted = unstarted.into_iter();
    let unstarted = unstarted.map(|(function, (runs, oldest))| UnstartedRuns { function, runs, oldest }).collect();
    TrendCounts { counts, unstarted }
}
