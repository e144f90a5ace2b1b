//! How much of everything may happen. A seed chooses; shrinking lowers one after the other while the failure stays.

use stepladder_sdk::MissedTicks;

use super::controls::Control;
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
    /// Events of one key more, in the same request, for the function that is controlled.
    pub(crate) crowd: u64,
    /// Whether events that cancel runs are among those that start them.
    pub(crate) stops: u64,
    /// How often nothing goes on for hours: a function is paused, all workers are down, the queue gives nothing out.
    pub(crate) standstills: u64,
    /// How often the storage takes nothing from the first worker any more, whatever it does, for long.
    pub(crate) denials: u64,
    /// How often the process that takes a request in is cut by its deadline.
    pub(crate) cuts: u64,
    /// Events of a bulk request, at most. With none, there are no such requests.
    pub(crate) bulk: u64,
    /// Bulk requests.
    pub(crate) bulks: u64,
    /// Whether a function listens to how runs end; with 2, it calls another one, which no seed chooses: it takes too long.
    pub(crate) listens: u64,
}

impl Knobs {
    /// Whether a function is to be controlled in a way that the rest is about.
    pub(crate) fn wanted_control(&self, dice: &Dice) -> Option<Control> {
        let of = |controls: &[Control]| Some(controls[dice.below(controls.len() as u64) as usize]);
        use Control::{Batch, CancelOn, Cron, Debounce, Once, Rate, Replace, Skip as One, StopOne, Throttle};
        use MissedTicks::{RunAll, RunOnce, Skip};
        match self {
            Self { bulk: 1.., .. } => of(&[
                Batch(3),
                Batch(5),
                CancelOn,
                Debounce,
                Once,
                Rate,
                Replace,
                One,
                StopOne,
                StopOne,
                Throttle,
                Throttle,
            ]),
            Self { stops: 1.., .. } => Some(CancelOn),
            Self { denials: 1.., .. } => of(&[Throttle, Rate, One, Once, Debounce, Batch(3)]),
            Self { standstills: 1.., .. } => {
                of(&[Throttle, Throttle, Rate, Cron(Skip), Cron(RunOnce), Cron(RunAll), Debounce, Batch(3)])
            }
            Self { crowd: 100.., .. } => of(&[Throttle, Throttle, Replace, Replace, One, Once, Debounce, Batch(3)]),
            Self { crowd: 1.., .. } => of(&[Throttle, Rate, Replace, One, Once, Debounce, Batch(3)]),
            _ => None,
        }
    }

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
            crowd: 0,
            stops: 0,
            standstills: 0,
            denials: 0,
            cuts: 0,
            bulk: 0,
            bulks: 0,
            listens: 0,
        }
        .with_what_is_rare(&dice)
        .with_listeners(&dice)
    }

    /// Not beside bulk requests: the ends of so many runs take long to be heard.
    fn with_listeners(self, dice: &Dice) -> Self {
        match dice.below(8) {
            _ if self.bulk > 0 => self,
            1 => Self { listens: 1, ..self },
            _ => self,
        }
    }

    /// What takes much time to simulate, or leaves little room for anything else.
    fn with_what_is_rare(self, dice: &Dice) -> Self {
        match dice.below(64) {
            // more than a request has ever been decided again
            0 => Self { crowd: 100 + dice.below(30), events: 1, leaves: 1, words: 0, faults: 0, kills: 0, ..self },
            1..8 => Self { stops: 1, events: 2 + dice.below(4), ..self },
            8..12 => Self { crowd: 3 + dice.below(8), standstills: 1 + dice.below(2), ..self },
            // what starts too early has no other excuse
            12..16 => Self {
                crowd: 3 + dice.below(8),
                standstills: 1 + dice.below(2),
                faults: 0,
                freezes: 0,
                brown_outs: 0,
                aim: None,
                ..self
            },
            20..23 => Self { crowd: 5 + dice.below(20), cuts: 1 + dice.below(3), ..self },
            23..26 => {
                let bulk = 20 + dice.below(if dice.one_in(8) { 100 } else { 40 });
                Self { bulk, bulks: 1 + dice.below(2), events: 1, leaves: 1, words: 0, ..self }
            }
            16..20 => Self { denials: 1, processes: 1 + dice.below(2), ..self },
            _ => self,
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
                Self { crowd: less(self.crowd, 0)[n], ..*self },
                Self { standstills: less(self.standstills, 0)[n], ..*self },
                Self { denials: less(self.denials, 0)[n], ..*self },
                Self { cuts: less(self.cuts, 0)[n], ..*self },
                Self { bulk: less(self.bulk, 0)[n], ..*self },
                Self { listens: less(self.listens, 0)[n], ..*self },
                Self { bulks: less(self.bulks, 0)[n], ..*self },
            ]);
        }
        all.retain(|smaller| smaller != self);
        all
    }
}
