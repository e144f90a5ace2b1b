//! The test vectors of robfig/cron (`spec_test.go`, `parser_test.go`), and the cases in which
//! Stepladder differs from it on purpose.

use stepladder_core::Timestamp;
use stepladder_core::cron::CronExpression;

fn minute(at: &str) -> i64 {
    let at: jiff::Timestamp = at.parse().expect("a moment");
    at.as_second().div_euclid(60)
}

fn parse_cron(line: &str, zone: &str) -> CronExpression {
    CronExpression::parse(line, zone).unwrap_or_else(|bad| panic!("{bad}"))
}

#[test]
fn ticks_come_at_the_minutes_of_robfig_cron() {
    for (at, line, comes) in [
        ("2012-07-09T15:00", "0/15 * * * *", true),
        ("2012-07-09T15:45", "0/15 * * * *", true),
        ("2012-07-09T15:40", "0/15 * * * *", false),
        ("2012-07-09T15:05", "5/15 * * * *", true),
        ("2012-07-09T15:20", "5/15 * * * *", true),
        ("2012-07-09T15:50", "5/15 * * * *", true),
        ("2012-07-15T15:00", "0/15 * * Jul *", true),
        ("2012-07-15T15:00", "0/15 * * Jun *", false),
        ("2012-07-15T08:30", "30 08 ? Jul Sun", true),
        ("2012-07-15T08:30", "30 08 15 Jul ?", true),
        ("2012-07-16T08:30", "30 08 ? Jul Sun", false),
        ("2012-07-16T08:30", "30 08 15 Jul ?", false),
        ("2012-07-09T15:00", "@hourly", true),
        ("2012-07-09T15:04", "@hourly", false),
        ("2012-07-09T15:00", "@daily", false),
        ("2012-07-09T00:00", "@daily", true),
        ("2012-07-09T00:00", "@weekly", false),
        ("2012-07-08T00:00", "@weekly", true),
        ("2012-07-08T01:00", "@weekly", false),
        ("2012-07-08T00:00", "@monthly", false),
        ("2012-07-01T00:00", "@monthly", true),
        ("2012-07-15T00:00", "* * 1,15 * Sun", true),
        ("2012-06-15T00:00", "* * 1,15 * Sun", true),
        ("2012-08-01T00:00", "* * 1,15 * Sun", true),
        ("2012-07-15T00:00", "* * * * Mon", false),
        ("2012-07-09T00:00", "* * 1,15 * *", false),
        ("2012-07-15T00:00", "* * 1,15 * *", true),
        ("2012-07-15T00:00", "* * */2 * Sun", true),
    ] {
        assert_eq!(parse_cron(line, "UTC").fires_at(minute(&format!("{at}:00Z"))), comes, "{line} at {at}");
    }
}

