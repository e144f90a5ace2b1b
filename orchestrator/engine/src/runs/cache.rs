//! A cache with one value per run and a limit in bytes. If it is full, it drops the values that
//! were not used for the longest time.

use hashlink::LruCache;
use parking_lot::Mutex;
use stepladder_core::RunId;

pub(crate) struct RunCache<V> {
    inner: Mutex<CachedValues<V>>,
    capacity: usize,
}

struct CachedValues<V> {
    /// The values with their sizes, the most recently used one last.
    values: LruCache<RunId, (V, usize)>,
    bytes: usize,
}

impl<V> RunCache<V> {
    /// Creates an empty cache for this many bytes.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { inner: Mutex::new(CachedValues { values: LruCache::new_unbounded(), bytes: 0 }), capacity }
    }

    /// Removes the value of a run and returns it.
    pub(crate) fn take(&self, run: RunId) -> Option<V> {
        self.inner.lock().take(run).map(|(value, _)| value)
    }

    /// Returns the value of a run without removing it.
    pub(crate) fn peek(&self, run: RunId) -> Option<V>
    where
        V: Clone,
    {
        self.inner.lock().values.peek(&run).map(|(value, _)| value.clone())
    }

    /// Adds the value of a run, which has this size in bytes. A value that is too large for the
    /// cache is dropped.
    pub(crate) fn put(&self, run: RunId, value: V, bytes: usize) {
        if bytes > self.capacity {
            return;
        }
        let mut dropped = Vec::new();
        let mut inner = self.inner.lock();
        dropped.extend(inner.take(run));
        inner.values.insert(run, (value, bytes));
        inner.bytes += bytes;
        while inner.bytes > self.capacity {
            let Some((_, oldest)) = inner.values.remove_lru() else { break };
            inner.bytes -= oldest.1;
            dropped.push(oldest);
        }
        // not under the lock: dropping a value may execute code of a user
        drop(inner);
        drop(dropped);
    }
}

impl<V> RunCache<V> {
    /// Drops the values that were not used for the longest time, while `is_unneeded` accepts them.
    pub(crate) fn drop_oldest_while(&self, is_unneeded: impl Fn(&V) -> bool) {
        let mut dropped = Vec::new();
        let mut inner = self.inner.lock();
        while inner.values.iter().next().is_some_and(|(_, (oldest, _))| is_unneeded(oldest)) {
            let Some((_, oldest)) = inner.values.remove_lru() else { break };
            inner.bytes -= oldest.1;
            dropped.push(oldest);
        }
        drop(inner);
        drop(dropped);
    }
}

impl<V> CachedValues<V> {
    fn take(&mut self, run: RunId) -> Option<(V, usize)> {
        let taken = self.values.remove(&run)?;
        self.bytes -= taken.1;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use stepladder_core::Timestamp;

    use super::*;

    fn run(n: u128) -> RunId {
        RunId::new(Timestamp::from_millis(1), n)
    }

    #[test]
    fn a_full_cache_drops_the_values_that_were_not_used_for_the_longest_time() {
        let cache = RunCache::new(30);
        (1..=4).for_each(|n| cache.put(run(n), n, 10));
        assert_eq!([1, 2, 3, 4].map(|n| cache.peek(run(n))), [None, Some(2), Some(3), Some(4)]);
        cache.put(run(5), 5, 31);
        assert_eq!(cache.peek(run(5)), None, "it is larger than the cache");
    }

    #[test]
    fn taking_values_and_putting_them_back_does_not_grow_the_cache() {
        let cache = RunCache::new(30);
        for n in 0..10_000 {
            cache.put(run(1), cache.take(run(1)).unwrap_or(n), 10);
            cache.put(run(2), n, 10);
        }
        assert_eq!((cache.take(run(1)), cache.take(run(2))), (Some(0), Some(9_999)));
        let inner = cache.inner.lock();
        assert_eq!((inner.values.len(), inner.bytes), (0, 0));
    }
}
