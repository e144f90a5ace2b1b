//! When a map is complete, and whether enough of its items have succeeded then.

/// The conditions under which a map ends before all its items have.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Completion {
    pub(super) min_successful: Option<usize>,
    pub(super) tolerated_failures: Option<usize>,
    /// The percentage of all items that may fail.
    pub(super) tolerated_percentage: Option<f64>,
}

/// How many items a map has, and how many of them have ended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) total: usize,
    pub(super) succeeded: usize,
    pub(super) failed: usize,
}

/// Whether a map that is complete has met its conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Met,
    Unmet,
}

impl Completion {
    /// All items are tried, and any number of them may fail.
    pub(super) const TRY_ALL: Self =
        Self { min_successful: None, tolerated_failures: Some(usize::MAX), tolerated_percentage: None };

    /// Returns the verdict on a map; `None` if the map is not complete.
    pub(super) fn verdict(&self, tally: Tally) -> Option<Verdict> {
        let Tally { total, succeeded, failed } = tally;
        if self.min_successful.is_some_and(|least| succeeded >= least) {
            return Some(Verdict::Met);
        }
        if self.are_too_many(failed, total) || self.min_successful.is_some_and(|least| least > total) {
            return Some(Verdict::Unmet);
        }
        (succeeded + failed == total).then_some(Verdict::Met)
    }

    /// Returns whether the conditions cannot be met any more after this many failures.
    fn are_too_many(&self, failed: usize, total: usize) -> bool {
        if *self == Self::default() {
            return failed > 0;
        }
        let beside_min = self.min_successful.map(|least| total.saturating_sub(least));
        let is_exceeded = |most: Option<usize>| most.is_some_and(|most| failed > most);
        // multiplied, because a quotient would be rounded
        let exceeds = |percent: f64| failed as f64 * 100.0 > percent * total as f64;
        is_exceeded(beside_min)
            || is_exceeded(self.tolerated_failures)
            || self.tolerated_percentage.is_some_and(exceeds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(min: Option<usize>, tolerated: Option<usize>, succeeded: usize, failed: usize) -> Option<Verdict> {
        let completion = Completion { min_successful: min, tolerated_failures: tolerated, ..Completion::default() };
        completion.verdict(Tally { total: 5, succeeded, failed })
    }

    #[test]
    fn without_conditions_every_item_must_succeed() {
        assert_eq!(verdict(None, None, 4, 0), None);
        assert_eq!(verdict(None, None, 5, 0), Some(Verdict::Met));
        assert_eq!(verdict(None, None, 0, 1), Some(Verdict::Unmet));
    }

    #[test]
    fn tolerated_failures_are_counted_until_every_item_has_ended() {
        assert_eq!(verdict(None, Some(2), 2, 2), None);
        assert_eq!(verdict(None, Some(2), 3, 2), Some(Verdict::Met));
        assert_eq!(verdict(None, Some(2), 0, 3), Some(Verdict::Unmet));
    }

    #[test]
    fn enough_successes_complete_a_map_and_too_many_failures_make_them_impossible() {
        assert_eq!(verdict(Some(3), None, 3, 2), Some(Verdict::Met));
        assert_eq!(verdict(Some(3), None, 2, 2), None);
        assert_eq!(verdict(Some(3), None, 0, 3), Some(Verdict::Unmet));
        assert_eq!(verdict(Some(6), None, 0, 0), Some(Verdict::Unmet));
        assert_eq!(verdict(Some(0), None, 0, 0), Some(Verdict::Met));
    }

    #[test]
    fn a_percentage_counts_all_items_and_is_not_rounded() {
        let verdict = |percent: f64, total: usize, failed: usize| {
            let completion = Completion { tolerated_percentage: Some(percent), ..Completion::default() };
            completion.verdict(Tally { total, succeeded: 0, failed })
        };
        for (percent, total, most) in
            [(0.0, 5, 0), (33.0, 3, 0), (34.0, 3, 1), (20.0, 5, 1), (33.3, 1_000, 333), (99.9, 10, 9), (29.0, 100, 29)]
        {
            assert_eq!(verdict(percent, total, most), None, "{most} of {total} are {percent} % or less");
            assert_eq!(verdict(percent, total, most + 1), Some(Verdict::Unmet), "{percent} % of {total}");
        }
        assert_eq!(verdict(100.0, 5, 5), Some(Verdict::Met));
        let both =
            Completion { tolerated_failures: Some(1), tolerated_percentage: Some(50.0), ..Completion::default() };
        assert_eq!(both.verdict(Tally { total: 10, succeeded: 0, failed: 2 }), Some(Verdict::Unmet));
        assert_eq!(both.verdict(Tally { total: 2, succeeded: 1, failed: 1 }), Some(Verdict::Met));
    }

    #[test]
    fn of_two_conditions_the_first_that_is_decided_counts() {
        assert_eq!(verdict(Some(1), Some(2), 1, 0), Some(Verdict::Met));
        assert_eq!(verdict(Some(1), Some(2), 0, 2), None);
        assert_eq!(verdict(Some(1), Some(2), 0, 3), Some(Verdict::Unmet));
        assert_eq!(verdict(Some(4), Some(2), 0, 2), Some(Verdict::Unmet));
    }
}
