//! Flow control: whether, when and with which other events an event starts a run.
//!
//! This module only computes. The storage keeps the flow state of each key as a short string. The
//! engine reads it, changes it by these rules, and writes it back in the transaction that creates
//! the run (rule 16).

mod admission;
mod words;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use admission::Admission;

use crate::expr::{Expr, ExprError};
use crate::limits::{COLLECTED, LONGEST_PERIOD, MOST_PRIORITY};
use crate::spec::{LazyExprScope, Spec};
use crate::waiting::{ArrivingEvent, EventField, EventMatch, EventWait, Subscription, path_problem};
use crate::{Event, OwnStep, RunId, StepId, Timestamp};

/// The flow control of a function, without concurrency limits.
#[derive(Clone, Debug, Default)]
pub struct FlowControl {
    /// Delays starts that exceed the rate.
    pub throttle: Option<Rate>,
    /// Skips starts that exceed the rate.
    pub rate_limit: Option<Rate>,
    /// Starts one run after the last of several close events.
    pub debounce: Option<Debounce>,
    /// Collects events and starts one run with all of them.
    pub batch: Option<Batch>,
    /// Allows at most one live run.
    pub singleton: Option<Singleton>,
    /// Events for which this CEL expression returns the same value start only one run in 24 hours.
    pub idempotency: Option<Expr>,
    /// A CEL expression that returns the number of seconds by which a run moves forward in a wait
    /// queue.
    pub priority: Option<Expr>,
    /// Events that cancel a run.
    pub cancel_on: Vec<CancelOn>,
    /// The maximum time from the creation of a run to its start. A run that has not started by then
    /// is cancelled.
    pub start_within: Option<Duration>,
    /// The maximum time from the start of a run to its end. A run that has not ended by then is
    /// cancelled.
    pub finish_within: Option<Duration>,
}

/// A maximum number of starts per period, evenly spaced, with bursts.
#[derive(Clone, Debug)]
pub struct Rate {
    /// The number of starts per period.
    pub limit: u32,
    /// The period.
    pub period: Duration,
    /// The number of runs that may start at the same time.
    pub burst: u32,
    /// A CEL expression. Starts are counted separately for each of its values.
    pub key: Option<Expr>,
}

/// Starts a run after a quiet period without further events.
#[derive(Clone, Debug)]
pub struct Debounce {
    /// The quiet period.
    pub period: Duration,
    /// The maximum delay after the first event.
    pub longest: Option<Duration>,
    /// A CEL expression. Each of its values is debounced separately.
    pub key: Option<Expr>,
}

/// Starts a run with many events.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The number of events that starts the run immediately.
    pub size: u32,
    /// The maximum time from the first event to the start.
    pub timeout: Duration,
    /// A CEL expression. Each of its values has its own batch.
    pub key: Option<Expr>,
}

/// Allows at most one live run; with a key, one per value.
#[derive(Clone, Debug)]
pub struct Singleton {
    /// A CEL expression. At most one run is live for each of its values.
    pub key: Option<Expr>,
    /// What a further event does while a run is live.
    pub mode: SingletonMode,
}

/// What a further event does while a run is live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SingletonMode {
    /// Skips the new run.
    Skip,
    /// Cancels the live run and starts the new one.
    Replace,
}

/// An event that cancels a run.
#[derive(Clone, Debug)]
pub struct CancelOn {
    /// The event's name.
    pub event: Arc<str>,
    /// Which events with this name cancel the run.
    pub matching: CancelMatch,
    /// How long after the run's creation the event can cancel it; `None` for as long as the run
    /// lives.
    pub within: Option<Duration>,
}

/// Which events cancel a run.
#[derive(Clone, Debug)]
pub enum CancelMatch {
    /// Every event.
    Any,
    /// An event with the same value in this field of `data` as the run's own event. Such events are
    /// found through an index.
    Field(Arc<str>),
    /// An event for which this CEL expression is true. `event` is the event that started the run,
    /// and `async` is the arriving event.
    When(Expr),
    /// An event that matches all of these conditions.
    All(Vec<CancelMatch>),
}

