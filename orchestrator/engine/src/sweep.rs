//! The sweep: once a minute, timers that fall due become delayed wakes, and runs that went quiet
//! are looked after.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use stepladder_core::state::{RunState, StepState};
use stepladder_core::wake::TimerPurpose;
use stepladder_core::{RunId, Timer, Timestamp, Wake, WakeCause, id};

use crate::intake::Intake;
use crate::intake::Tick;
use crate::intake::WATCH;
use crate::permanent;
use crate::ports::{Commit, Cursor, EarlyWrite, StoreError, StoreResult};
use crate::runs::Runs;
use crate::runtime::Runtime;
use crate::slots::Slots;

/// How far ahead of their time timers are sent: the next sweep is a minute away, and may be late.
const AHEAD: Duration = Duration::from_secs(120);
/// How long a bucket stays open after its minute: writers' clocks differ (rule 26).
const OPEN: Duration = Duration::from_secs(120);
/// Buckets that are read at a time.
const READS: usize = 16;
/// Wakes that are sent in one commit.
const WAKES: usize = 100;
/// Runs that are looked after at a time.
const VISITS: usize = 16;
/// A sleeping run is looked after at least this often.
const DAILY: Duration = Duration::from_secs(24 * 3_600);

/// Sends timers and cron ticks in time, and looks after quiet runs.
pub(crate) struct Sweep {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) runs: Arc<Runs>,
    pub(crate) slots: Arc<Slots>,
    pub(crate) intake: Arc<Intake>,
    /// The last sweep of this process, if it could not store how far it came.
    pub(crate) unstored: Mutex<Option<Unstored>>,
}

/// A sweep whose cursor could not be stored. While the storage denies that write, sweeps of this
/// process continue here. Otherwise each would send all due timers again (rule 34).
pub(crate) struct Unstored {
    /// The stored cursor that it began with.
    known: Option<Cursor>,
    /// How far it came.
    cursor: Cursor,
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Timers that became wakes.
    pub timers: usize,
    /// Ticks of cron lines that became wakes.
    pub ticks: usize,
    /// Runs that were looked after.
    pub watched: usize,
    /// Timers that cannot be read: each is reported as a permanent error and passed over.
    pub unreadable: usize,
}

impl Sweep {
    /// Sends the timers that fall due and moves the cursor on. May run any number of times, and
    /// side by side.
    ///
    /// # Errors
    /// [`StoreError`]; the next sweep begins after the last minute that this one has sent whole.
    pub(crate) async fn sweep(&self) -> Result<SweepReport, StoreError> {
        self.slots.release_pending().await;
        let now = self.runtime.now();
        let mut known = self.runtime.backend.cursor().await?;
        let open_from = (now - OPEN).minute();
        let unstored = self.unstored().take().filter(|unstored| unstored.known == known);
        let mut cursor = match (unstored, &known) {
            (Some(unstored), _) => unstored.cursor,
            (None, Some(known)) => known.clone(),
            (None, None) => Cursor { minute: self.first_minute(open_from).await?, sent: Vec::new() },
        };
        let mut swept = SweepReport::default();
        if known.is_none() {
            // what is missed from here on is known to be, whatever becomes of this sweep
            let first = cursor.minute;
            match self.move_cursor(&mut known, &mut cursor, first).await {
                Ok(true) => {}
                Ok(false) => return Ok(swept),
                Err(error) => tracing::warn!(%error, "the sweep's first cursor could not be stored"),
            }
        }
        let window = cursor.minute..=(now + AHEAD).minute();
        let reads = window.map(|minute| async move { (minute, self.runtime.backend.bucket(minute, usize::MAX).await) });
        let mut ticks = self.intake.ticks(cursor.minute..(now + AHEAD).minute() + 1, now);
        let mut buckets = stream::iter(reads).buffered(READS);
        while let Some((minute, timers)) = buckets.next().await {
            let timers = self.readable(timers?, &mut swept);
            let mut ticks = ticks.remove(&minute).unwrap_or_default();
            if timers.is_empty() && ticks.is_empty() {
                continue;
            }
            let sent = cursor.sent.iter().position(|(m, _)| *m == minute).map(|i| cursor.sent.swap_remove(i).1);
            let mut sent = sent.unwrap_or_default();
            let is_new = |timer: &Timer| timer.due <= now + AHEAD && !sent.contains(&mark(timer));
            let due: Vec<Timer> = timers.into_iter().filter(is_new).collect();
            ticks.retain(|tick| !sent.contains(&tick.mark()));
            sent.extend(due.iter().map(mark).chain(ticks.iter().map(Tick::mark)));
            cursor.sent.push((minute, sent));
            if due.is_empty() && ticks.is_empty() {
                continue;
            }
            self.fire(due, ticks, now, &mut swept).await?;
            // what comes after may fail: this minute is not to be sent again then
            match self.move_cursor(&mut known, &mut cursor, (minute + 1).min(open_from)).await {
                Ok(true) => {}
                Ok(false) => return Ok(swept),
                // what is due is sent all the same; the last move says how it went
                Err(error) => tracing::warn!(%error, "the sweep's cursor could not be moved"),
            }
        }
        self.move_cursor(&mut known, &mut cursor, open_from).await?;
        Ok(swept)
    }

