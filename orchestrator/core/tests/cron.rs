//! Cron schedules: the minutes of their ticks, and the rejection of invalid schedules.

use std::collections::HashSet;
use std::time::Duration;

use proptest::prelude::*;
use stepladder_core::cron::{CronExpression, CronSchedule, LONGEST_JITTER};
use stepladder_core::{Spec, Timestamp};

/// Converts a time in UTC to minutes since the epoch.
fn minute(utc: &str) -> i64 {
    let at: jiff::Timestamp = utc.parse().expect("a moment");
    at.as_second().div_euclid(60)
}

fn display_minute(minute: i64) -> String {
    Timestamp::of_minute(minute).to_string().replace(":00.000Z", "")
}

/// Returns the first `n` ticks after `after`, in UTC.
fn ticks_after(line: &str, zone: &str, after: &str, n: usize) -> Vec<String> {
    let cron = CronExpression::parse(line, zone).unwrap_or_else(|bad| panic!("{bad}"));
    let next = |minute: &i64| cron.next_after(*minute);
    std::iter::successors(next(&minute(after)), next).take(n).map(display_minute).collect()
}

#[test]
fn ticks_come_at_the_minutes_of_the_expression() {
    let after = "2026-11-25T17:05:00Z"; // a Wednesday
    for (line, expected) in [
        ("*/15 * * * *", "2026-11-25T17:15"),
        ("5 * * * *", "2026-11-25T18:05"),
        ("0 9 * * MON-FRI", "2026-11-26T09:00"),
        ("0 9 * * 6,SUN", "2026-11-28T09:00"),
        ("30 4 1 JAN *", "2027-01-01T04:30"),
        ("0 0 29 2 *", "2028-02-29T00:00"),
        ("0 12 L * *", "2026-11-30T12:00"),
        ("0 12 * * 5#2", "2026-12-11T12:00"),
        ("0-10/5 3 * * *", "2026-11-26T03:00"),
        ("@hourly", "2026-11-25T18:00"),
        ("@daily", "2026-11-26T00:00"),
        ("@weekly", "2026-11-29T00:00"),
        ("@monthly", "2026-12-01T00:00"),
        ("@yearly", "2027-01-01T00:00"),
        ("@midnight", "2026-11-26T00:00"),
        ("0 0 * * 7", "2026-11-29T00:00"),
        ("0 0 * * SAT-SUN", "2026-11-28T00:00"),
        ("0 0 * * 5L", "2026-11-27T00:00"),
        ("0 0 * * mon#5", "2026-11-30T00:00"),
        ("0 0 LW * *", "2026-11-30T00:00"),
        // 29 November is a Sunday, so the tick is on the Monday after it.
        ("0 0 29W * *", "2026-11-30T00:00"),
        // 1 May 2027 is a Saturday, so the tick is on the Monday after it.
        ("0 0 1W 5 *", "2027-05-03T00:00"),
        ("50/5 * * * *", "2026-11-25T17:50"),
        // If both a day of the month and a weekday are given, a day that matches either has a tick.
        ("0 0 13 * FRI", "2026-11-27T00:00"),
        // If one of the two day fields begins with a star, both fields must match: here, Fridays on
        // an odd day of the month.
        ("0 0 */2 * FRI", "2026-11-27T00:00"),
        ("0 0 */10 * FRI", "2026-12-11T00:00"),
        // The first Sunday of a month.
        ("0 0 1-7 * */7", "2026-12-06T00:00"),
    ] {
        assert_eq!(ticks_after(line, "UTC", after, 1), [expected], "{line}");
    }
}

#[test]
fn ticks_follow_the_clock_of_the_time_zone() {
    assert_eq!(
        ticks_after("0 9 * * *", "Europe/Berlin", "2026-10-24T00:00:00Z", 3),
        ["2026-10-24T07:00", "2026-10-25T08:00", "2026-10-26T08:00"]
    );
    assert_eq!(ticks_after("15 0 * * *", "Asia/Kathmandu", "2026-01-01T00:00:00Z", 1), ["2026-01-01T18:30"]);
}

#[test]
fn a_tick_in_a_skipped_hour_comes_when_that_hour_would_have_started() {
    // In Berlin, 03:00 follows 01:59 on 29 March 2026.
    let after = "2026-03-28T12:00:00Z";
    assert_eq!(ticks_after("30 2 * * *", "Europe/Berlin", after, 2), ["2026-03-29T01:00", "2026-03-30T00:30"]);
    // Three ticks that fall into the missing hour become one tick.
    assert_eq!(ticks_after("0,20,40 2 * * *", "Europe/Berlin", after, 2), ["2026-03-29T01:00", "2026-03-30T00:00"]);
    // An hourly schedule has no tick for the missing hour.
    assert_eq!(
        ticks_after("30 * * * *", "Europe/Berlin", "2026-03-28T23:45:00Z", 3),
        ["2026-03-29T00:30", "2026-03-29T01:30", "2026-03-29T02:30"]
    );
    // In Beirut, midnight of 29 March 2026 is skipped: 01:00 follows 23:59.
    assert_eq!(
        ticks_after("@daily", "Asia/Beirut", "2026-03-28T12:00:00Z", 2),
        ["2026-03-28T22:00", "2026-03-29T21:00"]
    );
}

#[test]
fn a_repeated_hour_has_one_tick_unless_the_schedule_names_every_hour() {
    // In Berlin, 02:00 follows 02:59 on 25 October 2026.
    let after = "2026-10-24T23:00:00Z";
    assert_eq!(ticks_after("30 2 * * *", "Europe/Berlin", after, 2), ["2026-10-25T00:30", "2026-10-26T01:30"]);
    assert_eq!(
        ticks_after("*/30 * * * *", "Europe/Berlin", after, 6),
        [
            "2026-10-24T23:30",
            "2026-10-25T00:00",
            "2026-10-25T00:30",
            "2026-10-25T01:00",
            "2026-10-25T01:30",
            "2026-10-25T02:00"
        ]
    );
}

