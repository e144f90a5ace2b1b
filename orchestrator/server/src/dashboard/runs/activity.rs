//! What a live run is doing, as the list of runs shows it.

use stepladder_engine::{RunActivity, ordinal};

use crate::dashboard::text::{ShownTime, brief};

/// The maximum size of a name in the list, in bytes.
const NAME_BYTES: usize = 80;

/// What a live run is doing: a status, and its detail.
pub(in crate::dashboard) struct ShownActivity {
    /// The CSS class of the status.
    pub(in crate::dashboard) class: &'static str,
    /// The status, such as `Retrying 3 of 5`.
    pub(in crate::dashboard) status: String,
    /// The step, the event or the function.
    pub(in crate::dashboard) name: String,
    /// What happens at the time.
    pub(in crate::dashboard) lead: &'static str,
    pub(in crate::dashboard) time: Option<ShownTime>,
    /// An explanation of the status; empty if it needs none.
    pub(in crate::dashboard) title: &'static str,
}

impl ShownActivity {
    pub(in crate::dashboard) fn from_activity(activity: &RunActivity) -> Self {
        let shown = |class, status: &str| Self {
            class,
            status: status.to_owned(),
            name: String::new(),
            lead: "",
            time: None,
            title: "",
        };
        match activity {
            RunActivity::Delayed { at, collects } => Self {
                lead: if *collects { "collects events, starts" } else { "starts" },
                time: Some(ShownTime::from_timestamp(*at)),
                ..shown("Scheduled", "Delayed")
            },
            RunActivity::Paused => Self { title: "The function is paused.", ..shown("Awaiting", "Paused") },
            RunActivity::Queued { position: Some(position) } => Self {
                title: "The position in the wait queue of a concurrency limit.",
                ..shown("Queued", &format!("Queued {}", ordinal(*position)))
            },
            RunActivity::Queued { position: None } => {
                Self { title: "Waits for a worker or for a slot of a limit.", ..shown("Queued", "Queued") }
            }
            RunActivity::Running { step, others } => Self {
                name: match (step, others) {
                    (None, _) => String::new(),
                    (Some(step), 0) => brief(step, NAME_BYTES),
                    (Some(step), others) => format!("{} and {others} more", brief(step, NAME_BYTES)),
                },
                ..shown("Running", "Running")
            },
            RunActivity::Retrying { step, attempt, of, at } => {
                let status = match of {
                    Some(of) => format!("Retrying {attempt} of {of}"),
                    None => format!("Retrying, attempt {attempt}"),
                };
                Self {
                    name: step.as_ref().map_or_else(|| "the function".into(), |step| brief(step, NAME_BYTES)),
                    time: Some(ShownTime::from_timestamp(*at)),
                    title: "The next attempt, of those that the function allows. A step may have its own retries.",
                    ..shown("Retrying", &status)
                }
            }
            RunActivity::Unreachable { since } => Self {
                lead: "executor lost",
                time: Some(ShownTime::from_timestamp(*since)),
                ..shown("Retrying", "Unreachable")
            },
            RunActivity::Sleeping { step, until } => Self {
                name: brief(step, NAME_BYTES),
                lead: "ends",
                time: Some(ShownTime::from_timestamp(*until)),
                ..shown("Sleeping", "Sleeping")
            },
            RunActivity::Awaiting { events, until, .. } => Self {
                name: match &events[..] {
                    [] => "a callback".into(),
                    events => brief(&events.join(" or "), NAME_BYTES),
                },
                lead: "expires",
                time: Some(ShownTime::from_timestamp(*until)),
                ..shown("Awaiting", "Awaiting")
            },
            RunActivity::Calling { function, .. } => {
                Self { name: brief(function, NAME_BYTES), ..shown("Invoking", "Calling") }
            }
        }
    }
}