impl CancelMatch {
    /// Returns the events that a run created by this event waits for; `None` if no event can match.
    fn matching(&self, event: &ArrivingEvent<'_>) -> Option<EventMatch> {
        Some(match self {
            CancelMatch::Any => EventMatch::Any,
            CancelMatch::When(expr) => EventMatch::When(expr.source().into()),
            CancelMatch::Field(path) => {
                EventMatch::Field(EventField { path: path.clone(), value: event.value(path)?.into() })
            }
            CancelMatch::All(each) => {
                each.iter().try_fold(EventMatch::Any, |all, one| Some(all.and(one.matching(event)?)))?
            }
        })
    }

    fn problem(&self) -> Option<String> {
        match self {
            CancelMatch::Any | CancelMatch::When(_) => None,
            CancelMatch::Field(path) => path_problem(path),
            CancelMatch::All(each) => each.iter().find_map(CancelMatch::problem),
        }
    }
}

impl Rate {
    /// Books one start: returns the earliest start and the next flow state. `kept` is the current
    /// flow state; only its first word is used here. Times are in microseconds, so that seven
    /// starts a second are spaced evenly.
    ///
    /// This is the generic cell rate algorithm (ITU-T I.371). The flow state is the time at which
    /// all booked starts are done at an even pace. A new start may be at most `burst` intervals
    /// before that time.
    pub fn book_start(&self, kept: Option<&str>, now: Timestamp) -> StartBooking {
        let micros = |ms: i64| i128::from(ms) * 1_000;
        let pace = (self.period.as_micros() as i128 / i128::from(self.limit.max(1))).max(1);
        let now = micros(now.as_millis());
        let kept = kept.and_then(|kept| kept.split(' ').next()?.parse::<i128>().ok());
        let worked_off = kept.unwrap_or(now).max(now) + pace;
        let begins = (worked_off - pace * i128::from(self.burst.max(1))).max(now);
        // rounds up to milliseconds, so that no run starts too early
        let ms = |micros: i128| Timestamp::from_millis(i64::try_from((micros + 999) / 1_000).unwrap_or(i64::MAX));
        StartBooking { starts_at: ms(begins), kept: worked_off.to_string(), until: ms(worked_off) }
    }

    fn problem(&self) -> Option<String> {
        if self.limit == 0 || self.burst == 0 {
            return Some("allows no start at all; use at least 1".into());
        }
        (self.period.is_zero() || self.period > LONGEST_PERIOD)
            .then(|| format!("has a period of {:?}; use more than nothing and at most {LONGEST_PERIOD:?}", self.period))
    }
}

/// A booked start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartBooking {
    /// The earliest start.
    pub starts_at: Timestamp,
    /// The flow state to store.
    pub kept: String,
    /// When the flow state expires.
    pub until: Timestamp,
}

impl Debounce {
    /// Returns when the run starts. Its first event arrived at `first`, and its latest event at
    /// `now`.
    pub fn begins_at(&self, first: Timestamp, now: Timestamp) -> Timestamp {
        let quiet = now + self.period;
        self.longest.map_or(quiet, |longest| quiet.min(first + longest))
    }
}

impl CancelOn {
    /// Returns the wait that cancels a run created by this event; `None` if no event can match.
    fn cancel_wait(&self, event: &Event) -> Option<EventWait> {
        let matching = match &self.matching {
            // these need not read the event
            CancelMatch::Any => EventMatch::Any,
            some => some.matching(&ArrivingEvent::new(event))?,
        };
        Some(EventWait { events: vec![self.event.clone()], matching })
    }

    /// Returns the end of the wait for a run created at this time.
    fn until(&self, created_at: Timestamp) -> Timestamp {
        self.within.map_or(Timestamp::MAX, |within| created_at + within)
    }
}

