//! Names that no sender may use, and the events under them that tell of a run's end.

/// The event that a function's own failure handler gets, and that functions of the SDK's `FunctionFailed` listen to.
pub const FUNCTION_FAILED: &str = "stepladder/function.failed";
/// A run has failed, as Inngest says it.
pub const INNGEST_FAILED: &str = "inngest/function.failed";
/// A run has ended: it has completed, failed or been cancelled.
pub const INNGEST_FINISHED: &str = "inngest/function.finished";
/// A run was cancelled.
pub const INNGEST_CANCELLED: &str = "inngest/function.cancelled";
/// The event of a run that another run called.
pub const FUNCTION_INVOKED: &str = "stepladder/function.invoked";
/// The same name as Inngest has it: a function with this trigger is started by calls alone.
const INNGEST_INVOKED: &str = "inngest/function.invoked";

/// The events that tell of a run's end.
pub const ENDS: [&str; 4] = [FUNCTION_FAILED, INNGEST_FAILED, INNGEST_FINISHED, INNGEST_CANCELLED];

/// The reserved prefix that a name begins with, if it does.
pub fn reserved_prefix(name: &str) -> Option<&'static str> {
    ["inngest/", "stepladder/"].into_iter().find(|prefix| name.starts_with(prefix))
}

/// Whether events of this name tell of a run's end.
pub fn is_run_end_event(name: &str) -> bool {
    ENDS.contains(&name)
}

/// Why no function can listen to a name, as the end of a sentence; `None` when one can.
pub fn trigger_problem(name: &str) -> Option<String> {
    let prefix = reserved_prefix(name)?;
    if is_run_end_event(name) || name == INNGEST_INVOKED {
        return None;
    }
    let ends = ENDS.map(|name| format!("`{name}`")).join(", ");
    Some(format!("begins with `{prefix}`, and no such event is ever sent; the reserved names to listen to are {ends}"))
}

/// Why no run can wait for a name, as the end of a sentence; `None` when one can.
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
