//! Several workers over one memory, on clocks of their own, under a scheduler that chance rules. Everything comes from
//! the seed: the functions, the interleaving, the faults, the clocks.

mod account;
pub(crate) mod bulk;
mod controls;
mod counted;
pub(crate) mod coverage;
mod delivery;
mod ending;
mod functions;
mod gaps;
mod holding;
mod interference;
mod invariants;
pub(crate) mod knobs;
mod listeners;
mod listings;
mod periods;
pub(crate) mod places;
mod processes;
mod requests;
mod reruns;
mod scheduler;
mod standstill;
mod tree;
mod wire;
mod words;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use stepladder_core::expr::ExprCache;
use stepladder_core::{RunId, Timestamp, Wake};
use stepladder_engine::clock::Clock;
use stepladder_engine::{Config, Pace, Program};
use stepladder_testkit::clock::VirtualClock;
use stepladder_testkit::memory::Memory;

use crate::dice::Dice;
use account::Account;
use bulk::Bulk;
use controls::Controlled;
use counted::Counted;
use coverage::Coverage;
use invariants::{Broken, Invariants, journal, rows};
use knobs::Knobs;
use listings::Lagging;
use processes::{Process, Skewed};
use requests::Requests;
use reruns::Reruns;
use scheduler::Scheduler;
use tree::Place;
use wire::Shared;
use words::Words;

/// Actions after which a run that has not ended never will.
const TURNS: u32 = 400_000;
/// Hops of one process at a time: no run waits for a worker.
const AT_A_TIME: usize = 24;
/// After so long without a write, nothing will happen any more: watchdogs come within the hour.
const STANDSTILL: Duration = Duration::from_secs(5 * 3_600);
/// Deliveries after which the queue gives a message up.
const DELIVERIES: u32 = 5;

/// How it failed: why, and what had happened.
pub(crate) struct Failed {
    pub(crate) why: Broken,
    pub(crate) story: Vec<String>,
}

/// That these runs have ended, as who cancelled them was told: when, and how long what follows from that may have taken
/// already.
type Cancelled = Vec<(RunId, Timestamp, Duration)>;

/// What has happened, of what nobody can be blamed for.
#[derive(Clone, Copy, Debug, Default)]
struct Mishaps {
    deaths: u32,
    /// Those of bodies that take their invocation with them.
    of_bodies: u32,
    freezes: u32,
    brown_outs: u32,
    losses: u32,
    redeliveries: u32,
    /// How far the clock was moved for no reason.
    drift: Duration,
    /// How long a function was paused, or nobody worked, or the queue gave nothing out.
    stood: Duration,
    /// How often the queue gave nothing out, or all workers were down.
    standstills: u32,
}

pub(crate) struct Simulation {
    memory: Arc<Memory>,
    clock: Arc<VirtualClock>,
    programs: Vec<Arc<dyn Program>>,
    /// What the first worker has instead, where it has an older version.
    older: Option<Arc<dyn Program>>,
    config: Config,
    seed: u64,
    /// Engines so far.
    engines: u64,
    /// What may still happen, of all that was allowed.
    knobs: Knobs,
    allowed: Knobs,
    mishaps: Mishaps,
    /// Who goes next; what happens around.
    dice: Dice,
    /// Which calls fail, and when; on average every so manieth.
    fate: Dice,
    every: u64,
    shared: Arc<Shared>,
    scheduler: Scheduler,
    processes: Vec<Process>,
    invariants: Invariants,
    controlled: Controlled,
    begun: Timestamp,
    swept: Timestamp,
    /// When something was written for the last time.
    moved: Timestamp,
    /// Whether all has ended that was sent at first, and nothing goes wrong any more.
    afterwards: bool,
    requests: Rc<RefCell<Requests>>,
    bulk: Rc<RefCell<Bulk>>,
    cancelled: Rc<RefCell<Cancelled>>,
    reruns: Rc<RefCell<Reruns>>,
    /// Wakes that became dead letters while a worker could write nothing: a person moves them back.
    letters: Vec<Wake>,
    /// Until then, the queue gives nothing out.
    queue_until: Timestamp,
    /// The function that is paused now and then.
    pausable: &'static str,
    /// Whether it is paused, or may be, and from when on somebody resumes it.
    paused: Rc<Cell<Option<Timestamp>>>,
    /// How often it was paused.
    pauses: Rc<Cell<u32>>,
    words: Rc<RefCell<Words>>,
    exprs: ExprCache,
    /// Invocations whose time was up.
    cut: Rc<Cell<u32>>,
    /// In how many actions a worker ends in the middle of what it does.
    doom: Option<u64>,
    listings: Arc<Lagging>,
    counted: Counted,
    story: Vec<String>,
    /// What was seen that must not be, where it is not looked for after every action.
    broken: Option<Broken>,
    /// What somebody was told that is not so.
    untrue: Rc<RefCell<Option<Broken>>>,
}

