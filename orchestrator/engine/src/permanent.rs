//! Reports permanent errors, which no retry can fix (rule 34): a missing permission, a deleted
//! queue, a journal that this version cannot read. Each failed attempt is logged in one line at the
//! level ERROR. A metric counts these lines, and an alarm watches the metric.

use stepladder_core::RunId;
use stepladder_core::sentence::WithCauses;

use crate::EngineError;
use crate::activity::Activity;
use crate::ports::StoreError;

/// Reports an error if it is permanent, and returns whether it is. Call this once for each failed
/// attempt. `doing` names the failed operation, for example `move a run`.
pub fn report_failure(doing: &str, run: Option<RunId>, error: &StoreError) -> bool {
    if !error.is_permanent() {
        return false;
    }
    let advice = match error {
        StoreError::Unavailable(_) | StoreError::Refused(_) => "remove the cause that the error names",
        StoreError::Unreadable(_) => {
            "deploy the version that wrote it, or restore it from a backup; older versions may not read what newer ones write"
        }
    };
    Activity::PermanentError { run, doing, error: &WithCauses(error).to_string(), advice }.emit();
    true
}

/// Reports an error of the engine like [`report_failure`]. Only errors of the store can be
/// permanent.
pub fn report_engine(doing: &str, error: &EngineError) -> bool {
    matches!(error, EngineError::Store(error) if report_failure(doing, None, error))
}
