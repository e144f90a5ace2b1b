//! Runs several workers on one store in memory under a randomized scheduler. Each worker has a
//! clock of its own. The seed determines everything: the functions, the interleaving, the faults
//! and the clocks.

mod account;
pub(crate) mod bulk;
mod callbacks;
mod controls;
mod counted;
pub(crate) mod coverage;
mod delivery;
mod ending;
mod executors;
mod functions;
mod gaps;
mod holding;
mod injected_fault;
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
mod story;
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
use stepladder_engine::local::MAX_DELAY;
use stepladder_engine::ports::MIN_DELAY;
use stepladder_engine::{Config, Pace, RegisteredFunction};
use stepladder_testkit::clock::VirtualClock;
use stepladder_testkit::memory::Memory;

use crate::dice::SeededDice;
use account::ExecutionLog;
use bulk::BulkRequests;
use callbacks::PostedCallbacks;
use controls::FlowControlChecks;
use counted::StartLineCounts;
use coverage::Coverage;
use executors::SimulatedExecutors;
use invariants::{InvariantChecks, Violation, rows};
use knobs::SimulationSettings;
use listings::LaggingListings;
use processes::{SimulatedProcess, SkewedClock};
use requests::ClientRequests;
use reruns::StepReruns;
use scheduler::TaskScheduler;
use tree::BodyEnvironment;
use wire::SharedFaults;
use words::SentMessages;

/// Maximum number of actions. A run that is still live after these counts as stuck.
const TURNS: u32 = 400_000;
/// Maximum number of concurrent hops of a process. It is high enough that no run waits for a
/// worker.
const AT_A_TIME: usize = 24;
/// How long no journal may be written before the live runs count as stuck. Watchdogs run at least
/// hourly.
const STANDSTILL: Duration = Duration::from_secs(5 * 3_600);
/// Number of deliveries after which a message becomes a dead letter.
const DELIVERIES: u32 = 5;

/// A failure of a simulation: the violation, and the story up to it.
pub(crate) struct SimulationFailure {
    pub(crate) why: Violation,
    pub(crate) story: Vec<String>,
}

/// Runs with an acknowledged cancellation: the run, the time of the acknowledgement, and the delay
/// that was allowed at that time.
type CancelledRuns = Vec<(RunId, Timestamp, Duration)>;

/// How many disturbances of each kind were injected. Disturbances excuse delays and repetitions.
#[derive(Clone, Copy, Debug, Default)]
struct DisturbanceCounts {
    deaths: u32,
    /// The deaths caused by a body that kills its invocation.
    of_bodies: u32,
    freezes: u32,
    brown_outs: u32,
    losses: u32,
    redeliveries: u32,
    /// The sum of the random jumps of the clock.
    drift: Duration,
    /// The sum of the times in which a function was paused, all workers were down, or the queue
    /// delivered nothing.
    stood: Duration,
    /// How often the queue delivered nothing for hours, or all workers were down.
    standstills: u32,
}

pub(crate) struct Simulation {
    memory: Arc<Memory>,
    clock: Arc<VirtualClock>,
    /// The functions with the SDK's executor.
    registered: Vec<RegisteredFunction>,
    executors: SimulatedExecutors,
    /// The function that the first worker uses instead, if that worker has an older version of the
    /// code.
    older: Option<RegisteredFunction>,
    config: Config,
    seed: u64,
    /// Number of engines created so far.
    engines: u64,
    /// What may still happen: each disturbance lowers its setting. `allowed` contains the original
    /// settings.
    knobs: SimulationSettings,
    allowed: SimulationSettings,
    mishaps: DisturbanceCounts,
    /// Picks the next task, and the disturbances around the workers.
    dice: SeededDice,
    /// Picks the calls that fail: on average, one call in `every`.
    fate: SeededDice,
    every: u64,
    shared: Arc<SharedFaults>,
    scheduler: TaskScheduler,
    processes: Vec<SimulatedProcess>,
    invariants: InvariantChecks,
    controlled: FlowControlChecks,
    begun: Timestamp,
    swept: Timestamp,
    /// When a journal was last written to.
    moved: Timestamp,
    /// Whether the second round has begun: all runs of the first round have ended, and there are no
    /// more faults.
    afterwards: bool,
    requests: Rc<RefCell<ClientRequests>>,
    bulk: Rc<RefCell<BulkRequests>>,
    cancelled: Rc<RefCell<CancelledRuns>>,
    reruns: Rc<RefCell<StepReruns>>,
    /// Wakes that became dead letters while a worker could not write. They are moved back to the
    /// queue later, as an operator would do.
    letters: Vec<Wake>,
    /// The queue delivers nothing until this time.
    queue_until: Timestamp,
    /// The function that may be paused.
    pausable: &'static str,
    /// When the function is resumed; `None` if it is not paused.
    paused: Rc<Cell<Option<Timestamp>>>,
    /// How often the function was paused.
    pauses: Rc<Cell<u32>>,
    words: Rc<RefCell<SentMessages>>,
    callbacks: Rc<RefCell<PostedCallbacks>>,
    exprs: ExprCache,
    /// Number of invocations that were interrupted by their deadline.
    cut: Rc<Cell<u32>>,
    /// The number of actions until a busy process is killed; `None` if no kill is planned.
    doom: Option<u64>,
    listings: Arc<LaggingListings>,
    counted: StartLineCounts,
    story: Vec<String>,
    /// A violation that was found by other code than the checks after each action.
    broken: Option<Violation>,
    /// A violation found by a query: its result was wrong.
    untrue: Rc<RefCell<Option<Violation>>>,
}

