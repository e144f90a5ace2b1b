//! An executor that cannot be reached for a while. This must use no retry: the attempts that could
//! not be executed are taken back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::{Either, select};
use stepladder_core::journal::Fact;
use stepladder_core::state::RevealedOutcome;
use stepladder_core::{AttemptReport, RunId, StepId, Timestamp};
use stepladder_engine::executor::{
    Attempt, AttemptError, Execution, Executor, Finished, OpenError, Polled, PreparedCall, RunView, StepResult,
    Unreachable,
};

use super::Shared;
use crate::dice::SeededDice;
use crate::simulation::invariants::journal;
use crate::simulation::tree::{ONCE, own_name};

/// Why an executor cannot be reached. No failure of a step or a run may contain this text.
pub(crate) const OUT_OF_REACH: &str = "the executor is out of reach";

/// The additional time allowed for each outage: the longest delay of a next try with its jitter,
/// the sweep that sends its wake, and a ticket that was given up.
const AFTER_AN_OUTAGE: Duration = Duration::from_secs(700);
/// One answer in this many is lost, as long as answers may be lost.
const LOST: u64 = 8;
/// The mean number of contacts between two outages.
const EVERY: u64 = 12;

/// When the executors cannot be reached.
pub(super) struct Outages(Mutex<OutageSchedule>);

struct OutageSchedule {
    left: u64,
    /// The number of contacts until the next outage begins.
    countdown: u64,
    until: Timestamp,
}

impl Outages {
    pub(super) fn new(left: u64, dice: &SeededDice) -> Self {
        let countdown = 1 + dice.below(2 * EVERY);
        Self(Mutex::new(OutageSchedule { left, countdown, until: Timestamp::from_millis(0) }))
    }

    pub(super) fn end(&self) {
        let mut schedule = self.0.lock().expect("no panic");
        (schedule.left, schedule.until) = (0, Timestamp::from_millis(0));
    }
}

impl Shared {
    /// Contacts an executor.
    pub(super) fn reach(&self) -> Result<(), Unreachable> {
        let now = self.now();
        let mut schedule = self.outages.0.lock().expect("no panic");
        if now >= schedule.until {
            if schedule.left == 0 {
                return Ok(());
            }
            schedule.countdown -= 1;
            if schedule.countdown > 0 {
                return Ok(());
            }
            let longest = if self.dice.one_in(2) { 30_000 } else { 1_500_000 };
            let time = Duration::from_millis(1 + self.dice.below(longest));
            schedule.left -= 1;
            (schedule.countdown, schedule.until) = (1 + self.dice.below(2 * EVERY), now + time);
            self.excuse(time + AFTER_AN_OUTAGE);
        }
        Err(self.unreachable())
    }

    /// Counts a failed contact.
    fn unreachable(&self) -> Unreachable {
        self.excuses.lock().expect("no panic").unreachable += 1;
        Unreachable { why: OUT_OF_REACH.into(), is_broken: false }
    }

    /// Returns whether the next answer is lost.
    pub(super) fn loses_answer(&self) -> bool {
        let mut left = self.lost_answers_left.lock().expect("no panic");
        let is_lost = *left > 0 && self.dice.one_in(LOST);
        *left -= u64::from(is_lost);
        is_lost
    }

    /// Loses an answer after the executor has done its work. The engine cannot know this.
    pub(super) fn lose_contact(&self) -> Unreachable {
        self.excuse(AFTER_AN_OUTAGE);
        self.unreachable()
    }
}

/// An executor with outages.
pub(super) struct UnreliableExecutor {
    inner: Arc<dyn Executor>,
    shared: Arc<Shared>,
}

impl UnreliableExecutor {
    pub(super) fn new(inner: Arc<dyn Executor>, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
    }
}

#[async_trait]
impl Executor for UnreliableExecutor {
    async fn open(&self, run: RunView, deadline: Timestamp) -> Result<Box<dyn Execution>, OpenError> {
        self.shared.reach().map_err(OpenError::Unreachable)?;
        let id = run.run;
        let inner = self.inner.open(run, deadline).await?;
        let (passed, failed) = (Vec::new(), Vec::new());
        Ok(Box::new(UnreliableExecution { run: id, inner, shared: self.shared.clone(), passed, failed }))
    }

