//! Values for the checks: minimal runs, events, records and wakes.

use std::sync::Arc;
use std::time::Duration;

use stepladder_core::journal::{NewRun, RunOrigin};
use stepladder_core::slot::{HeldSlot, Holder, Limit, Ticket};
use stepladder_core::wake::TimerPurpose;
use stepladder_core::{
    AttemptReport, Event, EventId, Fact, Record, RunId, RunOrStep, RunRow, Timer, Timestamp, Wake, WakeCause, json,
};

use super::TestedAdapter;
use stepladder_engine::ports::{
    AcquireRequest, AcquireResult, Backend, Commit, CommitResult, Delivery, JournalAppend, OwnTickets, Refusal,
    RunStart, Snapshot, SnapshotParts,
};

/// The time at which every check starts: 2023-11-14T22:13:00Z.
pub(super) const START: Timestamp = Timestamp::from_millis(1_699_999_980_000);
/// A visibility timeout that does not end during a check, unless the check moves the clock.
pub(super) const VISIBILITY: Duration = Duration::from_secs(150);

pub(super) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Returns the start of minute `n` after [`START`].
pub(super) fn start_of_next(n: u64) -> Timestamp {
    START + seconds(60 * n)
}

/// Returns the id of run number `n`. The ids are in the order of the numbers.
pub(super) fn run(n: u64) -> RunId {
    RunId::new(START + Duration::from_millis(n), u128::from(n))
}

pub(super) fn event_id(n: u64) -> EventId {
    EventId::new(START + Duration::from_millis(n), u128::from(n))
}

pub(super) fn event(n: u64) -> Event {
    Event {
        id: event_id(n),
        name: "shop/order.placed".into(),
        data: json::to_json(&serde_json::json!({"order": n, "text": "ünï\u{1F980} \"quoted\""})).expect("JSON"),
        ts: START,
        user: None,
        external_id: None,
        received_at: START,
        trace: None,
    }
}

/// Creates an event with a sender id, received this long after [`START`].
pub(super) fn event_with_sender_id(n: u64, external_id: &str, after: Duration) -> Event {
    Event { external_id: Some(external_id.into()), received_at: START + after, ..event(n) }
}

/// Creates a record of `len` entries at `seq`.
pub(super) fn record(seq: u64, token: u128, len: u32) -> Record {
    let fact = |attempt| Fact::StepSucceeded {
        step: "pay".into(),
        attempt,
        output: json::null(),
        report: AttemptReport::default(),
    };
    Record { seq, token, code: "1".into(), entries: (1..=len).map(|attempt| fact(attempt).into_entry(START)).collect() }
}

pub(super) fn append(run: RunId, record: Record) -> Commit {
    Commit { append: Some(JournalAppend { run, record }.into()), ..Commit::default() }
}

pub(super) fn wake(run: RunId) -> Wake {
    Wake { run, cause: WakeCause::Next, group: "orders".into() }
}

pub(super) fn timer(run: RunId, due: Timestamp) -> Timer {
    Timer { due, run, group: "orders".into(), purpose: TimerPurpose::Watchdog }
}

pub(super) fn run_start(n: u64, function: &str, event: EventId) -> RunStart {
    let (run, created_at) = (run(n), START + Duration::from_millis(n));
    let event = Event { id: event, ..super::fixtures::event(n) };
    let row = RunRow { run, function: function.into(), event: event.id, created_at, ended: None };
    let created = NewRun::new(function.into(), event, RunOrigin::Event);
    let entries = vec![Fact::RunCreated(Box::new(created)).into_entry(created_at)];
    RunStart {
        row,
        record: Record { seq: 0, token: u128::from(n) + 1_000, code: "1".into(), entries },
        watchdog: timer(run, START + seconds(3_600)),
        wake: Wake { run, cause: WakeCause::Created, group: function.into() },
        tickets: Vec::new(),
        flow_state: Vec::new(),
    }
}

pub(super) fn limit(key: &str, slots: u32) -> Limit {
    Limit { key: key.into(), slots }
}

pub(super) fn holder(n: u64, step: &str, attempt: u32) -> Holder {
    Holder::Attempt { run: run(n), step: step.into(), attempt, hop: 0 }
}

/// Creates a ticket of run number `n`, queued `after` seconds after [`START`].
pub(super) fn ticket(n: u64, step: &str, after: u64) -> Ticket {
    Ticket { queued_at: START + seconds(after), event: event_id(n), run: run(n), of: RunOrStep::Step(step.into()) }
}

/// Creates the ticket that run number `n` has from its creation.
pub(super) fn ticket_of_run(n: u64, after: u64) -> Ticket {
    Ticket { of: RunOrStep::Run, ..ticket(n, "", after) }
}