impl Simulation {
    pub(crate) fn new(seed: u64, knobs: SimulationSettings, loud: bool, coverage: Option<Arc<Coverage>>) -> Self {
        let stream = |n: u64| SeededDice::stream(seed, n);
        let settings = stream(1);
        let clock = Arc::new(VirtualClock::new(Timestamp::from_millis(1_700_000_000_000)));
        let memory = Arc::new(Memory::new(clock.clone()));
        let (account, scheduler) = (ExecutionLog::default(), TaskScheduler::default());
        let place = BodyEnvironment::new(account.clone(), clock.clone(), scheduler.dying.clone());
        let functions = functions::functions([2, 7, 8].map(stream), &place, knobs);
        let pace = if settings.one_in(2) { Pace::StepPerInvocation } else { Pace::WithinBudget };
        let side_by_side = 1 + settings.below(4) as usize;
        let cache_bytes = 1 << (10 + settings.below(12));
        // A single worker may know that no other process exists, as a local server does.
        let alone = knobs.processes == 1 && settings.one_in(2);
        // with a separate stream, because further draws would change what the seed tests
        let suspended_bytes = [0, 2_000, Config::default().suspended_bytes][stream(6).below(3) as usize];
        let config = Config { pace, side_by_side, cache_bytes, suspended_bytes, ..Config::default() };
        if alone {
            memory.set_exclusive();
        }
        let max_delay = if settings.one_in(2) { MAX_DELAY } else { MIN_DELAY };
        let is_controlled = functions.control.is_some() && (knobs.standstills > 0 || settings.one_in(2));
        let pausable = if is_controlled { controls::CONTROLLED } else { functions::MAIN };
        let now = clock.now();
        let skew = Duration::from_millis(2 * knobs.skew);
        // A server without peers continues at once what its predecessor began, so the calls of its
        // predecessor must have ended.
        let executors =
            SimulatedExecutors::new((memory.clone(), clock.clone(), account.clone()), stream(6), &knobs, !alone);
        let mut simulation = Self {
            executors,
            invariants: InvariantChecks::new(memory.clone(), account, &functions.limits, &functions.registered, skew),
            controlled: FlowControlChecks::new(memory.clone(), functions.control, knobs.old > 0),
            listings: Arc::new(LaggingListings::new(memory.clone())),
            memory,
            clock,
            registered: functions.registered,
            older: functions.older,
            config,
            seed,
            engines: 0,
            knobs,
            allowed: knobs,
            mishaps: DisturbanceCounts::default(),
            dice: stream(3),
            every: 5 + stream(4).below(60),
            fate: stream(4),
            shared: SharedFaults::new(&knobs, max_delay, loud, coverage),
            scheduler,
            processes: Vec::new(),
            begun: now,
            // A server sweeps when it starts, so the first sweep is due at once.
            swept: now - Duration::from_secs(60),
            moved: now,
            afterwards: false,
            requests: Rc::new(RefCell::new(ClientRequests::new(&knobs))),
            bulk: Rc::new(RefCell::new(BulkRequests::new(&knobs))),
            cancelled: Rc::default(),
            reruns: Rc::default(),
            letters: Vec::new(),
            queue_until: now,
            pausable,
            paused: Rc::default(),
            pauses: Rc::default(),
            words: Rc::default(),
            callbacks: Rc::new(RefCell::new(PostedCallbacks::new(stream(9), functions.signals))),
            exprs: ExprCache::default(),
            cut: Rc::default(),
            doom: None,
            counted: StartLineCounts::default(),
            broken: None,
            untrue: Rc::default(),
            story: vec![functions.told, format!("{pace:?}, {side_by_side} side by side")],
        };
        let clocks = stream(5);
        let intakes = Self::intakes(&knobs, &clocks);
        for n in 0..knobs.processes as usize + intakes {
            let by = clocks.below(2 * knobs.skew + 1) as i64 - knobs.skew as i64;
            let clock = Arc::new(SkewedClock { clock: simulation.clock.clone(), by });
            let process = simulation.process(n, clock);
            simulation.processes.push(process);
        }
        simulation
    }

