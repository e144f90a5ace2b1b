//! Describes the entries of a journal for the page of a run.

use stepladder_api::text::format_duration;
use stepladder_core::journal::{
    AttemptEnd, DirectOutcome, FactVisitor, NewRun, Outcome, RunOrigin, Seq, StartChange, Wait, WaitEnd,
};
use stepladder_core::report::HandlerLogLine;
use stepladder_core::state::{RunEnd, RunOutcome};
use stepladder_core::{Entry, Event, Failure, StepId, Timestamp};

use super::text::{ShownTime, brief, format_size, format_time, format_time_of_day, sentence};
use super::value::PageByteBudget;

/// The maximum size of an error in the list of entries, in bytes.
const ERROR_BYTES: usize = 200;

/// The maximum size of a step's name in the list, and of an entry's description, in bytes.
const NAME_BYTES: usize = 120;
const DETAIL_BYTES: usize = 600;

/// The maximum number of step names in the description of an entry.
const NAMES: usize = 10;

/// A row in the list of entries.
pub(super) struct EntryRow {
    pub(super) seq: Seq,
    /// The number of entries up to and including this one. The link of the row shows the run as it
    /// was then.
    pub(super) at: Seq,
    pub(super) moment: ShownTime,
    /// The date, if it stands above this row.
    pub(super) day: Option<String>,
    /// The name of the fact, as a label.
    pub(super) word: String,
    /// The step that the entry is about.
    pub(super) step: String,
    pub(super) detail: String,
    /// Whether this is the latest entry that the page takes into account.
    pub(super) current: bool,
}

impl EntryRow {
    pub(super) fn from_entry(seq: Seq, entry: &Entry, current: bool, budget: &mut PageByteBudget) -> Self {
        let mut details = EntryDetails::default();
        entry.visit(&mut details);
        Self {
            seq,
            at: seq + 1,
            moment: ShownTime { shown: format_time_of_day(entry.at), ..ShownTime::from_timestamp(entry.at) },
            day: None,
            word: entry_label(entry.fact.name()),
            step: entry.fact.step().map(|step| budget.show_words(step, NAME_BYTES)).unwrap_or_default(),
            detail: budget.show_words(&details.text, DETAIL_BYTES),
            current,
        }
    }
}

/// Converts the name of a fact to a label, such as `Step started` for `StepStarted`.
fn entry_label(name: &str) -> String {
    let mut label = String::with_capacity(name.len() + 2);
    for letter in name.chars() {
        if letter.is_uppercase() && !label.is_empty() {
            label.push(' ');
            label.extend(letter.to_lowercase());
        } else {
            label.push(letter);
        }
    }
    label
}

fn brief_error(failure: &Failure) -> String {
    brief(&sentence(failure), ERROR_BYTES)
}

fn format_utc(at: Timestamp) -> String {
    format!("{} UTC", format_time(at))
}

fn format_until(at: Timestamp) -> String {
    format!("until {}", format_utc(at))
}

/// The details of an entry, as a phrase. They are empty if the label says everything.
#[derive(Default)]
struct EntryDetails {
    text: String,
}

impl FactVisitor for EntryDetails {
    fn run_created(&mut self, _: Timestamp, run: &NewRun) {
        let origin = match &run.origin {
            RunOrigin::Event => String::new(),
            RunOrigin::Cron => ", by its cron schedule".into(),
            RunOrigin::Invoke { parent, .. } => format!(", invoked by run {parent}"),
            RunOrigin::Failure { of } => format!(", because run {of} failed"),
            RunOrigin::Rerun { of } => format!(", a rerun of {of}"),
        };
        self.text = format!("of {}, from event {}{origin}", run.function, run.event.name);
    }

    fn start_changed(&mut self, _: Timestamp, change: StartChange<'_>) {
        self.text = match change {
            StartChange::EventJoined { event, replaces, begins_at, closes } => {
                let how = if replaces { "instead of the previous one" } else { "in addition" };
                let begins = begins_at.map_or_else(String::new, |at| format!(", starts at {}", format_utc(at)));
                let last = if closes { ", the last" } else { "" };
                format!("{} {} {how}{begins}{last}", event.name, event.id)
            }
            StartChange::CollectingEnded => "no more events join it".into(),
            StartChange::Delayed { begins_at } => {
                format!("it missed its start time; starts at {}", format_utc(begins_at))
            }
            StartChange::Admitted => "flow control lets it start".into(),
            StartChange::VersionChosen { version } => brief(version, ERROR_BYTES),
        };
    }

    fn run_ended(&mut self, end: &RunEnd) {
        self.text = match &end.how {
            RunOutcome::Completed(output) => format!("{} of output", format_size(output.get().len())),
            RunOutcome::Failed(error) => brief_error(error),
            RunOutcome::Cancelled(reason) | RunOutcome::Skipped(reason) => brief(reason, ERROR_BYTES),
        };
    }

