//! The sizes past which something is refused, with a sentence that names the thing and its size.

use std::time::Duration;

/// Bytes of one event, data and all: 3 MiB.
pub const EVENT_BYTES: usize = 3 * 1024 * 1024;
/// Events in one request.
pub const EVENTS_PER_REQUEST: usize = 5_000;
/// Bytes of one step's outcome: 4 MiB.
pub const OUTCOME_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of all values that a run keeps: 32 MiB. Counted are outcomes, failures, inputs of calls, and events that joined
/// or entered the run. Not counted are the event that started it, what it returns, and its log, which have limits of
/// their own.
pub const RUN_BYTES: usize = 32 * 1024 * 1024;
/// Bytes that a run must have left to start a body, a call or a send: 64 KiB. So the small outcome of a step that was
/// executed can be kept.
pub const ROOM_BYTES: usize = 64 * 1024;
/// Bytes of a failure's message: 16 KiB. A longer one is cut and ends in `…`.
pub const FAILURE_BYTES: usize = 16 * 1024;
/// Bytes of all events of one request, or of one send of a function: 64 MiB.
pub const REQUEST_BYTES: usize = 64 * 1024 * 1024;
/// Characters of a name (of an event, a function, a step) and of an id that a sender gives.
pub const NAME_CHARS: usize = 255;
/// Levels of arrays and objects in JSON that comes from outside. Decoders recurse: this keeps their stacks small.
pub const JSON_DEPTH: usize = 100;
/// Bytes of a CEL expression: 4 KiB.
pub const EXPR_BYTES: usize = 4 * 1024;
/// Levels of a CEL expression (`event.data.plan == 'pro'` has four). It is evaluated by recursion on a worker's stack of
/// 2 MiB, of which a level takes 40 to 50 KiB in a build without optimisation.
pub const EXPR_LEVELS: usize = 20;
/// Steps that evaluating a CEL expression may take, counted beforehand: a step is a name, a comparison, an item that `all`
/// or `map` goes through.
pub const EXPR_STEPS: usize = 10_000_000;
/// Values in an event on which every expression must stay within that, or the app does not start. On a larger event, one
/// that may take more is not evaluated.
pub const EXPR_EVENT: usize = 512;
/// Bytes of the text that a limit's key comes to for an event: 1 KiB. It is a key of storage, and part of every place in
/// a line.
pub const KEY_BYTES: usize = 1024;
/// Bytes of what is posted to a signal: 1 MiB.
pub const SIGNAL_BYTES: usize = 1024 * 1024;
/// Interruptions of one step in a row after which it fails for good.
pub const INTERRUPTIONS: u32 = 10;
/// Milliseconds by which a sender's clock may be ahead: an event whose `ts` is further in the future starts its runs then.
pub const AHEAD_MS: i64 = 60_000;
/// Checks of one poll, as its longest wait and its time-out come to. Each is two entries of the journal.
pub const CHECKS: u32 = 2_000;
/// Events that one run begins with at most, where a function collects them.
pub const COLLECTED: u32 = 1_000;
/// Bytes of `data` and `user` with which a run that collects events begins, whatever may be missing in number: 4 MiB. The event with
/// which it has them is still let in.
pub const COLLECTED_BYTES: usize = 4 * 1024 * 1024;
/// The longest period of a throttle, a rate limit or a debounce, and the longest wait of a batch: 31 days.
pub const LONGEST_PERIOD: Duration = Duration::from_secs(31 * 24 * 60 * 60);
/// For so long it is noted to which run a collected event went, and which run is open for a key: 32 days, longer than
/// [`LONGEST_PERIOD`].
pub const RETENTION_OF_NOTES: Duration = Duration::from_secs(32 * 24 * 60 * 60);
/// Seconds by which a priority moves a run in a line, forwards or backwards.
pub const MOST_PRIORITY: i64 = 600;
/// Milliseconds for which an event's own `id` is remembered: 24 hours.
pub const DEDUPLICATION_MS: i64 = 24 * 60 * 60 * 1000;
/// Bytes of one line that a run logs, its fields among them: 4 KiB.
pub const LOG_LINE_BYTES: usize = 4 * 1024;
/// Lines that are kept of a run.
pub const LOG_LINES: usize = 1_000;
/// Bytes of all lines that are kept of a run: 256 KiB.
pub const LOG_BYTES: usize = 256 * 1024;
/// Models of which an attempt of a step reports usage by name; the usage of the others adds up.
pub const USAGE_MODELS: usize = 16;
/// Seconds that a queue message can be delayed at most (Amazon SQS, `DelaySeconds`); later wakes are timers.
pub const QUEUE_DELAY_SECONDS: i64 = 900;

/// What the names of a run's own steps begin with: no function's step may.
pub const OWN_STEPS: &str = "stepladder/";
/// The step under which a run records that it has failed for good and undoes what it did.
pub const UNDO: &str = "stepladder/undo";

/// Why a name is not a good one, as the end of a sentence; `None` when it is.
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

/// Why a step cannot have this name; `None` when it can. A name that ends in `:1` would collide with the id that a
/// repeated name gets.
pub fn step_name_problem(name: &str) -> Option<String> {
    if let Some(fault) = name_problem(name) {
        return Some(fault);
    }
    if name.starts_with(OWN_STEPS) {
        return Some(format!("begins with `{OWN_STEPS}`, as a run's own steps do; choose another"));
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
        assert!(step_name_problem(UNDO).is_some());
        assert_eq!(step_name_problem("stepladder"), None);
    }
}
