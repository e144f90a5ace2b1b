//! Several workers over one memory, on clocks of their own, under a scheduler that chance rules. Everything comes from
//! the seed: the function, the interleaving, the faults, the clocks.

mod ending;

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use futures::FutureExt;
use stepladder_core::slot::Limit;
use stepladder_core::{NewEvent, Timestamp, json};
use stepladder_engine::clock::{Clock, VirtualClock};
use stepladder_engine::ports::Queue;
use stepladder_engine::{Engine, Pace};

use crate::invariants::{Broken, Invariants, journal, rows};
use crate::knobs::Knobs;
use crate::port::{Log, Port};
use crate::scheduler::Scheduler;
use crate::support::World;
use crate::support::chance::{Dice, graph};
use crate::support::faults::Faulty;
use crate::support::script::Script;

/// Actions after which a run that has not ended never will.
const TURNS: u32 = 400_000;
/// Hops of one process at a time.
const AT_A_TIME: usize = 3;

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
    faulty: Arc<Faulty>,
    engine: Arc<Engine>,
    clock: Arc<Skewed>,
    frozen_until: Timestamp,
}

/// How it failed: why, and what had happened.
pub(crate) struct Failed {
    pub(crate) why: Broken,
    pub(crate) story: Vec<String>,
}

pub(crate) struct Simulation {
    world: World,
    /// What may still happen, of all that was allowed.
    knobs: Knobs,
    allowed: Knobs,
    /// Who goes next; what happens around.
    dice: Dice,
    /// Which calls fail, and when.
    faults: (Dice, Arc<AtomicU32>),
    scheduler: Scheduler,
    processes: Vec<Process>,
    invariants: Invariants,
    limit: Limit,
    begun: Timestamp,
    swept: Timestamp,
    /// Whether the sender was told that its events are accepted; whether it is being told.
    accepted: Rc<Cell<bool>>,
    sending: Rc<Cell<bool>>,
    /// How many workers have died.
    deaths: u64,
    story: Vec<String>,
    /// The calls of all workers, where the story is to be told with them.
    log: Option<Log>,
}

