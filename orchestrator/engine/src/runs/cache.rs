//! A cache of the states of runs that this process moved recently, so that a hop needs to read only
//! newer entries.
//!
//! A cached state may be stale. Before using it, the caller must read the entries after it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stepladder_core::{RunId, RunState};

/// The approximate size in bytes of a state without its outcomes, event data and steps.
const OVERHEAD: usize = 2_048;

pub(crate) struct RunStateCache {
    inner: Mutex<CachedStates>,
    capacity: usize,
}

#[derive(Default)]
struct CachedStates {
    states: HashMap<RunId, Arc<RunState>>,
    /// The runs in the order in which they were added, each with a sequence number. A run that was
    /// taken and added again occurs twice. Only the item with the number in `latest` is valid.
    order: VecDeque<(RunId, u64)>,
    /// For each cached run, the sequence number of its valid item in `order`.
    latest: HashMap<RunId, u64>,
    tick: u64,
    bytes: usize,
}

impl RunStateCache {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { inner: Mutex::default(), capacity }
    }

    fn lock(&self) -> MutexGuard<'_, CachedStates> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the state of a run and returns it.
    pub(crate) fn take(&self, run: RunId) -> Option<Arc<RunState>> {
        let mut inner = self.lock();
        let state = inner.states.remove(&run)?;
        inner.latest.remove(&run);
        inner.bytes -= size(&state);
        Some(state)
    }

    /// Returns the state of a run without removing it.
    pub(crate) fn peek(&self, run: RunId) -> Option<Arc<RunState>> {
        self.lock().states.get(&run).cloned()
    }

    /// Adds a state. If the cache is full, removes the oldest states.
    pub(crate) fn put(&self, state: Arc<RunState>) {
        let bytes = size(&state);
        if bytes > self.capacity {
            return;
        }
        let run = state.run;
        let mut guard = self.lock();
        let inner = &mut *guard;
        inner.tick += 1;
        inner.order.push_back((run, inner.tick));
        inner.latest.insert(run, inner.tick);
        if let Some(before) = inner.states.insert(run, state) {
            inner.bytes -= size(&before);
        }
        inner.bytes += bytes;
        while inner.bytes > self.capacity || inner.order.len() > 2 * inner.states.len() + 64 {
            let Some((oldest, tick)) = inner.order.pop_front() else { break };
            if inner.latest.get(&oldest) != Some(&tick) {
                continue; // the run was put in again or taken since
            }
            if inner.bytes > self.capacity {
                inner.latest.remove(&oldest);
                if let Some(state) = inner.states.remove(&oldest) {
                    inner.bytes -= size(&state);
                }
            } else {
                inner.order.push_back((oldest, tick));
            }
        }
    }
}

fn size(state: &RunState) -> usize {
    OVERHEAD + state.bytes + state.logs.bytes() + state.created.event.data.get().len() + 256 * state.steps.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepladder_core::journal::{Fact, NewRun, Record, RunOrigin};
    use stepladder_core::{Event, EventId, Timestamp, json};

    fn state(n: u128) -> Arc<RunState> {
        let at = Timestamp::from_millis(1);
        let event = Event {
            id: EventId::new(at, n),
            name: "a".into(),
            data: json::empty_object(),
            ts: at,
            user: None,
            external_id: None,
            received_at: at,
        };
        let created = NewRun::new("f".into(), event, RunOrigin::Event);
        let entries = vec![Fact::RunCreated(Box::new(created)).into_entry(at)];
        Arc::new(RunState::fold(RunId::new(at, n), &[Record { seq: 0, token: n, code: "".into(), entries }]).unwrap())
    }

    #[test]
    fn a_full_cache_removes_the_oldest_states() {
        let cache = RunStateCache::new(3 * (OVERHEAD + 2));
        (1..=4).for_each(|n| cache.put(state(n)));
        assert!(cache.peek(state(1).run).is_none());
        assert!((2..=4).all(|n| cache.peek(state(n).run).is_some()));
    }

    #[test]
    fn taking_states_and_putting_them_back_does_not_grow_the_cache() {
        let cache = RunStateCache::new(3 * (OVERHEAD + 2));
        for _ in 0..10_000 {
            cache.put(cache.take(state(1).run).unwrap_or_else(|| state(1)));
        }
        let inner = cache.lock();
        assert_eq!((inner.states.len(), inner.latest.len(), inner.bytes), (1, 1, OVERHEAD + 2));
        assert!(inner.order.len() <= 67);
    }
}
