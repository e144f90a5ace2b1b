//! Limits the size of a run: how many bytes each entry adds, and how entries are truncated to fit.
//!
//! Rule 33: every value in a journal is bounded. An input, an event or a callback is known before
//! any work starts, so it is refused then. An outcome is known only after the work: it is refused
//! when it is written. A run without room starts no further work.

use serde_json::value::RawValue;

use crate::failure::{ErrorCode, Failure};
use crate::journal::{Entry, Fact, Outcome};
use crate::limits::{OUTCOME_BYTES, ROOM_BYTES, RUN_BYTES};
use crate::own_step::{COMPENSATION, OwnStep};
use crate::sentence::{SENTENCE_BYTES, shortened};
use crate::state::RunState;

/// Returns the number of bytes that an entry adds to its run.
pub fn kept_bytes(fact: &Fact) -> usize {
    let report: usize = fact.report().map_or(0, |report| {
        // model names and numbers; log lines have a limit of their own
        report.usage.iter().map(|used| used.model.len() + 64).sum()
    });
    report
        + match fact {
            Fact::EventJoined { event, .. } | Fact::EventDelivered { event, .. } => event.bytes(),
            Fact::StepSucceeded { output, .. } => output.get().len(),
            Fact::StepFailed { error, .. }
            | Fact::StepRefused { error, .. }
            | Fact::SignalFailed { error, .. }
            | Fact::HeartbeatMissed { error, .. }
            | Fact::HandlerFailed { error, .. } => error.bytes(),
            Fact::StepCarriedOver { outcome, .. } | Fact::InvokeEnded { outcome, .. } => match outcome {
                Outcome::Value(value) => value.get().len(),
                Outcome::Failed(failure) => failure.bytes(),
            },
            Fact::InvokeStarted { input, user, .. } => {
                input.get().len() + user.as_ref().map_or(0, |user| user.get().len())
            }
            Fact::SignalReceived { data, .. } => data.get().len(),
            // a ULID in quotes and a comma take 29 bytes
            Fact::EventsSent { ids, .. } => ids.len() * 29,
            Fact::RunCreated(_)
            | Fact::CollectingEnded
            | Fact::StepStarted { .. }
            | Fact::AttemptInterrupted { .. }
            | Fact::AttemptUnreachable { .. }
            | Fact::ExecutorUnreachable { .. }
            | Fact::ExecutorReached
            | Fact::CallStarted { .. }
            | Fact::CallEnded { .. }
            | Fact::StepAbandoned { .. }
            | Fact::StepsWoken { .. }
            | Fact::SleepStarted { .. }
            | Fact::SleepEnded { .. }
            | Fact::EventAwaited { .. }
            | Fact::SignalAwaited { .. }
            | Fact::HeartbeatReceived { .. }
            | Fact::WaitExpired { .. }
            | Fact::VersionChosen { .. }
            | Fact::LogWritten { .. }
            | Fact::LabelsAdded { .. }
            | Fact::WaitSkipped { .. }
            | Fact::RunCompleted { .. }
            | Fact::RunFailed { .. }
            | Fact::RunCancelled { .. }
            | Fact::RunDelayed { .. }
            | Fact::RunAdmitted
            | Fact::RunSkipped { .. } => 0,
        }
}

impl RunState {
    /// Returns whether a run with this many bytes may start further work: a body, a call or a send.
    /// A run that compensates may always continue, because only the engine's internal steps add
    /// bytes then.
    pub fn has_room(&self, bytes: usize) -> bool {
        bytes + ROOM_BYTES <= RUN_BYTES || self.is_compensating()
    }

    /// Returns whether the run has failed permanently and is compensating.
    pub fn is_compensating(&self) -> bool {
        self.steps.contains_key(COMPENSATION)
    }
}