#[test]
fn the_next_tick_is_that_of_robfig_cron() {
    let new_york = "America/New_York";
    for (after, line, zone, next) in [
        ("2012-07-09T14:45:00Z", "0/15 * * * *", "UTC", "2012-07-09T15:00:00Z"),
        ("2012-07-09T14:59:59Z", "0/15 * * * *", "UTC", "2012-07-09T15:00:00Z"),
        ("2012-07-09T15:45:00Z", "20-35/15 * * * *", "UTC", "2012-07-09T16:20:00Z"),
        ("2012-07-09T23:46:00Z", "*/15 * * * *", "UTC", "2012-07-10T00:00:00Z"),
        ("2012-07-09T23:45:00Z", "20-35/15 * * * *", "UTC", "2012-07-10T00:20:00Z"),
        ("2012-07-09T23:35:51Z", "20-35/15 1/2 * * *", "UTC", "2012-07-10T01:20:00Z"),
        ("2012-07-09T23:35:51Z", "20-35/15 10-12 * * *", "UTC", "2012-07-10T10:20:00Z"),
        ("2012-07-09T23:35:51Z", "20-35/15 1/2 */2 * *", "UTC", "2012-07-11T01:20:00Z"),
        ("2012-07-09T23:35:51Z", "20-35/15 * 9-20 * *", "UTC", "2012-07-10T00:20:00Z"),
        ("2012-07-09T23:35:51Z", "20-35/15 * 9-20 Jul *", "UTC", "2012-07-10T00:20:00Z"),
        ("2012-07-09T23:35:00Z", "0 0 9 Apr-Oct ?", "UTC", "2012-08-09T00:00:00Z"),
        ("2012-07-09T23:35:00Z", "0 0 */5 Oct Mon", "UTC", "2012-10-01T00:00:00Z"),
        ("2012-07-09T23:35:00Z", "0 0 * Feb Mon", "UTC", "2013-02-04T00:00:00Z"),
        ("2012-07-09T23:35:00Z", "0 0 * Feb Mon/2", "UTC", "2013-02-01T00:00:00Z"),
        ("2012-12-31T23:59:45Z", "* * * * *", "UTC", "2013-01-01T00:00:00Z"),
        ("2012-07-09T23:35:00Z", "0 0 29 Feb ?", "UTC", "2016-02-29T00:00:00Z"),
        // Hourly ticks across both clock changes.
        ("2012-03-11T00:00:00-05:00", "0 * * * ?", new_york, "2012-03-11T01:00:00-05:00"),
        ("2012-03-11T01:00:00-05:00", "0 * * * ?", new_york, "2012-03-11T03:00:00-04:00"),
        ("2012-03-11T03:00:00-04:00", "0 * * * ?", new_york, "2012-03-11T04:00:00-04:00"),
        ("2012-11-04T00:00:00-04:00", "0 * * * ?", new_york, "2012-11-04T01:00:00-04:00"),
        ("2012-11-04T01:00:00-04:00", "0 * * * ?", new_york, "2012-11-04T01:00:00-05:00"),
        ("2012-11-04T01:00:00-05:00", "0 * * * ?", new_york, "2012-11-04T02:00:00-05:00"),
        // Nightly ticks across both clock changes.
        ("2012-03-11T00:00:00-05:00", "0 1 * * ?", new_york, "2012-03-11T01:00:00-05:00"),
        ("2012-03-11T01:00:00-05:00", "0 1 * * ?", new_york, "2012-03-12T01:00:00-04:00"),
        ("2012-11-04T00:00:00-04:00", "30 2 04 Nov ?", new_york, "2012-11-04T02:30:00-05:00"),
        ("2012-11-04T00:00:00-04:00", "0 1 * * ?", new_york, "2012-11-04T01:00:00-04:00"),
        ("2012-11-04T01:00:00-05:00", "0 1 * * ?", new_york, "2012-11-05T01:00:00-05:00"),
        ("2012-11-04T00:00:00-04:00", "0 2 * * ?", new_york, "2012-11-04T02:00:00-05:00"),
        ("2012-11-04T02:00:00-05:00", "0 2 * * ?", new_york, "2012-11-05T02:00:00-05:00"),
        ("2012-11-04T00:00:00-04:00", "0 3 * * ?", new_york, "2012-11-04T03:00:00-05:00"),
        ("2012-11-04T03:00:00-05:00", "0 3 * * ?", new_york, "2012-11-05T03:00:00-05:00"),
        ("2012-11-04T00:00:00-04:00", "0 3 3 * ?", new_york, "2012-12-03T03:00:00-05:00"),
        // This zone skips midnight when daylight saving time starts.
        ("2018-10-17T05:00:00-04:00", "0 9 10 * ?", "America/Sao_Paulo", "2018-11-10T06:00:00-05:00"),
        ("2018-02-14T05:00:00-05:00", "0 9 22 * ?", "America/Sao_Paulo", "2018-02-22T07:00:00-05:00"),
        ("2016-01-03T13:09:03+05:30", "14 14 * * *", "Asia/Kolkata", "2016-01-03T14:14:00+05:30"),
        ("2016-01-03T04:09:03+05:30", "14 14 * * ?", "Asia/Kolkata", "2016-01-03T14:14:00+05:30"),
        ("2016-01-03T14:00:00+05:30", "14 14 * * ?", "Asia/Kolkata", "2016-01-03T14:14:00+05:30"),
    ] {
        let found = parse_cron(line, zone).next_after(minute(after)).map(Timestamp::of_minute);
        assert_eq!(found, Some(Timestamp::of_minute(minute(next))), "{line} after {after}");
    }
    for line in ["0 0 30 Feb ?", "0 0 31 Apr ?", "xyz", "60 0 * * *", "0 60 * * *", "0 0 * * XYZ", "15/0 * * * *"] {
        assert!(CronExpression::parse(line, "UTC").is_err(), "{line}");
    }
}

/// Cases in which Stepladder follows Vixie cron instead of robfig/cron.
#[test]
fn differences_from_robfig_cron_are_intended() {
    let new_york = "America/New_York";
    for (after, line, zone, robfig, here) in [
        // If a day field begins with a star, both day fields must match.
        ("2012-07-09T23:35:00Z", "0 0 */5 Apr,Aug,Oct Mon", "UTC", "2012-08-01T00:00:00Z", "2012-08-06T00:00:00Z"),
        ("2012-07-14T23:59:00Z", "* * */10 * Sun", "UTC", "2012-07-15T00:00:00Z", "2012-10-21T00:00:00Z"),
        // A tick in a skipped hour comes right after that hour; robfig/cron drops it.
        (
            "2012-03-11T00:00:00-05:00",
            "30 2 11 Mar ?",
            new_york,
            "2013-03-11T02:30:00-04:00",
            "2012-03-11T03:00:00-04:00",
        ),
        ("2012-03-11T00:00:00-05:00", "0 2 * * ?", new_york, "2012-03-12T02:00:00-04:00", "2012-03-11T03:00:00-04:00"),
        // A tick in a repeated hour comes once; in robfig/cron it comes twice.
        ("2012-11-04T01:00:00-04:00", "0 1 * * ?", new_york, "2012-11-04T01:00:00-05:00", "2012-11-05T01:00:00-05:00"),
        (
            "2012-11-04T01:45:00-04:00",
            "30 1 04 Nov ?",
            new_york,
            "2012-11-04T01:30:00-05:00",
            "2013-11-04T01:30:00-05:00",
        ),
    ] {
        let found = parse_cron(line, zone).next_after(minute(after)).map(Timestamp::of_minute);
        assert_eq!(found, Some(Timestamp::of_minute(minute(here))), "{line} after {after}");
        assert_ne!(minute(robfig), minute(here));
    }
}
