//! Runs that a program starts by itself, because it executes their function for a request of its
//! own.

use std::sync::Arc;

use stepladder_core::bounds::fit_entries;
use stepladder_core::hop::{OwnCallReport, OwnCallSettings, own_worker, record_own_call};
use stepladder_core::journal::{Fact, NewRun, RunOrigin};
use stepladder_core::state::RunState;
use stepladder_core::{Event, EventId, Json, RunId, WakeCause};

use crate::control::RunControl;
use crate::engine::{EngineError, no_such_run};
use crate::ports::Commit;

/// A run that a program has started by itself.
#[derive(Clone, Debug)]
pub struct OwnRun {
    /// The id that the program has chosen.
    pub run: RunId,
    /// The registered function that the program executes.
    pub function: Arc<str>,
    /// The name of the event that describes the request.
    pub event: &'static str,
    /// The data of that event.
    pub data: Json,
}

impl RunControl {
    /// Creates a run that a program already executes, and records its first report. If the run
    /// exists, only the report is recorded.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] if the function is not registered; [`EngineError::TooLate`] if the
    /// id is that of another run, or the run no longer belongs to the program: then nothing is
    /// recorded; [`EngineError::Store`].
    pub async fn start_own_run(&self, own: OwnRun, report: &OwnCallReport) -> Result<Arc<RunState>, EngineError> {
        let OwnRun { run, function, event, data } = own;
        let catalog = self.runtime.current_for(&function).await;
        if catalog.newest(&function).is_none() {
            return Err(EngineError::Invalid(format!("there is no function `{function}`")));
        }
        let now = self.runtime.now();
        let id = EventId::from_bytes(run.to_bytes());
        let event = Event {
            id,
            name: event.into(),
            data: data.clone(),
            ts: now,
            user: None,
            external_id: None,
            received_at: now,
            trace: None,
        };
        let created = NewRun::new(function.clone(), event, RunOrigin::Event);
        let lease_until = now + self.runtime.config.worker_timeout_of(&function);
        let call = Fact::CallStarted { call: 1, lease_until, worker: own_worker(&self.runtime.worker) };
        self.intake.start_runs_under(&catalog, vec![(run, created, vec![call.into_entry(now)])]).await?;
        let state = self.runs.state(run).await?.ok_or_else(|| no_such_run(run))?;
        if state.created.function != function || state.created.event.data.get() != data.get() {
            return Err(EngineError::TooLate(format!("run {run} exists, and is not that of this request")));
        }
        self.report_own_call(run, report).await
    }

    /// Records a report of a program about a run that it has started by itself. A repeated report
    /// changes nothing.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] for an unknown run; [`EngineError::TooLate`] if the run has ended,
    /// or no longer belongs to the program: then nothing is recorded; [`EngineError::Store`].
    pub async fn report_own_call(&self, run: RunId, report: &OwnCallReport) -> Result<Arc<RunState>, EngineError> {
        let mut state = self.runs.state(run).await?.ok_or_else(|| no_such_run(run))?;
        let catalog = self.runtime.current_for(&state.created.function).await;
        loop {
            let chosen = catalog.descriptions().for_run(&state).ok_or_else(|| {
                EngineError::TooLate(format!("function `{}` is no longer registered", state.created.function))
            })?;
            let config = &self.runtime.config;
            let settings = OwnCallSettings {
                spec: &chosen.function.spec,
                now: self.runtime.now(),
                lease: config.worker_timeout_of(&state.created.function),
                retry_delay: config.retry_delay,
                seed: self.runtime.entropy.bits() as u64,
            };
            let recorded = record_own_call(&state, report, settings)
                .map_err(|fault| EngineError::TooLate(format!("run {run}: {fault}")))?;
            if recorded.entries.is_empty() {
                return Ok(state);
            }
            let entries = fit_entries(&state, recorded.entries);
            let mut commit = Commit::default();
            match recorded.wake_at {
                Some(at) if at > settings.now => {
                    commit.before.push(self.runtime.later(self.runtime.wake_of(&state, WakeCause::Due), at));
                }
                Some(_) => commit.wakes.push(self.runtime.wake_of(&state, WakeCause::Next)),
                None => {}
            }
            let (written, before) = (entries.clone(), state.last_at);
            if !self.runs.append(Arc::make_mut(&mut state), entries, &mut commit).await?.is_done() {
                // the state includes the entries of the other writer
                continue;
            }
            for entry in &written {
                crate::hop::log_attempt(&self.runtime.config, &state, entry, settings.now.since(before));
            }
            if let Some(end) = &state.end {
                crate::hop::log_end(&self.runtime.config, &state, end);
            }
            self.runs.keep_read_state(state.clone());
            return Ok(state);
        }
    }
}