    /// Where the first sweep begins. Timers may be older than it: sweeps may have been denied, or
    /// have failed, since the first deploy. Ticks count as missed from the oldest timer on: before
    /// it, nothing is known to have been there.
    async fn first_minute(&self, open_from: i64) -> Result<i64, StoreError> {
        let Some(oldest) = self.runtime.backend.oldest().await? else { return Ok(open_from) };
        let reads =
            (oldest..open_from).map(|minute| async move { (minute, self.runtime.backend.bucket(minute, 1).await) });
        let mut buckets = stream::iter(reads).buffered(READS);
        while let Some((minute, timers)) = buckets.next().await {
            if !timers?.is_empty() {
                return Ok(minute);
            }
        }
        Ok(open_from)
    }

    /// Rule 34: a timer that cannot be read does not keep back those beside and behind it.
    fn readable(&self, timers: Vec<StoreResult<Timer>>, swept: &mut SweepReport) -> Vec<Timer> {
        let mut readable = Vec::with_capacity(timers.len());
        for timer in timers {
            match timer {
                Ok(timer) => readable.push(timer),
                Err(error) => {
                    permanent::report("read a timer", None, &error);
                    swept.unreadable += 1;
                }
            }
        }
        readable
    }

    /// Moves the cursor to a minute: rule 26, only after sending, and never past what may still be
    /// written to. False when another sweep has moved it meanwhile, and goes on from there.
    async fn move_cursor(
        &self,
        known: &mut Option<Cursor>,
        cursor: &mut Cursor,
        minute: i64,
    ) -> Result<bool, StoreError> {
        cursor.minute = cursor.minute.max(minute);
        let open = cursor.minute;
        cursor.sent.retain(|(minute, _)| *minute >= open);
        cursor.sent.sort_unstable();
        if known.as_ref() == Some(cursor) {
            return Ok(true);
        }
        let moved = match self.runtime.backend.advance(known.clone(), cursor.clone()).await {
            Ok(moved) => moved,
            Err(error) => {
                *self.unstored() = Some(Unstored { known: known.clone(), cursor: cursor.clone() });
                return Err(error);
            }
        };
        *known = Some(cursor.clone());
        Ok(moved)
    }

    fn unstored(&self) -> MutexGuard<'_, Option<Unstored>> {
        self.unstored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Many at a time: ten thousand may be due in one minute.
    async fn fire(
        &self,
        timers: Vec<Timer>,
        ticks: Vec<Tick>,
        now: Timestamp,
        swept: &mut SweepReport,
    ) -> Result<(), StoreError> {
        let (mut wakes, mut watched): (Vec<EarlyWrite>, _) = (ticks.iter().map(Tick::wake).collect(), Vec::new());
        swept.ticks += wakes.len();
        for Timer { due, run, group, purpose } in timers {
            let cause = match purpose {
                TimerPurpose::Watchdog => {
                    watched.push((run, group));
                    continue;
                }
                TimerPurpose::Deadline => WakeCause::Deadline,
                TimerPurpose::Step(step) if step.is_empty() => WakeCause::Due,
                TimerPurpose::Step(step) => WakeCause::Step(step),
            };
            wakes.push(EarlyWrite::Wake { wake: Wake { run, cause, group }, due });
        }
        for before in wakes.chunks(WAKES) {
            self.runtime.carry_out(Commit { before: before.to_vec(), ..Commit::default() }).await?;
        }
        swept.timers += wakes.len() - ticks.len();
        swept.watched += watched.len();
        let visits = watched.into_iter().map(|(run, group)| self.look_after_or_later(run, group, now));
        stream::iter(visits).buffer_unordered(VISITS).try_collect::<Vec<()>>().await?;
        Ok(())
    }

