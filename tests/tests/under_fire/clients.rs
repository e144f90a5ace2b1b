//! The clients: they send events and read runs while the server is killed and restarted. Each event
//! is sent with the same id until a server accepts it.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::{Method, Response, header};
use serde_json::{Value, json};
use stepladder_tests::{ApiClient, ServerProcess};
use tokio::task::JoinHandle;

use crate::chance::SeededRandom;

/// The maximum time that a client waits before it repeats a request.
const MAX_RETRY_WAIT: Duration = Duration::from_millis(10);
/// One in this many requests contains several events.
const BATCHES: u64 = 8;

/// The running clients.
pub(crate) struct LoadClients {
    shared: Arc<SharedClientState>,
    tasks: Vec<JoinHandle<()>>,
}

/// The state that all clients share.
struct SharedClientState {
    api: Mutex<ApiClient>,
    stop: AtomicBool,
    next: AtomicU64,
    answers: Mutex<ClientResponses>,
}

/// The responses that all clients have received.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientResponses {
    /// The orders that were accepted, each with the id of its event.
    pub(crate) accepted: BTreeMap<u64, String>,
    /// The number of orders that were sent, whether accepted or not.
    pub(crate) sent: u64,
    /// The runs that the server has reported as ended.
    pub(crate) ended: HashMap<String, Value>,
    /// The number of refusals with each status and message.
    pub(crate) refusals: BTreeMap<(u16, String), usize>,
    /// The number of requests without a response.
    pub(crate) unanswered: usize,
}

impl LoadClients {
    /// Starts this many senders, and one client that reads the runs of their events. Each waits up
    /// to `pause` between two requests.
    pub(crate) fn start(server: &ServerProcess, senders: usize, pause: Duration, chance: &mut SeededRandom) -> Self {
        let shared = Arc::new(SharedClientState {
            api: Mutex::new(server.api()),
            stop: AtomicBool::new(false),
            next: AtomicU64::new(0),
            answers: Mutex::default(),
        });
        let mut tasks: Vec<_> =
            (0..senders).map(|_| tokio::spawn(send(shared.clone(), pause, chance.fork()))).collect();
        tasks.push(tokio::spawn(poll_runs(shared.clone(), pause, chance.fork())));
        Self { shared, tasks }
    }

    /// Tells the clients the address of the restarted server.
    pub(crate) fn use_new_server(&self, server: &ServerProcess) {
        *lock_mutex(&self.shared.api) = server.api();
    }

    /// Returns the number of orders that were accepted so far.
    pub(crate) fn accepted_count(&self) -> usize {
        lock_mutex(&self.shared.answers).accepted.len()
    }

    /// Returns the number of requests that were refused so far.
    pub(crate) fn refused_count(&self) -> usize {
        lock_mutex(&self.shared.answers).refusals.values().sum()
    }

    /// Stops the clients after their current requests. The server must be running.
    pub(crate) async fn stop(self) -> ClientResponses {
        self.shared.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("a client does not panic");
        }
        let mut answers = lock_mutex(&self.shared.answers).clone();
        answers.sent = self.shared.next.load(Ordering::Relaxed);
        answers
    }
}

/// Returns the event id that a client gives to order `n`.
pub(crate) fn name_of(n: u64) -> String {
    format!("order-{n}")
}

async fn send(shared: Arc<SharedClientState>, pause: Duration, mut chance: SeededRandom) {
    while !shared.stop.load(Ordering::Relaxed) {
        let size = if chance.below(BATCHES) == 0 { 5 } else { 1 };
        let first = shared.next.fetch_add(size, Ordering::Relaxed);
        let orders = first..first + size;
        let event = |n| json!({"name": "fire/order", "id": name_of(n), "data": {"n": n}});
        let body = Value::Array(orders.clone().map(event).collect()).to_string();
        loop {
            let request =
                shared.api().request(Method::POST, "/e/test").header(header::CONTENT_TYPE, "application/json");
            match request.body(body.clone()).send().await {
                Ok(response) if response.status().is_success() => {
                    // the server may be killed while it sends the response
                    if let Ok(answer) = response.json::<Value>().await {
                        accepted(&shared, orders, &answer);
                        break;
                    }
                }
                Ok(response) => refused(&shared, response).await,
                Err(_) => lock_mutex(&shared.answers).unanswered += 1,
            }
            tokio::time::sleep(chance.shorter_than(MAX_RETRY_WAIT)).await;
        }
        tokio::time::sleep(chance.shorter_than(pause)).await;
    }
}

fn accepted(shared: &SharedClientState, orders: std::ops::Range<u64>, answer: &Value) {
    let ids = answer["ids"].as_array().expect("ids");
    assert_eq!(ids.len() as u64, orders.end - orders.start, "{answer}");
    let ids = ids.iter().map(|id| id.as_str().expect("text").to_owned());
    lock_mutex(&shared.answers).accepted.extend(orders.zip(ids));
}

/// Checks that a refusal has a message and a `Retry-After`. The events of the request do not count
/// as accepted.
async fn refused(shared: &SharedClientState, response: Response) {
    let status = response.status().as_u16();
    let again = response.headers().get(header::RETRY_AFTER).cloned();
    let Ok(answer) = response.json::<Value>().await else { return };
    assert!(matches!(status, 429 | 503 | 507), "{status}: {answer}");
    assert!(again.is_some_and(|seconds| seconds.to_str().is_ok_and(|s| s.parse::<u32>().is_ok())), "no Retry-After");
    assert_eq!(answer["ids"], json!([]), "{answer}");
    let sentence = answer["error"].as_str().expect("a sentence").to_owned();
    *lock_mutex(&shared.answers).refusals.entry((status, sentence)).or_default() += 1;
}

/// Reads the runs of accepted events at random, and records those that have ended.
async fn poll_runs(shared: Arc<SharedClientState>, pause: Duration, mut chance: SeededRandom) {
    while !shared.stop.load(Ordering::Relaxed) {
        tokio::time::sleep(chance.shorter_than(pause)).await;
        let event = {
            let answers = lock_mutex(&shared.answers);
            let n = chance.below(answers.accepted.len().max(1) as u64) as usize;
            answers.accepted.values().nth(n).cloned()
        };
        let Some(event) = event else { continue };
        let Ok((200, answer)) = shared.api().try_get(&format!("/v1/events/{event}/runs")).await else { continue };
        let runs = answer["data"].as_array().expect("data");
        let mut answers = lock_mutex(&shared.answers);
        for run in runs.iter().filter(|run| !run["ended_at"].is_null()) {
            answers.ended.insert(run["run_id"].as_str().expect("text").to_owned(), run.clone());
        }
    }
}

impl SharedClientState {
    fn api(&self) -> ApiClient {
        lock_mutex(&self.api).clone()
    }
}

fn lock_mutex<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
