//! Own calls: a program that executes a function without having been called for it, because it has
//! received a request itself. The run is created with a call in progress, whose lease the program
//! renews with each report. When the program leaves the run, fails, or is silent until the lease
//! has ended, hops continue the run with calls as usual.
//!
//! An own call has a worker of its own name, so that a program that was overtaken by a hop records
//! nothing more.

use std::sync::Arc;
use std::time::Duration;

use crate::hop::checkpoint::{CheckpointFault, ExecutedIn, admit_executed};
use crate::hop::input::AdvisedFailure;
use crate::journal::{Entry, Fact, Failure};
use crate::limits::OUTCOME_BYTES;
use crate::report::AttemptReport;
use crate::retry::FailedAttempt;
use crate::state::{ExecutorCall, RunState};
use crate::{ErrorCode, Json, Spec, StepId, Timestamp};

/// The end of the name of a worker that has started its call by itself.
const OWN: &str = "/own";

/// Returns the name of the worker of an own call that this process records.
pub fn own_worker(process: &str) -> Arc<str> {
    format!("{process}{OWN}").into()
}

/// Returns whether a worker has started its call by itself.
pub fn is_own_worker(worker: &str) -> bool {
    worker.ends_with(OWN)
}

/// What a program reports of its own call.
#[derive(Clone, Debug)]
pub struct OwnCallReport {
    /// The steps that it has executed since the last report, with their values.
    pub steps: Vec<(StepId, Json)>,
    /// What happens to the call.
    pub end: OwnCallEnd,
}

/// What happens to an own call after a report.
#[derive(Clone, Debug)]
pub enum OwnCallEnd {
    /// It goes on.
    Open,
    /// The program leaves the run to further calls.
    Left,
    /// A step has failed. The program leaves the run to further calls.
    StepFailed(StepId, AdvisedFailure),
    /// The function has failed. The program leaves the run to further calls.
    Failed(AdvisedFailure),
    /// The function has returned this value.
    Completed(Json),
}

/// The settings with which a report is recorded.
#[derive(Clone, Copy, Debug)]
pub struct OwnCallSettings<'a> {
    /// The description of the function.
    pub spec: &'a Spec,
    /// The time of the report.
    pub now: Timestamp,
    /// Until when the call may be silent.
    pub lease: Duration,
    /// Waits this long before each retry, in place of the function's backoff.
    pub retry_delay: Option<Duration>,
    /// Determines the jitter of a retry.
    pub seed: u64,
}

/// What a report adds to the journal.
#[derive(Clone, Debug, Default)]
pub struct OwnCallEntries {
    /// The entries, which are one record.
    pub entries: Vec<Entry>,
    /// When the run continues without the program; `None` if the call goes on.
    pub wake_at: Option<Timestamp>,
}

