//! Limits. Input past a limit is refused with a sentence that names the value and its size.

use std::time::Duration;

use crate::OwnStep;

/// Maximum size of one event with all its fields: 3 MiB.
pub const EVENT_BYTES: usize = 3 * 1024 * 1024;
/// Maximum number of events in one request.
pub const EVENTS_PER_REQUEST: usize = 5_000;
/// Maximum size of one step's outcome: 4 MiB.
pub const OUTCOME_BYTES: usize = 4 * 1024 * 1024;
/// Maximum size of all values in a run's journal: 32 MiB.
///
/// This counts outcomes, failures, inputs of calls, and events that were delivered to the run or
/// joined its batch. This limit does not count the event that started the run, the run's result and
/// its log, which have limits of their own.
pub const RUN_BYTES: usize = 32 * 1024 * 1024;
/// Free bytes that a run must have to start a body, a call or a send: 64 KiB. So there is room for
/// the outcome of an executed step, if it is small.
pub const ROOM_BYTES: usize = 64 * 1024;
/// Maximum size of a failure's message: 16 KiB. A longer message is truncated and ends in `…`.
pub const FAILURE_BYTES: usize = 16 * 1024;
/// Maximum size of all events of one request, or of one send of a function: 64 MiB.
pub const REQUEST_BYTES: usize = 64 * 1024 * 1024;
/// Maximum number of characters of a name (of an event, a function or a step) and of a sender's
/// event id.
pub const NAME_CHARS: usize = 255;
/// Maximum nesting of arrays and objects in JSON from outside. Decoders recurse, so this bounds
/// their stacks.
pub const JSON_DEPTH: usize = 100;
/// Maximum size of a CEL expression: 4 KiB.
pub const EXPR_BYTES: usize = 4 * 1024;
/// Maximum nesting of a CEL expression; `event.data.plan == 'pro'` has four levels.
///
/// Evaluation recurses on a worker's stack of 2 MiB. A level takes 40 to 50 KiB of it in a build
/// without optimisation.
pub const EXPR_LEVELS: usize = 20;
/// Maximum number of steps of an evaluation of a CEL expression, estimated beforehand. A step is a
/// name, a comparison, or an item that `all` or `map` visits.
pub const EXPR_STEPS: usize = 10_000_000;
/// Number of values in an event on which each expression must stay within [`EXPR_STEPS`]; otherwise
/// the app does not start. On a larger event, an expression that may take more steps is not
/// evaluated.
pub const EXPR_EVENT: usize = 512;
/// Maximum size of the value of a limit's key: 1 KiB. The value is part of storage keys, and of
/// each ticket in a wait queue.
pub const KEY_BYTES: usize = 1024;
/// Maximum size of the data that is posted to a callback token: 1 MiB.
pub const SIGNAL_BYTES: usize = 1024 * 1024;
/// Number of consecutive interruptions after which a step fails for good.
pub const INTERRUPTIONS: u32 = 10;
/// Milliseconds by which a sender's clock may be ahead. If an event's `ts` is further in the
/// future, its runs start at that time.
pub const AHEAD_MS: i64 = 60_000;
/// Maximum number of checks of one polling step, as computed from its interval and its timeout.
/// Each check writes two journal entries.
pub const CHECKS: u32 = 2_000;
/// Maximum number of events in one batch.
pub const COLLECTED: u32 = 1_000;
/// Size of `data` and `user` at which a batch starts its run even if it has fewer events than it
/// may: 4 MiB. The event that reaches this size still belongs to the batch.
pub const COLLECTED_BYTES: usize = 4 * 1024 * 1024;
/// The longest period of a throttle, a rate limit or a debounce, and the longest wait of a batch:
/// 31 days.
pub const LONGEST_PERIOD: Duration = Duration::from_secs(31 * 24 * 60 * 60);
/// How long flow state records which run a collected event went to, and which run is open for a
/// key: 32 days, which is longer than [`LONGEST_PERIOD`].
pub const FLOW_STATE_RETENTION: Duration = Duration::from_secs(32 * 24 * 60 * 60);
/// Maximum number of seconds by which a priority moves a run in a wait queue, forwards or
/// backwards.
pub const MOST_PRIORITY: i64 = 600;
/// Milliseconds for which a sender's event id is remembered: 24 hours.
pub const DEDUPLICATION_MS: i64 = 24 * 60 * 60 * 1000;
/// Maximum size of one log line with its fields: 4 KiB.
pub const LOG_LINE_BYTES: usize = 4 * 1024;
/// Maximum number of log lines that are recorded for a run.
pub const LOG_LINES: usize = 1_000;
/// Maximum size of all log lines that are recorded for a run: 256 KiB.
pub const LOG_BYTES: usize = 256 * 1024;
/// Maximum number of models that an attempt reports by name. The usage of further models is added
/// up.
pub const USAGE_MODELS: usize = 16;

/// Returns what is wrong with a name, as the end of a sentence; `None` if the name is valid.
pub fn name_problem(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("is empty".into());
    }
    let chars = name.chars().count();
    if chars > NAME_CHARS {
        return Some(format!("has {chars} characters; at most {NAME_CHARS} are allowed"));
    }
    if name.chars().any(char::is_control) {
        return Some("contains a control character; use printable ones only".into());
    }
    None
}

/// Returns why a step cannot have this name, as the end of a sentence; `None` if it can. A name
/// that ends in `:1` would collide with the id of a repeated name.
pub fn step_name_problem(name: &str) -> Option<String> {
    if let Some(problem) = name_problem(name) {
        return Some(problem);
    }
    if let Some(prefix) = OwnStep::reserved_prefix(name) {
        return Some(format!("begins with `{prefix}`, as a run's own steps do; choose another"));
    }
    let digits = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (digits.len() < name.len() && digits.ends_with(':'))
        .then(|| "ends in `:` and digits, which is how repeated names are numbered; choose another".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_in_characters_not_bytes() {
        assert_eq!(name_problem(&"é".repeat(255)), None);
        assert!(name_problem(&"é".repeat(256)).is_some());
        assert!(name_problem("").is_some());
        assert!(name_problem("a\0b").is_some());
    }

    #[test]
    fn a_step_name_may_not_look_numbered() {
        assert!(step_name_problem("load:1").is_some());
        assert_eq!(step_name_problem("load:1a"), None);
        assert_eq!(step_name_problem("load1"), None);
        assert_eq!(step_name_problem("load:"), None);
    }

    #[test]
    fn a_step_name_may_not_look_like_a_runs_own() {
        assert!(step_name_problem(&OwnStep::Compensation.id()).is_some());
        assert_eq!(step_name_problem("stepladder"), None);
    }
}
