//! Notes of flow control.

use std::sync::Arc;

use stepladder_core::{RunId, Timestamp};

use super::Subject;
use super::given::{at_once, begin, event_id, run, seconds};
use stepladder_engine::ports::{Backend, Commit, EarlyWrite, FlowStateChange, RunStart, StartResult};

/// Any text, and longer than a key of storage may be.
fn key(name: &str) -> Arc<str> {
    format!("throttle/ünï \u{1F980}/{name}/{}", "k".repeat(1_500)).into()
}

fn note(on: &Subject, name: &str, seen: Option<&str>, becomes: Option<&str>) -> FlowStateChange {
    FlowStateChange {
        key: key(name),
        seen: seen.map(Into::into),
        becomes: becomes.map(Into::into),
        until: on.now() + seconds(600),
    }
}

async fn noted(on: &Subject, names: &[&str]) -> Vec<Option<String>> {
    let keys = names.iter().map(|name| key(name)).collect();
    let noted = on.backend.read_flow_state(keys).await.expect("notes");
    noted.into_iter().map(|text| text.map(|text| text.to_string())).collect()
}

async fn change(on: &Subject, changes: Vec<FlowStateChange>) -> Vec<bool> {
    on.backend.change_flow_state(changes).await.expect("an answer")
}

/// One that is not as it was seen stays as it is; one that is already as it is to become, too, and counts as changed.
pub async fn a_note_changes_only_from_what_was_seen(on: Subject) {
    assert_eq!(noted(&on, &["a"]).await, [None]);
    assert_eq!(change(&on, vec![note(&on, "a", Some("1"), Some("2"))]).await, [false]);
    assert_eq!(change(&on, vec![note(&on, "a", None, Some("1"))]).await, [true]);
    assert_eq!(change(&on, vec![note(&on, "a", None, Some("2"))]).await, [false]);
    assert_eq!(change(&on, vec![note(&on, "a", None, Some("1"))]).await, [true]);
    assert_eq!(change(&on, vec![note(&on, "a", Some("1"), Some("2"))]).await, [true]);
    assert_eq!(noted(&on, &["a"]).await, [Some("2".into())]);
    assert_eq!(change(&on, vec![note(&on, "a", Some("1"), None)]).await, [false]);
    assert_eq!(change(&on, vec![note(&on, "a", Some("2"), None)]).await, [true]);
    assert_eq!(change(&on, vec![note(&on, "a", Some("2"), None)]).await, [true]);
    assert_eq!(noted(&on, &["a"]).await, [None]);
}

/// In the order in which they were asked for, however many, and twice the same.
pub async fn notes_are_read_and_changed_many_at_a_time(on: Subject) {
    let names: Vec<String> = (0..120).map(|n| n.to_string()).collect();
    let changes = names.iter().map(|name| note(&on, name, None, Some(name))).collect();
    assert_eq!(change(&on, changes).await, vec![true; 120]);
    let some = vec![note(&on, "7", Some("6"), Some("x")), note(&on, "8", Some("8"), Some("y"))];
    assert_eq!(change(&on, some).await, [false, true]);
    let mut asked: Vec<&str> = names.iter().map(String::as_str).rev().collect();
    asked.extend(["none", "8"]);
    let found = noted(&on, &asked).await;
    assert_eq!(found[..2], [Some("119".into()), Some("118".into())]);
    assert_eq!(found[119..], [Some("0".into()), None, Some("y".into())]);
}

