//! The sweep: once a minute, timers that fall due become delayed wakes, and runs that went quiet are looked after.

use std::time::Duration;

use stepladder_core::state::{RunState, StepState};
use stepladder_core::wake::Purpose;
use stepladder_core::{Cause, Timer, Timestamp, Wake, id};

use super::Engine;
use super::ingest::WATCH;
use crate::ports::{Commit, Cursor, Later, StoreError};

/// How far ahead of their time timers are sent: the next sweep is a minute away, and may be late.
const AHEAD: Duration = Duration::from_secs(120);
/// How long a bucket stays open after its minute: writers' clocks differ (rule 26).
const OPEN: Duration = Duration::from_secs(120);
/// A sleeping run is looked after at least this often.
const DAILY: Duration = Duration::from_secs(24 * 3_600);

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Timers that became wakes.
    pub timers: usize,
    /// Runs that were looked after.
    pub watched: usize,
}

impl Engine {
    /// Sends the timers that fall due and moves the cursor on. May run any number of times, and side by side.
    ///
    /// # Errors
    /// [`StoreError`]; the next sweep begins where this one did.
    pub async fn sweep(&self) -> Result<Swept, StoreError> {
        let now = self.now();
        let before = self.backend.cursor().await?;
        let open_from = (now - OPEN).minute();
        // a store that was never swept has no timers older than its first hop
        let mut cursor = before.clone().unwrap_or(Cursor { minute: open_from, sent: Vec::new() });
        let mut swept = Swept::default();
        for minute in cursor.minute..=(now + AHEAD).minute() {
            let timers = self.backend.bucket(minute).await?;
            if timers.is_empty() {
                continue;
            }
            let mut sent = cursor.sent.iter().position(|(m, _)| *m == minute).map(|i| cursor.sent.swap_remove(i).1);
            let sent_before = sent.get_or_insert_default();
            for timer in timers {
                let mark = mark(&timer);
                if timer.due > now + AHEAD || sent_before.contains(&mark) {
                    continue;
                }
                self.fire(timer, now, &mut swept).await?;
                sent_before.push(mark);
            }
            cursor.sent.push((minute, sent.unwrap_or_default()));
        }
        // rule 26: only after sending, and never past what may still be written to
        cursor.minute = cursor.minute.max(open_from);
        cursor.sent.retain(|(minute, _)| *minute >= cursor.minute);
        cursor.sent.sort_unstable();
        if before.as_ref() != Some(&cursor) {
            self.backend.advance(before, cursor).await?;
        }
        Ok(swept)
    }

    async fn fire(&self, timer: Timer, now: Timestamp, swept: &mut Swept) -> Result<(), StoreError> {
        let Timer { due, run, group, purpose } = timer;
        let cause = match purpose {
            Purpose::Watchdog => {
                swept.watched += 1;
                return self.look_after(run, now).await;
            }
            Purpose::Step(step) if step.is_empty() => Cause::Due,
            Purpose::Step(step) => Cause::Step(step),
        };
        swept.timers += 1;
        let later = Later::Wake { wake: Wake { run, cause, group }, due };
        self.carry_out(Commit { before: vec![later], ..Commit::default() }).await?;
        Ok(())
    }

    /// Rule 12: a live run is woken if it should have moved, and its watchdog moves on.
    async fn look_after(&self, run: stepladder_core::RunId, now: Timestamp) -> Result<(), StoreError> {
        let Some(state) = self.state(run).await? else { return Ok(()) };
        if state.end.is_some() {
            return Ok(());
        }
        let next = next_move(&state);
        let due = match next {
            Some(next) if next > now => (next + WATCH).min(now + DAILY),
            Some(_) | None => now + WATCH,
        };
        let timer = Timer { due, run, group: state.created.function.clone(), purpose: Purpose::Watchdog };
        self.backend.set(vec![timer]).await?;
        if next.is_none_or(|next| next <= now) {
            let wakes = vec![self.wake_of(&state, Cause::Watchdog)];
            self.carry_out(Commit { wakes, ..Commit::default() }).await?;
        }
        Ok(())
    }
}

/// When a run goes on by itself; `None` when nothing says so.
fn next_move(state: &RunState) -> Option<Timestamp> {
    let of_step = state.steps.values().filter_map(|step| match &step.state {
        StepState::Sleeping { until } => Some(*until),
        StepState::Waiting { retry_at, .. } => Some(*retry_at),
        StepState::Running { lease_until, .. } => Some(*lease_until),
        StepState::Wanted | StepState::Invoking { .. } | StepState::Done | StepState::Abandoned => None,
    });
    of_step.chain(state.handler_retry_at).min()
}

fn mark(timer: &Timer) -> u64 {
    let purpose: &[u8] = match &timer.purpose {
        Purpose::Watchdog => b"\0",
        Purpose::Step(step) => step.as_bytes(),
    };
    id::hash(&[&timer.run.to_bytes(), &timer.due.as_millis().to_be_bytes(), purpose]) as u64
}
