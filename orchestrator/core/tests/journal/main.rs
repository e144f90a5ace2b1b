//! Tests of the rules of the journal: which entries may be appended, and which state they produce.

mod attempts;
mod histories;
mod runs;
mod waits;

use std::sync::Arc;

use stepladder_core::journal::{Fact, NewRun, Record, RunOrigin};
use stepladder_core::report::{HandlerLogLine, LogLevel, LogLine};
use stepladder_core::state::RunState;
use stepladder_core::waiting::{EventMatch, EventWait};
use stepladder_core::{AttemptReport, Entry, Event, EventId, NewEvent, RunId, Timestamp, json};

pub(crate) const START: i64 = 1_000_000;

pub(crate) fn run() -> RunId {
    RunId::new(Timestamp::from_millis(START), 7)
}

pub(crate) fn first_record() -> Record {
    let at = Timestamp::from_millis(START);
    let event = Event {
        id: EventId::new(at, 1),
        name: "a/b".into(),
        data: json::empty_object(),
        ts: at,
        user: None,
        external_id: None,
        received_at: at,
        trace: None,
    };
    let created = NewRun::new("f".into(), event, RunOrigin::Event);
    record(0, vec![Fact::RunCreated(Box::new(created)).into_entry(at)])
}

pub(crate) fn record(seq: u64, entries: Vec<Entry>) -> Record {
    Record { seq, token: u128::from(seq), code: "1".into(), entries }
}

pub(crate) fn wait_for_any(event: &str) -> Arc<EventWait> {
    Arc::new(EventWait { events: vec![event.into()], matching: EventMatch::Any })
}

/// Creates event number `n`. Event 1 is the one that started the run.
pub(crate) fn arriving_event(n: u128, received_at: i64) -> Event {
    let received_at = Timestamp::from_millis(received_at);
    let id = EventId::new(Timestamp::from_millis(START), n);
    NewEvent::new("c/d", json::empty_object()).accept(id, received_at)
}

pub(crate) fn state(facts: Vec<(i64, Fact)>) -> RunState {
    let entries = facts.into_iter().map(|(at, fact)| fact.into_entry(Timestamp::from_millis(START + at))).collect();
    RunState::fold(run(), &[first_record(), record(1, entries)]).unwrap()
}

pub(crate) fn started(attempt: u32, lease: i64) -> Fact {
    let lease_until = Timestamp::from_millis(START + lease);
    Fact::StepStarted { step: "a".into(), attempt, lease_until, worker: "w".into(), at_most_once: false }
}

pub(crate) fn succeeded(attempt: u32) -> Fact {
    Fact::StepSucceeded { step: "a".into(), attempt, output: json::null(), report: AttemptReport::default() }
}

pub(crate) fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(START + ms)
}

/// Creates a log line at a position.
pub(crate) fn log_line(after: u64, nth: u32, says: &str) -> HandlerLogLine {
    HandlerLogLine { after, nth, line: LogLine::new(LogLevel::Info, says, None) }
}
