//! The requests in progress, which their clients can cancel.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use stepladder_core::Json;
use tokio::sync::oneshot;

/// The session of a client, and the id of a request as JSON.
type CallKey = (String, String);

/// The requests in progress of all clients.
#[derive(Default)]
pub(super) struct CallsInProgress(Mutex<HashMap<CallKey, oneshot::Sender<()>>>);

/// Keeps a request cancellable until it is dropped.
pub(super) struct CallGuard<'a> {
    calls: &'a CallsInProgress,
    key: CallKey,
}

/// Completes when the client cancels the request.
pub(super) struct Cancelled(oneshot::Receiver<()>);

impl CallsInProgress {
    /// Makes a request cancellable. An id that the client uses twice at the same time is that of
    /// the first request.
    pub(super) fn register(&self, session: &str, id: &Json) -> Option<(CallGuard<'_>, Cancelled)> {
        let key = (session.to_owned(), id.get().to_owned());
        match self.lock().entry(key.clone()) {
            Entry::Occupied(_) => None,
            Entry::Vacant(vacant) => {
                let (sender, receiver) = oneshot::channel();
                vacant.insert(sender);
                Some((CallGuard { calls: self, key }, Cancelled(receiver)))
            }
        }
    }

    /// Cancels a request of this session. A request that has ended is left alone.
    pub(super) fn cancel(&self, session: &str, id: &Json) {
        if let Some(call) = self.lock().remove(&(session.to_owned(), id.get().to_owned())) {
            // the request may have ended just now
            let _ = call.send(());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CallKey, oneshot::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CallGuard<'_> {
    fn drop(&mut self) {
        self.calls.lock().remove(&self.key);
    }
}

impl Cancelled {
    /// Waits until the client cancels the request.
    pub(super) async fn wait(self) {
        if self.0.await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_is_cancelled_by_its_own_client_only() {
        let calls = CallsInProgress::default();
        let id: Json = serde_json::from_str("1").unwrap();
        let (_guard, cancelled) = calls.register("a", &id).expect("a new id");
        assert!(calls.register("a", &id).is_none(), "the id is in use");
        let (other, _) = calls.register("b", &id).expect("the id of another client");
        drop(other);
        calls.cancel("b", &id);
        let waiting = tokio::spawn(cancelled.wait());
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        calls.cancel("a", &id);
        waiting.await.unwrap();
    }
}