impl Simulation {
    pub(crate) fn new(seed: u64, knobs: Knobs, loud: bool, coverage: Option<Arc<Coverage>>) -> Self {
        let stream = |n: u64| Dice::stream(seed, n);
        let settings = stream(1);
        let clock = Arc::new(VirtualClock::new(Timestamp::from_millis(1_700_000_000_000)));
        let memory = Arc::new(Memory::new(clock.clone()));
        let (account, scheduler) = (Account::default(), Scheduler::default());
        let place = Place { account: account.clone(), clock: clock.clone(), dying: scheduler.dying.clone() };
        let functions = functions::functions(&stream(2), &place, knobs);
        let pace = if settings.one_in(2) { Pace::StepPerInvocation } else { Pace::WithinBudget };
        let side_by_side = 1 + settings.below(4) as usize;
        let cache_bytes = 1 << (10 + settings.below(12));
        // one worker may know that it is the only one, as a local server does
        let alone = knobs.processes == 1 && settings.one_in(2);
        let config = Config { pace, side_by_side, cache_bytes, is_only_process: alone, ..Config::default() };
        let is_controlled = functions.control.is_some() && (knobs.standstills > 0 || settings.one_in(2));
        let pausable = if is_controlled { controls::CONTROLLED } else { functions::MAIN };
        let now = clock.now();
        let skew = Duration::from_millis(2 * knobs.skew);
        let mut simulation = Self {
            invariants: Invariants::new(memory.clone(), account, &functions.limits, &functions.programs, skew),
            controlled: Controlled::new(memory.clone(), functions.control, knobs.old > 0),
            listings: Arc::new(Lagging::new(memory.clone())),
            memory,
            clock,
            programs: functions.programs,
            older: functions.older,
            config,
            seed,
            engines: 0,
            knobs,
            allowed: knobs,
            mishaps: Mishaps::default(),
            dice: stream(3),
            every: 5 + stream(4).below(60),
            fate: stream(4),
            shared: Shared::new(&knobs, loud, coverage),
            scheduler,
            processes: Vec::new(),
            begun: now,
            // a server sweeps when it starts
            swept: now - Duration::from_secs(60),
            moved: now,
            afterwards: false,
            requests: Rc::new(RefCell::new(Requests::new(&knobs))),
            bulk: Rc::new(RefCell::new(Bulk::new(&knobs))),
            cancelled: Rc::default(),
            reruns: Rc::default(),
            letters: Vec::new(),
            queue_until: now,
            pausable,
            paused: Rc::default(),
            pauses: Rc::default(),
            words: Rc::default(),
            exprs: ExprCache::default(),
            cut: Rc::default(),
            doom: None,
            counted: Counted::default(),
            broken: None,
            untrue: Rc::default(),
            story: vec![functions.told, format!("{pace:?}, {side_by_side} side by side")],
        };
        let clocks = stream(5);
        let intakes = Self::intakes(&knobs, &clocks);
        for n in 0..knobs.processes as usize + intakes {
            let by = clocks.below(2 * knobs.skew + 1) as i64 - knobs.skew as i64;
            let clock = Arc::new(Skewed { clock: simulation.clock.clone(), by });
            let process = simulation.process(n, clock);
            simulation.processes.push(process);
        }
        simulation
    }

    /// To the end; gives the number of actions.
    pub(crate) fn run(mut self) -> Result<u64, Failed> {
        let listening = self.counted.listen();
        let result = self.turns();
        drop(listening);
        result.map_err(|why| Failed { why, story: self.whole_story() })
    }

    /// What happened, whether or not it should have.
    #[cfg(test)]
    pub(crate) fn story(mut self) -> Vec<String> {
        drop(self.turns());
        self.whole_story()
    }