/// Truncates entries to fit before they are written, in order. Long failures are shortened. An
/// outcome that exceeds the run's room becomes a failure with the code [`ErrorCode::TooLarge`].
/// Entries that fit are not changed.
pub fn fit_entries(state: &RunState, entries: Vec<Entry>) -> Vec<Entry> {
    let mut bytes = state.bytes;
    if entries.iter().all(|entry| is_small(&entry.fact, &mut bytes)) {
        return entries;
    }
    bytes = state.bytes;
    let mut fitted = Vec::with_capacity(entries.len());
    for Entry { at, fact } in entries {
        let fits = |value: &RawValue| bytes + value.get().len() <= RUN_BYTES;
        let facts = match fact {
            Fact::StepSucceeded { step, attempt, output, report } if output.get().len() > OUTCOME_BYTES => {
                let bytes = output.get().len();
                let message = format!(
                    "step `{step}` returned {bytes} bytes; at most {OUTCOME_BYTES} are allowed: store large values elsewhere \
                     and return a reference"
                );
                let error = Failure::with_code(message, ErrorCode::TooLarge);
                vec![Fact::StepFailed { step, attempt, error, retry_at: None, report }]
            }
            Fact::StepSucceeded { step, attempt, output, report } if !fits(&output) => {
                // a compensation needs almost no room and must not run again because of its size
                if OwnStep::from_id(&step) == Some(OwnStep::Compensation)
                    || (state.is_compensating() && output.get().len() <= ROOM_BYTES)
                {
                    vec![Fact::StepSucceeded { step, attempt, output, report }]
                } else {
                    let error = too_large_failure(format_args!("step `{step}` returned {} bytes", output.get().len()));
                    vec![Fact::StepFailed { step, attempt, error, retry_at: None, report }]
                }
            }
            // the next check must not get another state than the check returned
            Fact::StepFailed { step, attempt, error, retry_at, report } if error.is_not_yet() => {
                let (error, retry_at) = error.problem_of_state().map_or((error, retry_at), |problem| (problem, None));
                vec![bounded(Fact::StepFailed { step, attempt, error, retry_at, report })]
            }
            Fact::InvokeEnded { step, outcome: Outcome::Value(value) } if !fits(&value) => {
                let bytes = value.get().len();
                let error = too_large_failure(format_args!("the run that step `{step}` called returned {bytes} bytes"));
                vec![Fact::InvokeEnded { step, outcome: Outcome::Failed(error) }]
            }
            Fact::EventDelivered { event, steps } if bytes + event.bytes() > RUN_BYTES => {
                let refuse = |step| {
                    let bytes = event.bytes();
                    let error =
                        too_large_failure(format_args!("step `{step}` waits for an event that has {bytes} bytes"));
                    Fact::StepRefused { step, error, kind: None }
                };
                steps.into_iter().map(refuse).collect()
            }
            fact => vec![bounded(fact)],
        };
        bytes += facts.iter().map(kept_bytes).sum::<usize>();
        fitted.extend(facts.into_iter().map(|fact| fact.into_entry(at)));
    }
    fitted
}

/// Returns whether a fact certainly fits as it is, and adds its bytes. Most facts do: they contain
/// a value that fits, or only ids and times.
fn is_small(fact: &Fact, bytes: &mut usize) -> bool {
    let is_plain = match fact {
        Fact::StepSucceeded { output, report, .. } => output.get().len() <= OUTCOME_BYTES && report.is_empty(),
        Fact::StepStarted { .. }
        | Fact::SleepStarted { .. }
        | Fact::SleepEnded { .. }
        | Fact::StepsWoken { .. }
        | Fact::RunAdmitted
        | Fact::VersionChosen { .. }
        | Fact::RunCompleted { .. } => true,
        _ => false,
    };
    *bytes += kept_bytes(fact);
    is_plain && *bytes <= RUN_BYTES
}

/// Truncates the failure, the log lines and the usage in a fact.
fn bounded(mut fact: Fact) -> Fact {
    if let Some(report) = fact.report_mut().filter(|report| !report.is_empty()) {
        *report = std::mem::take(report).bounded();
    }
    match &mut fact {
        Fact::StepFailed { error, .. }
        | Fact::StepRefused { error, .. }
        | Fact::SignalFailed { error, .. }
        | Fact::HeartbeatMissed { error, .. }
        | Fact::HandlerFailed { error, .. }
        | Fact::RunFailed { error }
        | Fact::StepCarriedOver { outcome: Outcome::Failed(error), .. }
        | Fact::InvokeEnded { outcome: Outcome::Failed(error), .. } => {
            let whole = std::mem::replace(error, Failure::new(String::new()));
            *error = whole.bounded();
        }
        Fact::LogWritten { lines, .. } => {
            lines.iter_mut().for_each(|placed| placed.line = placed.line.clone().bounded());
        }
        Fact::RunCancelled { reason } | Fact::RunSkipped { reason } if reason.len() > SENTENCE_BYTES + 3 => {
            *reason = shortened(&*reason).into();
        }
        _ => {}
    }
    fact
}

fn too_large_failure(what: std::fmt::Arguments<'_>) -> Failure {
    Failure::with_code(
        format!(
            "{what}, with which the run would keep more than {RUN_BYTES}; store large values elsewhere and return a reference"
        ),
        ErrorCode::TooLarge,
    )
}

/// Creates the failure for work that may not start because the run already has this many bytes.
pub fn run_full_failure(what: std::fmt::Arguments<'_>, bytes: usize) -> Failure {
    Failure::with_code(
        format!(
            "{what} was not begun: the run keeps {bytes} bytes, at most {RUN_BYTES} are allowed, and less than {ROOM_BYTES} \
             are left; store large values elsewhere and return references"
        ),
        ErrorCode::TooLarge,
    )
}
