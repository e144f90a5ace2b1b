//! Applies rates when runs start. [`Rate::book`] books a start when an event arrives, which spaces
//! starts that happen on time. After a standstill (a pause, downtime, a throttled queue) all booked
//! starts are due at the same time. Each run is therefore checked again just before it starts. The
//! flow state for this check counts starts, not bookings.

use std::time::Duration;

use super::Rate;
use crate::Timestamp;

/// The decision about a run that is about to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The reserved start of a run that may not start now; `None` if the run may start now.
    pub later: Option<Timestamp>,
    /// The flow state to store.
    pub kept: String,
    /// When the flow state expires.
    pub until: Timestamp,
}

impl Rate {
    /// Decides whether a run planned for `planned` may start at `now`, and returns the next flow
    /// state. `kept` is the current flow state: two times in microseconds. The first is the time at
    /// which the starts so far no longer use up the rate. The second is the next free start for
    /// delayed runs.
    ///
    /// A run that starts within `tolerance` of its planned time counts as started at that time.
    /// Delayed wakes therefore do not add up, but neighbouring runs may change their order. A run
    /// that is later than that may start only if the rate has room now.
    pub fn admit(&self, kept: Option<&str>, planned: Timestamp, now: Timestamp, tolerance: Duration) -> Admission {
        let pace = (self.period.as_micros() as i128 / i128::from(self.limit.max(1))).max(1);
        let room = pace * (i128::from(self.burst.max(1)) - 1);
        let (now, planned, tolerance) = (to_micros(now), to_micros(planned.min(now)), tolerance.as_micros() as i128);
        let (used, next) = kept.and_then(parse_state).unwrap_or((i128::MIN / 2, i128::MIN / 2));
        let in_time = now - planned <= tolerance;
        let (latest, from) = if in_time { (planned + tolerance, planned) } else { (now, now) };
        if used - room <= latest {
            let used = used.max(from) + pace;
            return Admission::from_micros(None, used, next);
        }
        let place = next.max(used - room).max(now);
        Admission::from_micros(Some(place), used, place + pace)
    }
}

impl Admission {
    fn from_micros(later: Option<i128>, used: i128, next: i128) -> Self {
        Self { later: later.map(from_micros), kept: format!("{used} {next}"), until: from_micros(used.max(next)) }
    }
}

fn parse_state(kept: &str) -> Option<(i128, i128)> {
    // a third word, if any, is the token of the start that wrote the flow state
    let mut parts = kept.split(' ');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn to_micros(at: Timestamp) -> i128 {
    i128::from(at.as_millis()) * 1_000
}

/// Converts microseconds to milliseconds, rounded up, so that no run starts too early.
fn from_micros(micros: i128) -> Timestamp {
    Timestamp::from_millis(i64::try_from((micros + 999).div_euclid(1_000)).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLERANCE: Duration = Duration::from_secs(1);

    fn rate_limit(limit: u32, seconds: u64, burst: u32) -> Rate {
        Rate { limit, period: Duration::from_secs(seconds), burst, key: None }
    }

    /// Returns when runs really start, in milliseconds. `asking` contains, for each run, the
    /// planned start and the time at which the run first tries to start. A delayed run tries again
    /// at its new start time.
    fn admitted_starts(rate: &Rate, asking: &[(i64, i64)]) -> Vec<i64> {
        let at = |ms: i64| Timestamp::from_millis(1_000_000_000 + ms);
        let mut asking: Vec<(i64, usize, i64)> =
            asking.iter().enumerate().map(|(i, (planned, asks))| (*asks, i, *planned)).collect();
        let (mut kept, mut started): (Option<String>, Vec<i64>) = (None, Vec::new());
        while !asking.is_empty() {
            asking.sort_unstable();
            let (asks, i, planned) = asking.remove(0);
            let admission = rate.admit(kept.as_deref(), at(planned), at(asks), TOLERANCE);
            kept = Some(admission.kept);
            match admission.later {
                None => started.push(asks),
                Some(later) => {
                    let later = later.as_millis() - 1_000_000_000;
                    assert!(later > asks, "delayed to a past time");
                    asking.push((later, i, later));
                }
            }
        }
        started
    }

    fn most_within(starts: &[i64], period: i64) -> usize {
        starts
            .iter()
            .map(|from| starts.iter().filter(|at| (*from..from + period).contains(*at)).count())
            .max()
            .unwrap_or(0)
    }

    #[test]
    fn a_run_that_starts_in_time_is_never_delayed() {
        // ten runs per second, each up to 900 ms late and in another order than its neighbours
        let asking: Vec<_> = (0..100).map(|n| (n * 100, n * 100 + (n * 7 % 10) * 100)).collect();
        let starts = admitted_starts(&rate_limit(10, 1, 1), &asking);
        let mut asked: Vec<_> = asking.iter().map(|(_, asks)| *asks).collect();
        asked.sort_unstable();
        assert_eq!(starts, asked);
    }

    #[test]
    fn after_a_standstill_overdue_starts_are_spaced_and_mixed_with_starts_in_time() {
        let second = 1_000;
        // 20 runs are overdue at second 20, and one more is planned for every second after that
        let overdue = (0..20).map(|n| (n * second, 20 * second));
        let in_time = (20..40).map(|n| (n * second, n * second + 3));
        let started = admitted_starts(&rate_limit(1, 1, 1), &overdue.chain(in_time).collect::<Vec<_>>());
        assert_eq!(started.len(), 40);
        // the tolerance admits one more run
        assert!(most_within(&started, second) <= 2 && most_within(&started, 10 * second) <= 11, "{started:?}");
        assert!(started.last().unwrap() <= &(60 * second), "{started:?}");
    }

    #[test]
    fn a_burst_is_admitted_once_and_a_long_interval_is_kept_exactly() {
        let hour = 3_600_000;
        let overdue: Vec<_> = (0..6).map(|n| (n, hour)).collect();
        assert_eq!(
            admitted_starts(&rate_limit(1, 60, 1), &overdue),
            (0..6).map(|n| hour + n * 60_000).collect::<Vec<_>>()
        );
        assert_eq!(
            admitted_starts(&rate_limit(3, 60, 3), &overdue)[..5],
            [hour, hour, hour, hour + 20_000, hour + 40_000]
        );
    }

    #[test]
    fn runs_start_even_if_every_wake_is_late() {
        let late = 30_000;
        let asking: Vec<_> = (0..50).map(|n| (n * 1_000, n * 1_000 + late)).collect();
        let starts = admitted_starts(&rate_limit(1, 1, 1), &asking);
        assert_eq!(starts, asking.iter().map(|(_, asks)| *asks).collect::<Vec<_>>());
    }
}
