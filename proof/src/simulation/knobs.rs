//! How much of everything may happen. A seed chooses; shrinking lowers one after the other while the failure stays.

use super::places::{Places, Site};
use crate::dice::Dice;

/// The amounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Knobs {
    /// Workers that share the storage.
    pub(crate) processes: u64,
    /// Crashes, lost replies, refusals, torn commits, over all processes.
    pub(crate) faults: u64,
    /// Whether calls only fail and replies are only lost, and nobody dies of it.
    pub(crate) gentle: u64,
    /// At which of the places that call the storage a process dies besides, the first time that the place is met.
    pub(crate) aim: Option<&'static Site>,
    /// And at which other one, where a seed is run again for that.
    pub(crate) aim_too: Option<&'static Site>,
    /// How often a process ends in the middle of what it does.
    pub(crate) kills: u64,
    /// How often a process stands still for minutes, its bodies with it.
    pub(crate) freezes: u64,
    /// How often the storage refuses everything for many minutes.
    pub(crate) brown_outs: u64,
    /// How often a wake is lost for good.
    pub(crate) losses: u64,
    /// How far each worker's clock may be off, in milliseconds, either way.
    pub(crate) skew: u64,
    /// How often all that is delivered and not acknowledged is delivered again.
    pub(crate) redeliveries: u64,
    /// How often somebody cancels a run.
    pub(crate) cancels: u64,
    /// How often somebody runs an ended run again.
    pub(crate) reruns: u64,
    /// Whether a worker has an older version of the code, without one of the functions.
    pub(crate) old: u64,
    /// How often listings stand still for a while.
    pub(crate) lags: u64,
    /// Whether a body may take its process with it.
    pub(crate) deadly: u64,
    /// Events that start runs.
    pub(crate) events: u64,
    /// About so many leaves has the larger tree.
    pub(crate) leaves: u64,
    /// Events that runs may wait for. With none, nothing waits.
    pub(crate) words: u64,
}

impl Knobs {
    /// What a seed chooses.
    pub(crate) fn of(seed: u64) -> Self {
        let dice = Dice::new(seed);
        let rarely = |n: u64| u64::from(dice.one_in(n));
        // every third has no faults at all: what goes wrong then has no excuse
        let calm = dice.one_in(3);
        let only = |amount: u64| if calm { 0 } else { amount };
        Self {
            processes: 1 + dice.below(3),
            faults: only(dice.below(16)),
            gentle: rarely(3),
            aim: (dice.one_in(2) && !calm).then(|| {
                let sites = Places::all().sites();
                &sites[dice.below(sites.len() as u64) as usize]
            }),
            aim_too: None,
            kills: only(dice.below(3)),
            freezes: only(dice.below(3)),
            brown_outs: only(rarely(6)),
            losses: only(rarely(6)),
            skew: dice.below(2_001),
            redeliveries: dice.below(if calm { 12 } else { 4 }),
            cancels: dice.below(2),
            reruns: dice.below(2),
            old: rarely(8),
            lags: dice.below(3),
            deadly: only(rarely(6)),
            events: 1 + dice.below(5),
            leaves: 1 + dice.below(9),
            words: if dice.one_in(2) { 0 } else { 1 + dice.below(6) },
        }
    }

    /// Each of these has less of one thing.
    pub(crate) fn smaller(&self) -> Vec<Self> {
        let less = |now: u64, least: u64| [least, now / 2, now.saturating_sub(1)].map(|to| to.max(least));
        let mut all = Vec::new();
        for n in 0..3 {
            all.extend([
                Self { aim: None, ..*self },
                Self { aim_too: None, ..*self },
                Self { faults: less(self.faults, 0)[n], ..*self },
                Self { kills: less(self.kills, 0)[n], ..*self },
                Self { freezes: less(self.freezes, 0)[n], ..*self },
                Self { brown_outs: less(self.brown_outs, 0)[n], ..*self },
                Self { losses: less(self.losses, 0)[n], ..*self },
                Self { redeliveries: less(self.redeliveries, 0)[n], ..*self },
                Self { cancels: less(self.cancels, 0)[n], ..*self },
                Self { reruns: less(self.reruns, 0)[n], ..*self },
                Self { old: less(self.old, 0)[n], ..*self },
                Self { lags: less(self.lags, 0)[n], ..*self },
                Self { deadly: less(self.deadly, 0)[n], ..*self },
                Self { skew: less(self.skew, 0)[n], ..*self },
                Self { events: less(self.events, 1)[n], ..*self },
                Self { processes: less(self.processes, 1)[n], ..*self },
                Self { leaves: less(self.leaves, 1)[n], ..*self },
                Self { words: less(self.words, 0)[n], ..*self },
            ]);
        }
        all.retain(|smaller| smaller != self);
        all
    }
}
