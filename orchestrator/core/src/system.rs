//! Reserved event names, which no sender may use. Events with some of these names report the end of
//! a run.

/// The event that starts the failure handler of a function. Functions that listen to the SDK's
/// `FunctionFailed` also start on it.
pub const FUNCTION_FAILED: &str = "stepladder/function.failed";
/// Inngest's event for a failed run.
pub const INNGEST_FAILED: &str = "inngest/function.failed";
/// Inngest's event for a run that completed, failed or was cancelled.
pub const INNGEST_FINISHED: &str = "inngest/function.finished";
/// Inngest's event for a cancelled run.
pub const INNGEST_CANCELLED: &str = "inngest/function.cancelled";
/// The event that starts a run called by another run.
pub const FUNCTION_INVOKED: &str = "stepladder/function.invoked";
/// Inngest's name of [`FUNCTION_INVOKED`]. A function with this trigger starts only when another
/// run calls it.
const INNGEST_INVOKED: &str = "inngest/function.invoked";

/// The names of the events that report the end of a run.
pub const ENDS: [&str; 4] = [FUNCTION_FAILED, INNGEST_FAILED, INNGEST_FINISHED, INNGEST_CANCELLED];

/// Returns the reserved prefix that a name starts with; `None` if the name is not reserved.
pub fn reserved_prefix(name: &str) -> Option<&'static str> {
    ["inngest/", "stepladder/"].into_iter().find(|prefix| name.starts_with(prefix))
}

/// Returns whether events of this name report the end of a run.
pub fn is_run_end_event(name: &str) -> bool {
    ENDS.contains(&name)
}

/// Returns why no function can listen to an event name, as the end of a sentence; `None` if a
/// function can.
pub fn trigger_problem(name: &str) -> Option<String> {
    let prefix = reserved_prefix(name)?;
    if is_run_end_event(name) || name == INNGEST_INVOKED {
        return None;
    }
    let ends = ENDS.map(|name| format!("`{name}`")).join(", ");
    Some(format!("begins with `{prefix}`, and no such event is ever sent; the reserved names to listen to are {ends}"))
}

/// Returns why no run can wait for an event name, as the end of a sentence; `None` if a run can.
pub fn wait_problem(name: &str) -> Option<String> {
    let prefix = reserved_prefix(name)?;
    Some(format!("begins with `{prefix}`: no run can wait for such an event; let it trigger a function instead"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_events_that_are_sent_can_be_listened_to() {
        for name in ENDS.into_iter().chain([INNGEST_INVOKED, "shop/order.placed", "inngestion/x"]) {
            assert_eq!(trigger_problem(name), None, "{name}");
        }
        for name in ["inngest/function.faild", "inngest/scheduled.timer", "stepladder/function.finished"] {
            assert!(trigger_problem(name).unwrap().contains("no such event"), "{name}");
        }
        assert!(wait_problem(INNGEST_FINISHED).is_some());
        assert_eq!(wait_problem("shop/order.placed"), None);
    }
}
