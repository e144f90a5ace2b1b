//! Steps that an executor executes while it is polled: their entries, and reports that contradict
//! the journal.
//!
//! Each executed step becomes the start and the outcome of an attempt, in the record that ends the
//! call. A report that contradicts the journal fails the run. If it were ignored, the executor
//! would report the same step in the next call, without end.

use std::collections::HashSet;

use crate::decide::{self, Operation, Plan, ReadyStep, Want, kind_name};
use crate::hop::active::{ActiveHop, Turn};
use crate::hop::checkpoint::is_recorded;
use crate::hop::immediate::OpenCall;
use crate::hop::input::{ExecutedStep, StepResult};
use crate::hop::polling::name_fault;
use crate::hop::progress::Body;
use crate::hop::writing::Draft;
use crate::journal::{Entry, Fact, Failure};
use crate::state::{RevealedOutcome, StepState};
use crate::{ErrorCode, StepId, StepKind, Timestamp};

/// What the steps that a call executed mean for the decision that follows.
#[derive(Debug, Default)]
pub(super) struct ExecutedSteps {
    /// The steps that the call reported.
    reported: HashSet<StepId>,
    /// The steps with entries in the draft.
    pub(super) recorded: HashSet<StepId>,
    /// The steps that still have no outcome: they wait for a retry, or another worker executes
    /// them.
    pub(super) open: Vec<Want>,
    /// Whether the function sees a new outcome in the next poll.
    pub(super) has_outcome: bool,
    /// Why the run must fail.
    pub(super) fault: Option<Failure>,
}

impl ActiveHop {
    /// Adds the entries of steps that were executed during the call: the start and the outcome of
    /// each.
    pub(super) fn add_executed(
        &mut self,
        executed: Vec<ExecutedStep>,
        call: Option<OpenCall>,
        draft: &mut Draft,
        turn: &Turn<'_>,
    ) -> ExecutedSteps {
        let mut steps = ExecutedSteps::default();
        let began = call.map_or(turn.now(), |call| call.began());
        for executed in executed {
            let want = executed.want.clone();
            if call.is_some_and(|call| is_recorded(&self.run, &want.step, call.number())) {
                // the executor has not received the answer to its checkpoint
                steps.has_outcome = true;
                continue;
            }
            let plan = self.plan_executed(&want, draft, turn);
            let is_repeated = !steps.reported.insert(want.step.clone());
            if let Some(fault) = name_fault(&want).or_else(|| self.executed_fault(&want, is_repeated, &plan)) {
                steps.fault.get_or_insert(fault);
                continue;
            }
            let before = draft.entries.len();
            match (plan.ready.into_iter().next(), plan.refused.into_iter().next()) {
                (Some(ready), _) => self.add_attempt(ready, executed, began, draft, turn.now()),
                (None, Some((step, error))) => {
                    draft.entries.push(Fact::StepRefused { step, error, kind: None }.into_entry(turn.now()));
                }
                // another worker executes the step under a live lease
                (None, None) => {}
            }
            let added = &draft.entries[before..];
            if !added.is_empty() {
                steps.recorded.insert(want.step.clone());
            }
            match added.iter().any(reveals_outcome) {
                true => steps.has_outcome = true,
                false => steps.open.push(want),
            }
        }
        steps
    }

    /// Returns what may happen to an executed step. A retry counts although it comes early, because
    /// the executor does not know when it is due.
    fn plan_executed(&self, want: &Want, draft: &Draft, turn: &Turn<'_>) -> Plan {
        let due = match self.run.steps.get(&want.step).map(|step| &step.state) {
            Some(StepState::Retrying { retry_at, .. }) => turn.now().max(*retry_at),
            _ => turn.now(),
        };
        decide::plan(&self.run, std::slice::from_ref(want), self.situation(&draft.entries, due))
    }

    /// Returns a failure if a step cannot have been executed now.
    fn executed_fault(&self, want: &Want, is_repeated: bool, plan: &Plan) -> Option<Failure> {
        let kind = want.operation.kind();
        let fault = if is_repeated {
            format!("the executor reports {want} twice in one call; report each step once")
        } else if kind != StepKind::Run {
            format!("the executor reports {want} as executed, and it is a {}; list it as wanted", kind_name(kind))
        } else if matches!(&want.operation, Operation::Run(options) if options.at_most_once) {
            format!("the executor reports {want} as executed, and it starts at most once; list it as wanted")
        } else if let Some((_, error)) = plan.refused.first().filter(|(_, error)| is_nondeterminism(error)) {
            return Some(error.clone());
        } else if self.run.steps.get(&want.step).is_some_and(|step| step.state.is_settled()) {
            format!("the executor reports {want} as executed again; use its recorded outcome")
        } else {
            return None;
        };
        Some(Failure::with_code(format!("nondeterminism: {fault}"), ErrorCode::Nondeterminism))
    }

    /// Adds the start and the outcome of an attempt that was executed during the call.
    fn add_attempt(
        &mut self,
        ready: ReadyStep,
        executed: ExecutedStep,
        began: Timestamp,
        draft: &mut Draft,
        now: Timestamp,
    ) {
        self.progress.has_executed = true;
        let ReadyStep { step, attempt, .. } = ready.clone();
        let (lease_until, worker) = (self.time.lease_until, self.invocation.worker.process.clone());
        let start = Fact::StepStarted { step: step.clone(), attempt, lease_until, worker, at_most_once: false };
        draft.entries.push(start.into_entry(now));
        let body = Body { ready, began, expires: lease_until, is_stopped: false };
        self.execution.took.insert(step.clone(), now.since(began));
        let result = StepResult { step, result: executed.result.map_err(Into::into), report: executed.report };
        let entry = self.outcome(body, result, now, draft);
        draft.entries.push(entry);
    }
}

fn is_nondeterminism(error: &Failure) -> bool {
    error.code == Some(ErrorCode::Nondeterminism)
}

/// Returns whether the function sees an outcome of this entry in its next poll.
pub(super) fn reveals_outcome(entry: &Entry) -> bool {
    !RevealedOutcome::from_entry(entry).is_empty()
}
