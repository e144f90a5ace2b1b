//! The limits of the engine. Input that exceeds a limit is refused with a sentence that names the
//! value and its size.

use std::time::Duration;

use crate::OwnStep;

/// The maximum size of one event with all its fields: 3 MiB.
pub const EVENT_BYTES: usize = 3 * 1024 * 1024;
/// The maximum number of events in one request.
pub const EVENTS_PER_REQUEST: usize = 5_000;
/// The maximum size of a step's outcome: 4 MiB.
pub const OUTCOME_BYTES: usize = 4 * 1024 * 1024;
/// The maximum size of all values in a run's journal: 32 MiB.
///
/// The limit counts outcomes, failures, inputs of calls, and events that were delivered to the run
/// or joined its batch. It does not count the event that started the run, the run's result and its
/// log, because they have limits of their own.
pub const RUN_BYTES: usize = 32 * 1024 * 1024;
/// The number of free bytes that a run needs to start a body, a call or a send: 64 KiB. They leave
/// room for a small outcome of the step.
pub const ROOM_BYTES: usize = 64 * 1024;
/// The maximum size of a failure's message: 16 KiB. A longer message is truncated and ends in `…`.
pub const FAILURE_BYTES: usize = 16 * 1024;
/// The maximum size of all events in one request, or in one send of a function: 64 MiB.
pub const REQUEST_BYTES: usize = 64 * 1024 * 1024;
/// The maximum size of a failure's stack trace: 16 KiB. A longer one is truncated and ends in `…`.
pub const FAILURE_STACK_BYTES: usize = 16 * 1024;
/// The maximum size of a failure's data, as JSON: 16 KiB. Larger data is left out, and the message
/// says so.
pub const FAILURE_DATA_BYTES: usize = 16 * 1024;
/// The maximum size of the state that a check of a poll passes to the next check, as JSON: 16 KiB.
/// The journal keeps the state of each check.
pub const POLL_STATE_BYTES: usize = 16 * 1024;
/// The maximum number of characters in a sender's event id and in the name of an event, a function
/// or a step.
pub const NAME_CHARS: usize = 255;
/// The maximum nesting depth of arrays and objects in JSON from outside. Decoders recurse, so this
/// limit bounds their stacks.
pub const JSON_DEPTH: usize = 100;
/// The maximum size of a CEL expression: 4 KiB.
pub const EXPR_BYTES: usize = 4 * 1024;
/// The maximum nesting depth of a CEL expression; `event.data.plan == 'pro'` has four levels.
///
/// Evaluation recurses on a worker's stack of 2 MiB. In a build without optimisation, each level
/// takes 40 to 50 KiB of the stack.
pub const EXPR_LEVELS: usize = 20;
/// The maximum number of steps in the evaluation of a CEL expression, estimated beforehand. A step
/// is a name, a comparison, or an item that `all` or `map` visits.
pub const EXPR_STEPS: usize = 10_000_000;
/// The number of values in an event for which each expression must stay within [`EXPR_STEPS`];
/// otherwise the app does not start. For a larger event, an expression that may exceed
/// [`EXPR_STEPS`] is not evaluated.
pub const EXPR_EVENT: usize = 512;
/// The maximum size of the value of a limit's key: 1 KiB. The value is part of storage keys, and of
/// each ticket in a wait queue.
pub const KEY_BYTES: usize = 1024;
/// The maximum size of the data that is posted to a callback token: 1 MiB.
pub const SIGNAL_BYTES: usize = 1024 * 1024;
/// The minimum interval between the heartbeats of a wait for a callback: 10 seconds.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
/// The maximum number of heartbeats that one wait records. In a wait that lasts longer than this
/// many half intervals, heartbeats are recorded less often.
pub const HEARTBEATS: u32 = 10_000;
/// The maximum size of the config of one registered function, as JSON: 256 KiB.
pub const CONFIG_BYTES: usize = 256 * 1024;
/// The maximum number of functions in one registered app. Each version counts as one function.
pub const APP_FUNCTIONS: usize = 1_000;
/// The maximum size of all configs of one registered app, as JSON: 4 MiB.
pub const APP_BYTES: usize = 4 * 1024 * 1024;
/// The maximum number of registered apps.
pub const APPS: usize = 1_000;
/// The maximum size of the address of a registered app: 2 KiB.
pub const ADDRESS_BYTES: usize = 2 * 1024;
/// The number of consecutive interruptions after which a step fails permanently.
pub const INTERRUPTIONS: u32 = 10;
/// The number of milliseconds by which a sender's clock may be ahead. If an event's `ts` is further
/// in the future, the event's runs start at that time.
pub const AHEAD_MS: i64 = 60_000;
/// The maximum number of checks of one polling step, as computed from its interval and its timeout.
/// Each check writes two journal entries.
pub const CHECKS: u32 = 2_000;
/// The maximum number of events in one batch.
pub const COLLECTED: u32 = 1_000;
/// The total size of `data` and `user` that completes a batch, even if the batch has room for more
/// events: 4 MiB. The event that reaches this size still belongs to the batch.
pub const COLLECTED_BYTES: usize = 4 * 1024 * 1024;
/// The maximum period of a throttle, a rate limit or a debounce, and the maximum wait of a batch:
/// 31 days.
pub const LONGEST_PERIOD: Duration = Duration::from_secs(31 * 24 * 60 * 60);
/// How long flow state remembers the run that an event joined, and the open run of a key: 32 days,
/// which is longer than [`LONGEST_PERIOD`].
pub const FLOW_STATE_RETENTION: Duration = Duration::from_secs(32 * 24 * 60 * 60);
/// The maximum number of seconds by which a priority moves a run in a wait queue, forwards or
/// backwards.
pub const MOST_PRIORITY: i64 = 600;
/// How many milliseconds a sender's event id is remembered: 24 hours.
pub const DEDUPLICATION_MS: i64 = 24 * 60 * 60 * 1000;
/// The maximum size of one log line with its fields: 4 KiB.
pub const LOG_LINE_BYTES: usize = 4 * 1024;
/// The maximum number of recorded log lines in a run.
pub const LOG_LINES: usize = 1_000;
/// The maximum size of all recorded log lines in a run: 256 KiB.
pub const LOG_BYTES: usize = 256 * 1024;
/// The maximum number of models that an attempt reports by name. The usage of all further models is
/// added up under one name.
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

/// Returns why a step cannot have this name, as the end of a sentence; `None` if it can. For
/// example, a name that ends in `:1` would collide with the id of a repeated name.
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
