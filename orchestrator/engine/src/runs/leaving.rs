//! Hops that are about to leave their runs. The commit with which a hop leaves sends the next wake,
//! and the next hop of this process may begin before the hop has returned the run's state to the
//! cache. It waits for that: otherwise it would read and replay the whole journal.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use stepladder_core::RunId;
use tokio::sync::{Mutex as Gate, OwnedMutexGuard};

/// The runs that hops of this process are about to leave.
#[derive(Clone, Default)]
pub(crate) struct LeavingRuns(Arc<Mutex<HashMap<RunId, Arc<Gate<()>>>>>);

/// A hop that is about to leave its run. Dropping it lets the next hop begin.
pub(crate) struct LeavingHop {
    runs: LeavingRuns,
    run: RunId,
    gate: Arc<Gate<()>>,
    _closed: OwnedMutexGuard<()>,
}

impl LeavingRuns {
    /// Records that a hop is about to leave this run.
    pub(crate) fn begin(&self, run: RunId) -> Option<LeavingHop> {
        let gate = Arc::new(Gate::new(()));
        let closed = gate.clone().try_lock_owned().ok()?;
        self.0.lock().insert(run, gate.clone());
        Some(LeavingHop { runs: self.clone(), run, gate, _closed: closed })
    }

    /// Returns a future that ends once the hop that is about to leave this run has left it; `None`
    /// if there is no such hop.
    pub(crate) fn wait_for(&self, run: RunId) -> Option<impl Future<Output = ()> + use<>> {
        let gate = self.0.lock().get(&run).cloned()?;
        Some(async move { drop(gate.lock().await) })
    }
}

impl Drop for LeavingHop {
    fn drop(&mut self) {
        let mut runs = self.runs.0.lock();
        // another hop of the run may have begun to leave since
        if runs.get(&self.run).is_some_and(|gate| Arc::ptr_eq(gate, &self.gate)) {
            runs.remove(&self.run);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use stepladder_core::Timestamp;

    use super::*;

    #[test]
    fn the_next_hop_waits_until_the_hop_before_it_has_left() {
        let (runs, run) = (LeavingRuns::default(), RunId::new(Timestamp::from_millis(1), 1));
        let other = RunId::new(Timestamp::from_millis(1), 2);
        assert!(runs.wait_for(run).is_none());
        let first = runs.begin(run).unwrap();
        let waiting = runs.wait_for(run).unwrap();
        futures::pin_mut!(waiting);
        assert!((&mut waiting).now_or_never().is_none());
        assert!(runs.wait_for(other).is_none());
        drop(first);
        assert!(waiting.now_or_never().is_some());
        assert!(runs.wait_for(run).is_none());
    }

    #[test]
    fn the_end_of_an_earlier_hop_does_not_end_the_wait_for_a_later_one() {
        let (runs, run) = (LeavingRuns::default(), RunId::new(Timestamp::from_millis(1), 1));
        let (first, second) = (runs.begin(run), runs.begin(run));
        drop(first);
        assert!(runs.wait_for(run).unwrap().now_or_never().is_none());
        drop(second);
        assert!(runs.wait_for(run).is_none());
    }
}
