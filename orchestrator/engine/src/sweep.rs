//! The sweep, which runs once a minute. It sends a delayed wake for each timer and cron tick that
//! is due soon, and checks the runs with a watchdog that is due.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use stepladder_core::state::{RunState, StepState};
use stepladder_core::wake::TimerPurpose;
use stepladder_core::{RunId, RunOrStep, Timer, Timestamp, Wake, WakeCause, id};

use crate::intake::Intake;
use crate::intake::Tick;
use crate::intake::WATCHDOG_INTERVAL;
use crate::permanent;
use crate::ports::{Commit, Cursor, EarlyWrite, StoreError, StoreResult};
use crate::runs::Runs;
use crate::runtime::Runtime;
use crate::slots::Slots;

/// How far ahead of their due time timers are sent. The next sweep runs in a minute and may be
/// late.
const SEND_AHEAD: Duration = Duration::from_secs(120);
/// How long after its minute a bucket may still get timers, because the clocks of writers differ
/// (rule 26).
const BUCKET_OPEN_FOR: Duration = Duration::from_secs(120);
/// The number of buckets that are read concurrently.
const PARALLEL_READS: usize = 16;
/// The number of wakes that are sent in one commit.
const WAKES_PER_COMMIT: usize = 100;
/// The number of runs that are checked concurrently.
const PARALLEL_VISITS: usize = 16;
/// The maximum time between two checks of a sleeping run.
const MAX_VISIT_INTERVAL: Duration = Duration::from_secs(24 * 3_600);

/// Sends timers and cron ticks, and checks runs without recent progress.
pub(crate) struct Sweep {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) runs: Arc<Runs>,
    pub(crate) slots: Arc<Slots>,
    pub(crate) intake: Arc<Intake>,
    /// The progress of the last sweep of this process, if its cursor could not be stored.
    pub(crate) unstored: Mutex<Option<UnstoredCursor>>,
}

/// A cursor that could not be stored. While the storage refuses the write, the sweeps of this
/// process continue from this cursor. Otherwise each sweep would send all due timers again (rule
/// 34).
pub(crate) struct UnstoredCursor {
    /// The stored cursor from which the sweep started.
    stored: Option<Cursor>,
    /// How far the sweep has progressed.
    cursor: Cursor,
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// The number of timers for which a wake was sent.
    pub timers: usize,
    /// The number of cron ticks for which a wake was sent.
    pub ticks: usize,
    /// The number of runs that were checked.
    pub watched: usize,
    /// The number of timers that cannot be read. Each is reported as a permanent error and skipped.
    pub unreadable: usize,
}

impl Sweep {
    /// Sends the timers and ticks that are due soon, and advances the cursor. Several sweeps may
    /// run at the same time.
    ///
    /// # Errors
    /// [`StoreError`]. The next sweep starts after the last minute that this sweep handled
    /// completely.
    pub(crate) async fn sweep(&self) -> Result<SweepReport, StoreError> {
        self.slots.release_pending().await;
        // this finds functions that were registered since the last sweep, so that their ticks are
        // sent
        self.runtime.current().await;
        let now = self.runtime.now();
        let mut stored = self.runtime.backend.cursor().await?;
        let open_from = (now - BUCKET_OPEN_FOR).minute();
        let unstored = self.lock_unstored().take().filter(|unstored| unstored.stored == stored);
        let mut cursor = match (unstored, &stored) {
            (Some(unstored), _) => unstored.cursor,
            (None, Some(stored)) => stored.clone(),
            (None, None) => Cursor { minute: self.first_minute(open_from).await?, sent: Vec::new() },
        };
        let mut report = SweepReport::default();
        if stored.is_none() {
            // the cursor is stored immediately, so that ticks from this minute on count as missed
            // even if this sweep fails
            let first = cursor.minute;
            match self.move_cursor(&mut stored, &mut cursor, first).await {
                Ok(true) => {}
                Ok(false) => return Ok(report),
                Err(error) => tracing::warn!(%error, "the sweep's first cursor could not be stored"),
            }
        }
        let window = cursor.minute..=(now + SEND_AHEAD).minute();
        let reads = window.map(|minute| async move { (minute, self.runtime.backend.bucket(minute, usize::MAX).await) });
        let mut ticks = self.intake.ticks(cursor.minute..(now + SEND_AHEAD).minute() + 1, now);
        let mut buckets = stream::iter(reads).buffered(PARALLEL_READS);
        while let Some((minute, timers)) = buckets.next().await {
            let timers = self.keep_readable(timers?, &mut report);
            let mut ticks = ticks.remove(&minute).unwrap_or_default();
            if timers.is_empty() && ticks.is_empty() {
                continue;
            }
            let sent = cursor.sent.iter().position(|(m, _)| *m == minute).map(|i| cursor.sent.swap_remove(i).1);
            let mut sent = sent.unwrap_or_default();
            let is_new = |timer: &Timer| timer.due <= now + SEND_AHEAD && !sent.contains(&cursor_hash(timer));
            let due: Vec<Timer> = timers.into_iter().filter(is_new).collect();
            ticks.retain(|tick| !sent.contains(&tick.cursor_hash()));
            sent.extend(due.iter().map(cursor_hash).chain(ticks.iter().map(Tick::cursor_hash)));
            cursor.sent.push((minute, sent));
            if due.is_empty() && ticks.is_empty() {
                continue;
            }
            self.send_due(due, ticks, now, &mut report).await?;
            // the cursor is stored after each minute, so that a later failure does not repeat this
            // minute
            match self.move_cursor(&mut stored, &mut cursor, (minute + 1).min(open_from)).await {
                Ok(true) => {}
                Ok(false) => return Ok(report),
                // the other minutes are sent nevertheless; if the last move of the cursor also
                // fails, the sweep returns its error
                Err(error) => tracing::warn!(%error, "the sweep's cursor could not be moved"),
            }
        }
        self.move_cursor(&mut stored, &mut cursor, open_from).await?;
        Ok(report)
    }