    /// Runs the simulation to its end. Returns the number of actions.
    pub(crate) fn run(mut self) -> Result<u64, SimulationFailure> {
        let listening = self.counted.listen();
        let result = self.take_turns();
        drop(listening);
        result.map_err(|why| SimulationFailure { why, story: self.whole_story() })
    }

    /// Runs the simulation and returns the story, even if the simulation did not fail.
    #[cfg(test)]
    pub(crate) fn story(mut self) -> Vec<String> {
        drop(self.take_turns());
        self.whole_story()
    }

    fn take_turns(&mut self) -> Result<u64, Violation> {
        for turn in 0..TURNS {
            self.replace_dead_workers();
            self.executors.take_tasks().into_iter().for_each(|task| self.scheduler.spawn(executors::SERVER, task));
            self.executors.take_told().into_iter().for_each(|what| self.add_to_story(what));
            self.deliver_checkpoints();
            self.supervise();
            self.mishaps.deaths += self.cut.take();
            self.record_calls();
            let (now, touched) = (self.clock.now(), self.shared.take_touched());
            if !touched.is_empty() {
                self.moved = now;
                self.controlled.check()?;
            }
            self.invariants.check(now, touched, self.shared.take_requests())?;
            self.check_executors(now)?;
            self.check_free_and_unused_slots(now)?;
            self.kill_worker_within_actions();
            self.check_accepted_requests()?;
            self.check_deliveries()?;
            self.check_callbacks()?;
            self.check_requests_in_order()?;
            self.check_bulk_progress()?;
            self.broken.take().or_else(|| self.untrue.borrow_mut().take()).map_or(Ok(()), Err)?;
            if now.since(self.moved) > STANDSTILL + self.mishaps.stood + self.executors.excuses().delay {
                return Err(self.describe_standstill());
            }
            if self.has_ended() {
                if self.rerun_random_run() {
                    continue;
                }
                self.check_end_state()?;
                if self.afterwards {
                    self.check_nothing_is_left()?;
                    return Ok(u64::from(turn) + self.shared.calls.load(SeqCst));
                }
                self.start_closing_phase();
            }
            if self.allowed.bulk > 0 && self.dice.one_in(8) {
                self.advance_bulk_requests();
            }
            match self.dice.below(500) {
                0 => {
                    let by = Duration::from_millis(self.dice.below(3_000));
                    self.mishaps.drift += by;
                    self.clock.advance(by);
                }
                1..4 => self.interfere_at_random(),
                4..50 => self.receive(),
                50..52 if self.is_torn().is_some() => drop(self.cancel_ended_run()),
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

    /// Picks a worker at random.
    fn random_worker(&self) -> usize {
        self.dice.below(self.workers() as u64) as usize
    }

    /// Returns the number of workers, the processes that receive wakes. The processes that receive
    /// bulk requests follow them in the list.
    fn workers(&self) -> usize {
        self.allowed.processes as usize
    }

    fn poll(&mut self) -> bool {
        let now = self.clock.now();
        let frozen_until = |process| self.processes.get(process).map(|process: &SimulatedProcess| process.frozen_until);
        let is_frozen = |process| frozen_until(process).is_some_and(|until| until > now);
        let polled = self.scheduler.poll_one(&self.dice, is_frozen);
        self.mishaps.deaths += u32::from(polled == Some(true));
        self.mishaps.of_bodies += u32::from(polled == Some(true));
        polled.is_some()
    }

    /// Starts the second round, without faults. All of its runs must succeed.
    fn start_closing_phase(&mut self) {
        self.afterwards = true;
        let SimulationSettings { processes, skew, leaves, .. } = self.knobs;
        self.knobs = SimulationSettings { processes, skew, leaves, ..SimulationSettings::default() };
        self.shared.faults_left.store(0, SeqCst);
        self.shared.aim_at_nothing();
        self.shared.denied_until.store(0, SeqCst);
        self.listings.go_on();
        self.executors.behave();
        // By then, all leases of dead workers have expired.
        self.clock.advance(Duration::from_secs(1_000));
        self.invariants.forget_idle();
        self.moved = self.clock.now();
        for process in &mut self.processes {
            process.frozen_until = self.begun;
            process.wire.0.disarm();
        }
        if self.allowed.old > 0 {
            // All workers have the newest version in the second round.
            let clock = self.processes[0].clock.clone();
            self.processes[0] = self.process(0, clock);
        }
        self.requests.borrow_mut().start_closing_phase();
        self.add_to_story("all has ended; once more, with nothing that goes wrong".into());
    }
}
