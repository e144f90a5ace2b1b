//! The lists of a run's page that come from its journal: entries, errors of the handler, and names
//! of steps.

use stepladder_core::journal::Failure;
use stepladder_core::{Entry, Timestamp};
use stepladder_engine::RunAtEntry;
use stepladder_engine::view::StepView;

use crate::dashboard::entries::EntryRow;
use crate::dashboard::text::ShownTime;
use crate::dashboard::value::{PageByteBudget, ShownFailure, escaped_len};

/// The maximum number of journal entries on a page.
const ENTRIES: usize = 50;
/// The maximum number of handler errors on the page.
const HANDLER_ERRORS: usize = 10;
/// The maximum size of an error of the handler, in bytes.
const ERROR_BYTES: usize = 2_000;
/// The maximum number of the steps from which a rerun may start, and the maximum total size of
/// their names in bytes.
const NAMES: usize = 60;
const NAMES_BYTES: usize = 10 * 1024;

/// Returns the last `most` items of a list.
pub(super) fn latest_items<T>(all: &[T], most: usize) -> &[T] {
    &all[all.len().saturating_sub(most)..]
}

pub(super) fn handler_errors(
    errors: &[(Timestamp, Failure)],
    budget: &mut PageByteBudget,
) -> Vec<(ShownTime, ShownFailure)> {
    latest_items(errors, HANDLER_ERRORS)
        .iter()
        .map(|(at, error)| (ShownTime::from_timestamp(*at), budget.show_failure(error, ERROR_BYTES)))
        .collect()
}

/// Returns the selected step's name and those of the first steps, in order, each with whether it is
/// selected. To rerun from another step, a user selects the step first.
pub(super) fn step_names(steps: &[StepView], selected: Option<usize>) -> Vec<(String, bool)> {
    let mut room = NAMES_BYTES;
    let shown = steps.iter().enumerate().filter(|(n, step)| {
        // the page contains each name twice: as a value and as a label
        let bytes = 2 * escaped_len(&step.id);
        let fits = selected == Some(*n) || *n < NAMES && bytes <= room;
        if fits {
            room = room.saturating_sub(bytes);
        }
        fits
    });
    shown.map(|(n, step)| (step.id.to_string(), selected == Some(n))).collect()
}

/// Returns the rows of the latest entries, newest first. The date stands above the first row and
/// where the day changes.
pub(super) fn entry_rows(look: &RunAtEntry, past: bool, budget: &mut PageByteBudget) -> Vec<EntryRow> {
    let entries = latest_items(&look.entries, ENTRIES);
    let last = look.entries.last().map(|(seq, _)| *seq);
    let mut day = String::new();
    let row = |(seq, entry): &(_, Entry)| {
        let mut row = EntryRow::from_entry(*seq, entry, past && Some(*seq) == last, budget);
        let of_entry = row.moment.exact.get(..10).unwrap_or_default().to_owned();
        row.day = (of_entry != day).then(|| of_entry.clone());
        day = of_entry;
        row
    };
    entries.iter().rev().map(row).collect()
}
