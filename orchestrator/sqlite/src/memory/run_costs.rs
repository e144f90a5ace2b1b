//! The costs of live runs so far, so that no journal is read when a run ends. After a restart, or
//! if too many runs are live, the journal is read.

use hashlink::LruCache;
use parking_lot::Mutex;
use stepladder_core::{Record, RunId, Seq};
use stepladder_engine::ports::{RunCost, RunCostCounter};

/// The maximum number of runs in memory.
const MAX_RUNS: usize = 32_768;

/// For each live run, the number that follows the last counted entry, and the cost until there.
pub(crate) struct RunCosts(Mutex<LruCache<RunId, (Seq, RunCostCounter)>>);

impl Default for RunCosts {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(MAX_RUNS)))
    }
}

impl RunCosts {
    /// Counts a record that was committed. If an earlier record was not counted, forgets the run.
    pub(crate) fn count(&self, run: RunId, record: &Record) {
        let mut runs = self.0.lock();
        if record.seq == 0 {
            runs.insert(run, (0, RunCostCounter::default()));
        }
        let Some((next, counter)) = runs.get_mut(&run) else { return };
        match *next == record.seq {
            true => {
                record.entries.iter().for_each(|entry| counter.add(entry));
                *next = record.next();
            }
            false => _ = runs.remove(&run),
        }
    }

    /// Returns the cost of a run whose journal ends at the number `end`, with a last record that is
    /// not counted yet. Returns `None` if the journal must be read.
    pub(crate) fn cost(&self, run: RunId, last: Option<&Record>, end: Seq) -> Option<RunCost> {
        let mut runs = self.0.lock();
        let (next, counter) = runs.get(&run)?;
        match last {
            None => (*next == end).then(|| counter.cost()),
            Some(last) => (*next == last.seq && last.next() == end).then(|| {
                let mut counter = counter.clone();
                last.entries.iter().for_each(|entry| counter.add(entry));
                counter.cost()
            }),
        }
    }

    /// Forgets a run that has ended.
    pub(crate) fn forget(&self, run: RunId) {
        self.0.lock().remove(&run);
    }
}

#[cfg(test)]
mod tests {
    use stepladder_core::{Fact, Timestamp, json};

    use super::*;

    #[test]
    fn a_cost_is_known_only_if_every_record_was_counted() {
        let (costs, run) = (RunCosts::default(), RunId::new(Timestamp::from_millis(0), 1));
        let record = |seq| Record {
            seq,
            token: seq.into(),
            code: "1".into(),
            entries: vec![Fact::RunCompleted { output: json::null() }.into_entry(Timestamp::from_millis(0))],
        };
        assert_eq!(costs.cost(run, None, 0), None);
        costs.count(run, &record(0));
        costs.count(run, &record(1));
        let known = costs.cost(run, None, 2).expect("a known cost");
        assert_eq!(known.write_units, 8, "the creation, and two ends");
        assert_eq!(costs.cost(run, Some(&record(2)), 3).map(|cost| cost.write_units), Some(10));
        assert_eq!(costs.cost(run, None, 3), None, "a record of the same transaction is missing");
        assert_eq!(costs.cost(run, Some(&record(3)), 4), None);
        costs.count(run, &record(3));
        assert_eq!(costs.cost(run, None, 2), None, "forgotten");
    }
}
