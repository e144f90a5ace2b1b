//! Checks the answers to posts, and what the handlers received, against the journals.

use super::*;

impl Posted {
    /// Returns what an entry of a step records, if a third party posted it.
    fn recorded(entry: &Entry) -> Option<Self> {
        match &entry.fact {
            Fact::SignalReceived { data, .. } => data.get().parse().ok().map(Self::Data),
            Fact::SignalFailed { error, .. }
            | Fact::StepCarriedOver { kind: StepKind::Signal, outcome: Outcome::Failed(error), .. } => {
                error.message.strip_prefix("failure ")?.parse().ok().map(Self::Failure)
            }
            Fact::StepCarriedOver { kind: StepKind::Signal, outcome: Outcome::Value(value), .. } => {
                let data: BTreeMap<String, u64> = serde_json::from_str(value.get()).ok()?;
                data.get("data").copied().map(Self::Data)
            }
            _ => None,
        }
    }
}

impl Simulation {
    /// Checks the answers since the last check.
    pub(in crate::simulation) fn check_callbacks(&mut self) -> Result<(), Violation> {
        let skew = Duration::from_millis(self.allowed.skew);
        let now = self.clock.now() + skew;
        let mut callbacks = self.callbacks.borrow_mut();
        for (post, answer) in std::mem::take(&mut callbacks.answered) {
            let CallbackPost { run, step, what } = &post;
            let entries = journal(&self.memory, *run);
            let of_step: Vec<&Entry> = entries.iter().filter(|entry| entry.fact.step() == Some(step)).collect();
            let recorded = of_step.iter().find_map(|entry| Posted::recorded(entry));
            let is_over = |fact: &Fact| {
                matches!(fact, Fact::WaitExpired { .. } | Fact::HeartbeatMissed { .. } | Fact::StepCarriedOver { .. })
            };
            let has_ended = entries.last().is_some_and(|last| last.fact.is_end());
            let is_over = has_ended || of_step.iter().any(|entry| is_over(&entry.fact));
            let is_true = match (answer, what) {
                (PostAnswer::Accepted { before }, _) => {
                    let is_first = before || callbacks.completed.insert((*run, step.clone()));
                    recorded == Some(*what) && is_first
                }
                (PostAnswer::KeptOpen(until), _) => {
                    let known = callbacks.kept_open.entry((*run, step.clone())).or_insert(until);
                    *known = until.max(*known);
                    true
                }
                (PostAnswer::Unneeded, _) => true,
                (PostAnswer::TooLate, Posted::Heartbeat) => {
                    // another heartbeat of the same moment may have been recorded since
                    let is_new = |entry: &Entry| {
                        matches!(entry.fact, Fact::HeartbeatReceived { .. }) && entry.at + 3 * skew >= now
                    };
                    let earlier: Vec<Entry> = entries.iter().filter(|entry| !is_new(entry)).cloned().collect();
                    recorded.is_some() || is_over || deadline(&earlier, step).is_some_and(|deadline| deadline <= now)
                }
                (PostAnswer::TooLate, _) => recorded.map_or(is_over, |recorded| recorded != *what),
            };
            if !is_true {
                return Err(format!("{post:?} was answered with {answer:?}, but the journal has {of_step:?}"));
            }
        }
        // A third party that posts its heartbeats in time never loses its wait.
        for ((run, step), before) in &callbacks.kept_open {
            let is_early = |entry: &Entry| {
                matches!(&entry.fact, Fact::HeartbeatMissed { step: of, .. } if of == step) && entry.at < *before
            };
            if journal(&self.memory, *run).iter().any(is_early) {
                return Err(format!(
                    "`{step}` of {run} had a heartbeat, and ended before the next was due at {before}"
                ));
            }
        }
        let now = self.clock.now();
        callbacks.kept_open.retain(|_, before| *before + 2 * skew > now);
        Ok(())
    }

    /// Checks that each handler received from its waits and polls what the journal says. Call this
    /// after the replays of all ended runs.
    pub(in crate::simulation) fn check_observed_outcomes(&self) -> Result<(), Violation> {
        for ((run, step), observed) in self.invariants.account().observed() {
            let entries = journal(&self.memory, run);
            let of_step = || entries.iter().filter(|entry| entry.fact.step() == Some(&step));
            let is_carried_over = |entry: &Entry| matches!(entry.fact, Fact::StepCarriedOver { .. });
            let Some(expected) = expected_outcome(of_step()).filter(|_| !of_step().any(is_carried_over)) else {
                continue;
            };
            if observed != expected {
                return Err(format!("{run} received {observed} from `{step}`; its journal says {expected}"));
            }
        }
        Ok(())
    }
}

/// Returns what a handler must receive from a wait or a poll with these entries.
fn expected_outcome<'a>(entries: impl Iterator<Item = &'a Entry>) -> Option<String> {
    let mut checks = 0;
    for entry in entries {
        match &entry.fact {
            Fact::SignalReceived { data, .. } => return Some(data.get().to_owned()),
            Fact::SignalFailed { error, .. } => return Some(format!("\"{}\"", error.message)),
            Fact::HeartbeatMissed { .. } => return Some(format!("\"{NO_HEARTBEAT}\"")),
            Fact::WaitExpired { .. } => return Some("null".into()),
            Fact::StepFailed { error, retry_at: Some(_), .. } => checks += u32::from(error.is_not_yet()),
            Fact::StepSucceeded { .. } => return Some(checks.to_string()),
            _ => {}
        }
    }
    None
}

/// Returns when a wait ends unless another heartbeat is recorded; `None` if it asks for none. No
/// heartbeat moves the timeout of the whole wait.
pub(super) fn deadline(entries: &[Entry], step: &StepId) -> Option<Timestamp> {
    let (mut deadline, mut timeout) = (None, None);
    for entry in entries.iter().filter(|entry| entry.fact.step() == Some(step)) {
        match &entry.fact {
            Fact::SignalAwaited { heartbeat_ms: Some(_), until, .. } => {
                (deadline, timeout) = (Some(entry.at + HEARTBEAT), Some(*until));
            }
            // the next ones may not be recorded for half of the interval
            Fact::HeartbeatReceived { .. } => deadline = Some(entry.at + HEARTBEAT + HEARTBEAT / 2),
            _ => {}
        }
    }
    deadline.map(|deadline| timeout.map_or(deadline, |timeout: Timestamp| deadline.min(timeout)))
}
