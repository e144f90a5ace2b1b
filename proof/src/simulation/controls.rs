//! A function with one kind of flow control, and the checks of that control.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use stepladder_core::journal::{Entry, Fact, NewRun, RunOrigin};
use stepladder_core::{EventId, RunId, RunRow, Timestamp};
use stepladder_engine::ports::Timers;
use stepladder_sdk::prelude::*;
use stepladder_sdk::{MissedTicks, Tick};
use stepladder_testkit::memory::Memory;

use super::functions::{AwaitedEvent, CrowdEvent};
use super::invariants::{Violation, journal, rows};
use super::tree::BodyEnvironment;
use crate::dice::SeededDice;

/// The function with flow control.
pub(crate) const CONTROLLED: &str = "controlled";
/// The period of throttles and rate limits.
pub(super) const PERIOD: Duration = Duration::from_secs(20);
/// How long a run sleeps between its two steps.
pub(super) const PAUSE: Duration = Duration::from_secs(4);
/// How long a run sleeps if a watchdog must find it alive.
pub(super) const LONG: Duration = Duration::from_secs(5_000);
/// The number of minutes between two ticks.
pub(super) const EVERY: i64 = 2;

/// A kind of flow control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlowControlKind {
    Batch(u32),
    Debounce,
    Skip,
    Replace,
    Once,
    Throttle,
    Rate,
    Runs,
    CancelOn,
    /// A singleton per key. Some events cancel its run.
    StopOne,
    /// A cron schedule with a tick every [`EVERY`] minutes.
    Cron(MissedTicks),
}

impl FlowControlKind {
    /// Picks a kind of flow control at random.
    pub(crate) fn random_kind(dice: &SeededDice) -> Option<Self> {
        Some(match dice.below(14) {
            0 | 1 => Self::Batch(2 + dice.below(2) as u32),
            2 => Self::Debounce,
            3 => Self::Skip,
            4 => Self::Replace,
            5 => Self::Once,
            6 => Self::Throttle,
            7 => Self::Rate,
            8 => Self::Runs,
            9 => Self::CancelOn,
            10 => Self::Cron([MissedTicks::Skip, MissedTicks::RunOnce, MissedTicks::RunAll][dice.below(3) as usize]),
            _ => return None,
        })
    }

    pub(crate) fn function(self, place: &BodyEnvironment, pause: Duration) -> Function {
        let one = |control: fn(Function) -> Function| control(function_with_pause(place, pause));
        match self {
            Self::Batch(size) => {
                let place = place.clone();
                let batch = Batch::new(size, PERIOD);
                let handler =
                    move |ctx: Context, _: Vec<Event<CrowdEvent>>| controlled_handler(ctx, place.clone(), PAUSE);
                Function::batch(CONTROLLED, batch, handler)
            }
            Self::Debounce => one(|f| f.debounce(Debounce::new(PERIOD / 4).max_wait(PERIOD))),
            Self::Skip => one(|f| f.singleton(Singleton::skip())),
            Self::Replace => one(|f| f.singleton(Singleton::replace())),
            Self::Once => one(|f| f.idempotency("string(event.data.k)")),
            Self::Throttle => one(|f| f.throttle(Rate::new(1, PERIOD))),
            Self::Rate => one(|f| f.rate_limit(Rate::new(1, PERIOD))),
            Self::Runs => one(|f| f.concurrency(Concurrency::runs(1))),
            Self::Cron(policy) => {
                let place = place.clone();
                let handler = move |ctx: Context, _: Event<Tick>| controlled_handler(ctx, place.clone(), PAUSE);
                Function::new(CONTROLLED, handler).cron(format!("*/{EVERY} * * * *")).missed_ticks(policy)
            }
            Self::StopOne => one(|f| {
                let singleton = Singleton::skip().key("string(event.data.k)");
                f.singleton(singleton).cancel_on(CancelOn::event::<AwaitedEvent>().matching("k"))
            }),
            Self::CancelOn => one(|f| {
                f.cancel_on(CancelOn::event::<AwaitedEvent>().matching("k"))
                    .timeouts(Timeouts::new().finish(PERIOD * 30))
            }),
        }
    }
}

/// Creates the function without flow control.
pub(crate) fn function_without_control(place: &BodyEnvironment) -> Function {
    function_with_pause(place, PAUSE)
}

fn function_with_pause(place: &BodyEnvironment, pause: Duration) -> Function {
    let place = place.clone();
    Function::new(CONTROLLED, move |ctx: Context, _: Event<CrowdEvent>| controlled_handler(ctx, place.clone(), pause))
}

