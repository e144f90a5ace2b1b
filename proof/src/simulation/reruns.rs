//! Reruns of ended runs, from the beginning or from one of their steps.

use stepladder_core::state::RunState;
use stepladder_core::{RunId, StepId, StepKind};
use stepladder_engine::RerunOptions;
use stepladder_engine::ports::Journals;

use super::Simulation;
use super::invariants::{Violation, at_once};
use super::tree::own_name;

/// The reruns that started from a step: the new run, the original run, and the step.
pub(super) type StepReruns = Vec<(RunId, RunId, String)>;

impl Simulation {
    /// Reruns an ended run. Returns false if no more reruns are allowed or no run has ended.
    pub(super) fn rerun_random_run(&mut self) -> bool {
        if self.knobs.reruns == 0 {
            return false;
        }
        let Some(run) = self.any_run(|ended| ended) else { return false };
        self.knobs.reruns -= 1;
        self.rerun(run);
        true
    }

    fn rerun(&mut self, run: RunId) {
        let at = self.random_worker();
        let steps = self.state_of(run).map_or_else(Vec::new, |state| {
            let mut steps: Vec<String> = state.steps.keys().map(ToString::to_string).collect();
            steps.sort_unstable();
            steps
        });
        // In a meeting, two bodies wait for each other. A rerun from one of these steps would wait
        // forever, because the other step's outcome is carried over and its body is not executed.
        let meets = steps.iter().any(|step| own_name(step).starts_with("meet-"));
        let from_step = (!steps.is_empty() && !meets && !self.dice.one_in(3))
            .then(|| steps[self.dice.below(steps.len() as u64) as usize].clone());
        self.add_to_story(format!("{run} is rerun from {from_step:?} at worker {at}"));
        let (engine, reruns) = (self.processes[at].engine.clone(), self.reruns.clone());
        self.scheduler.spawn(at, async move {
            let how = RerunOptions { from_step: from_step.clone(), input: None };
            if let (Ok(again), Some(from)) = (engine.control().rerun(run, how).await, from_step) {
                reruns.borrow_mut().push((again, run, from));
            }
        });
    }

    /// Checks that a rerun from a step executes no body of the steps that ended before that step.
    pub(super) fn check_reruns(&self) -> Result<(), Violation> {
        for (again, of, from) in self.reruns.borrow().iter() {
            let Some(first) = self.state_of(*of) else { continue };
            // A dropped step has no outcome, so it is unknown which steps ended before it.
            let Some(at) = first.outcomes.iter().position(|outcome| *outcome.step == **from) else { continue };
            let before = first.outcomes[..at].iter();
            for outcome in before.filter(|outcome| outcome.kind == StepKind::Run) {
                let body: (RunId, StepId) = (*again, outcome.step.clone());
                if self.invariants.executions(&body) > 0 {
                    return Err(format!(
                        "{again} runs {of} again from `{from}`, and executed `{}`, which had ended before: {:?}",
                        outcome.step, outcome.outcome
                    ));
                }
            }
        }
        Ok(())
    }

    pub(super) fn state_of(&self, run: RunId) -> Option<RunState> {
        RunState::fold(run, &at_once(self.memory.read(run, 0))).ok()
    }
}