/// All of them, or none, and then there is no run either.
pub async fn rule_16_a_runs_notes_change_with_its_beginning(on: Subject) {
    let with = |n, notes| RunStart { flow_state: notes, ..begin(n, "orders", event_id(n)) };
    let begun = |starts| async { on.backend.create_runs(starts).await.expect("a start") };
    let first = with(1, vec![note(&on, "a", None, Some("1")), note(&on, "b", None, Some("1"))]);
    assert_eq!(begun(vec![first.clone()]).await, [StartResult::New]);
    let second = with(2, vec![note(&on, "b", Some("1"), Some("2")), note(&on, "a", Some("0"), Some("2"))]);
    assert_eq!(begun(vec![second]).await, [StartResult::Overtaken]);
    assert_eq!(noted(&on, &["a", "b"]).await, [Some("1".into()), Some("1".into())]);
    assert!(on.backend.read(run(2), 0).await.expect("a read").is_empty());
    assert_eq!(on.backend.row(run(2)).await.expect("a row"), None);
    // a run that exists is known, whatever its notes say by now
    assert_eq!(begun(vec![first]).await, [StartResult::Known]);
    assert_eq!(noted(&on, &["a"]).await, [Some("1".into())]);
    // one that only has to be as it was seen
    let third = with(3, vec![note(&on, "a", Some("1"), Some("1")), note(&on, "b", Some("1"), None)]);
    assert_eq!(begun(vec![third]).await, [StartResult::New]);
    assert_eq!(noted(&on, &["a", "b"]).await, [Some("1".into()), None]);
}

/// Each sees what the one before it has changed.
pub async fn the_starts_of_a_call_happen_in_their_order(on: Subject) {
    let chained = |n: u64| {
        let (seen, becomes) = ((n > 1).then(|| (n - 1).to_string()), n.to_string());
        let notes = vec![note(&on, "a", seen.as_deref(), Some(&becomes))];
        RunStart { flow_state: notes, ..begin(n, "orders", event_id(n)) }
    };
    let starts = (1..=20).map(chained).collect();
    assert_eq!(on.backend.create_runs(starts).await.expect("a start"), [StartResult::New; 20]);
    assert_eq!(noted(&on, &["a"]).await, [Some("20".into())]);
}

/// The others are told.
pub async fn of_many_that_change_a_note_one_does(on: Subject) {
    let until = on.now() + seconds(600);
    let start = move |i: u64, backend: Arc<dyn Backend>| async move {
        let note = FlowStateChange { key: key("a"), seen: None, becomes: Some(i.to_string().into()), until };
        let begun =
            backend.create_runs(vec![RunStart { flow_state: vec![note], ..begin(i, "orders", event_id(i)) }]).await;
        (i, begun.expect("a start"))
    };
    let answers = at_once(12, start, &on).await;
    let new: Vec<u64> = answers.iter().filter(|(_, begun)| *begun == [StartResult::New]).map(|(i, _)| *i).collect();
    assert_eq!(new.len(), 1, "{answers:?}");
    assert_eq!(noted(&on, &["a"]).await, [Some(new[0].to_string())]);
    let runs =
        on.backend.runs(stepladder_engine::ports::RunQuery { limit: 20, ..Default::default() }).await.expect("rows");
    assert_eq!(runs.iter().map(|row| row.run).collect::<Vec<RunId>>(), [run(new[0])]);
}

/// As often as it is linked, once; also where the event is the one that created the run.
pub async fn an_event_is_linked_to_a_run_that_another_created(on: Subject) {
    on.backend
        .create_runs(vec![begin(1, "orders", event_id(1)), begin(2, "mail", event_id(2))])
        .await
        .expect("a start");
    let link = |n| EarlyWrite::LinkEvent { run: run(n), event: event_id(2) };
    let before = vec![link(1), link(1), link(2)];
    on.done(Commit { before: before.clone(), ..Commit::default() }).await;
    on.done(Commit { before, ..Commit::default() }).await;
    let of = |event| async move { on.backend.runs_of(event).await.expect("rows") };
    let runs: Vec<RunId> = of(event_id(2)).await.into_iter().map(|row| row.run).collect();
    assert_eq!(runs, [run(1), run(2)]);
}

/// A store may forget it by then, and need not.
pub async fn a_note_is_there_until_its_time(on: Subject) {
    change(&on, vec![note(&on, "a", None, Some("1"))]).await;
    let until: Timestamp = on.now() + seconds(600);
    on.advance(seconds(599)).await;
    assert!(on.now() < until);
    assert_eq!(noted(&on, &["a"]).await, [Some("1".into())]);
}
