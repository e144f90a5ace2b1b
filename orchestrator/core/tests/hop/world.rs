//! A hop under test: its journal, function and wake, and the answers to its questions.

use std::sync::Arc;
use std::time::Duration;

use stepladder_core::decide::{Operation, StepOptions, Want};
use stepladder_core::hop::{
    AdvisedFailure, Catalog, Effect, Finished, FunctionVersion, Hop, Input, Invocation, LoadedRun, LogEvent, Moment,
    PollResult, SlotAnswer, StepResult, StoreFault, Unreachable, Worker, Write, WriteResult,
};
use stepladder_core::journal::{Entry, Fact, Failure, NewRun, Record, RunOrigin};
use stepladder_core::retry::RetryAdvice;
use stepladder_core::spec::Concurrency;
use stepladder_core::{
    AttemptReport, Event, EventId, Json, RunId, RunState, Spec, StepId, Timestamp, Wake, WakeCause, json,
};

/// The time at which the run of each test is created.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_000_000_000);
/// The process of the hop under test.
pub(crate) const PROCESS: &str = "w1";
/// The hop's number, which is part of the holder of each slot.
pub(crate) const HOP: u64 = 42;

/// A hop under test, its journal, and the effects of its latest transition.
#[derive(Clone)]
pub(crate) struct HopFixture {
    hop: Hop,
    pub(crate) now: Timestamp,
    /// Whether the process is about to stop.
    pub(crate) is_stopping: bool,
    pub(crate) effects: Vec<Effect>,
    pub(crate) records: Vec<Record>,
    pub(crate) logged: Vec<LogEvent>,
    pub(crate) written: Vec<Write>,
}

/// The state in which a hop begins.
#[derive(Clone)]
pub(crate) struct HopSetup {
    pub(crate) spec: Spec,
    pub(crate) others: Vec<Spec>,
    pub(crate) version: Option<&'static str>,
    pub(crate) executes_in_poll: bool,
    pub(crate) created: NewRun,
    pub(crate) history: Vec<Fact>,
    pub(crate) cause: WakeCause,
    pub(crate) receives: u32,
    pub(crate) worker: Worker,
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) now: Timestamp,
}

pub(crate) fn run() -> RunId {
    RunId::new(START, 7)
}

pub(crate) fn event(n: u128) -> Event {
    Event {
        id: EventId::new(START, n),
        name: "go".into(),
        data: json::empty_object(),
        ts: START,
        user: None,
        external_id: None,
        received_at: START,
        trace: None,
    }
}

pub(crate) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

impl HopSetup {
    /// Creates a setup with a new run of the function `f`, and the wake of the run's creation.
    pub(crate) fn new() -> Self {
        let worker = Worker {
            process: PROCESS.into(),
            is_alone: false,
            goes_on: true,
            side_by_side: 4,
            lease_margin: seconds(5),
            retry_delay: None,
            max_delay: seconds(900),
            exprs: Arc::default(),
        };
        Self {
            spec: Spec::new("f"),
            others: Vec::new(),
            version: None,
            executes_in_poll: false,
            created: NewRun::new("f".into(), event(1), RunOrigin::Event),
            history: Vec::new(),
            cause: WakeCause::Created,
            receives: 1,
            worker,
            deadline: None,
            now: START + seconds(1),
        }
    }

    /// Adds these facts to the journal.
    pub(crate) fn with_history(mut self, history: Vec<Fact>) -> Self {
        self.history = history;
        self
    }

    pub(crate) fn woken(mut self, cause: WakeCause) -> Self {
        self.cause = cause;
        self
    }

    pub(crate) fn redelivered(mut self) -> Self {
        self.receives = 2;
        self
    }

    pub(crate) fn spec(mut self, change: impl FnOnce(&mut Spec)) -> Self {
        change(&mut self.spec);
        self
    }

    /// Limits the function to one executing body at a time.
    pub(crate) fn one_at_a_time(self) -> Self {
        self.spec(|spec| spec.concurrency.push(Concurrency::steps(1)))
    }

    /// Begins the hop. The hop first asks for its run.
    pub(crate) fn begin(&self) -> HopFixture {
        let version = |spec: &Spec| FunctionVersion { spec: spec.clone(), version: None, executes_in_poll: false };
        let (own_version, executes_in_poll) = (self.version.map(Into::into), self.executes_in_poll);
        let own = FunctionVersion { spec: self.spec.clone(), version: own_version, executes_in_poll };
        self.begin_in(Catalog::new(self.others.iter().map(version).chain([own])))
    }