/// Creates a request for a minute, made at [`START`].
pub(super) fn acquire_request(limits: &[&Limit], holder: &Holder, ticket: Option<Ticket>) -> AcquireRequest {
    AcquireRequest {
        limits: limits.iter().copied().cloned().collect(),
        holder: holder.clone(),
        lease_until: start_of_next(1),
        now: START,
        ticket,
        own: OwnTickets::OfStep,
    }
}

/// Formats records as JSON strings, to compare them.
pub(super) fn record_texts(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| serde_json::to_string(record).expect("JSON")).collect()
}

pub(super) fn event_text(event: &Event) -> String {
    serde_json::to_string(event).expect("JSON")
}

impl TestedAdapter {
    pub(super) fn now(&self) -> Timestamp {
        use stepladder_engine::clock::Clock;
        self.clock.now()
    }

    /// Tries to acquire a slot of each limit for a minute, without waiting. Returns the limits that
    /// refuse.
    pub(super) async fn try_acquire(&self, limits: &[&Limit], holder: &Holder) -> Vec<Refusal> {
        self.try_acquire_until(limits, holder, start_of_next(1), self.now()).await
    }

    pub(super) async fn try_acquire_until(
        &self,
        limits: &[&Limit],
        holder: &Holder,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> Vec<Refusal> {
        let request = AcquireRequest { lease_until, now, ..acquire_request(limits, holder, None) };
        match self.backend.acquire(request).await.expect("an answer") {
            AcquireResult::Acquired { left } if left.is_empty() => Vec::new(),
            AcquireResult::Refused(refusals) => refusals,
            other => panic!("{other:?}"),
        }
    }

    /// Enqueues a ticket: a limit without slots refuses its step.
    pub(super) async fn enqueue(&self, limit: &Limit, ticket: Ticket) {
        let holder = match ticket.of.clone() {
            RunOrStep::Run => Holder::Run(ticket.run),
            RunOrStep::Step(step) => Holder::Attempt { run: ticket.run, step, attempt: 1, hop: u64::MAX },
        };
        let none = Limit { slots: 0, ..limit.clone() };
        match self.backend.acquire(acquire_request(&[&none], &holder, Some(ticket))).await.expect("an answer") {
            AcquireResult::Queued(queued) => assert_eq!((queued.limit, queued.left), (none, Vec::new())),
            other => panic!("{other:?}"),
        }
    }

    async fn snapshot(&self, limit: &Limit, parts: SnapshotParts) -> Snapshot {
        self.backend.snapshot(&limit.key, parts).await.expect("a snapshot")
    }

    pub(super) async fn first_tickets(&self, limit: &Limit, n: usize) -> Vec<Ticket> {
        self.snapshot(limit, SnapshotParts::first(n)).await.first
    }

    pub(super) async fn held_slots(&self, limit: &Limit) -> Vec<HeldSlot> {
        self.snapshot(limit, SnapshotParts::holders()).await.holders
    }

    pub(super) async fn ticket(&self, limit: &Limit, run: RunId, of: Option<RunOrStep>) -> Option<Ticket> {
        self.snapshot(limit, SnapshotParts::ticket(run, of)).await.ticket
    }

    pub(super) async fn position(&self, limit: &Limit, run: RunId) -> Option<usize> {
        self.snapshot(limit, SnapshotParts::position(run)).await.position
    }

    /// Commits, and asserts that there was no conflict.
    pub(super) async fn commit(&self, commit: Commit) {
        assert_eq!(self.backend.commit(commit).await.expect("a commit"), CommitResult::Done);
    }

    /// Receives at most `max` wakes that are visible now.
    pub(super) async fn receive(&self, max: usize) -> Vec<Delivery> {
        if let Some(receive_now) = &self.receive_now {
            let mut received = Vec::new();
            while received.len() < max {
                // One call may return fewer wakes than are visible.
                let more = receive_now((max - received.len()).min(10), VISIBILITY).await.expect("a queue");
                if more.is_empty() {
                    break;
                }
                received.extend(more);
            }
            return received;
        }
        let receive = self.backend.receive(max, VISIBILITY);
        tokio::pin!(receive);
        match futures::poll!(&mut receive) {
            std::task::Poll::Ready(received) => received.expect("a queue"),
            std::task::Poll::Pending => Vec::new(),
        }
    }

    /// Receives all visible wakes and returns their runs.
    pub(super) async fn woken(&self) -> Vec<RunId> {
        self.receive(100).await.into_iter().map(|delivery| delivery.wake.run).collect()
    }
}

/// Runs `n` tasks at the same time and returns their results.
pub(super) async fn run_concurrently<F, T>(
    n: u64,
    task: impl Fn(u64, Arc<dyn Backend>) -> F,
    on: &TestedAdapter,
) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let tasks: Vec<_> = (0..n).map(|i| tokio::spawn(task(i, on.backend.clone()))).collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.expect("a task"));
    }
    answers
}
