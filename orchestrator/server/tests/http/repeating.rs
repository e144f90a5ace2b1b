//! Repetitions of requests without a response, from clients that send neither event ids nor a seed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use stepladder_core::Timestamp;
use stepladder_engine::ports::{Backend, StoreError, StoreResult};
use stepladder_engine::{Config, Engine, RunFilter};
use stepladder_server::{ServerOptions, router};
use stepladder_testkit::clock::{SeededEntropy, VirtualClock};
use stepladder_testkit::intercept::{Intercept, InterceptedBackend, StorageCall};
use stepladder_testkit::memory::Memory;
use tokio::sync::Notify;
use tower::ServiceExt;

use crate::script::ScriptedProgram;

/// A store that fails or blocks at the first lookup of subscriptions. At that time, the runs have
/// already been created.
struct FailingStorage {
    memory: Arc<Memory>,
    calls: AtomicUsize,
    fails: bool,
    go_on: Notify,
    has_come: Notify,
}

struct SendingProgram(Arc<FailingStorage>);

#[async_trait]
impl Intercept for SendingProgram {
    fn backend(&self) -> &dyn Backend {
        &*self.0.memory
    }

    async fn around<'a, T: std::fmt::Debug + Send>(
        &'a self,
        call: StorageCall<'a>,
        reply: BoxFuture<'a, StoreResult<T>>,
    ) -> StoreResult<T> {
        if call.name == "subscribed_fields" && self.0.calls.fetch_add(1, Ordering::Relaxed) == 0 {
            if self.0.fails {
                return Err(StoreError::Unavailable("throttled".into()));
            }
            self.0.has_come.notify_one();
            self.0.go_on.notified().await;
        }
        reply.await
    }
}

fn server(fails: bool) -> (Router, Arc<Engine>, Arc<FailingStorage>) {
    let clock = Arc::new(VirtualClock::new(Timestamp::from_millis(1_700_000_000_000)));
    let memory = Arc::new(Memory::new(clock.clone()));
    let (calls, go_on, has_come) = (AtomicUsize::new(0), Notify::new(), Notify::new());
    let storage = Arc::new(FailingStorage { memory, calls, fails, go_on, has_come });
    let backend = Arc::new(InterceptedBackend(SendingProgram(storage.clone())));
    let entropy = Arc::new(SeededEntropy::new(7));
    let engine =
        Engine::with_ports(backend, clock, entropy, vec![ScriptedProgram::echo_program()], Config::default()).unwrap();
    let engine = Arc::new(engine);
    (router(engine.clone(), ServerOptions { loopback: true, ..ServerOptions::default() }), engine, storage)
}

fn request() -> Request<Body> {
    let events = json!([{"name": "test/echo", "data": {}}, {"name": "test/echo", "data": {}}]);
    Request::post("/e/key").body(Body::from(events.to_string())).unwrap()
}

/// Sends the request. Returns the status and the ids in the response.
async fn send(router: &Router) -> (u16, Value) {
    let response = router.clone().oneshot(request()).await.unwrap();
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice::<Value>(&body).unwrap()["ids"].take())
}

async fn runs(engine: &Engine) -> usize {
    engine.query().runs(RunFilter::default()).await.unwrap().runs.len()
}

#[tokio::test]
async fn what_failed_and_is_sent_again_starts_nothing_twice() {
    let (router, engine, _) = server(true);
    assert_eq!((send(&router).await, runs(&engine).await), ((503, json!([])), 2), "they have begun all the same");
    let (status, first) = send(&router).await;
    assert_eq!((status, runs(&engine).await), (200, 2));
    // after a response, the same body counts as a new request
    let (status, second) = send(&router).await;
    assert_eq!((status, runs(&engine).await), (200, 4));
    assert_ne!(first, second);
}

#[tokio::test]
async fn what_a_sender_did_not_wait_for_and_sends_again_starts_nothing_twice() {
    let (router, engine, storage) = server(false);
    let mut abandoned = tokio::spawn(router.clone().oneshot(request()));
    tokio::select! {
        () = storage.has_come.notified() => {}
        answer = &mut abandoned => panic!("{answer:?}"),
    }
    // while the first request is pending, another client sends the same body
    let (_, other) = send(&router).await;
    assert_eq!(runs(&engine).await, 4);
    abandoned.abort();
    assert!(abandoned.await.is_err(), "the sender has hung up");
    let (status, again) = send(&router).await;
    assert_eq!((status, runs(&engine).await), (200, 4));
    assert_ne!(again, other);
    storage.go_on.notify_one();
}