/// The handler: two steps, and a sleep between them.
async fn controlled_handler(ctx: Context, place: BodyEnvironment, time: Duration) -> Result<u32> {
    let run = ctx.run_id();
    for (step, pause) in [("one", true), ("two", false)] {
        ctx.step(step, async || {
            let (n, executing) = place.account.begin(run, step);
            executing.end();
            Ok(n)
        })
        .await?;
        if pause {
            ctx.sleep("while", time).await?;
        }
    }
    Ok(0)
}

/// A run of the controlled function, as read from its journal.
struct ControlledRun {
    run: RunId,
    created: NewRun,
    created_at: Timestamp,
    entries: Vec<Entry>,
}

impl ControlledRun {
    fn is_live(&self) -> bool {
        !self.entries.iter().any(|entry| entry.fact.is_end())
    }

    fn is_moving(&self) -> bool {
        self.is_live() && self.entries.iter().any(|entry| entry.fact.is_requested_by_handler())
    }

    fn is_skipped(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry.fact, Fact::RunSkipped { .. }))
    }

    /// Returns the flow control key of the run's first event.
    fn event_key(&self) -> u64 {
        serde_json::from_str(self.created.event.data.get()).map_or(0, |CrowdEvent { k }| k)
    }

    /// Returns the events of the run: the one that started it, and those that joined.
    fn events(&self) -> impl Iterator<Item = EventId> {
        let joined = self.entries.iter().filter_map(|entry| match &entry.fact {
            Fact::EventJoined { event, .. } => Some(event.id),
            _ => None,
        });
        std::iter::once(self.created.event.id).chain(joined)
    }
}

/// Returns the runs that events started. Reruns are left out, because flow control does not apply
/// to them.
fn runs(memory: &Memory) -> Vec<ControlledRun> {
    runs_without(memory, &HashSet::new())
}

/// Returns the runs that events started, except those in `passed_over`.
fn runs_without(memory: &Memory, passed_over: &HashSet<RunId>) -> Vec<ControlledRun> {
    let of_events = |(run, entries): (RunId, Vec<Entry>)| match &entries.first()?.fact {
        Fact::RunCreated(created) if created.origin == RunOrigin::Event => {
            let (created, created_at) = ((**created).clone(), entries[0].at);
            Some(ControlledRun { run, created, created_at, entries })
        }
        _ => None,
    };
    let is_ours = |row: &RunRow| *row.function == *CONTROLLED && !passed_over.contains(&row.run);
    let ours = rows(memory).into_iter().filter(is_ours);
    ours.map(|row| (row.run, journal(memory, row.run))).filter_map(of_events).collect()
}

/// The checks of the function's flow control.
pub(crate) struct FlowControlChecks {
    memory: Arc<Memory>,
    control: Option<FlowControlKind>,
    /// Whether a worker has an older version of the function, which has no limit on the number of
    /// runs.
    uncounted: bool,
    /// Runs that have ended. Their journals are not read again, because an end is final.
    over: RefCell<HashSet<RunId>>,
}

impl FlowControlChecks {
    pub(crate) fn new(memory: Arc<Memory>, control: Option<FlowControlKind>, uncounted: bool) -> Self {
        Self { memory, control, uncounted, over: RefCell::default() }
    }

    pub(crate) fn control(&self) -> Option<FlowControlKind> {
        self.control
    }

    /// Returns the start times of all started runs, in ascending order.
    pub(crate) fn started(&self) -> Vec<Timestamp> {
        // An admitted run counts as started, even if its worker died right after the admission.
        let starts = |fact: &Fact| matches!(fact, Fact::RunAdmitted) || fact.is_requested_by_handler();
        let first = |run: ControlledRun| run.entries.into_iter().find(|entry| starts(&entry.fact));
        let mut started: Vec<Timestamp> = runs(&self.memory).into_iter().filter_map(first).map(|e| e.at).collect();
        started.sort_unstable();
        started
    }

    /// Checks the flow control of the runs. Called after every action that wrote something.
    pub(crate) fn check(&self) -> Result<(), Violation> {
        use FlowControlKind::{Replace, Runs, Skip, StopOne};
        if !matches!(self.control, Some(Skip | Replace | StopOne | Runs)) {
            return Ok(());
        }
        let (live, ended): (Vec<ControlledRun>, Vec<ControlledRun>) =
            runs_without(&self.memory, &self.over.borrow()).into_iter().partition(ControlledRun::is_live);
        self.over.borrow_mut().extend(ended.iter().map(|run| run.run));
        let most_one = |what: &str, counts: fn(&ControlledRun) -> bool| match live
            .iter()
            .filter(|run| counts(run))
            .map(|run| run.created.event.id)
            .collect::<Vec<_>>()
        {
            many if many.len() > 1 => Err(format!("{} runs {what} at once, of events {many:?}", many.len())),
            _ => Ok(()),
        };
        match self.control {
            Some(FlowControlKind::Skip) => most_one("of a singleton live", ControlledRun::is_live),
            Some(FlowControlKind::Replace) => most_one("of a singleton go on", ControlledRun::is_moving),
            Some(FlowControlKind::StopOne) => {
                let mut keys: Vec<u64> = live.iter().map(ControlledRun::event_key).collect();
                keys.sort_unstable();
                match keys.windows(2).find(|two| two[0] == two[1]) {
                    Some(two) => Err(format!("two runs of the singleton of key {} are live at once", two[0])),
                    None => Ok(()),
                }
            }
            Some(FlowControlKind::Runs) if !self.uncounted => {
                most_one("go on under a limit of one", ControlledRun::is_moving)
            }
            _ => Ok(()),
        }
    }