#[test]
fn a_refusal_names_the_place_and_what_to_write() {
    for (line, says) in [
        ("", "it has 0 fields; write five: minute, hour, day of the month, month, weekday"),
        ("* * * *", "it has 4 fields; write five"),
        (
            "0 * * * * *",
            "it has 6 fields; write five: minute, hour, day of the month, month, weekday; there are no seconds",
        ),
        ("60 * * * *", "`60` at character 1 is no minute; use 0 to 59"),
        ("0 24 * * *", "`24` at character 3 is no hour; use 0 to 23"),
        ("0 0 0 * *", "`0` at character 5 is no day of the month; use 1 to 31"),
        ("0 0 * 13 *", "`13` at character 7 is no month; use 1 to 12 or JAN to DEC"),
        ("0 0 * * MOON", "`MOON` at character 9 is no weekday; use 0 to 7 or SUN to SAT"),
        ("5 j * * *", "`j` at character 3 is no hour"),
        ("é * * * *", "`é` at character 1 is no minute"),
        ("1,é * * * *", "`é` at character 3 is no minute"),
        ("0 9-8 * * *", "`9-8` at character 3 ends before it begins"),
        ("5--5 * * * *", "`-5` at character 3 is no minute"),
        ("*/0 * * * *", "`*/0` at character 1 has no whole number from 1 on after the `/`"),
        ("*//2 * * * *", "`*//2` at character 1 has no whole number"),
        ("*/-12 * * * *", "`*/-12` at character 1 has no whole number"),
        ("1,,2 * * * *", "`1,,2` at character 1 has an empty entry"),
        ("? * * * *", "`?` at character 1 is no minute"),
        ("0 0 * * 5#6", "`5#6` at character 9 has no number from 1 to 5 after the #"),
        ("0 0 * * L", "the last Friday of a month is 5L"),
        ("0 0 L-3 * *", "`L` at character 5 is no day of the month"),
        ("TZ=UTC 0 9 * * *", "`TZ=UTC` at character 1 is no field; give the zone by `.time_zone(\"UTC\")`"),
        ("CRON_TZ=Asia/Tokyo @daily", "give the zone by `.time_zone(\"Asia/Tokyo\")`"),
        ("@every 5m", "`@every` at character 1 is not known; for every five minutes write `*/5 * * * *`"),
        ("@never", "use @hourly, @daily, @weekly, @monthly or @yearly"),
        ("@reboot", "`@reboot` at character 1 is not known"),
        ("0 0 31 2 *", "no date within eight years fits it"),
    ] {
        let refused = CronExpression::parse(line, "UTC").map(|cron| cron.to_string()).expect_err(line).to_string();
        assert!(
            refused.starts_with(&format!("`{line}` is not a cron schedule: ")) && refused.contains(says),
            "{refused}"
        );
    }
    let zone = CronExpression::parse("0 9 * * *", "Mars/Base").unwrap_err().to_string();
    assert_eq!(zone, "`Mars/Base` is no time zone; use a name of the IANA data: Europe/Berlin, UTC");
    assert!(CronExpression::parse(&"0,".repeat(1_000), "UTC").unwrap_err().to_string().len() < 1_200);
}

#[test]
fn jitter_spreads_functions_and_is_constant_for_a_tick() {
    let lines = vec![CronExpression::parse("0 * * * *", "UTC").expect("a line")];
    let schedule = CronSchedule { lines, jitter: Duration::from_secs(300), ..CronSchedule::default() };
    let begin = minute("2026-11-25T17:00:00Z");
    let late: HashSet<Duration> =
        (0..50).map(|n| schedule.due(&format!("f{n}"), begin).since(Timestamp::of_minute(begin))).collect();
    assert!(late.len() > 40 && late.iter().all(|late| *late <= schedule.jitter), "{late:?}");
    assert_eq!(schedule.due("f", begin), schedule.due("f", begin));
    let mut spec = Spec::new("f");
    spec.schedule = CronSchedule { jitter: LONGEST_JITTER + Duration::from_secs(1), ..schedule };
    assert!(spec.problem().expect("a problem").contains("jitter"));
}

proptest! {
    /// The next tick matches the schedule, and no earlier minute does.
    #[test]
    fn the_next_tick_is_the_first_matching_minute(
        m in 0..60u32, h in 0..24u32, every in 1..30u32, zone in 0..4usize, from in 0..4_000_000i64,
    ) {
        let zone = ["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe"][zone];
        let from = minute("2020-01-01T00:00:00Z") + from;
        for line in [format!("{m} {h} * * *"), format!("*/{every} {h} * * *"), format!("{m} */{} * * *", every.min(12))] {
            let cron = CronExpression::parse(&line, zone).expect("a line");
            let next = cron.next_after(from).expect("a tick");
            prop_assert!(cron.fires_at(next));
            prop_assert!(next - from <= 25 * 60 + 60, "{line} in {zone}: {} minutes", next - from);
            prop_assert_eq!((from + 1..next).find(|minute| cron.fires_at(*minute)), None);
        }
    }

    /// Any string is parsed or rejected without a panic.
    #[test]
    fn any_text_is_read_or_refused(line in "[0-9A-Za-z@*/,#?LW -]{0,20}") {
        if let Ok(cron) = CronExpression::parse(&line, "America/New_York") {
            prop_assert!(cron.next_after(30_000_000).is_some());
        }
    }
}
