//! The settings of a simulation: how often each disturbance may happen, and how large everything
//! is. A seed chooses the settings. After a failure, they are lowered one by one as long as the
//! failure remains.

use stepladder_sdk::MissedTicks;

use super::controls::FlowControlKind;
use super::places::{CallSite, CallSites};
use crate::dice::SeededDice;

/// The settings of a simulation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SimulationSettings {
    /// Workers that share the storage.
    pub(crate) processes: u64,
    /// Number of crashes, lost replies, refusals and torn commits, over all processes.
    pub(crate) faults: u64,
    /// Whether faults only refuse calls, delay calls or lose replies, so that no process dies.
    pub(crate) gentle: u64,
    /// The place at which an additional process dies when the place is first reached.
    pub(crate) aim: Option<&'static CallSite>,
    /// A second such place, if the seed is run again to reach it.
    pub(crate) aim_too: Option<&'static CallSite>,
    /// The number of times that a busy process is killed.
    pub(crate) kills: u64,
    /// How often a process freezes for minutes, together with its bodies.
    pub(crate) freezes: u64,
    /// How often the store refuses everything for minutes.
    pub(crate) brown_outs: u64,
    /// How often a wake is lost for good.
    pub(crate) losses: u64,
    /// The maximum error of each worker's clock, in milliseconds, in either direction.
    pub(crate) skew: u64,
    /// How often all unacknowledged deliveries are repeated.
    pub(crate) redeliveries: u64,
    /// The number of times that a run is cancelled.
    pub(crate) cancels: u64,
    /// The number of times that an ended run is rerun.
    pub(crate) reruns: u64,
    /// Whether a worker has an older version of the code, which lacks one of the functions.
    pub(crate) old: u64,
    /// How often the listings become stale for a while.
    pub(crate) lags: u64,
    /// Whether a body may kill its process.
    pub(crate) deadly: u64,
    /// Number of events that start runs.
    pub(crate) events: u64,
    /// The approximate number of leaves of the largest tree.
    pub(crate) leaves: u64,
    /// Number of events that runs may wait for. With 0, no run waits.
    pub(crate) words: u64,
    /// Number of additional events that a request has for the controlled function, all with the
    /// same key.
    pub(crate) crowd: u64,
    /// Whether requests also contain events that cancel runs.
    pub(crate) stops: u64,
    /// How often everything stops for hours: a function is paused, all workers are down, or the
    /// queue delivers nothing.
    pub(crate) standstills: u64,
    /// How often the store refuses all writes of the first worker for a long time.
    pub(crate) denials: u64,
    /// How often the process that handles a request is interrupted by its deadline.
    pub(crate) cuts: u64,
    /// Maximum number of events of a bulk request. With 0, there are no bulk requests.
    pub(crate) bulk: u64,
    /// Number of bulk requests.
    pub(crate) bulks: u64,
    /// Whether a function listens to the ends of runs. With 2, it also calls another function; no
    /// seed chooses 2, because the simulation would take too long.
    pub(crate) listens: u64,
    /// Whether one call stores events together with their runs, as in one transaction.
    pub(crate) accepts_at_once: u64,
    /// Whether one call acquires slots or enqueues a ticket, as in one transaction.
    pub(crate) acquires_at_once: u64,
    /// How often the executors of functions cannot be reached for a while.
    pub(crate) outages: u64,
    /// Whether executors execute steps while they are polled.
    pub(crate) immediate: u64,
    /// Whether apps execute functions in another process.
    pub(crate) apps: u64,
    /// How many answers of such executors are lost. For apps, this is the number of requests and
    /// checkpoints with a fault.
    pub(crate) lost_answers: u64,
}

impl SimulationSettings {
    /// Returns the flow control that these settings require, if any.
    pub(crate) fn wanted_control(&self, dice: &SeededDice) -> Option<FlowControlKind> {
        let of = |controls: &[FlowControlKind]| Some(controls[dice.below(controls.len() as u64) as usize]);
        use FlowControlKind::{Batch, CancelOn, Cron, Debounce, Once, Rate, Replace, Skip as One, StopOne, Throttle};
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

    /// Returns the settings of a seed.
    pub(crate) fn from_seed(seed: u64) -> Self {
        let dice = SeededDice::new(seed);
        let rarely = |n: u64| u64::from(dice.one_in(n));
        // One seed in three has no faults at all, so nothing excuses a delay.
        let calm = dice.one_in(3);
        let only = |amount: u64| if calm { 0 } else { amount };
        Self {
            processes: 1 + dice.below(3),
            faults: only(dice.below(16)),
            gentle: rarely(3),
            aim: (dice.one_in(2) && !calm).then(|| {
                let sites = CallSites::all_sites().sites();
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
            accepts_at_once: 0,
            acquires_at_once: 0,
            outages: 0,
            immediate: 0,
            apps: 0,
            lost_answers: 0,
        }
        .with_rare_settings(&dice)
        .with_listeners(&dice)
        .with_one_call_for_events(&dice)
        .with_one_call_for_slots(&dice)
        .with_executors(&dice)
    }

    // The following settings are chosen last, so that the other settings of each seed stay the
    // same.

    fn with_one_call_for_events(self, dice: &SeededDice) -> Self {
        Self { accepts_at_once: dice.below(2), ..self }
    }

    fn with_one_call_for_slots(self, dice: &SeededDice) -> Self {
        Self { acquires_at_once: dice.below(2), ..self }
    }

    /// Adds executors that cannot be reached for a while, that execute steps while they are polled,
    /// or that send requests to apps.
    fn with_executors(self, dice: &SeededDice) -> Self {
        let outages = if dice.one_in(6) { 1 + dice.below(4) } else { 0 };
        let immediate = u64::from(dice.one_in(6));
        let lost_answers = immediate * dice.below(4);
        match dice.one_in(4) {
            true => Self { outages, apps: 1, lost_answers: dice.below(9), ..self },
            false => Self { outages, immediate, lost_answers, ..self },
        }
    }

    /// Adds a listener, except with bulk requests: handling the ends of all their runs takes too
    /// long.
    fn with_listeners(self, dice: &SeededDice) -> Self {
        match dice.below(8) {
            _ if self.bulk > 0 => self,
            1 => Self { listens: 1, ..self },
            _ => self,
        }
    }

    /// Adds rare settings. They take long to simulate or exclude other settings.
    fn with_rare_settings(self, dice: &SeededDice) -> Self {
        match dice.below(64) {
            // The crowd has more events than a request may have rounds of decisions.
            0 => Self { crowd: 100 + dice.below(30), events: 1, leaves: 1, words: 0, faults: 0, kills: 0, ..self },
            1..8 => Self { stops: 1, events: 2 + dice.below(4), ..self },
            8..12 => Self { crowd: 3 + dice.below(8), standstills: 1 + dice.below(2), ..self },
            // These settings have no faults, so nothing excuses a run that starts too early.
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

    /// Returns variants of these settings, each of which lowers one setting.
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
                Self { accepts_at_once: less(self.accepts_at_once, 0)[n], ..*self },
                Self { acquires_at_once: less(self.acquires_at_once, 0)[n], ..*self },
                Self { outages: less(self.outages, 0)[n], ..*self },
                Self { lost_answers: less(self.lost_answers, 0)[n], ..*self },
                Self { immediate: less(self.immediate, 0)[n], ..*self },
                Self { apps: less(self.apps, 0)[n], ..*self },
            ]);
        }
        all.retain(|smaller| smaller != self);
        all
    }
}
