//! Several workers over one memory, on clocks of their own, under a scheduler that chance rules. Everything comes from
//! the seed: the functions, the interleaving, the faults, the clocks.

mod account;
mod controls;
pub(crate) mod coverage;
mod delivery;
mod ending;
mod functions;
mod gaps;
mod holding;
mod interference;
mod invariants;
pub(crate) mod knobs;
mod listings;
pub(crate) mod places;
mod scheduler;
mod tree;
mod wire;
mod words;

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use stepladder_core::expr::Exprs;
use stepladder_core::{EventId, RunId, Timestamp};
use stepladder_engine::clock::{Clock, SeededEntropy, VirtualClock};
use stepladder_engine::intercept::Intercepted;
use stepladder_engine::memory::Memory;
use stepladder_engine::ports::Backend;
use stepladder_engine::{Config, Engine, Pace, Program};

use crate::dice::Dice;
use account::Account;
use controls::Controlled;
use coverage::Coverage;
use invariants::{Broken, Invariants, journal, rows};
use knobs::Knobs;
use listings::Lagging;
use scheduler::Scheduler;
use tree::Place;
use wire::{Shared, Wire};
use words::Words;

/// Actions after which a run that has not ended never will.
const TURNS: u32 = 400_000;
/// Hops of one process at a time: no run waits for a worker.
const AT_A_TIME: usize = 24;
/// After so long without a write, nothing will happen any more: watchdogs come within the hour.
const STANDSTILL: Duration = Duration::from_secs(5 * 3_600);
/// Deliveries after which the queue gives a message up.
const DELIVERIES: u32 = 5;

/// A worker's clock: right by so many milliseconds.
struct Skewed {
    clock: Arc<VirtualClock>,
    by: i64,
}

impl Clock for Skewed {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.now().as_millis() + self.by)
    }

    fn sleep_until(&self, due: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.clock.sleep_until(Timestamp::from_millis(due.as_millis() - self.by))
    }
}

struct Process {
    wire: Arc<Intercepted<Wire>>,
    engine: Arc<Engine>,
    clock: Arc<Skewed>,
    frozen_until: Timestamp,
}

/// How it failed: why, and what had happened.
pub(crate) struct Failed {
    pub(crate) why: Broken,
    pub(crate) story: Vec<String>,
}

