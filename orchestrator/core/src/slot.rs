//! The slots of a concurrency limit, the runs and steps that hold them, and the tickets in the wait
//! queue of the limit.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{EventId, OwnStep, RunId, RunOrStep, StepId, Timestamp};

/// The key of a wait queue: the key of a limit, or the key for runs of a paused function.
pub type QueueKey = Arc<str>;

/// A concurrency limit as it applies to one run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Limit {
    /// The name of the set of slots. It consists of the function, and of the value of the limit's
    /// key if there is one.
    pub key: QueueKey,
    /// The number of slots: the maximum number of holders at the same time.
    pub slots: u32,
}

/// The holder of a slot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the variants are explained; their fields are named by what they hold")]
pub enum Holder {
    /// A whole run, from its first step to its end. The lease of this holder does not expire
    /// ([`Timestamp::MAX`](crate::Timestamp::MAX)).
    Run(RunId),
    /// An attempt of a step, as started by one hop (rule 20). Two hops may try to start the same
    /// attempt; then each acquires a slot, and the second hop releases its own slot. So a hop must
    /// release only its own slots. `hop` is a random number that all requests of one hop share.
    Attempt { run: RunId, step: StepId, attempt: u32, hop: u64 },
}

impl Holder {
    /// Returns the run of the holder.
    pub fn run(&self) -> RunId {
        match self {
            Self::Run(run) | Self::Attempt { run, .. } => *run,
        }
    }

    /// Returns the step of the holder; `None` for a whole run.
    pub fn step(&self) -> Option<&StepId> {
        match self {
            Self::Run(_) => None,
            Self::Attempt { step, .. } => Some(step),
        }
    }

    /// Returns whether the holder is an attempt of this step.
    pub fn is_of_step(&self, run: RunId, step: &str) -> bool {
        self.run() == run && self.step().is_some_and(|own| **own == *step)
    }

    /// Returns the owner of the holder's own ticket: the run or the step.
    pub fn run_or_step(&self) -> RunOrStep {
        self.step().cloned().map_or(RunOrStep::Run, RunOrStep::Step)
    }

    /// Returns whether the position of this ticket counts for the holder: it [owns](Self::owns) the
    /// ticket, or it is the call of an executor, and a step of its run has the ticket. Such a step
    /// starts only after a call, so a call that waited behind it would wait for ever.
    pub fn may_use(&self, ticket: &Ticket) -> bool {
        let is_call = || self.step().and_then(|step| OwnStep::from_id(step)) == Some(OwnStep::Call);
        self.owns(ticket) || (ticket.run == self.run() && is_call())
    }

    /// Returns whether the holder has no use for this ticket after it has acquired a slot: it is
    /// its own ticket, or the ticket that its run got at its creation.
    pub fn owns(&self, ticket: &Ticket) -> bool {
        let is_own = || match &ticket.of {
            RunOrStep::Run => true,
            RunOrStep::Step(step) => Some(step) == self.step(),
        };
        ticket.run == self.run() && is_own()
    }
}

/// An acquired slot with its lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldSlot {
    /// The run or the attempt that holds the slot.
    pub holder: Holder,
    /// The end of the lease. After this time the holder counts as dead, and the next process that
    /// acquires a slot removes the holder.
    pub lease_until: Timestamp,
}

/// A position in a wait queue. Tickets are sorted in the order in which they are served: by the
/// time at which they were enqueued, then by event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ticket {
    /// When the ticket was first enqueued. A repeated request keeps this time.
    #[serde(rename = "asked")]
    pub queued_at: Timestamp,
    /// The run's event. It orders tickets that were enqueued in the same millisecond.
    pub event: EventId,
    /// The run.
    pub run: RunId,
    /// The owner of the ticket: a step, or the whole run. A run has a ticket from its creation
    /// until its first step acquires a slot.
    #[serde(rename = "step")]
    pub of: RunOrStep,
}

/// Returns the key for a pause of a function. The flow state of the pause and the wait queue of the
/// function's runs have this key.
pub fn pause_key(function: &str) -> QueueKey {
    format!("paused/{function}/").into()
}

/// Returns whether a slot may be acquired (rule 25). With a ticket, this is allowed if fewer
/// tickets are ahead of it than slots are free. Without a ticket, this is allowed only if the wait
/// queue is empty.
///
/// `ahead` is the number of tickets before the requester's own; `None` means that the requester has
/// no ticket. `waiting` is the length of the wait queue.
pub fn may_acquire(free: u32, ahead: Option<usize>, waiting: usize) -> bool {
    match ahead {
        Some(ahead) => ahead < free as usize,
        None => free > 0 && waiting == 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(of: RunOrStep) -> Ticket {
        let at = Timestamp::from_millis(7);
        Ticket { queued_at: at, event: EventId::new(at, 1), run: RunId::new(at, 2), of }
    }

    #[test]
    fn a_ticket_reads_as_version_0_2_0_wrote_it() {
        let (of_run, of_step) = (ticket(RunOrStep::Run), ticket(RunOrStep::Step("pay".into())));
        let ids = format!(r#""event":"{}","run":"{}""#, of_run.event, of_run.run);
        for (ticket, step) in [(&of_run, ""), (&of_step, "pay")] {
            let stored = format!(r#"{{"asked":7,{ids},"step":"{step}"}}"#);
            assert_eq!(serde_json::to_string(ticket).unwrap(), stored);
            assert_eq!(serde_json::from_str::<Ticket>(&stored).unwrap(), *ticket);
        }
        assert!(of_run < of_step);
    }

    #[test]
    fn a_step_may_use_its_own_ticket_and_that_of_its_runs_creation() {
        let (of_run, of_step) = (ticket(RunOrStep::Run), ticket(RunOrStep::Step("pay".into())));
        let holder = |step: &str| Holder::Attempt { run: of_run.run, step: step.into(), attempt: 1, hop: 3 };
        assert!(holder("pay").may_use(&of_run) && holder("pay").may_use(&of_step));
        assert!(holder("ship").may_use(&of_run) && !holder("ship").may_use(&of_step));
        assert!(Holder::Run(of_run.run).may_use(&of_run) && !Holder::Run(of_run.run).may_use(&of_step));
        let other = RunId::new(Timestamp::from_millis(7), 9);
        assert!(!Holder::Run(other).may_use(&of_run));
    }

    #[test]
    fn a_call_may_use_the_tickets_of_its_runs_steps_and_leaves_them() {
        let of_step = ticket(RunOrStep::Step("pay".into()));
        let call = |run| Holder::Attempt { run, step: OwnStep::Call.id(), attempt: 1, hop: 3 };
        assert!(call(of_step.run).may_use(&of_step) && !call(of_step.run).owns(&of_step));
        assert!(call(of_step.run).owns(&ticket(RunOrStep::Run)));
        assert!(!call(RunId::new(Timestamp::from_millis(7), 9)).may_use(&of_step));
    }

    #[test]
    fn rule_25_a_ticket_below_the_free_slots_may_acquire() {
        assert!(may_acquire(2, Some(1), 5));
        assert!(!may_acquire(2, Some(2), 5));
        assert!(!may_acquire(0, Some(0), 5));
    }

    #[test]
    fn rule_25_without_a_ticket_a_slot_is_acquired_only_if_the_queue_is_empty() {
        assert!(may_acquire(1, None, 0));
        assert!(!may_acquire(1, None, 1));
        assert!(!may_acquire(0, None, 0));
    }
}