    fn executes_in_poll(&self) -> bool {
        self.inner.executes_in_poll()
    }
}

struct UnreliableExecution {
    run: RunId,
    inner: Box<dyn Execution>,
    shared: Arc<Shared>,
    /// The outcomes that were passed while the executor could not be reached.
    passed: Vec<RevealedOutcome>,
    /// The attempts that could not be executed.
    failed: Vec<StepId>,
}

impl UnreliableExecution {
    /// Checks the numbers of an attempt against the journal: an attempt that was not executed is
    /// neither counted nor a failure.
    fn check(&self, attempt: &Attempt) {
        let (mut starts, mut taken_back, mut failures) = (0_u32, 0_u32, 0_u32);
        for entry in journal(&self.shared.memory, self.run) {
            match entry.fact {
                Fact::StepStarted { step, .. } if step == attempt.step => starts += 1,
                Fact::AttemptUnreachable { step, .. } if step == attempt.step => taken_back += 1,
                Fact::StepFailed { step, .. } if step == attempt.step => failures += 1,
                _ => {}
            }
        }
        // A stalled worker may start its attempt after another worker has taken it over.
        if attempt.number > starts - taken_back || attempt.failures > failures {
            self.shared.report(format!(
                "the executor of {} is given {attempt:?}, but the journal has {starts} starts, of which {taken_back} \
                 were taken back, and {failures} failures",
                self.run
            ));
        }
    }
}

#[async_trait]
impl Execution for UnreliableExecution {
    async fn poll(&mut self, memo: Vec<RevealedOutcome>) -> Result<Polled, Unreachable> {
        self.passed.extend(memo);
        self.shared.reach()?;
        self.inner.poll(std::mem::take(&mut self.passed)).await
    }

    fn prepare_call(&mut self, call: PreparedCall) {
        self.inner.prepare_call(call);
    }

    fn reveal_recorded(&mut self, recorded: Vec<RevealedOutcome>) {
        self.inner.reveal_recorded(recorded);
    }

    fn run(&mut self, attempts: Vec<Attempt>) {
        attempts.iter().for_each(|attempt| self.check(attempt));
        let (reached, failed): (Vec<_>, Vec<_>) = attempts.into_iter().partition(|_| self.shared.reach().is_ok());
        self.failed.extend(failed.into_iter().map(|attempt| attempt.step));
        self.inner.run(reached);
    }

    async fn wait(&mut self) -> Finished {
        if let Some(step) = self.failed.pop() {
            let unreachable = Unreachable { why: OUT_OF_REACH.into(), is_broken: false };
            let result = Err(AttemptError::Unreachable(unreachable));
            let results = vec![StepResult { step, result, report: AttemptReport::default() }];
            return Finished { results, dropped: Vec::new() };
        }
        let mut finished = self.inner.wait().await;
        // The inner executor is in this process; an attempt is lost as if the connection had
        // broken.
        for result in &mut finished.results {
            if own_name(&result.step).starts_with(ONCE) && self.shared.loses_answer() {
                self.shared.excuse(AFTER_AN_OUTAGE);
                result.result =
                    Err(AttemptError::Lost(Unreachable { why: "the connection broke".into(), is_broken: false }));
            }
        }
        finished
    }

    fn stop(&mut self, step: &StepId, timeout: Duration) {
        self.inner.stop(step, timeout);
    }
}

/// Runs a future until it is done, or until `deadline`.
pub(super) async fn until<T>(
    future: impl Future<Output = T> + Unpin,
    shared: &Shared,
    deadline: Timestamp,
) -> Option<T> {
    let sleep = stepladder_engine::clock::Clock::sleep_until(&*shared.clock, deadline);
    match select(future, sleep).await {
        Either::Left((done, _)) => Some(done),
        Either::Right(_) => None,
    }
}