    /// Checks that each tick since `from` has started one run. Ticks that the sweep has not reached
    /// are not checked. While wakes are pending, ticks after `late` are not checked either.
    pub(crate) fn check_ticks(&self, from: Timestamp, late: Timestamp) -> Result<(), Violation> {
        if !matches!(self.control, Some(FlowControlKind::Cron(_))) {
            return Ok(());
        }
        let swept = super::invariants::at_once(self.memory.cursor()).map_or(0, |cursor| cursor.minute);
        let passed = if self.memory.wakes() == 0 { swept } else { swept.min(late.minute()) };
        let started: Vec<i64> = rows(&self.memory)
            .into_iter()
            .filter(|row| *row.function == *CONTROLLED)
            .filter_map(|row| match &journal(&self.memory, row.run).first()?.fact {
                Fact::RunCreated(created) if created.origin == RunOrigin::Cron => Some(created.event.ts.minute()),
                _ => None,
            })
            .collect();
        for minute in (from.minute() + 1..passed).filter(|minute| minute % EVERY == 0) {
            match started.iter().filter(|started| **started == minute).count() {
                1 => {}
                n => return Err(format!("the tick of {} started {n} runs", Timestamp::of_minute(minute))),
            }
        }
        Ok(())
    }

    /// Checks at the end that each accepted event has its run. The events in `perhaps` got no
    /// response, so they may have a run or not.
    pub(crate) fn check_at_the_end(
        &self,
        accepted: &[EventId],
        perhaps: &[EventId],
        took: Duration,
    ) -> Result<(), Violation> {
        let Some(control) = self.control.filter(|control| !matches!(control, FlowControlKind::Cron(_))) else {
            return Ok(());
        };
        let runs = runs(&self.memory);
        let mut led: HashMap<EventId, usize> = HashMap::new();
        runs.iter().flat_map(ControlledRun::events).for_each(|event| *led.entry(event).or_default() += 1);
        for event in accepted {
            match (control, led.get(event).copied().unwrap_or(0)) {
                (_, 1) => {}
                // The event has no run of its own: it joined the run of an earlier event with the
                // same key.
                (FlowControlKind::Once, 0) if !self.linked_runs(*event).is_empty() => {}
                (_, n) => return Err(format!("event {event} is in {n} runs of a function under {control:?}")),
            }
        }
        if let Some((event, n)) =
            perhaps.iter().filter_map(|event| Some((event, led.get(event)?))).find(|(_, n)| **n > 1)
        {
            return Err(format!("event {event} is in {n} runs of a function under {control:?}"));
        }
        if let FlowControlKind::Batch(size) = control
            && let Some(run) = runs.iter().find(|run| run.events().count() > size as usize)
        {
            return Err(format!("{} events began in a batch of {size}", run.events().count()));
        }
        if control == FlowControlKind::Once && took < Duration::from_secs(86_000) {
            let mut of_keys: HashMap<u64, usize> = HashMap::new();
            runs.iter().for_each(|run| *of_keys.entry(run.event_key()).or_default() += 1);
            if let Some((key, n)) = of_keys.iter().find(|(_, n)| **n > 1) {
                return Err(format!("{n} runs of one idempotency key, {key}"));
            }
        }
        if matches!(control, FlowControlKind::Throttle | FlowControlKind::Rate) {
            let starts = runs.iter().filter(|run| !run.is_skipped());
            let mut begins: Vec<_> = starts.map(|run| run.created.begins_at.unwrap_or(run.created_at)).collect();
            begins.sort_unstable();
            if let Some(close) = begins.windows(2).find(|pair| pair[1].since(pair[0]) < PERIOD) {
                return Err(format!("two runs began within {PERIOD:?}, under {control:?}: {close:?}"));
            }
        }
        Ok(())
    }

    fn linked_runs(&self, event: EventId) -> Vec<RunId> {
        use stepladder_engine::ports::Listings;
        let runs = super::invariants::at_once(self.memory.runs_of(event));
        runs.into_iter().filter(|row| *row.function == *CONTROLLED).map(|row| row.run).collect()
    }
}