impl Simulation {
    pub(crate) fn new(seed: u64, knobs: Knobs, log: Option<Log>) -> Self {
        let stream = |n: u64| Dice::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(n << 48));
        let settings = stream(1);
        let (main, slots) = graph(&stream(2), knobs.steps);
        let helper = Script::new("helper").spec(|spec| spec.triggers.clear()).step("help", &[]);
        let executed = vec![main.executed(), helper.executed()];
        let pace = if settings.one_in(2) { Pace::StepPerInvocation } else { Pace::WithinBudget };
        let side_by_side = 1 + settings.below(4) as usize;
        let mut world = World::new(vec![main.program(), helper.program()]).pace(pace).config(|config| {
            (config.side_by_side, config.cache_bytes) = (side_by_side, 1 << (10 + settings.below(12)))
        });
        world.seed = seed << 8;
        let limit = Limit { key: "main/0".into(), slots: slots as u32 };
        let skew = Duration::from_millis(2 * knobs.skew);
        let now = world.clock.now();
        let mut simulation = Self {
            invariants: Invariants::new((slots > 0).then(|| limit.clone()), executed, skew),
            world,
            knobs,
            allowed: knobs,
            dice: stream(3),
            faults: (stream(4), Arc::new(AtomicU32::new(knobs.faults as u32))),
            scheduler: Scheduler::default(),
            processes: Vec::new(),
            limit,
            begun: now,
            swept: now,
            accepted: Rc::default(),
            sending: Rc::default(),
            deaths: 0,
            story: Vec::new(),
            log,
        };
        let clocks = stream(5);
        for _ in 0..knobs.processes {
            let by = clocks.below(2 * knobs.skew + 1) as i64 - knobs.skew as i64;
            let clock = Arc::new(Skewed { clock: simulation.world.clock.clone(), by });
            let process = simulation.process(clock);
            simulation.processes.push(process);
        }
        simulation
    }

    fn process(&mut self, clock: Arc<Skewed>) -> Process {
        let (dice, left) = &self.faults;
        let every = 5 + dice.below(60) as u32;
        let faulty = Faulty::often(self.world.memory.clone(), dice.bits(), every, left.clone());
        let port = Arc::new(Port { inner: faulty.clone(), dice: self.dice.clone(), log: self.log.clone() });
        let engine = self.world.engine_at(port, clock.clone());
        Process { faulty, engine, clock, frozen_until: self.begun }
    }

    /// To the end.
    pub(crate) fn run(mut self) -> Result<(), Failed> {
        let result = self.turns();
        result.map_err(|why| Failed { why, story: self.told() })
    }

    /// What happened, whether or not it should have.
    pub(crate) fn story(mut self) -> Vec<String> {
        drop(self.turns());
        self.told()
    }

    fn turns(&mut self) -> Result<(), Broken> {
        for _ in 0..TURNS {
            self.bury();
            self.overhear();
            self.invariants.check(&self.world.memory, self.now())?;
            if self.accepted.get() && rows(&self.world.memory).iter().all(|row| row.ended.is_some()) && self.is_idle() {
                return self.at_the_end();
            }
            match self.dice.below(200) {
                0 => self.world.clock.advance(Duration::from_millis(self.dice.below(3_000))),
                1 => self.somebody_interferes(),
                2..20 => self.receive(),
                _ if self.poll() => {}
                _ => self.wait(),
            }
        }
        Err("not every run ended".into())
    }

    fn now(&self) -> Timestamp {
        self.world.clock.now()
    }

    fn tell(&mut self, what: String) {
        let at = self.now().since(self.begun);
        self.story.push(format!("{:>10.3} s  {what}", at.as_secs_f64()));
    }

    /// What workers asked the storage since the last time.
    fn overhear(&mut self) {
        if let Some(log) = &self.log {
            let calls = std::mem::take(&mut *log.lock().unwrap());
            calls.into_iter().for_each(|call| self.tell(call));
        }
    }

    fn one(&self) -> usize {
        self.dice.below(self.processes.len() as u64) as usize
    }

    fn is_idle(&self) -> bool {
        (0..self.processes.len()).all(|n| self.scheduler.tasks_of(n) == 0)
    }

    fn poll(&mut self) -> bool {
        let now = self.now();
        self.scheduler.poll_one(&self.dice, |process| self.processes[process].frozen_until > now)
    }

    /// Who died is started again, with nothing in memory.
    fn bury(&mut self) {
        for n in 0..self.processes.len() {
            if self.processes[n].faulty.has_died() {
                self.tell(format!("worker {n} dies"));
                self.deaths += 1;
                self.scheduler.kill(n);
                self.sending.set(false);
                let clock = self.processes[n].clock.clone();
                self.processes[n] = self.process(clock);
            }
        }
    }

    fn somebody_interferes(&mut self) {
        let at = self.one();
        match self.dice.below(4) {
            0 if self.knobs.redeliveries > 0 => {
                self.knobs.redeliveries -= 1;
                self.world.memory.redeliver();
                self.tell("what was delivered is delivered again".into());
            }
            1 if self.knobs.cancels > 0 => {
                let runs = rows(&self.world.memory);
                if runs.is_empty() {
                    return;
                }
                self.knobs.cancels -= 1;
                let run = runs[self.dice.below(runs.len() as u64) as usize].run;
                self.tell(format!("somebody cancels {run} at worker {at}"));
                let engine = self.processes[at].engine.clone();
                self.scheduler.spawn(at, async move { drop(engine.cancel(run, "by chance").await) });
            }
            2 if self.knobs.freezes > 0 => {
                self.knobs.freezes -= 1;
                let time = Duration::from_millis(self.dice.below(400_000));
                self.processes[at].frozen_until = self.now() + time;
                self.tell(format!("worker {at} stands still for {time:?}"));
            }
            _ => {}
        }
    }

    /// A worker takes a wake, if one is visible, and hops.
    fn receive(&mut self) {
        let at = self.one();
        let process = &self.processes[at];
        let now = self.now();
        if process.frozen_until > now
            || self.scheduler.tasks_of(at) >= AT_A_TIME
            || self.world.memory.next_due().is_none_or(|due| due > now)
        {
            return;
        }
        let (engine, clock) = (process.engine.clone(), process.clock.clone());
        let received = self.world.memory.receive(1, engine.config().visibility());
        let Some(Ok(deliveries)) = received.now_or_never() else { return };
        for delivery in deliveries {
            self.tell(format!("worker {at} takes {:?} of {}", delivery.wake.cause, delivery.wake.run));
            let engine = engine.clone();
            let deadline = match self.dice.one_in(3) {
                true => Some(clock.now() + Duration::from_secs(self.dice.below(120))),
                false => None,
            };
            self.scheduler.spawn(at, async move {
                let hop = match deadline {
                    Some(deadline) => engine.hop_until(delivery, deadline).left_future(),
                    None => engine.hop(delivery).right_future(),
                };
                drop(hop.await);
            });
        }
    }

    /// Nobody has anything to do at this moment: the next thing happens.
    fn wait(&mut self) {
        let now = self.now();
        if !self.accepted.get() && !self.sending.get() {
            return self.send();
        }
        if now.since(self.swept) >= Duration::from_secs(60) {
            self.swept = now;
            let at = self.one();
            let engine = self.processes[at].engine.clone();
            self.scheduler.spawn(at, async move { drop(engine.sweep().await) });
            return;
        }
        let due = self.world.memory.next_due();
        let is_free = |(n, p): (usize, &Process)| p.frozen_until <= now && self.scheduler.tasks_of(n) < AT_A_TIME;
        if due.is_some_and(|due| due <= now) && self.processes.iter().enumerate().any(is_free) {
            return self.receive();
        }
        let thaws = self.processes.iter().map(|process| process.frozen_until);
        let next = due.into_iter().chain(self.world.clock.pending()).chain(thaws).filter(|at| *at > now).min();
        let sweep = self.swept + Duration::from_secs(60);
        self.world.clock.set(next.unwrap_or(sweep).min(sweep));
    }

    /// The sender sends its events, under the same ids each time, until it is told that they are accepted.
    fn send(&mut self) {
        let at = self.one();
        self.tell(format!("{} events are sent to worker {at}", self.knobs.events));
        let events: Vec<NewEvent> = (0..self.knobs.events)
            .map(|n| NewEvent { id: Some(format!("e{n}").into()), ..NewEvent::new("go", json::empty_object()) })
            .collect();
        let engine = self.processes[at].engine.clone();
        let (accepted, sending) = (self.accepted.clone(), self.sending.clone());
        sending.set(true);
        self.scheduler.spawn(at, async move {
            accepted.set(accepted.get() | engine.ingest(events, None).await.is_ok());
            sending.set(false);
        });
    }

    /// The story, with the journals that came of it.
    fn told(&mut self) -> Vec<String> {
        let mut story = std::mem::take(&mut self.story);
        for row in rows(&self.world.memory) {
            story.push(format!("{} {}", row.run, row.function));
            for entry in journal(&self.world.memory, row.run) {
                let at = entry.at.since(self.begun).as_secs_f64();
                story.push(format!("{at:>10.3} s    {:.160}", format!("{:?}", entry.fact)));
            }
        }
        story
    }
}
