//! Errors that no repetition can fix (rule 34): a missing permission, a deleted queue, a journal
//! that this version cannot read. Each failed attempt is one line at ERROR, from which logs make a
//! metric, and from that an alarm.

use stepladder_core::RunId;

use crate::EngineError;
use crate::activity::Activity;
use crate::ports::StoreError;

/// Reports an error if it is permanent, and returns whether it is. Call this once for each attempt
/// that failed by it, with what was attempted, for example `move a run`.
pub fn report(doing: &str, run: Option<RunId>, error: &StoreError) -> bool {
    if !error.is_permanent() {
        return false;
    }
    let advice = match error {
        StoreError::Unavailable(_) | StoreError::Refused(_) => "mend the cause that the error names",
        StoreError::Unreadable(_) => {
            "deploy the version that wrote it, or restore it from a copy; older versions may not read what newer ones write"
        }
    };
    Activity::PermanentError { run, doing, error: &error.to_string(), advice }.emit();
    true
}

/// The same for an error of the engine: only those of the store can be permanent.
pub fn report_engine(doing: &str, error: &EngineError) -> bool {
    matches!(error, EngineError::Store(error) if report(doing, None, error))
}