    fn turns(&mut self) -> Result<u64, Broken> {
        for turn in 0..TURNS {
            self.bury();
            self.supervise();
            self.mishaps.deaths += self.cut.take();
            self.overhear();
            let (now, touched) = (self.clock.now(), self.shared.take_touched());
            if !touched.is_empty() {
                self.moved = now;
            }
            if !touched.is_empty() {
                self.controlled.check()?;
            }
            self.invariants.check(now, touched)?;
            self.nobody_waits_for_nothing(now)?;
            self.somebody_ends_in_the_middle();
            self.what_was_told_is_true()?;
            self.what_was_said_arrived()?;
            self.requests_are_applied_in_order()?;
            self.bulk_gets_further()?;
            self.broken.take().or_else(|| self.untrue.borrow_mut().take()).map_or(Ok(()), Err)?;
            if now.since(self.moved) > STANDSTILL + self.mishaps.stood {
                return Err(self.who_stands_still());
            }
            if self.has_ended() {
                if self.somebody_runs_one_again() {
                    continue;
                }
                self.at_the_end()?;
                if self.afterwards {
                    self.nothing_is_left()?;
                    return Ok(u64::from(turn) + self.shared.calls.load(SeqCst));
                }
                self.begin_afterwards();
            }
            if self.allowed.bulk > 0 && self.dice.one_in(8) {
                self.bulk_goes_on();
            }
            match self.dice.below(500) {
                0 => {
                    let by = Duration::from_millis(self.dice.below(3_000));
                    self.mishaps.drift += by;
                    self.clock.advance(by);
                }
                1..4 => self.somebody_interferes(),
                4..50 => self.receive(),
                50..52 if self.is_torn().is_some() => drop(self.somebody_cancels_what_has_ended()),
                _ if self.poll() => {}
                _ => self.wait(),
            }
        }
        Err("not every run ended".into())
    }

    fn has_ended(&self) -> bool {
        self.requests.borrow().are_accepted()
            && self.bulk.borrow().is_done()
            && (0..self.processes.len()).all(|n| self.scheduler.tasks_of(n) == 0)
            && rows(&self.memory).iter().all(|row| row.ended.is_some())
    }

    fn tell(&mut self, what: String) {
        let at = self.clock.now().since(self.begun);
        self.story.push(format!("{:>10.3} s  {what}", at.as_secs_f64()));
    }

    /// What workers asked the storage since the last time.
    fn overhear(&mut self) {
        for call in self.shared.take_log() {
            self.tell(call);
        }
    }

    /// A worker by chance.
    fn one(&self) -> usize {
        self.dice.below(self.workers() as u64) as usize
    }

    /// How many processes take wakes; those that take bulk requests in come after them.
    fn workers(&self) -> usize {
        self.allowed.processes as usize
    }

    fn poll(&mut self) -> bool {
        let now = self.clock.now();
        let polled = self.scheduler.poll_one(&self.dice, |process| self.processes[process].frozen_until > now);
        self.mishaps.deaths += u32::from(polled == Some(true));
        self.mishaps.of_bodies += u32::from(polled == Some(true));
        polled.is_some()
    }

    /// Once more, with nothing that goes wrong: whoever comes now gets through.
    fn begin_afterwards(&mut self) {
        self.afterwards = true;
        let Knobs { processes, skew, leaves, .. } = self.knobs;
        self.knobs = Knobs { processes, skew, leaves, ..Knobs::default() };
        self.shared.faults_left.store(0, SeqCst);
        self.shared.aim_at_nothing();
        self.shared.denied_until.store(0, SeqCst);
        self.listings.go_on();
        // leases of the dead are over
        self.clock.advance(Duration::from_secs(1_000));
        self.invariants.forget_idle();
        self.moved = self.clock.now();
        for process in &mut self.processes {
            process.frozen_until = self.begun;
            process.wire.0.disarm();
        }
        if self.allowed.old > 0 {
            // all have the newest version by now
            let clock = self.processes[0].clock.clone();
            self.processes[0] = self.process(0, clock);
        }
        self.requests.borrow_mut().come_afterwards();
        self.tell("all has ended; once more, with nothing that goes wrong".into());
    }

    /// The story, with the journals that came of it.
    fn whole_story(&mut self) -> Vec<String> {
        self.overhear();
        let mut story = std::mem::take(&mut self.story);
        for row in rows(&self.memory) {
            story.push(format!("{} {}", row.run, row.function));
            for entry in journal(&self.memory, row.run) {
                let at = entry.at.since(self.begun).as_secs_f64();
                story.push(format!("{at:>10.3} s    {:.160}", format!("{:?}", entry.fact)));
            }
        }
        story
    }
}