    /// Rule 34: a run that cannot be looked after, for example because its journal cannot be read,
    /// keeps its watchdog and does not keep the sweep from what is due behind it.
    async fn look_after_or_later(&self, run: RunId, group: Arc<str>, now: Timestamp) -> Result<(), StoreError> {
        let Err(error) = self.look_after(run, now).await else { return Ok(()) };
        if !permanent::report("look after a run", Some(run), &error) {
            return Err(error);
        }
        self.runtime.backend.set(vec![Timer { due: now + WATCH, run, group, purpose: TimerPurpose::Watchdog }]).await
    }

    /// Rule 12: a live run is woken if it should have moved, and its watchdog moves on. Rule 27:
    /// what belongs to it is kept.
    async fn look_after(&self, run: RunId, now: Timestamp) -> Result<(), StoreError> {
        // most runs have ended: their row tells that, and that nothing of their finishing work is
        // left
        if self.runtime.backend.row(run).await?.is_some_and(|row| row.ended.is_some()) {
            return Ok(());
        }
        let Some(state) = self.runs.state(run).await? else { return Ok(()) };
        if state.end.is_some() {
            // its finishing work failed for good, and its wake is a dead letter: it is done again
            // until it succeeds
            let timer =
                Timer { due: now + WATCH, run, group: state.created.function.clone(), purpose: TimerPurpose::Watchdog };
            let (before, wakes) =
                (vec![EarlyWrite::Timer(timer)], vec![self.runtime.wake_of(&state, WakeCause::Watchdog)]);
            self.runtime.carry_out(Commit { before, wakes, ..Commit::default() }).await?;
            return Ok(());
        }
        // before anything that may fail: what was forgotten cannot be looked after again
        self.runtime.backend.renew_retention(run, state.created.event.id, now).await?;
        self.intake.keep_single(&state).await?;
        let next = next_move(&state);
        let waits = waits_for_a_wake(&state);
        let due = match next {
            Some(next) if next > now && !waits => (next + WATCH).min(now + DAILY),
            Some(_) | None => now + WATCH,
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

/// When a run goes on by itself; `None` when nothing says so.
fn next_move(state: &RunState) -> Option<Timestamp> {
    let of_step = state.steps.values().filter_map(|step| match &step.state {
        StepState::Sleeping { until } | StepState::Awaiting { until, .. } => Some(*until),
        StepState::Retrying { retry_at, .. } => Some(*retry_at),
        StepState::Running { lease_until, .. } => Some(*lease_until),
        StepState::Wanted | StepState::Invoking { .. } | StepState::Done | StepState::Abandoned => None,
    });
    of_step.chain(state.handler_retry_at).chain(state.begins_at()).min()
}

/// Whether a step waits for a wake of its own, or for that of a called run's end or of something
/// that arrived. It may be lost while other steps of the run go on, which says nothing of it.
fn waits_for_a_wake(state: &RunState) -> bool {
    state.arrived
        || state.steps.values().any(|step| matches!(step.state, StepState::Wanted | StepState::Invoking { .. }))
}

fn mark(timer: &Timer) -> u64 {
    let purpose: &[u8] = match &timer.purpose {
        TimerPurpose::Watchdog => b"\0",
        TimerPurpose::Deadline => b"\0deadline",
        TimerPurpose::Step(step) => step.as_bytes(),
    };
    id::hash(&[&timer.run.to_bytes(), &timer.due.as_millis().to_be_bytes(), purpose]) as u64
}