/// What a client was told, and must find true.
#[derive(Default)]
struct Told {
    /// That its events are accepted, under these ids.
    accepted: Vec<EventId>,
    /// How many it has yet to be told of.
    unanswered: u64,
    sending: bool,
    /// From when on it sends again what was refused.
    again_at: Timestamp,
    /// That these runs have ended, since it cancelled them: when, and how long what follows from that may have taken
    /// already.
    ended: Vec<(RunId, Timestamp, Duration)>,
}

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
    /// How long a function was paused.
    paused: Duration,
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
    told: Rc<RefCell<Told>>,
    /// Whether a function is paused, or may be, and from when on somebody resumes it.
    paused: Rc<Cell<Option<Timestamp>>>,
    /// How often it was paused.
    pauses: Rc<Cell<u32>>,
    words: Rc<RefCell<Words>>,
    exprs: Exprs,
    /// Invocations whose time was up.
    cut: Rc<Cell<u32>>,
    /// In how many actions a worker ends in the middle of what it does.
    doom: Option<u64>,
    listings: Arc<Lagging>,
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
        let config = Config { pace, side_by_side, cache_bytes, alone, ..Config::default() };
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
            swept: now,
            moved: now,
            afterwards: false,
            told: Rc::new(RefCell::new(Told { unanswered: knobs.events, ..Told::default() })),
            paused: Rc::default(),
            pauses: Rc::default(),
            words: Rc::default(),
            exprs: Exprs::default(),
            cut: Rc::default(),
            doom: None,
            broken: None,
            untrue: Rc::default(),
            story: vec![functions.told, format!("{pace:?}, {side_by_side} side by side")],
        };
        let clocks = stream(5);
        for _ in 0..knobs.processes {
            let by = clocks.below(2 * knobs.skew + 1) as i64 - knobs.skew as i64;
            let clock = Arc::new(Skewed { clock: simulation.clock.clone(), by });
            let process = simulation.process(clock);
            simulation.processes.push(process);
        }
        simulation
    }

    fn process(&mut self, clock: Arc<Skewed>) -> Process {
        let chance = (self.dice.clone(), self.fate.clone(), self.every);
        let store = (self.memory.clone(), self.listings.clone());
        let wire = Wire::new(store, self.clock.clone(), self.shared.clone(), chance, clock.by);
        let wire = Arc::new(Intercepted(wire));
        // the first worker may have an older version
        let is_old = self.knobs.old > 0 && self.processes.is_empty() && self.knobs.processes > 1;
        let engine = self.engine(wire.clone(), clock.clone(), is_old);
        Process { wire, engine, clock, frozen_until: self.begun }
    }

    fn engine(&mut self, backend: Arc<dyn Backend>, clock: Arc<dyn Clock>, is_old: bool) -> Arc<Engine> {
        self.engines += 1;
        let mut programs = self.programs.clone();
        if is_old {
            let older = |program: &Arc<dyn Program>| {
                self.older.as_ref().is_some_and(|older| older.spec().id == program.spec().id)
            };
            programs.retain(|program| *program.spec().id != *functions::HELPER && !older(program));
            programs.extend(self.older.clone());
        }
        let entropy = Arc::new(SeededEntropy::new((self.seed << 8).wrapping_add(self.engines)));
        let engine = Engine::with_ports(backend, clock, entropy, programs, self.config.clone());
        Arc::new(engine.expect("functions that can work"))
    }

    /// To the end; gives the number of actions.
    pub(crate) fn run(mut self) -> Result<u64, Failed> {
        let result = self.turns();
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
            self.broken.take().or_else(|| self.untrue.borrow_mut().take()).map_or(Ok(()), Err)?;
            if now.since(self.moved) > STANDSTILL {
                return Err(self.who_stands_still());
            }
            if self.has_ended() {
                self.at_the_end()?;
                if self.afterwards {
                    self.nothing_is_left()?;
                    return Ok(u64::from(turn) + self.shared.calls.load(SeqCst));
                }
                self.begin_afterwards();
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
        self.told.borrow().unanswered == 0
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

    fn one(&self) -> usize {
        self.dice.below(self.processes.len() as u64) as usize
    }

    fn poll(&mut self) -> bool {
        let now = self.clock.now();
        let polled = self.scheduler.poll_one(&self.dice, |process| self.processes[process].frozen_until > now);
        self.mishaps.deaths += u32::from(polled == Some(true));
        self.mishaps.of_bodies += u32::from(polled == Some(true));
        polled.is_some()
    }

    /// Who stood still may have bodies whose time is up: its supervisor looks at once.
    fn supervise(&mut self) {
        let now = self.clock.now();
        for n in 0..self.processes.len() {
            if self.processes[n].frozen_until > self.begun && self.processes[n].frozen_until <= now {
                self.processes[n].frozen_until = self.begun;
                let engine = self.processes[n].engine.clone();
                self.scheduler.spawn(n, async move { drop(engine.expel_overdue().await) });
            }
        }
    }

    /// Who died is started again, with nothing in memory.
    fn bury(&mut self) {
        for n in 0..self.processes.len() {
            if self.processes[n].wire.0.has_died() {
                self.tell(format!("worker {n} dies"));
                self.mishaps.deaths += 1;
                self.scheduler.kill(n);
                self.told.borrow_mut().sending = false;
                self.words.borrow_mut().is_dead(n);
                let clock = self.processes[n].clock.clone();
                self.processes[n] = self.process(clock);
            }
        }
    }

    /// Once more, with nothing that goes wrong: whoever comes now gets through.
    fn begin_afterwards(&mut self) {
        self.afterwards = true;
        let Knobs { processes, skew, leaves, .. } = self.knobs;
        self.knobs = Knobs { processes, skew, leaves, ..Knobs::default() };
        self.shared.faults_left.store(0, SeqCst);
        self.shared.aim_at_nothing();
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
            self.processes[0] = self.process(clock);
        }
        self.told.borrow_mut().unanswered = 2;
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
