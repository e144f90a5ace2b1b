//! Flow control: whether, when and together with what an event starts a run of a function.
//!
//! What is here is arithmetic and wording. What has been started so far is kept by the storage as small texts, which the
//! engine reads, changes by these rules and writes back in the transaction that begins the run (rule 16).

mod admission;
mod words;

use std::sync::Arc;
use std::time::Duration;

pub use admission::Admission;

use crate::expr::{Expr, ExprError};
use crate::limits::{COLLECTED, LONGEST_PERIOD, MOST_PRIORITY};
use crate::spec::{LazyScope, Spec};
use crate::waiting::{ArrivingEvent, EventMatch, EventWait, Field, Subscription, path_problem};
use crate::{Event, RunId, StepId, Timestamp};

/// What of flow control a function asks for, besides concurrency.
#[derive(Clone, Debug, Default)]
pub struct FlowControl {
    /// Starts are put off until there is room for them.
    pub throttle: Option<Rate>,
    /// Starts for which there is no room are skipped.
    pub rate_limit: Option<Rate>,
    /// Of events that come close together, the last starts a run.
    pub debounce: Option<Debounce>,
    /// Events are collected, and start one run together.
    pub batch: Option<Batch>,
    /// At most one live run.
    pub singleton: Option<Singleton>,
    /// Events for which this CEL expression gives the same text lead to one run in 24 hours.
    pub idempotency: Option<Expr>,
    /// Seconds by which a run stands earlier in lines than it came: a CEL expression.
    pub priority: Option<Expr>,
    /// Events that cancel a run.
    pub cancel_on: Vec<CancelOn>,
    /// A run that has not begun so long after its creation is cancelled.
    pub start_within: Option<Duration>,
    /// A run that has not ended so long after it began is cancelled.
    pub finish_within: Option<Duration>,
}

/// So many starts in a period, evenly, and a few at once.
#[derive(Clone, Debug)]
pub struct Rate {
    /// How many in a period.
    pub limit: u32,
    /// The period.
    pub period: Duration,
    /// How many of them may start at once.
    pub burst: u32,
    /// Each value of this CEL expression is counted by itself.
    pub key: Option<Expr>,
}

/// A run starts when no further event has come for a while.
#[derive(Clone, Debug)]
pub struct Debounce {
    /// The while.
    pub period: Duration,
    /// So long after the first event at the latest.
    pub longest: Option<Duration>,
    /// Each value of this CEL expression has a run of its own.
    pub key: Option<Expr>,
}

/// A run starts with many events.
#[derive(Clone, Debug)]
pub struct Batch {
    /// As soon as there are so many.
    pub size: u32,
    /// Or so long after the first.
    pub timeout: Duration,
    /// Each value of this CEL expression has a run of its own.
    pub key: Option<Expr>,
}

/// At most one live run; with a key, one for each value.
#[derive(Clone, Debug)]
pub struct Singleton {
    /// The key.
    pub key: Option<Expr>,
    /// What a second one does.
    pub mode: SingletonMode,
}

/// What the start of a second run does while one lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SingletonMode {
    /// It is skipped.
    Skip,
    /// It takes the place of the first, which is cancelled.
    Replace,
}

/// An event that cancels a run.
#[derive(Clone, Debug)]
pub struct CancelOn {
    /// Its name.
    pub event: Arc<str>,
    /// Which events of that name.
    pub matching: CancelMatch,
    /// Only within so long of the run's creation.
    pub within: Option<Duration>,
}

/// How an event that cancels belongs to a run.
#[derive(Clone, Debug)]
pub enum CancelMatch {
    /// Any does.
    Any,
    /// One that has the same value in this field of its `data` as the event that started the run. Found by index.
    Field(Arc<str>),
    /// One of which this CEL expression is true: `event` started the run, `async` arrives.
    When(Expr),
    /// One that belongs to it in each of these ways.
    All(Vec<CancelMatch>),
}

