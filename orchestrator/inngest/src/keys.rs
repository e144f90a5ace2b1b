//! The signing keys of a process. They are fixed, or a source is asked for them again after a
//! minute, so that keys are rotated without a restart.
//!
//! Where a source has the keys is deliberately not known here.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use stepladder_core::Timestamp;
use stepladder_engine::clock::Clock;

use crate::signature::SigningKeys;

/// How long a process relies on the keys that it last read.
pub const KEYS_REFRESH_AFTER: Duration = Duration::from_secs(60);

/// A place from which a process reads its signing keys.
#[async_trait]
pub trait KeySource: Send + Sync {
    /// Reads the keys. This is called before a request if the last reading is older than
    /// [`KEYS_REFRESH_AFTER`].
    ///
    /// # Errors
    /// A sentence that says what to do, without a secret. The last keys count until a reading
    /// succeeds.
    async fn read(&self) -> Result<SigningKeys, String>;
}

/// The keys that count now.
pub(crate) struct CurrentKeys {
    source: Option<Box<dyn KeySource>>,
    loaded: RwLock<Option<LoadedKeys>>,
    /// Locked while this process reads, so that concurrent requests share one reading.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct LoadedKeys {
    keys: Arc<SigningKeys>,
    /// When they were read; `None` if they never change.
    read_at: Option<Timestamp>,
}

impl CurrentKeys {
    pub(crate) fn fixed(keys: Option<SigningKeys>) -> Self {
        let loaded = keys.map(|keys| LoadedKeys { keys: Arc::new(keys), read_at: None });
        Self { source: None, loaded: RwLock::new(loaded), reading: tokio::sync::Mutex::default() }
    }

    pub(crate) fn from_source(source: Box<dyn KeySource>) -> Self {
        Self { source: Some(source), ..Self::fixed(None) }
    }

    /// Returns the keys as last read, if there are any.
    pub(crate) fn get(&self) -> Option<Arc<SigningKeys>> {
        self.loaded().map(|loaded| loaded.keys)
    }

    /// Reads the keys if the last reading is too old.
    ///
    /// # Errors
    /// A sentence, if they were never read and cannot be read.
    pub(crate) async fn refresh(&self, clock: &dyn Clock) -> Result<(), String> {
        let Some(source) = &self.source else { return Ok(()) };
        if self.is_fresh(clock.now()) {
            return Ok(());
        }
        let _reading = self.reading.lock().await;
        if self.is_fresh(clock.now()) {
            return Ok(());
        }
        let read_at = Some(clock.now());
        let keys = match (source.read().await, self.get()) {
            (Ok(keys), _) => Arc::new(keys),
            (Err(problem), Some(last)) => {
                tracing::error!(problem, "the signing keys could not be read; the last reading counts");
                last
            }
            (Err(problem), None) => return Err(format!("the signing keys cannot be read: {problem}")),
        };
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = Some(LoadedKeys { keys, read_at });
        Ok(())
    }

    fn loaded(&self) -> Option<LoadedKeys> {
        self.loaded.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns whether the last reading counts. If the clock was set back, it does not.
    fn is_fresh(&self, now: Timestamp) -> bool {
        let is_fresh = |read: Timestamp| now >= read && now.since(read) < KEYS_REFRESH_AFTER;
        self.loaded().is_some_and(|loaded| loaded.read_at.is_none_or(is_fresh))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use stepladder_testkit::clock::VirtualClock;

    use super::*;

    /// Returns these answers, one after the other.
    struct Scripted(Mutex<VecDeque<Result<&'static str, &'static str>>>);

    #[async_trait]
    impl KeySource for Scripted {
        async fn read(&self) -> Result<SigningKeys, String> {
            let next = self.0.lock().unwrap().pop_front().expect("no further reading");
            next.map_err(str::to_owned).and_then(SigningKeys::parse)
        }
    }

    fn bearer(keys: &CurrentKeys) -> Option<String> {
        keys.get().map(|keys| keys.current.bearer())
    }

    #[tokio::test]
    async fn keys_are_read_again_after_a_minute_and_the_last_ones_outlive_a_failure() {
        let clock = VirtualClock::new(Timestamp::from_millis(1_700_000_000_000));
        let script = [Err("denied"), Ok("signkey-test-00"), Err("denied"), Ok("signkey-test-01,signkey-test-00")];
        let keys = CurrentKeys::from_source(Box::new(Scripted(Mutex::new(script.into()))));
        let problem = keys.refresh(&clock).await.unwrap_err();
        assert!(problem.ends_with("cannot be read: denied") && keys.get().is_none(), "{problem}");
        keys.refresh(&clock).await.unwrap();
        let first = bearer(&keys);
        clock.advance(KEYS_REFRESH_AFTER - Duration::from_millis(1));
        keys.refresh(&clock).await.unwrap();
        clock.advance(Duration::from_millis(1));
        keys.refresh(&clock).await.unwrap();
        assert_eq!(bearer(&keys), first, "the failure changes nothing");
        keys.refresh(&clock).await.unwrap();
        clock.advance(KEYS_REFRESH_AFTER);
        keys.refresh(&clock).await.unwrap();
        assert_ne!(bearer(&keys), first);
        assert!(keys.get().unwrap().accepts_bearer(&format!("Bearer {}", first.unwrap())), "it is the fallback");
    }

    #[tokio::test]
    async fn concurrent_requests_share_one_reading() {
        let clock = VirtualClock::new(Timestamp::from_millis(1_700_000_000_000));
        let source = Scripted(Mutex::new([Ok("signkey-test-00")].into()));
        let keys = CurrentKeys::from_source(Box::new(source));
        let (a, b) = tokio::join!(keys.refresh(&clock), keys.refresh(&clock));
        assert!(a.is_ok() && b.is_ok());
    }
}