impl FlowControl {
    /// Returns whether every run may start immediately, so that no flow state is read or written.
    pub fn is_unrestricted(&self) -> bool {
        self.throttle.is_none()
            && self.rate_limit.is_none()
            && self.singleton.is_none()
            && self.idempotency.is_none()
            && !self.collects_events()
    }

    /// Returns whether further events may join a run that has not started.
    pub fn collects_events(&self) -> bool {
        self.debounce.is_some() || self.batch.is_some()
    }

    /// Returns the waits that can cancel a run of this event: the step id, the wait and the end of
    /// each.
    pub fn cancel_waits(&self, event: &Event, created_at: Timestamp) -> Vec<(StepId, EventWait, Timestamp)> {
        let numbered = self.cancel_on.iter().enumerate();
        let each = numbered.filter_map(|(i, cancel)| {
            Some((OwnStep::CancelOn(i).id(), cancel.cancel_wait(event)?, cancel.until(created_at)))
        });
        each.collect()
    }

    /// Returns the subscriptions for the waits that can cancel a run of this event.
    pub fn cancel_subscriptions(&self, run: RunId, event: &Event, created_at: Timestamp) -> Vec<Subscription> {
        let each = self.cancel_waits(event, created_at);
        each.iter().flat_map(|(step, wait, until)| wait.subscriptions(run, step, *until).collect::<Vec<_>>()).collect()
    }

    /// Returns how far a run moves forward in a wait queue, in milliseconds; negative values move
    /// it back.
    ///
    /// # Errors
    /// The expression failed on the event or returned no whole number.
    pub fn priority_ms(&self, scope: &mut LazyExprScope<'_>) -> Result<i64, ExprError> {
        let Some(priority) = &self.priority else { return Ok(0) };
        Ok(priority.eval_int(scope.get())?.clamp(-MOST_PRIORITY, MOST_PRIORITY) * 1_000)
    }

    /// Returns what is wrong with the settings, as the end of a sentence that starts with the
    /// function; `None` if they are valid.
    pub(crate) fn problem(&self, spec: &Spec) -> Option<String> {
        self.combination_problem(spec).or_else(|| {
            let rate = |what: &str, rate: &Option<Rate>| {
                rate.as_ref()?.problem().map(|problem| format!("has a {what} that {problem}"))
            };
            rate("throttle", &self.throttle)
                .or_else(|| rate("rate limit", &self.rate_limit))
                .or_else(|| self.collecting_problem())
                .or_else(|| self.time_problem())
        })
    }

    /// Returns what is wrong with combinations of settings that have no clear meaning.
    fn combination_problem(&self, spec: &Spec) -> Option<String> {
        let has = |what: &'static str, there: bool| there.then_some(what);
        let collects = has("a batch", self.batch.is_some()).or(has("a debounce", self.debounce.is_some()));
        let with_collecting = [
            has("a debounce", self.batch.is_some() && self.debounce.is_some()),
            has("a throttle", self.throttle.is_some()),
            has("a rate limit", self.rate_limit.is_some()),
            has("a singleton", self.singleton.is_some()),
            has("an idempotency key", self.idempotency.is_some()),
            has("events that cancel it", !self.cancel_on.is_empty()),
            has("a cron line", !spec.schedule.lines.is_empty()),
            has("a priority", self.batch.is_some() && self.priority.is_some()),
        ];
        if let (Some(one), Some(other)) = (collects, with_collecting.into_iter().flatten().next()) {
            return Some(format!("has {one} and {other}: they cannot be had together, see docs/flow-control.md"));
        }
        if let Some(one) = collects
            && spec.triggers.is_empty()
        {
            return Some(format!("has {one} and no event that starts it"));
        }
        (self.priority.is_some() && spec.concurrency.is_empty())
            .then(|| "has a priority and no concurrency limit: there is no line to be first in".into())
    }