    fn handler_logged(&mut self, _: Timestamp, attempt: u32, lines: &[HandlerLogLine]) {
        let first = lines.first().map(|placed| brief(&placed.line.message, ERROR_BYTES)).unwrap_or_default();
        let more = if lines.len() > 1 { format!(" and {} more lines", lines.len() - 1) } else { String::new() };
        self.text = format!("attempt {attempt}: {first}{more}");
    }

    fn handler_failed(&mut self, _: Timestamp, attempt: u32, error: &Failure, retry_at: Timestamp) {
        self.text = format!("attempt {attempt}, retried at {}: {}", format_utc(retry_at), brief_error(error));
    }

    fn executor_changed(&mut self, _: Timestamp, unreachable: Option<&str>) {
        self.text = unreachable.unwrap_or_default().to_owned();
    }

    fn attempt_started(&mut self, _: Timestamp, _: &StepId, attempt: u32, lease_until: Timestamp) {
        self.text = format!("attempt {attempt}, at most {}", format_until(lease_until));
    }

    fn attempt_ended(&mut self, _: Timestamp, _: &StepId, attempt: u32, end: AttemptEnd<'_>) {
        let end = match end {
            AttemptEnd::Succeeded { output, .. } => format!(", {} of output", format_size(output.get().len())),
            AttemptEnd::Failed { error, retry_at, .. } => {
                let next = retry_at.map_or("not retried".into(), |at| format!("retried at {}", format_utc(at)));
                format!(", {next}: {}", brief_error(error))
            }
            AttemptEnd::Interrupted => ": its worker died".into(),
            AttemptEnd::Unreachable { why, retry_at } => {
                format!(", tried again at {}: {why}", format_utc(retry_at))
            }
            AttemptEnd::Abandoned { .. } => ": the function dropped it".into(),
        };
        self.text = format!("attempt {attempt}{end}");
    }

    fn steps_woken(&mut self, _: Timestamp, steps: &[StepId]) {
        let names: Vec<&str> = steps.iter().take(NAMES).map(|step| &**step).collect();
        let more = steps.len().saturating_sub(NAMES);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        self.text = format!("{}{more}", names.join(", "));
    }

    fn step_settled(&mut self, _: Timestamp, _: &StepId, outcome: DirectOutcome<'_>) {
        self.text = match outcome {
            DirectOutcome::Refused(_, error) => brief_error(error),
            DirectOutcome::CarriedOver(_, Outcome::Value(_)) => "kept from the run that this one reruns".into(),
            DirectOutcome::CarriedOver(_, Outcome::Failed(error)) => {
                format!("kept from the run that this one reruns: {}", brief_error(error))
            }
            DirectOutcome::EventsSent([id]) => id.to_string(),
            DirectOutcome::EventsSent(ids) => format!("{} events", ids.len()),
        };
    }

    fn wait_started(&mut self, _: Timestamp, _: &StepId, wait: Wait<'_>) {
        self.text = match wait {
            Wait::Sleep { until: at } | Wait::Signal { until: at, heartbeat: None } => format_until(at),
            Wait::Signal { until: at, heartbeat: Some(every) } => {
                format!("{}, with a heartbeat every {}", format_until(at), format_duration(every))
            }
            Wait::Event { wait, until: at } => format!("{wait}, {}", format_until(at)),
            Wait::Run { function, child, until } => {
                let until = until.map(|until| format!(", until {until}")).unwrap_or_default();
                format!("run {child} of {function}{until}")
            }
        };
    }

    fn wait_skipped(&mut self, _: Timestamp, _: Option<&StepId>) {
        self.text = "on request".into();
    }

    fn wait_ended(&mut self, _: Timestamp, _: &StepId, end: WaitEnd<'_>) {
        self.text = match end {
            WaitEnd::SleepOver | WaitEnd::Signal(_) | WaitEnd::Run(Outcome::Value(_)) => String::new(),
            WaitEnd::Expired => "nothing arrived in time".into(),
            WaitEnd::SignalFailed(error) | WaitEnd::HeartbeatMissed(error) | WaitEnd::Run(Outcome::Failed(error)) => {
                brief_error(error)
            }
        };
    }

    fn event_delivered(&mut self, _: Timestamp, event: &Event, _: &[StepId]) {
        self.text = format!("{} {}", event.name, event.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_the_name_of_the_fact_in_words() {
        assert_eq!(entry_label(stepladder_core::Fact::CollectingEnded.name()), "Collecting ended");
        let fact = stepladder_core::Fact::SleepEnded { step: "nap".into() };
        assert_eq!(entry_label(fact.name()), "Sleep ended");
    }
}
