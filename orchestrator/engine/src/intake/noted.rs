//! What a process reports about the runs that it has created, after the write.

use std::sync::Arc;

use stepladder_core::RunId;
use stepladder_core::journal::Record;
use stepladder_core::state::RunState;

use crate::intake::Intake;
use crate::ports::{RunStart, StartResult};

/// What is reported about a run after its creation.
#[derive(Default)]
pub(crate) struct NotedRun {
    /// The id and the function of a run that is created as skipped.
    skipped: Option<(RunId, Arc<str>)>,
    /// The state after entry 0, and the further entries, if there are both entries and observers.
    observed: Option<(RunState, Record)>,
}

impl NotedRun {
    fn of(start: &RunStart, is_observed: bool) -> Self {
        let skipped = start.row.ended.map(|_| (start.row.run, start.row.function.clone()));
        let observed = (is_observed && start.record.entries.len() > 1).then(|| {
            let Record { seq, token, code, entries } = start.record.clone();
            let more = Record { seq: 1, token, code: code.clone(), entries: entries[1..].to_vec() };
            let first = Record { seq, token, code, entries: entries[..1].to_vec() };
            RunState::fold(start.row.run, [&first]).ok().map(|state| (state, more))
        });
        Self { skipped, observed: observed.flatten() }
    }
}

impl Intake {
    /// Returns what is reported about these runs once they exist.
    pub(crate) fn noted_runs(&self, starts: &[RunStart]) -> Vec<NotedRun> {
        let is_observed = !self.runtime.config.observers.is_empty();
        starts.iter().map(|start| NotedRun::of(start, is_observed)).collect()
    }

    /// Reports the runs that this process has created.
    pub(crate) fn report_created(&self, noted: Vec<NotedRun>, results: &[StartResult]) {
        for (noted, result) in noted.into_iter().zip(results) {
            if let StartResult::New = result {
                let NotedRun { skipped, observed } = noted;
                if let Some((run, function)) = skipped {
                    crate::hop::log_skipped(run, &function);
                }
                if let Some((state, more)) = observed {
                    self.runtime.config.observe(&state, &more);
                }
            }
        }
    }
}