    pub(crate) fn begin_in(&self, catalog: Catalog) -> HopFixture {
        let wake = Wake { run: run(), cause: self.cause.clone(), group: "f".into() };
        let invocation = Invocation {
            wake,
            receives: self.receives,
            began: self.now,
            deadline: self.deadline,
            hop: HOP,
            worker: Arc::new(self.worker.clone()),
        };
        let (hop, effects) = Hop::begin_with(invocation, Arc::new(catalog));
        let created = Fact::RunCreated(Box::new(self.created.clone()));
        let facts = std::iter::once(created).chain(self.history.clone());
        let entries = facts.map(|fact| fact.into_entry(START)).collect();
        let records = vec![Record { seq: 0, token: 1, code: "".into(), entries }];
        HopFixture { hop, now: self.now, is_stopping: false, effects, records, logged: Vec::new(), written: Vec::new() }
    }

    /// Begins the hop and gives it its run.
    pub(crate) fn loaded(&self) -> HopFixture {
        let mut world = self.begin();
        world.load();
        world
    }

    /// Begins the hop and answers every question up to the first poll, as a store without faults
    /// does.
    pub(crate) fn polled(&self) -> HopFixture {
        let mut world = self.loaded();
        world.answer_until(|effect| matches!(effect, Effect::Poll(_)));
        world
    }
}

impl HopFixture {
    /// Gives the hop an input, which makes one transition.
    pub(crate) fn on(&mut self, input: Input) -> &mut Self {
        let moment = Moment { now: self.now, is_stopping: self.is_stopping };
        let placeholder = self.hop.clone();
        let (hop, effects) = std::mem::replace(&mut self.hop, placeholder).on(moment, input);
        self.hop = hop;
        self.effects = effects;
        for effect in &self.effects {
            match effect {
                Effect::Log(event) => self.logged.push(event.clone()),
                Effect::Write(write) => self.written.push((**write).clone()),
                _ => {}
            }
        }
        self
    }

    pub(crate) fn hop(&self) -> &Hop {
        &self.hop
    }

    pub(crate) fn into_hop(self) -> Hop {
        self.hop
    }

    /// Tells the hop which functions are registered now.
    pub(crate) fn learn(&mut self, functions: &[&str]) {
        let of = |id: &&str| FunctionVersion { spec: Spec::new(*id), version: None, executes_in_poll: false };
        self.hop.learn(Arc::new(Catalog::new(functions.iter().map(of))));
    }