    /// Returns the minute at which the first sweep starts: that of the oldest timer. Timers may be
    /// old if no sweep was possible since the first deployment. Ticks count as missed from this
    /// minute on.
    async fn first_minute(&self, open_from: i64) -> Result<i64, StoreError> {
        let Some(oldest) = self.runtime.backend.oldest().await? else { return Ok(open_from) };
        let reads =
            (oldest..open_from).map(|minute| async move { (minute, self.runtime.backend.bucket(minute, 1).await) });
        let mut buckets = stream::iter(reads).buffered(PARALLEL_READS);
        while let Some((minute, timers)) = buckets.next().await {
            if !timers?.is_empty() {
                return Ok(minute);
            }
        }
        Ok(open_from)
    }

    /// Returns the readable timers, and reports the others. An unreadable timer must not stop the
    /// sweep (rule 34).
    fn keep_readable(&self, timers: Vec<StoreResult<Timer>>, report: &mut SweepReport) -> Vec<Timer> {
        let mut readable = Vec::with_capacity(timers.len());
        for timer in timers {
            match timer {
                Ok(timer) => readable.push(timer),
                Err(error) => {
                    permanent::report_failure("read a timer", None, &error);
                    report.unreadable += 1;
                }
            }
        }
        readable
    }

    /// Advances the cursor to `minute` (rule 26). Call this only after the buckets before `minute`
    /// were sent and can get no more timers. Returns `false` if another sweep has advanced the
    /// cursor in the meantime: then that sweep continues, and this one ends.
    async fn move_cursor(
        &self,
        stored: &mut Option<Cursor>,
        cursor: &mut Cursor,
        minute: i64,
    ) -> Result<bool, StoreError> {
        cursor.minute = cursor.minute.max(minute);
        let open = cursor.minute;
        cursor.sent.retain(|(minute, _)| *minute >= open);
        cursor.sent.sort_unstable();
        if stored.as_ref() == Some(cursor) {
            return Ok(true);
        }
        let advanced = match self.runtime.backend.advance(stored.clone(), cursor.clone()).await {
            Ok(advanced) => advanced,
            Err(error) => {
                *self.lock_unstored() = Some(UnstoredCursor { stored: stored.clone(), cursor: cursor.clone() });
                return Err(error);
            }
        };
        *stored = Some(cursor.clone());
        Ok(advanced)
    }

    fn lock_unstored(&self) -> MutexGuard<'_, Option<UnstoredCursor>> {
        self.unstored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends the wakes of timers and ticks, and checks the runs with a watchdog that is due. Ten
    /// thousand timers may be due in one minute, so they are handled concurrently.
    async fn send_due(
        &self,
        timers: Vec<Timer>,
        ticks: Vec<Tick>,
        now: Timestamp,
        report: &mut SweepReport,
    ) -> Result<(), StoreError> {
        let (mut wakes, mut watched): (Vec<EarlyWrite>, _) =
            (ticks.iter().map(Tick::to_wake_write).collect(), Vec::new());
        report.ticks += wakes.len();
        for Timer { due, run, group, purpose } in timers {
            let cause = match purpose {
                TimerPurpose::Watchdog => {
                    watched.push((run, group));
                    continue;
                }
                TimerPurpose::Deadline => WakeCause::Deadline,
                TimerPurpose::Heartbeat(step) => WakeCause::Heartbeat { step, due },
                TimerPurpose::Due(RunOrStep::Run) => WakeCause::Due,
                TimerPurpose::Due(RunOrStep::Step(step)) => WakeCause::Step(step),
            };
            wakes.push(EarlyWrite::Wake { wake: Wake { run, cause, group }, due });
        }
        for before in wakes.chunks(WAKES_PER_COMMIT) {
            self.runtime.carry_out(Commit { before: before.to_vec(), ..Commit::default() }).await?;
        }
        report.timers += wakes.len() - ticks.len();
        report.watched += watched.len();
        let visits = watched.into_iter().map(|(run, group)| self.visit_or_postpone(run, group, now));
        stream::iter(visits).buffer_unordered(PARALLEL_VISITS).try_collect::<Vec<()>>().await?;
        Ok(())
    }

