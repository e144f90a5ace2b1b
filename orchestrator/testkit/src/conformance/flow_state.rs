//! Flow state: a change succeeds only if the state is still the one that was read.

use std::sync::Arc;

use stepladder_core::{RunId, Timestamp};

use super::TestedAdapter;
use super::fixtures::{event_id, run, run_concurrently, run_start, seconds};
use stepladder_engine::ports::{Backend, Commit, EarlyWrite, FlowStateChange, RunStart, StartResult};

/// Returns a key with unusual characters that is longer than a storage key may be.
fn key(name: &str) -> Arc<str> {
    format!("throttle/ünï \u{1F980}/{name}/{}", "k".repeat(1_500)).into()
}

fn state_change(on: &TestedAdapter, name: &str, seen: Option<&str>, becomes: Option<&str>) -> FlowStateChange {
    FlowStateChange {
        key: key(name),
        seen: seen.map(Into::into),
        becomes: becomes.map(Into::into),
        until: on.now() + seconds(600),
    }
}

async fn read_states(on: &TestedAdapter, names: &[&str]) -> Vec<Option<String>> {
    let keys = names.iter().map(|name| key(name)).collect();
    let noted = on.backend.read_flow_state(keys).await.expect("notes");
    noted.into_iter().map(|text| text.map(|text| text.to_string())).collect()
}

async fn apply_changes(on: &TestedAdapter, changes: Vec<FlowStateChange>) -> Vec<bool> {
    on.backend.change_flow_state(changes).await.expect("an answer")
}

/// A change fails if the state differs from the one that was read. If the state already has the new
/// value, the change counts as done.
pub async fn flow_state_changes_only_from_the_state_that_was_read(on: TestedAdapter) {
    assert_eq!(read_states(&on, &["a"]).await, [None]);
    assert_eq!(apply_changes(&on, vec![state_change(&on, "a", Some("1"), Some("2"))]).await, [false]);
    assert_eq!(apply_changes(&on, vec![state_change(&on, "a", None, Some("1"))]).await, [true]);
    assert_eq!(apply_changes(&on, vec![state_change(&on, "a", None, Some("2"))]).await, [false]);
    assert_eq!(apply_changes(&on, vec![state_change(&on, "a", None, Some("1"))]).await, [true]);
    assert_eq!(apply_changes(&on, vec![state_change(&on, "a", Some("1"), Some("2"))]).await, [true]);
    assert_eq!(read_states(&on, &["a"]).await, [Some("2".into())]);
    assert_eq!(apply_changes(&on, vec![state_change(&on, "a", Some("1"), None)]).await, [false]);
    assert_eq!(apply_changes(&on, vec![state_change(&on, "a", Some("2"), None)]).await, [true]);
    assert_eq!(apply_changes(&on, vec![state_change(&on, "a", Some("2"), None)]).await, [true]);
    assert_eq!(read_states(&on, &["a"]).await, [None]);
}

/// The results are in the order of the request, for any number of keys, and even if a key occurs
/// twice.
pub async fn many_flow_states_are_read_and_changed_in_one_call(on: TestedAdapter) {
    let names: Vec<String> = (0..120).map(|n| n.to_string()).collect();
    let changes = names.iter().map(|name| state_change(&on, name, None, Some(name))).collect();
    assert_eq!(apply_changes(&on, changes).await, vec![true; 120]);
    let some = vec![state_change(&on, "7", Some("6"), Some("x")), state_change(&on, "8", Some("8"), Some("y"))];
    assert_eq!(apply_changes(&on, some).await, [false, true]);
    let mut asked: Vec<&str> = names.iter().map(String::as_str).rev().collect();
    asked.extend(["none", "8"]);
    let found = read_states(&on, &asked).await;
    assert_eq!(found[..2], [Some("119".into()), Some("118".into())]);
    assert_eq!(found[119..], [Some("0".into()), None, Some("y".into())]);
}

