//! When a map is complete, and whether enough of its items have succeeded then.

/// The conditions under which a map ends before all its items have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Completion {
    pub(super) min_successful: Option<usize>,
    pub(super) tolerated_failures: Option<usize>,
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
    pub(super) const TRY_ALL: Self = Self { min_successful: None, tolerated_failures: Some(usize::MAX) };

    /// Returns the verdict on a map; `None` if the map is not complete.
    pub(super) fn verdict(&self, tally: Tally) -> Option<Verdict> {
        let Tally { total, succeeded, failed } = tally;
        if self.min_successful.is_some_and(|least| succeeded >= least) {
            return Some(Verdict::Met);
        }
        if failed > self.most_failures(total) || self.min_successful.is_some_and(|least| least > total) {
            return Some(Verdict::Unmet);
        }
        (succeeded + failed == total).then_some(Verdict::Met)
    }

    /// Returns how many items may fail before the conditions cannot be met any more.
    fn most_failures(&self, total: usize) -> usize {
        let beside_min = self.min_successful.map(|least| total.saturating_sub(least));
        match (beside_min, self.tolerated_failures) {
            (Some(beside), Some(tolerated)) => beside.min(tolerated),
            (Some(most), None) | (None, Some(most)) => most,
            (None, None) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(min: Option<usize>, tolerated: Option<usize>, succeeded: usize, failed: usize) -> Option<Verdict> {
        let completion = Completion { min_successful: min, tolerated_failures: tolerated };
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
    fn of_two_conditions_the_first_that_is_decided_counts() {
        assert_eq!(verdict(Some(1), Some(2), 1, 0), Some(Verdict::Met));
        assert_eq!(verdict(Some(1), Some(2), 0, 2), None);
        assert_eq!(verdict(Some(1), Some(2), 0, 3), Some(Verdict::Unmet));
        assert_eq!(verdict(Some(4), Some(2), 0, 2), Some(Verdict::Unmet));
    }
}