    /// Checks a run. After a permanent error, such as an unreadable journal, sets the watchdog
    /// again and succeeds, so that the sweep continues with other runs (rule 34).
    async fn visit_or_postpone(&self, run: RunId, group: Arc<str>, now: Timestamp) -> Result<(), StoreError> {
        let Err(error) = self.visit_run(run, now).await else { return Ok(()) };
        if !permanent::report_failure("visit a run", Some(run), &error) {
            return Err(error);
        }
        self.runtime
            .backend
            .set(vec![Timer { due: now + WATCHDOG_INTERVAL, run, group, purpose: TimerPurpose::Watchdog }])
            .await
    }

    /// Checks a run: wakes it if it should have made progress, sets its watchdog again (rule 12),
    /// and extends its retention (rule 27).
    async fn visit_run(&self, run: RunId, now: Timestamp) -> Result<(), StoreError> {
        // most runs have ended; the row is marked last, so if it is marked, the work after the end
        // is done too
        if self.runtime.backend.row(run).await?.is_some_and(|row| row.ended.is_some()) {
            return Ok(());
        }
        let Some(state) = self.runs.state(run).await? else { return Ok(()) };
        if state.end.is_some() {
            // the run has ended but its row is not marked: the work after the end failed, and its
            // wake became a dead letter; this timer repeats the work until it succeeds
            let timer = Timer {
                due: now + WATCHDOG_INTERVAL,
                run,
                group: state.created.function.clone(),
                purpose: TimerPurpose::Watchdog,
            };
            let (before, wakes) =
                (vec![EarlyWrite::Timer(timer)], vec![self.runtime.wake_of(&state, WakeCause::Watchdog)]);
            self.runtime.carry_out(Commit { before, wakes, ..Commit::default() }).await?;
            return Ok(());
        }
        // this comes before anything that may fail, because an expired item cannot be restored
        self.runtime.backend.renew_retention(run, state.created.event.id, now).await?;
        self.intake.renew_singleton(&state).await?;
        let next = next_due(&state);
        let waits = waits_for_a_wake(&state);
        let due = match next {
            Some(next) if next > now && !waits => (next + WATCHDOG_INTERVAL).min(now + MAX_VISIT_INTERVAL),
            Some(_) | None => now + WATCHDOG_INTERVAL,
        };
        let timer = Timer { due, run, group: state.created.function.clone(), purpose: TimerPurpose::Watchdog };
        self.runtime.backend.set(vec![timer]).await?;
        if waits || next.is_none_or(|next| next <= now) {
            let wakes = vec![self.runtime.wake_of(&state, WakeCause::Watchdog)];
            self.runtime.carry_out(Commit { wakes, ..Commit::default() }).await?;
        }
        Ok(())
    }
}

/// Returns the next time at which a timer of the run is due or a lease expires; `None` if there is
/// none.
fn next_due(state: &RunState) -> Option<Timestamp> {
    let of_step = state.steps.values().filter_map(|step| match &step.state {
        StepState::Sleeping { until } => Some(*until),
        StepState::Awaiting { until, .. } => Some(step.state.heartbeat_due().unwrap_or(*until)),
        StepState::Retrying { retry_at, .. } => Some(*retry_at),
        StepState::Running { lease_until, .. } => Some(*lease_until),
        StepState::Invoking { until, .. } => *until,
        StepState::Wanted | StepState::Done | StepState::Abandoned => None,
    });
    of_step.chain(state.handler_retry_at).chain(state.begins_at()).min()
}

/// Returns whether the run waits for a wake that may have been lost: the separate wake of a step,
/// the wake at the end of a called run, or the wake after a delivered event. Progress of other
/// steps does not make up for such a wake.
fn waits_for_a_wake(state: &RunState) -> bool {
    state.arrived
        || state.steps.values().any(|step| matches!(step.state, StepState::Wanted | StepState::Invoking { .. }))
}

/// Returns the hash that represents a timer in the cursor of the sweep.
fn cursor_hash(timer: &Timer) -> u64 {
    let purpose: &[u8] = match &timer.purpose {
        TimerPurpose::Watchdog => b"\0",
        TimerPurpose::Deadline => b"\0deadline",
        TimerPurpose::Heartbeat(step) => &[b"\0heartbeat", step.as_bytes()].concat(),
        TimerPurpose::Due(of) => of.as_stored().as_bytes(),
    };
    id::hash(&[&timer.run.to_bytes(), &timer.due.as_millis().to_be_bytes(), purpose]) as u64
}
