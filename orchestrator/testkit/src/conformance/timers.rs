//! The timers and the cursor of the sweep.

use stepladder_core::wake::TimerPurpose;
use stepladder_core::{RunOrStep, Timer};

use super::TestedAdapter;
use super::fixtures::{START, event_id, run, run_start, seconds, timer};
use stepladder_engine::ports::{Commit, Cursor, EarlyWrite, StoreResult};

/// Returns the timers of a bucket, and asserts that each can be read.
pub(super) fn read_all(bucket: StoreResult<Vec<StoreResult<Timer>>>) -> Vec<Timer> {
    bucket.expect("a bucket").into_iter().map(|timer| timer.expect("a timer")).collect()
}

async fn bucket(on: &TestedAdapter, minute: i64) -> Vec<Timer> {
    read_all(on.backend.bucket(minute, usize::MAX).await)
}

/// The timers of a bucket are sorted by due time.
pub async fn timers_are_in_the_bucket_of_their_minute(on: TestedAdapter) {
    let at = |s| timer(run(s), START + seconds(s));
    on.backend.set(vec![at(59), at(60), at(0), at(61)]).await.expect("timers");
    let minute = START.minute();
    assert_eq!(bucket(&on, minute).await, [at(0), at(59)]);
    assert_eq!(bucket(&on, minute + 1).await, [at(60), at(61)]);
    assert!(bucket(&on, minute + 2).await.is_empty());
    assert_eq!(read_all(on.backend.bucket(minute, 1).await), [at(0)], "the soonest");
}

/// The first sweep starts at the oldest timer. The store may return an earlier minute than the
/// timer's, but never a later one.
pub async fn the_oldest_timer_is_found(on: TestedAdapter) {
    assert_eq!(on.backend.oldest().await.expect("an answer"), None);
    let start = run_start(1, "orders", event_id(1));
    let minute = start.watchdog.due.minute();
    on.backend.create_runs(vec![start]).await.expect("a run");
    let oldest = on.backend.oldest().await.expect("an answer").expect("a timer is set");
    assert!((minute - 120..=minute).contains(&oldest), "{oldest}, and the timer is in {minute}");
}

/// Setting a timer with the same run, purpose and due time again has no effect. If one of the three
/// differs, it is another timer.
pub async fn a_timer_is_set_once(on: TestedAdapter) {
    let due = START + seconds(5);
    let of = |of| Timer { purpose: TimerPurpose::Due(of), ..timer(run(1), due) };
    let step = |name: &str| of(RunOrStep::Step(name.into()));
    let deadline = Timer { purpose: TimerPurpose::Deadline, ..timer(run(1), due) };
    let timers = vec![
        timer(run(1), due),
        step("pay"),
        of(RunOrStep::Run),
        step("Watchdog"),
        deadline,
        step("Deadline"),
        Timer { purpose: TimerPurpose::Heartbeat("pay".into()), ..timer(run(1), due) },
        Timer { purpose: TimerPurpose::Heartbeat("ship".into()), ..timer(run(1), due) },
        timer(run(2), due),
    ];
    on.backend.set(timers.clone()).await.expect("timers");
    on.backend.set(timers.clone()).await.expect("timers");
    on.backend.set(vec![Timer { group: "other".into(), ..timers[0].clone() }]).await.expect("timers");
    let found = bucket(&on, due.minute()).await;
    assert_eq!(found.len(), timers.len());
    let is = |a: &Timer, b: &Timer| (a.due, a.run, &a.purpose) == (b.due, b.run, &b.purpose);
    assert!(timers.iter().all(|timer| found.iter().any(|other| is(timer, other))));
    on.backend.set(vec![timer(run(1), due + seconds(1))]).await.expect("timers");
    assert_eq!(bucket(&on, due.minute()).await.len(), timers.len() + 1);
}

/// A commit sets its timers. Repeating the commit has no effect.
pub async fn timers_are_set_by_a_commit(on: TestedAdapter) {
    let timer = timer(run(1), START + seconds(90));
    let commit = Commit { before: vec![EarlyWrite::Timer(timer.clone())], ..Commit::default() };
    on.commit(commit.clone()).await;
    on.commit(commit).await;
    assert_eq!(bucket(&on, START.minute() + 1).await, [timer]);
}

/// The cursor moves only if it is exactly as expected. Buckets that the cursor has not passed keep
/// their timers.
pub async fn rule_26_the_cursor_moves_only_from_the_expected_position(on: TestedAdapter) {
    assert_eq!(on.backend.cursor().await.expect("a cursor"), None);
    let minute = START.minute();
    let first = Cursor { minute, sent: vec![(minute, vec![1, u64::MAX])] };
    let second = Cursor { minute, sent: Vec::new() };
    let third = Cursor { minute: minute + 1, sent: Vec::new() };
    let advance = async |from: Option<&Cursor>, to: &Cursor| {
        on.backend.advance(from.cloned(), to.clone()).await.expect("an answer")
    };
    assert!(!advance(Some(&second), &first).await);
    assert!(advance(None, &first).await);
    assert!(!advance(None, &third).await);
    assert!(!advance(Some(&second), &third).await);
    assert_eq!(on.backend.cursor().await.expect("a cursor").as_ref(), Some(&first));
    on.backend.set(vec![timer(run(1), START), timer(run(2), START + seconds(60))]).await.expect("timers");
    assert!(advance(Some(&first), &second).await);
    assert_eq!(bucket(&on, minute).await.len(), 1);
    assert!(advance(Some(&second), &third).await);
    assert_eq!(bucket(&on, minute + 1).await.len(), 1);
    assert_eq!(on.backend.cursor().await.expect("a cursor"), Some(third));
}