    pub(crate) fn phase(&self) -> &'static str {
        self.hop.phase_name()
    }

    pub(crate) fn is_done(&self) -> bool {
        self.hop.is_done()
    }

    /// Returns the fault with which the hop ended, if any.
    pub(crate) fn fault(self) -> Option<StoreFault> {
        self.hop.into_end().fault
    }

    /// Returns the question that the hop is asking.
    pub(crate) fn open_question(&self) -> &Effect {
        self.effects.last().filter(|effect| effect.is_question()).expect("the hop asks a question")
    }

    /// Returns the write that the hop wants.
    pub(crate) fn write(&self) -> &Write {
        match self.open_question() {
            Effect::Write(write) => write,
            other => panic!("the hop asks for {other:?}"),
        }
    }

    /// Returns the names of the facts in the write that the hop wants.
    pub(crate) fn facts(&self) -> Vec<String> {
        self.write().entries.iter().map(|entry| entry.fact.name().to_owned()).collect()
    }

    pub(crate) fn state(&self) -> RunState {
        RunState::fold(run(), &self.records).expect("a valid journal")
    }

    pub(crate) fn load(&mut self) -> &mut Self {
        let loaded = LoadedRun { run: self.state(), worker_timeout: seconds(120), longest_step: seconds(115) };
        self.on(Input::Loaded(Some(Box::new(loaded))))
    }

    /// Carries out the write that the hop wants.
    pub(crate) fn written(&mut self) -> &mut Self {
        let entries = self.write().entries.clone();
        if entries.is_empty() {
            return self.on(Input::Written(WriteResult::Done(None)));
        }
        let record = self.append(entries);
        self.on(Input::Written(WriteResult::Done(Some(record))))
    }

    /// Lets another writer append these facts first, so that the hop's write is a conflict.
    pub(crate) fn overtaken_by(&mut self, facts: Vec<Fact>) -> &mut Self {
        assert!(!self.write().entries.is_empty(), "only a write with entries can conflict");
        let now = self.now;
        let record = self.append(facts.into_iter().map(|fact| fact.into_entry(now)).collect());
        self.on(Input::Written(WriteResult::Conflict(vec![record])))
    }

    /// Adds a record to the journal.
    pub(crate) fn append(&mut self, entries: Vec<Entry>) -> Record {
        let seq = self.records.last().map_or(0, Record::next);
        let record = Record { seq, token: u128::from(seq), code: "".into(), entries };
        self.records.push(record.clone());
        record
    }

    /// Answers questions, as a store without faults does, until the hop asks one for which
    /// `is_asked` is true.
    pub(crate) fn answer_until(&mut self, is_asked: impl Fn(&Effect) -> bool) -> &mut Self {
        for _ in 0..100 {
            if is_asked(self.open_question()) {
                return self;
            }
            self.answer();
        }
        panic!("the hop asks for {:?}", self.open_question());
    }

    /// Answers questions, as a store without faults does, until the hop is done.
    pub(crate) fn finish(&mut self) -> &mut Self {
        for _ in 0..100 {
            if self.is_done() {
                return self;
            }
            self.answer();
        }
        panic!("the hop asks for {:?}", self.open_question());
    }

    /// Answers the current question as a store without faults does.
    pub(crate) fn answer(&mut self) -> &mut Self {
        let input = match self.open_question() {
            Effect::Write(_) => return self.written(),
            Effect::Load => return self.load(),
            Effect::AskIfPaused => Input::Paused(false),
            Effect::AskFlowControl => Input::Admission(None),
            Effect::FindRun(_) => Input::Found(None),
            Effect::FindTickets { .. } => Input::Tickets(Vec::new()),
            Effect::FindHolders(_) => Input::Holders(Vec::new()),
            Effect::Acquire(_) => Input::Slots(SlotAnswer::Acquired),
            Effect::ReadOn => Input::Entries(Vec::new()),
            Effect::ReadInbox => Input::Inbox(Vec::new()),
            Effect::Open(_) => Input::Opened(Ok(0)),
            Effect::Send(events) => Input::Sent(events.iter().map(|event| event.id).collect()),
            Effect::PutBack(_) => Input::PutBack(true),
            Effect::CreateTick { .. }
            | Effect::Promote(_)
            | Effect::CancelReplaced
            | Effect::PassOnLeaseWakes(_)
            | Effect::ReleaseEnded(_)
            | Effect::StartRun(_)
            | Effect::CancelRuns { .. }
            | Effect::AnnounceEnd(_) => Input::Done,
            other => panic!("there is no usual answer to {other:?}"),
        };
        self.on(input)
    }

    /// Tells the hop that the function wants these steps.
    pub(crate) fn want_steps(&mut self, wants: Vec<Want>) -> &mut Self {
        self.on(polled(PollResult::Wanted(wants)))
    }

    /// Tells the hop that the function has returned.
    pub(crate) fn return_from_handler(&mut self, result: Result<Json, AdvisedFailure>) -> &mut Self {
        self.on(polled(PollResult::Ended(result)))
    }

    /// Tells the hop that the attempts of these steps have succeeded.
    pub(crate) fn succeed(&mut self, steps: &[&str]) -> &mut Self {
        let of = |step: &&str| StepResult {
            step: (*step).into(),
            result: Ok(json::null()),
            report: AttemptReport::default(),
        };
        self.on(Input::Finished(Finished { results: steps.iter().map(of).collect(), dropped: Vec::new() }))
    }

    /// Tells the hop that the attempt of this step has failed.
    pub(crate) fn fail(&mut self, step: &str) -> &mut Self {
        let result = Err(failure("boom").into());
        let results = vec![StepResult { step: step.into(), result, report: AttemptReport::default() }];
        self.on(Input::Finished(Finished { results, dropped: Vec::new() }))
    }

    /// Tells the hop that the storage has failed.
    pub(crate) fn fail_executor(&mut self) -> &mut Self {
        self.on(Input::StoreFailed(StoreFault::Unavailable("throttled".into())))
    }

    /// Returns the steps of the attempts that the latest transition executes.
    pub(crate) fn executed(&self) -> Vec<StepId> {
        let of = |effect: &Effect| match effect {
            Effect::Run(attempts) => attempts.iter().map(|attempt| attempt.ready.step.clone()).collect(),
            _ => Vec::new(),
        };
        self.effects.iter().flat_map(of).collect()
    }
}

pub(crate) fn polled(result: PollResult) -> Input {
    Input::Polled(Box::new(result.into()))
}

pub(crate) fn failure(message: &str) -> AdvisedFailure {
    AdvisedFailure { failure: Failure::new(message), retry: RetryAdvice::Default }
}

pub(crate) fn unreachable() -> Unreachable {
    Unreachable { why: "connection refused".into(), is_broken: false }
}

pub(crate) fn want(step: &str, operation: Operation) -> Want {
    Want { step: step.into(), operation, at: None }
}

/// Returns a wanted step with a body.
pub(crate) fn body(step: &str) -> Want {
    want(step, Operation::Run(StepOptions::default()))
}

pub(crate) fn started(step: &str, attempt: u32, lease_until: Timestamp) -> Fact {
    Fact::StepStarted { step: step.into(), attempt, lease_until, worker: "w2".into(), at_most_once: false }
}

pub(crate) fn succeeded(step: &str, attempt: u32) -> Fact {
    Fact::StepSucceeded { step: step.into(), attempt, output: json::null(), report: AttemptReport::default() }
}

/// Returns the delayed wakes of a write: their causes and due times.
pub(crate) fn later_wakes(write: &Write) -> Vec<(WakeCause, Timestamp)> {
    let of = |early: &stepladder_core::hop::EarlyWrite| match early {
        stepladder_core::hop::EarlyWrite::Wake { wake, due } => Some((wake.cause.clone(), *due)),
        _ => None,
    };
    write.before.iter().filter_map(of).collect()
}