impl CancelMatch {
    /// What is waited for, for a run that this event started; `None` where no event can match.
    fn matching(&self, event: &ArrivingEvent<'_>) -> Option<EventMatch> {
        Some(match self {
            CancelMatch::Any => EventMatch::Any,
            CancelMatch::When(expr) => EventMatch::When(expr.source().into()),
            CancelMatch::Field(path) => {
                EventMatch::Field(Field { path: path.clone(), value: event.value(path)?.into() })
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
    /// Room for one start: when it may begin at the earliest, and what is kept for the next. `kept` is what the one before
    /// left; what follows its first space says nothing here. Times are microseconds, so that seven a second come evenly.
    ///
    /// This is the generic cell rate algorithm (ITU-T I.371): what is kept is the moment at which all that was let in is
    /// worked off at an even pace; who comes may be `burst` paces ahead of it.
    pub fn book(&self, kept: Option<&str>, now: Timestamp) -> Booking {
        let micros = |ms: i64| i128::from(ms) * 1_000;
        let pace = (self.period.as_micros() as i128 / i128::from(self.limit.max(1))).max(1);
        let now = micros(now.as_millis());
        let kept = kept.and_then(|kept| kept.split(' ').next()?.parse::<i128>().ok());
        let worked_off = kept.unwrap_or(now).max(now) + pace;
        let begins = (worked_off - pace * i128::from(self.burst.max(1))).max(now);
        // up to the next whole millisecond, so that none begins too early
        let ms = |micros: i128| Timestamp::from_millis(i64::try_from((micros + 999) / 1_000).unwrap_or(i64::MAX));
        Booking { starts_at: ms(begins), kept: worked_off.to_string(), until: ms(worked_off) }
    }

    fn fault(&self) -> Option<String> {
        if self.limit == 0 || self.burst == 0 {
            return Some("allows no start at all; use at least 1".into());
        }
        (self.period.is_zero() || self.period > LONGEST_PERIOD)
            .then(|| format!("has a period of {:?}; use more than nothing and at most {LONGEST_PERIOD:?}", self.period))
    }
}

/// Room for a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Booking {
    /// From when on.
    pub starts_at: Timestamp,
    /// What is kept from then on.
    pub kept: String,
    /// What is kept says nothing any more from then on.
    pub until: Timestamp,
}

impl Debounce {
    /// When a run begins whose first event came at `first`, and a further one now.
    pub fn begins_at(&self, first: Timestamp, now: Timestamp) -> Timestamp {
        let quiet = now + self.period;
        self.longest.map_or(quiet, |longest| quiet.min(first + longest))
    }
}

/// The steps under which the index knows that a run can be cancelled by an event.
const CANCEL_ON: &str = "stepladder/cancel-on:";

/// Whether a waiter is one of those that cancel.
pub fn is_cancel_step(step: &str) -> bool {
    step.starts_with(CANCEL_ON)
}

impl CancelOn {
    /// What is waited for, for a run that this event started; `None` where no event can match.
    fn wait(&self, event: &Event) -> Option<EventWait> {
        let matching = match &self.matching {
            // most do not look into the event
            CancelMatch::Any => EventMatch::Any,
            some => some.matching(&ArrivingEvent::new(event))?,
        };
        Some(EventWait { events: vec![self.event.clone()], matching })
    }

    /// Until when it holds for a run of this moment.
    fn until(&self, created_at: Timestamp) -> Timestamp {
        self.within.map_or(Timestamp::MAX, |within| created_at + within)
    }
}

impl FlowControl {
    /// Whether every start is let in at once: no note has to be read or changed for it.
    pub fn is_unrestricted(&self) -> bool {
        self.throttle.is_none()
            && self.rate_limit.is_none()
            && self.singleton.is_none()
            && self.idempotency.is_none()
            && !self.collects_events()
    }

    /// Whether further events may join a run that has not begun.
    pub fn collects_events(&self) -> bool {
        self.debounce.is_some() || self.batch.is_some()
    }

    /// The waits for events that cancel a run which this event started: each with its step in the index, and its end.
    pub fn cancel_waits(&self, event: &Event, created_at: Timestamp) -> Vec<(StepId, EventWait, Timestamp)> {
        let numbered = self.cancel_on.iter().enumerate();
        let each = numbered.filter_map(|(i, cancel)| {
            Some((format!("{CANCEL_ON}{i}").into(), cancel.wait(event)?, cancel.until(created_at)))
        });
        each.collect()
    }

    /// What the index gets for them.
    pub fn cancel_subscriptions(&self, run: RunId, event: &Event, created_at: Timestamp) -> Vec<Subscription> {
        let each = self.cancel_waits(event, created_at);
        each.iter().flat_map(|(step, wait, until)| wait.subscriptions(run, step, *until).collect::<Vec<_>>()).collect()
    }

    /// By how much earlier a run stands in lines than it came; negative for later.
    ///
    /// # Errors
    /// When the expression fails on the event, or gives no whole number.
    pub fn priority_ms(&self, scope: &mut LazyScope<'_>) -> Result<i64, ExprError> {
        let Some(priority) = &self.priority else { return Ok(0) };
        Ok(priority.eval_int(scope.get())?.clamp(-MOST_PRIORITY, MOST_PRIORITY) * 1_000)
    }

    /// What is wrong with it, as the rest of a sentence that begins with the function; `None` when nothing is.
    pub(crate) fn problem(&self, spec: &Spec) -> Option<String> {
        self.senseless_combination(spec).or_else(|| {
            let rate = |what: &str, rate: &Option<Rate>| {
                rate.as_ref()?.fault().map(|fault| format!("has a {what} that {fault}"))
            };
            rate("throttle", &self.throttle)
                .or_else(|| rate("rate limit", &self.rate_limit))
                .or_else(|| self.collecting_problem())
                .or_else(|| self.time_problem())
        })
    }

    /// Combinations that make no sense, or that nobody could say what they mean.
    fn senseless_combination(&self, spec: &Spec) -> Option<String> {
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
            let fault = crate::limits::name_problem(&cancel.event);
            let field =
                || cancel.matching.problem().map(|fault| format!("is cancelled by an event by a field: {fault}"));
            fault.map(|fault| format!("is cancelled by an event whose name {fault}")).or_else(field)
        });
        zero("start", self.start_within).or_else(|| zero("finish", self.finish_within)).or(cancel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(limit: u32, seconds: u64, burst: u32) -> Rate {
        Rate { limit, period: Duration::from_secs(seconds), burst, key: None }
    }

    /// The moments at which `n` starts that are asked for at once begin, in milliseconds.
    fn all_at_once(rate: &Rate, n: usize) -> Vec<i64> {
        let now = Timestamp::from_millis(1_000_000);
        let mut kept: Option<String> = None;
        let mut begins = || {
            let booking = rate.book(kept.as_deref(), now);
            kept = Some(booking.kept);
            booking.starts_at.as_millis() - now.as_millis()
        };
        (0..n).map(|_| begins()).collect()
    }

    #[test]
    fn starts_come_evenly_and_a_burst_at_once() {
        assert_eq!(all_at_once(&rate(1, 1, 1), 4), [0, 1_000, 2_000, 3_000]);
        assert_eq!(all_at_once(&rate(2, 1, 3), 6), [0, 0, 0, 500, 1_000, 1_500]);
        // seven a second: 142.857 ms each, and never more than seven within a second
        let sevenths = all_at_once(&rate(7, 1, 1), 15);
        assert_eq!(sevenths[..3], [0, 143, 286]);
        assert!(sevenths.windows(8).all(|w| w[7] - w[0] >= 999), "{sevenths:?}");
    }

    #[test]
    fn a_quiet_time_is_not_saved_up_beyond_the_burst() {
        let rate = rate(60, 60, 2);
        let booking = rate.book(Some("0"), Timestamp::from_millis(3_600_000));
        let next = rate.book(Some(&booking.kept), Timestamp::from_millis(3_600_000));
        let third = rate.book(Some(&next.kept), Timestamp::from_millis(3_600_000));
        let at = |booking: &Booking| booking.starts_at.as_millis() - 3_600_000;
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
