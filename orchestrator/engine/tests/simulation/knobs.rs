//! How much of everything may happen. A seed chooses; shrinking lowers one after the other while the failure stays.

use crate::support::chance::Dice;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Knobs {
    /// Workers that share the storage.
    pub(crate) processes: u64,
    /// Crashes, lost replies, refusals, torn commits, over all processes.
    pub(crate) faults: u64,
    /// How often a process stands still for minutes, its bodies with it.
    pub(crate) freezes: u64,
    /// How far each worker's clock may be off, in milliseconds, either way.
    pub(crate) skew: u64,
    /// How often all that is delivered and not acknowledged is delivered again.
    pub(crate) redeliveries: u64,
    /// How often somebody cancels a run.
    pub(crate) cancels: u64,
    /// Events that start a run.
    pub(crate) events: u64,
    /// The function has fewer steps than this, and at least two.
    pub(crate) steps: u64,
}

impl Knobs {
    pub(crate) fn of(dice: &Dice) -> Self {
        Self {
            processes: 1 + dice.below(3),
            faults: dice.below(8),
            freezes: dice.below(3),
            skew: dice.below(2_001),
            redeliveries: dice.below(4),
            cancels: dice.below(2),
            events: 1 + dice.below(4),
            steps: 3 + dice.below(7),
        }
    }

    /// Each of these has less of one thing.
    pub(crate) fn smaller(&self) -> Vec<Self> {
        let less = |now: u64, least: u64| [least, now / 2, now.saturating_sub(1)].map(|to| to.max(least));
        let mut all = Vec::new();
        for n in 0..3 {
            all.extend([
                Self { faults: less(self.faults, 0)[n], ..*self },
                Self { freezes: less(self.freezes, 0)[n], ..*self },
                Self { redeliveries: less(self.redeliveries, 0)[n], ..*self },
                Self { cancels: less(self.cancels, 0)[n], ..*self },
                Self { skew: less(self.skew, 0)[n], ..*self },
                Self { events: less(self.events, 1)[n], ..*self },
                Self { processes: less(self.processes, 1)[n], ..*self },
                Self { steps: less(self.steps, 3)[n], ..*self },
            ]);
        }
        all.retain(|smaller| smaller != self);
        all
    }
}
