//! The journal, entry by entry, in words.

use stepladder_core::Entry;
use stepladder_core::journal::{Fact, Origin, Outcome, Seq};

use super::text::{Moment, brief, clock, sentence, time};
use super::value::ByteBudget;

/// Bytes of an error in the list of entries.
const ERROR_BYTES: usize = 200;

/// Bytes of a step's name in the list, and of the description of an entry.
const NAME_BYTES: usize = 120;
const DETAIL_BYTES: usize = 600;

/// An entry in the list.
pub(super) struct EntryRow {
    pub(super) seq: Seq,
    /// The number of entries of the run after it, for the link.
    pub(super) at: Seq,
    pub(super) moment: Moment,
    /// The fact's name.
    pub(super) word: &'static str,
    /// The step that it belongs to.
    pub(super) step: String,
    pub(super) detail: String,
    /// Whether it is the last one that the page takes into account.
    pub(super) current: bool,
}

impl EntryRow {
    pub(super) fn of(seq: Seq, entry: &Entry, current: bool, budget: &mut ByteBudget) -> Self {
        let (word, detail) = describe(&entry.fact);
        Self {
            seq,
            at: seq + 1,
            moment: Moment { shown: clock(entry.at), ..Moment::of(entry.at) },
            word,
            step: entry.fact.step().map(|step| budget.words(step, NAME_BYTES)).unwrap_or_default(),
            detail: budget.words(&detail, DETAIL_BYTES),
            current,
        }
    }
}

/// Returns the name of a fact, and its details.
fn describe(fact: &Fact) -> (&'static str, String) {
    let error = |failure| brief(&sentence(failure), ERROR_BYTES);
    match fact {
        Fact::RunCreated(created) => {
            let origin = match &created.origin {
                Origin::Event => String::new(),
                Origin::Cron => ", by its cron schedule".into(),
                Origin::Invoke { parent, .. } => format!(", invoked by run {parent}"),
                Origin::Failure { of } => format!(", because run {of} failed"),
                Origin::Rerun { of } => format!(", a rerun of {of}"),
            };
            ("Run created", format!("of {}, from event {}{origin}", created.function, created.event.name))
        }
        Fact::StepStarted { attempt, lease_until, .. } => {
            ("Step started", format!("attempt {attempt}, at most until {}", time(*lease_until)))
        }
        Fact::StepSucceeded { attempt, output, .. } => {
            ("Step succeeded", format!("attempt {attempt}, {} of output", super::text::size(output.get().len())))
        }
        Fact::StepFailed { attempt, error: failure, retry_at, .. } => {
            let next = retry_at.map_or("not retried".into(), |at| format!("retried at {}", time(at)));
            ("Step failed", format!("attempt {attempt}, {next}: {}", error(failure)))
        }
        Fact::AttemptInterrupted { attempt, .. } => {
            ("Attempt interrupted", format!("attempt {attempt}: its worker died"))
        }
        Fact::StepAbandoned { attempt, .. } => {
            ("Step abandoned", format!("attempt {attempt}: the function dropped it"))
        }
        Fact::StepRefused { error: failure, .. } => ("Step refused", error(failure)),
        Fact::StepCarriedOver { outcome, .. } => {
            let failed = match outcome {
                Outcome::Value(_) => String::new(),
                Outcome::Failed(failure) => format!(": {}", error(failure)),
            };
            ("Step carried", format!("kept from the run that this one reruns{failed}"))
        }
        Fact::StepsWoken { steps } => {
            let names: Vec<&str> = steps.iter().take(10).map(|step| &**step).collect();
            let more = steps.len().saturating_sub(10);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            ("Steps woken", format!("{}{more}", names.join(", ")))
        }
        Fact::SleepStarted { until, .. } => ("Sleep started", format!("until {}", time(*until))),
        Fact::SleepEnded { .. } => ("Sleep ended", String::new()),
        Fact::EventsSent { ids, .. } => match &ids[..] {
            [one] => ("Events sent", one.to_string()),
            many => ("Events sent", format!("{} of them", many.len())),
        },
        Fact::InvokeStarted { function, child, .. } => ("Invoke started", format!("run {child} of {function}")),
        Fact::InvokeEnded { outcome, .. } => match outcome {
            Outcome::Value(_) => ("Invoke ended", String::new()),
            Outcome::Failed(failure) => ("Invoke ended", error(failure)),
        },
        Fact::EventAwaited { wait, until, .. } => ("Event awaited", format!("{wait}, until {}", time(*until))),
        Fact::EventJoined { event, replaces, begins_at, closes } => {
            let how = if *replaces { "instead of the previous one" } else { "in addition" };
            let begins = begins_at.map_or_else(String::new, |at| format!(", starts at {}", time(at)));
            let last = if *closes { ", the last" } else { "" };
            ("Event joined", format!("{} {} {how}{begins}{last}", event.name, event.id))
        }
        Fact::CollectingEnded => ("Run begun", "no more events join it".into()),
        Fact::RunDelayed { begins_at } => {
            ("Run delayed", format!("it missed its start time; starts at {}", time(*begins_at)))
        }
        Fact::RunAdmitted => ("Run admitted", "flow control lets it start".into()),
        Fact::VersionChosen { version } => ("Version taken", brief(version, ERROR_BYTES)),
        Fact::LogWritten { attempt, lines } => {
            let first = lines.first().map(|placed| brief(&placed.line.message, ERROR_BYTES)).unwrap_or_default();
            let more = if lines.len() > 1 { format!(" and {} more lines", lines.len() - 1) } else { String::new() };
            ("Logged", format!("attempt {attempt}: {first}{more}"))
        }
        Fact::EventDelivered { event, .. } => ("Event entered", format!("{} {}", event.name, event.id)),
        Fact::SignalAwaited { until, .. } => ("Signal awaited", format!("until {}", time(*until))),
        Fact::SignalReceived { .. } => ("Signal received", String::new()),
        Fact::WaitSkipped { .. } => ("Wait skipped", "on request".into()),
        Fact::WaitExpired { .. } => ("Wait expired", "no event arrived in time".into()),
        Fact::HandlerFailed { attempt, error: failure, retry_at } => {
            ("Handler failed", format!("attempt {attempt}, retried at {}: {}", time(*retry_at), error(failure)))
        }
        Fact::RunCompleted { output } => {
            ("Run completed", format!("{} of output", super::text::size(output.get().len())))
        }
        Fact::RunFailed { error: failure } => ("Run failed", error(failure)),
        Fact::RunCancelled { reason } => ("Run cancelled", brief(reason, ERROR_BYTES)),
        Fact::RunSkipped { reason } => ("Run skipped", brief(reason, ERROR_BYTES)),
    }
}
