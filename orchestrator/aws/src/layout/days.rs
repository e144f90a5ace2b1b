//! The keys by which listings find runs: the partitions of the index, and the items that list the
//! days and functions with runs.

use stepladder_core::{RunId, Timestamp};

use super::ItemKey;

/// The number of index partitions for the runs of a function and a day.
pub(crate) const LISTING_SHARDS: u64 = 4;

/// The name of the index of runs.
pub(crate) const RUNS_INDEX: &str = "runs";

pub(crate) fn day_of(at: Timestamp) -> i64 {
    at.minute().div_euclid(24 * 60)
}

/// Returns the value of the attribute `day` in the row of a run.
pub(crate) fn day_shard(function: &str, day: i64, shard: u64) -> String {
    format!("{function}#{day:06}#{shard}")
}

/// The partition that lists the functions with runs on each day.
pub(crate) const DAYS: &str = "S#days";

/// Returns the prefix of the sort keys in [`DAYS`] for a day.
pub(crate) fn day_prefix(day: i64) -> String {
    format!("{day:06}#")
}

/// Returns the partition that lists the days with runs of a function.
pub(crate) fn days_partition(function: &str) -> String {
    format!("{DAYS}#{function}")
}

/// Returns the keys of the items that list the day and the function of a run.
pub(crate) fn listed_days(run: RunId, function: &str) -> [ItemKey; 2] {
    let sk = format!("{}{function}", day_prefix(day_of(run.time())));
    [ItemKey::new(DAYS.into(), sk.clone()), ItemKey::new(days_partition(function), sk)]
}

/// Returns the day and the function from the sort key of such an item.
pub(crate) fn parse_listed_day(sk: &str) -> Option<(i64, &str)> {
    let (day, function) = sk.split_once('#')?;
    Some((day.parse().ok()?, function))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_day_is_parsed_with_any_function_name() {
        let run = RunId::new(Timestamp::from_millis(1_700_000_000_000), 1);
        let [all, of_function] = listed_days(run, "a#b/c");
        assert_eq!((&*of_function.pk, &of_function.sk), ("S#days#a#b/c", &all.sk));
        assert_eq!(parse_listed_day(&all.sk), Some((19_675, "a#b/c")));
    }
}
