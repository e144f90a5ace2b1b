//! Those who send events and look at runs while the server comes and goes. An event is sent under the same id until
//! somebody says that it is accepted.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::{Method, Response, header};
use serde_json::{Value, json};
use stepladder_tests::{Api, Server};
use tokio::task::JoinHandle;

use crate::chance::Chance;

/// How long a client waits at most before it tries again.
const AGAIN: Duration = Duration::from_millis(10);
/// One request of so many brings several events.
const BATCHES: u64 = 8;

/// The clients.
pub(crate) struct Clients {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

/// What they know together.
struct Shared {
    api: Mutex<Api>,
    stop: AtomicBool,
    next: AtomicU64,
    heard: Mutex<Heard>,
}

/// What they were told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    /// The orders that were accepted, and the ids of their events.
    pub(crate) accepted: BTreeMap<u64, String>,
    /// All orders that were sent, accepted or not, are below this.
    pub(crate) sent: u64,
    /// The runs that were shown to have ended, as they were shown.
    pub(crate) ended: HashMap<String, Value>,
    /// How often which refusal came, by its status and its sentence.
    pub(crate) refusals: BTreeMap<(u16, String), usize>,
    /// How often nobody answered.
    pub(crate) unanswered: usize,
}

impl Clients {
    /// Starts so many senders, each waiting up to `pause` between requests, and one that looks at what became of the
    /// events.
    pub(crate) fn start(server: &Server, senders: usize, pause: Duration, chance: &mut Chance) -> Self {
        let shared = Arc::new(Shared {
            api: Mutex::new(server.api()),
            stop: AtomicBool::new(false),
            next: AtomicU64::new(0),
            heard: Mutex::default(),
        });
        let mut tasks: Vec<_> =
            (0..senders).map(|_| tokio::spawn(send(shared.clone(), pause, chance.fork()))).collect();
        tasks.push(tokio::spawn(look(shared.clone(), pause, chance.fork())));
        Self { shared, tasks }
    }

    /// Tells them where the server is now.
    pub(crate) fn moved(&self, server: &Server) {
        *lock(&self.shared.api) = server.api();
    }

    /// How many orders were accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        lock(&self.shared.heard).accepted.len()
    }

    /// How many requests were refused so far.
    pub(crate) fn refused(&self) -> usize {
        lock(&self.shared.heard).refusals.values().sum()
    }

    /// Lets them finish what they have begun: the server must be there.
    pub(crate) async fn stop(self) -> Heard {
        self.shared.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("a client does not panic");
        }
        let mut heard = lock(&self.shared.heard).clone();
        heard.sent = self.shared.next.load(Ordering::Relaxed);
        heard
    }
}

/// The id under which an order is sent.
pub(crate) fn name_of(n: u64) -> String {
    format!("order-{n}")
}

async fn send(shared: Arc<Shared>, pause: Duration, mut chance: Chance) {
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
                    // the server may die in the middle of its answer
                    if let Ok(answer) = response.json::<Value>().await {
                        accepted(&shared, orders, &answer);
                        break;
                    }
                }
                Ok(response) => refused(&shared, response).await,
                Err(_) => lock(&shared.heard).unanswered += 1,
            }
            tokio::time::sleep(chance.shorter_than(AGAIN)).await;
        }
        tokio::time::sleep(chance.shorter_than(pause)).await;
    }
}

fn accepted(shared: &Shared, orders: std::ops::Range<u64>, answer: &Value) {
    let ids = answer["ids"].as_array().expect("ids");
    assert_eq!(ids.len() as u64, orders.end - orders.start, "{answer}");
    let ids = ids.iter().map(|id| id.as_str().expect("text").to_owned());
    lock(&shared.heard).accepted.extend(orders.zip(ids));
}

/// Who is refused is told so in a sentence, is told when to come again, and none of his events is accepted.
async fn refused(shared: &Shared, response: Response) {
    let status = response.status().as_u16();
    let again = response.headers().get(header::RETRY_AFTER).cloned();
    let Ok(answer) = response.json::<Value>().await else { return };
    assert!(matches!(status, 429 | 503 | 507), "{status}: {answer}");
    assert!(again.is_some_and(|seconds| seconds.to_str().is_ok_and(|s| s.parse::<u32>().is_ok())), "no Retry-After");
    assert_eq!(answer["ids"], json!([]), "{answer}");
    let sentence = answer["error"].as_str().expect("a sentence").to_owned();
    *lock(&shared.heard).refusals.entry((status, sentence)).or_default() += 1;
}

/// Asks for the runs of accepted events, and keeps what it is told of those that have ended.
async fn look(shared: Arc<Shared>, pause: Duration, mut chance: Chance) {
    while !shared.stop.load(Ordering::Relaxed) {
        tokio::time::sleep(chance.shorter_than(pause)).await;
        let event = {
            let heard = lock(&shared.heard);
            let n = chance.below(heard.accepted.len().max(1) as u64) as usize;
            heard.accepted.values().nth(n).cloned()
        };
        let Some(event) = event else { continue };
        let Ok((200, answer)) = shared.api().try_get(&format!("/v1/events/{event}/runs")).await else { continue };
        let runs = answer["data"].as_array().expect("data");
        let mut heard = lock(&shared.heard);
        for run in runs.iter().filter(|run| !run["ended_at"].is_null()) {
            heard.ended.insert(run["run_id"].as_str().expect("text").to_owned(), run.clone());
        }
    }
}

impl Shared {
    fn api(&self) -> Api {
        lock(&self.api).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