/// Returns what a report of an own call adds to the journal. A repeated report adds nothing.
///
/// # Errors
/// [`CheckpointFault`]: the run has ended, a hop has taken the run over, or the report contradicts
/// the journal.
pub fn record_own_call(
    run: &RunState,
    report: &OwnCallReport,
    settings: OwnCallSettings<'_>,
) -> Result<OwnCallEntries, CheckpointFault> {
    let OwnCallSettings { spec, now, lease, .. } = settings;
    if let Some(end) = &run.end {
        let is_known = matches!(&report.end, OwnCallEnd::Completed(_)) && end.how.status() == crate::Status::Completed;
        return if is_known { Ok(OwnCallEntries::default()) } else { Err(CheckpointFault::Ended) };
    }
    let Some(call) = run.call.as_ref().filter(|call| is_own_worker(&call.worker)) else {
        // a report that the run is left to calls may be repeated after the first of them
        let is_known = report.steps.is_empty() && !matches!(report.end, OwnCallEnd::Open | OwnCallEnd::Completed(_));
        let fault = CheckpointFault::NotInProgress(run.calls.min(1));
        return if is_known { Ok(OwnCallEntries::default()) } else { Err(fault) };
    };
    let mut entries = Vec::new();
    for (step, output) in &report.steps {
        if run.steps.get(step).is_some_and(|step| step.state.is_settled()) {
            continue;
        }
        let executed = admit_executed(run, step, &entries, ExecutedIn { worker: &call.worker, spec, now })?;
        match executed {
            Ok(ready) => {
                entries.push(start(call, step, ready.attempt, now));
                let (step, output, report) = (step.clone(), output.clone(), AttemptReport::default());
                entries.push(Fact::StepSucceeded { step, attempt: ready.attempt, output, report }.into_entry(now));
            }
            Err(error) => {
                entries.push(Fact::StepRefused { step: step.clone(), error, kind: None }.into_entry(now));
            }
        }
    }
    let mut recorded = OwnCallEntries { entries, wake_at: Some(now) };
    match &report.end {
        OwnCallEnd::Open => {
            recorded.wake_at = None;
            if now.since(call.began) < call.lease_until.since(now) {
                return Ok(recorded);
            }
        }
        OwnCallEnd::StepFailed(step, error) => fail_step(run, call, (step, error), settings, &mut recorded)?,
        OwnCallEnd::Left | OwnCallEnd::Failed(_) | OwnCallEnd::Completed(_) => {}
    }
    recorded.entries.push(Fact::CallEnded { call: call.number, interrupted: false }.into_entry(now));
    let last = match &report.end {
        OwnCallEnd::Open => {
            let (call, worker) = (call.number.saturating_add(1), call.worker.clone());
            Some(Fact::CallStarted { call, lease_until: now + lease, worker })
        }
        OwnCallEnd::Left | OwnCallEnd::StepFailed(..) => None,
        OwnCallEnd::Completed(output) if output.get().len() > OUTCOME_BYTES => {
            let bytes = output.get().len();
            let message = format!("the function returned {bytes} bytes; at most {OUTCOME_BYTES} are allowed");
            Some(Fact::RunFailed { error: Failure::with_code(message, ErrorCode::TooLarge) })
        }
        OwnCallEnd::Completed(output) => Some(Fact::RunCompleted { output: output.clone() }),
        OwnCallEnd::Failed(error) => {
            let attempt = run.handler_attempt();
            let retry_at = retry_at(error, attempt, settings);
            recorded.wake_at = Some(retry_at.unwrap_or(now));
            let error = error.failure.clone().bounded();
            Some(match retry_at {
                Some(retry_at) => Fact::HandlerFailed { attempt, error, retry_at },
                None => Fact::RunFailed { error },
            })
        }
    };
    recorded.entries.extend(last.map(|fact| fact.into_entry(now)));
    Ok(recorded)
}

/// Adds the start and the failure of a step.
fn fail_step(
    run: &RunState,
    call: &ExecutorCall,
    (step, error): (&StepId, &AdvisedFailure),
    settings: OwnCallSettings<'_>,
    recorded: &mut OwnCallEntries,
) -> Result<(), CheckpointFault> {
    let OwnCallSettings { spec, now, .. } = settings;
    let executed = admit_executed(run, step, &recorded.entries, ExecutedIn { worker: &call.worker, spec, now })?;
    let fact = match executed {
        Ok(ready) => {
            let attempt = ready.attempt;
            recorded.entries.push(start(call, step, attempt, now));
            let retry_at = retry_at(error, ready.failures.saturating_add(1), settings);
            recorded.wake_at = Some(retry_at.unwrap_or(now));
            let (step, error, report) = (step.clone(), error.failure.clone(), AttemptReport::default());
            Fact::StepFailed { step, attempt, error, retry_at, report }
        }
        Err(error) => Fact::StepRefused { step: step.clone(), error, kind: None },
    };
    recorded.entries.push(fact.into_entry(now));
    Ok(())
}

fn start(call: &ExecutorCall, step: &StepId, attempt: u32, now: Timestamp) -> Entry {
    let (lease_until, worker) = (call.lease_until, call.worker.clone());
    Fact::StepStarted { step: step.clone(), attempt, lease_until, worker, at_most_once: false }.into_entry(now)
}

fn retry_at(error: &AdvisedFailure, failures: u32, settings: OwnCallSettings<'_>) -> Option<Timestamp> {
    let failed = FailedAttempt { failures, name: error.failure.name.as_deref(), advice: error.retry };
    let delay = settings.spec.retry.next_delay(failed, settings.seed)?;
    Some(settings.now + settings.retry_delay.unwrap_or(delay))
}