    fn collecting_problem(&self) -> Option<String> {
        if let Some(Batch { size, timeout, .. }) = self.batch {
            if !(1..=COLLECTED).contains(&size) {
                return Some(format!("has a batch of {size} events; use 1 to {COLLECTED}"));
            }
            if timeout.is_zero() || timeout > LONGEST_PERIOD {
                return Some(format!(
                    "has a batch that waits {timeout:?}; use more than nothing and at most {LONGEST_PERIOD:?}"
                ));
            }
        }
        let Debounce { period, longest, .. } = self.debounce.as_ref()?;
        if period.is_zero() || *period > LONGEST_PERIOD {
            return Some(format!("has a debounce of {period:?}; use more than nothing and at most {LONGEST_PERIOD:?}"));
        }
        longest.filter(|longest| longest < period).map(|longest| {
            format!("has a debounce of {period:?} that ends after {longest:?}: it would never be waited out")
        })
    }

    fn time_problem(&self) -> Option<String> {
        let zero = |what: &str, time: Option<Duration>| {
            time.filter(Duration::is_zero).map(|_| format!("is to {what} within no time at all"))
        };
        let cancel = self.cancel_on.iter().find_map(|cancel| {
            let name_problem = crate::limits::name_problem(&cancel.event);
            let field = || {
                cancel
                    .matching
                    .problem()
                    .map(|problem| format!("is cancelled by an event with an invalid field: {problem}"))
            };
            name_problem
                .map(|problem| format!("is cancelled by an event with an invalid name: it {problem}"))
                .or_else(field)
        });
        zero("start", self.start_within).or_else(|| zero("finish", self.finish_within)).or(cancel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate_limit(limit: u32, seconds: u64, burst: u32) -> Rate {
        Rate { limit, period: Duration::from_secs(seconds), burst, key: None }
    }

    /// Returns the delays of `n` starts that are booked at the same time, in milliseconds.
    fn all_at_once(rate: &Rate, n: usize) -> Vec<i64> {
        let now = Timestamp::from_millis(1_000_000);
        let mut kept: Option<String> = None;
        let mut begins = || {
            let booking = rate.book_start(kept.as_deref(), now);
            kept = Some(booking.kept);
            booking.starts_at.as_millis() - now.as_millis()
        };
        (0..n).map(|_| begins()).collect()
    }

    #[test]
    fn starts_are_spaced_evenly_after_a_burst() {
        assert_eq!(all_at_once(&rate_limit(1, 1, 1), 4), [0, 1_000, 2_000, 3_000]);
        assert_eq!(all_at_once(&rate_limit(2, 1, 3), 6), [0, 0, 0, 500, 1_000, 1_500]);
        // seven a second: one every 142.857 ms, and at most seven within a second
        let sevenths = all_at_once(&rate_limit(7, 1, 1), 15);
        assert_eq!(sevenths[..3], [0, 143, 286]);
        assert!(sevenths.windows(8).all(|w| w[7] - w[0] >= 999), "{sevenths:?}");
    }

    #[test]
    fn a_quiet_time_allows_no_more_than_the_burst() {
        let rate = rate_limit(60, 60, 2);
        let booking = rate.book_start(Some("0"), Timestamp::from_millis(3_600_000));
        let next = rate.book_start(Some(&booking.kept), Timestamp::from_millis(3_600_000));
        let third = rate.book_start(Some(&next.kept), Timestamp::from_millis(3_600_000));
        let at = |booking: &StartBooking| booking.starts_at.as_millis() - 3_600_000;
        assert_eq!([at(&booking), at(&next), at(&third)], [0, 0, 1_000]);
    }

    #[test]
    fn a_debounce_ends_at_its_longest() {
        let at = Timestamp::from_millis;
        let second = Duration::from_secs(1);
        let mut debounce = Debounce { period: second, longest: Some(second * 3), key: None };
        assert_eq!(debounce.begins_at(at(0), at(0)), at(1_000));
        assert_eq!(debounce.begins_at(at(0), at(1_500)), at(2_500));
        assert_eq!(debounce.begins_at(at(0), at(2_900)), at(3_000));
        debounce.longest = None;
        assert_eq!(debounce.begins_at(at(0), at(2_900)), at(3_900));
    }
}