/// A run is created and all of its flow state is changed, or neither happens.
pub async fn rule_16_flow_state_changes_with_the_creation_of_a_run(on: TestedAdapter) {
    let with = |n, changes| RunStart { flow_state: changes, ..run_start(n, "orders", event_id(n)) };
    let results = |starts| async { on.backend.create_runs(starts).await.expect("a start") };
    let first = with(1, vec![state_change(&on, "a", None, Some("1")), state_change(&on, "b", None, Some("1"))]);
    assert_eq!(results(vec![first.clone()]).await, [StartResult::New]);
    let second =
        with(2, vec![state_change(&on, "b", Some("1"), Some("2")), state_change(&on, "a", Some("0"), Some("2"))]);
    assert_eq!(results(vec![second]).await, [StartResult::Overtaken]);
    assert_eq!(read_states(&on, &["a", "b"]).await, [Some("1".into()), Some("1".into())]);
    assert!(on.backend.read(run(2), 0).await.expect("a read").is_empty());
    assert_eq!(on.backend.row(run(2)).await.expect("a row"), None);
    // A run that exists is reported as known, even if its flow state has changed since.
    assert_eq!(results(vec![first]).await, [StartResult::Known]);
    assert_eq!(read_states(&on, &["a"]).await, [Some("1".into())]);
    // A change from a value to the same value succeeds if the state is still the one that was read.
    let third = with(3, vec![state_change(&on, "a", Some("1"), Some("1")), state_change(&on, "b", Some("1"), None)]);
    assert_eq!(results(vec![third]).await, [StartResult::New]);
    assert_eq!(read_states(&on, &["a", "b"]).await, [Some("1".into()), None]);
}

/// Each start of a call sees the flow state as changed by the starts before it.
pub async fn the_starts_of_a_call_are_applied_in_order(on: TestedAdapter) {
    let chained = |n: u64| {
        let (seen, becomes) = ((n > 1).then(|| (n - 1).to_string()), n.to_string());
        let changes = vec![state_change(&on, "a", seen.as_deref(), Some(&becomes))];
        RunStart { flow_state: changes, ..run_start(n, "orders", event_id(n)) }
    };
    let starts = (1..=20).map(chained).collect();
    assert_eq!(on.backend.create_runs(starts).await.expect("a start"), [StartResult::New; 20]);
    assert_eq!(read_states(&on, &["a"]).await, [Some("20".into())]);
}

/// Of many concurrent changes only one succeeds; the results of the others say that the state had
/// changed.
pub async fn one_of_many_concurrent_changes_of_flow_state_succeeds(on: TestedAdapter) {
    let until = on.now() + seconds(600);
    let start = move |i: u64, backend: Arc<dyn Backend>| async move {
        let note = FlowStateChange { key: key("a"), seen: None, becomes: Some(i.to_string().into()), until };
        let results =
            backend.create_runs(vec![RunStart { flow_state: vec![note], ..run_start(i, "orders", event_id(i)) }]).await;
        (i, results.expect("a start"))
    };
    let answers = run_concurrently(12, start, &on).await;
    let new: Vec<u64> = answers.iter().filter(|(_, results)| *results == [StartResult::New]).map(|(i, _)| *i).collect();
    assert_eq!(new.len(), 1, "{answers:?}");
    assert_eq!(read_states(&on, &["a"]).await, [Some(new[0].to_string())]);
    let runs =
        on.backend.runs(stepladder_engine::ports::RunQuery { limit: 20, ..Default::default() }).await.expect("rows");
    assert_eq!(runs.iter().map(|row| row.run).collect::<Vec<RunId>>(), [run(new[0])]);
}

/// Linking an event to a run twice has no effect, and neither has linking the event that created
/// the run.
pub async fn an_event_is_linked_to_a_run_of_another_event(on: TestedAdapter) {
    on.backend
        .create_runs(vec![run_start(1, "orders", event_id(1)), run_start(2, "mail", event_id(2))])
        .await
        .expect("a start");
    let link = |n| EarlyWrite::LinkEvent { run: run(n), event: event_id(2) };
    let before = vec![link(1), link(1), link(2)];
    on.commit(Commit { before: before.clone(), ..Commit::default() }).await;
    on.commit(Commit { before, ..Commit::default() }).await;
    let of = |event| async move { on.backend.runs_of(event).await.expect("rows") };
    let runs: Vec<RunId> = of(event_id(2)).await.into_iter().map(|row| row.run).collect();
    assert_eq!(runs, [run(1), run(2)]);
}

/// A store may drop flow state after its expiry, but not before.
pub async fn flow_state_is_kept_until_its_time(on: TestedAdapter) {
    apply_changes(&on, vec![state_change(&on, "a", None, Some("1"))]).await;
    let until: Timestamp = on.now() + seconds(600);
    on.advance(seconds(599)).await;
    assert!(on.now() < until);
    assert_eq!(read_states(&on, &["a"]).await, [Some("1".into())]);
}
