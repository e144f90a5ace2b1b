//! Cron schedules. The first line of the input is a cron expression, the second its time zone, and
//! the third the minute after which its ticks are computed.

use stepladder_core::cron::{CronExpression, CronSchedule};
use stepladder_core::sentence::SENTENCE_BYTES;

/// Number of ticks that are computed.
const TICKS: usize = 20;

/// Parses an expression and computes its ticks. The result must be ticks in ascending order that
/// match the expression, or an error of bounded length.
pub fn cron(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut lines = text.splitn(3, '\n');
    let (line, zone) = (lines.next().unwrap_or(""), lines.next().unwrap_or("UTC"));
    let from = lines.next().and_then(|minute| minute.trim().parse().ok()).unwrap_or(29_000_000);
    let cron = match CronExpression::parse(line, zone) {
        Ok(cron) => cron,
        Err(bad) => return assert!(bad.to_string().len() <= 2 * SENTENCE_BYTES + 100, "{bad}"),
    };
    let next = |minute: &i64| cron.next_after(*minute);
    let ticks: Vec<i64> = std::iter::successors(next(&from), next).take(TICKS).collect();
    assert!(ticks.iter().all(|tick| cron.fires_at(*tick)), "{cron} does not come at one of {ticks:?}");
    assert!(ticks.is_sorted_by(|a, b| a < b) && ticks.first().is_none_or(|first| *first > from), "{cron}: {ticks:?}");
    let schedule = CronSchedule {
        lines: vec![cron],
        jitter: std::time::Duration::from_secs(u64::from(line.len() as u32)),
        ..CronSchedule::default()
    };
    for tick in ticks {
        let late = schedule.due(line, tick).as_millis() - tick.saturating_mul(60_000);
        assert!((0..=schedule.jitter.as_millis() as i64).contains(&late) || tick.checked_mul(60_000).is_none());
    }
}
