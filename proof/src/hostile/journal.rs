//! The journal decoder: stored records as a store returns them, one per line.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use stepladder_core::journal::Record;
use stepladder_core::state::RunState;
use stepladder_core::{RunId, Timestamp};
use stepladder_engine::ports::{Commit, Commits, JournalAppend};
use stepladder_engine::{Config, Engine};
use stepladder_server::{ServerOptions, router};
use stepladder_testkit::clock::{SeededEntropy, VirtualClock};
use stepladder_testkit::memory::Memory;
use tower::ServiceExt;

use super::{function, http};
use crate::{RunJournal, check};

/// Reads records and folds them.
///
/// A record that is read must be written back unchanged. Folding a journal at once must give the
/// same state as folding it record by record. The checker and the pages must accept any journal.
pub fn journal(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let records: Vec<Record> = text.lines().map_while(|line| serde_json::from_str(line).ok()).collect();
    for record in &records {
        let written = serde_json::to_string(record).expect("a record can be stored");
        let read: Record = serde_json::from_str(&written).expect("a stored record can be read");
        assert_eq!(serde_json::to_string(&read).expect("it was stored before"), written);
        assert!(record.next() >= record.seq);
    }
    let run = RunId::new(Timestamp::from_millis(1_700_000_000_000), 1);
    let Ok(state) = RunState::fold(run, &records) else { return };
    let mut grown = RunState::fold(run, &records[..1]).expect("the beginning is there");
    for record in &records[1..] {
        drop(grown.admits_all(&record.entries));
        grown.extend(record).expect("it folded before");
    }
    assert_eq!(grown.next, state.next);
    assert_eq!(
        (grown.bytes, grown.status(), grown.outcomes.len()),
        (state.bytes, state.status(), state.outcomes.len())
    );
    assert_eq!(format!("{:?}", grown.end), format!("{:?}", state.end));
    assert!(state.handler_attempt() > 0);
    let entries = records.iter().flat_map(|record| record.entries.clone()).collect();
    drop(check(&[RunJournal { run, entries }]));
    check_views(run, records);
}

/// Requests the pages of the run, and checks that each has a response.
fn check_views(run: RunId, records: Vec<Record>) {
    let clock = Arc::new(VirtualClock::new(Timestamp::from_millis(1_700_000_000_000)));
    let memory = Arc::new(Memory::new(clock.clone()));
    let entropy = Arc::new(SeededEntropy::new(7));
    let engine = Engine::with_ports(memory.clone(), clock, entropy, function::all_programs(), Config::default());
    let router = router(
        Arc::new(engine.expect("the functions are good")),
        ServerOptions { loopback: true, ..ServerOptions::default() },
    );
    http::block_on(async {
        for record in records {
            let commit = Commit { append: Some(JournalAppend { run, record }.into()), ..Commit::default() };
            memory.commit(commit).await.expect("memory takes it");
        }
        for path in [format!("/runs/{run}"), format!("/v1/runs/{run}"), format!("/v1/runs/{run}/journal")] {
            let request = Request::get(&path).body(Body::empty()).expect("a good request");
            let answer = router.clone().oneshot(request).await.expect("the router answers");
            assert_eq!(answer.status(), 200, "{path}");
            to_bytes(answer.into_body(), usize::MAX).await.expect("the answer is whole");
        }
    });
}
