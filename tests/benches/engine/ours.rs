//! Our server under its loads, at both paces.

pub(crate) mod overload;
mod server;

use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use serde_json::{Value, json};
use stepladder_tests::Api;

use crate::marks::Marks;
use crate::measured::{Many, Measured, Sequential};
use crate::options::{BATCH, BATCHES, CLIENTS, Options, STEPS, STEPS_OF_MANY};
use crate::process::{Used, Watch, peak_memory};
use server::Server;

/// What was measured of our server.
#[derive(Debug)]
pub(crate) struct Ours {
    /// One step an invocation.
    pub(crate) step: Measured,
    /// Within budget.
    pub(crate) budget: Measured,
    /// Events that no function takes.
    pub(crate) ingest: Used,
}

/// How often the end of runs is asked for: often enough to see it, seldom enough not to be a load.
const ASK: Duration = Duration::from_millis(4);

/// Measures it.
pub(crate) async fn measure(options: &Options) -> Ours {
    Ours {
        step: at_pace("one step an invocation", "step", options).await,
        budget: at_pace("within budget", "budget", options).await,
        ingest: ingest(options).await,
    }
}

async fn at_pace(name: &str, pace: &str, options: &Options) -> Measured {
    let server = Server::start(pace).await;
    let api = server.api();
    // files, connections and caches as they are a moment after the start, not at it
    let begun = Instant::now();
    sequential(&api, Duration::ZERO).await;
    let usual = begun.elapsed();
    many(&api, &server, options.runs.div_ceil(5), Sending::Batches).await;

    let watch = Watch::start(&[server.pid()]);
    let mut marks = Vec::new();
    for _ in 0..options.sequential_runs {
        marks.push(sequential(&api, usual.mul_f64(0.7)).await);
    }
    let sequential = Sequential::of(&marks, &watch.stop());
    let mut ways = Vec::new();
    for sending in [Sending::Batches, Sending::Single] {
        let mut times = Vec::new();
        for _ in 0..options.rounds {
            times.push(many(&api, &server, options.runs, sending).await);
        }
        ways.push(Many::of(sending.name(), options.runs, STEPS_OF_MANY, &times));
    }
    let memory = peak_memory(&[server.pid()]);
    Measured { name: name.into(), sequential, many: ways, memory }
}

/// One run; its marks. It is left alone for a while: asking for its end costs the server time.
async fn sequential(api: &Api, alone: Duration) -> Marks {
    let ids = api.send(&json!({"name": "bench/sequential", "data": {"steps": STEPS}})).await;
    tokio::time::sleep(alone).await;
    let run = ended(api, &ids[0]).await;
    let marks: Marks = serde_json::from_value(run["output"].clone()).expect("the function gives marks");
    assert_eq!(marks.len(), STEPS);
    marks
}

/// How events are sent.
#[derive(Clone, Copy, Debug)]
enum Sending {
    /// [`BATCH`] in a request, [`BATCHES`] requests at a time.
    Batches,
    /// One in a request, [`CLIENTS`] requests at a time.
    Single,
}

impl Sending {
    fn name(self) -> String {
        match self {
            Self::Batches => format!("{BATCH} events a request, {BATCHES} requests at a time"),
            Self::Single => format!("1 event a request, {CLIENTS} requests at a time"),
        }
    }

    async fn send(self, api: &Api, name: &str, n: usize) -> Vec<String> {
        let events: Vec<Value> = (0..n).map(|n| json!({"name": name, "data": {"n": n}})).collect();
        let (size, at_once) = match self {
            Self::Batches => (BATCH, BATCHES),
            Self::Single => (1, CLIENTS),
        };
        let bodies: Vec<Value> = events.chunks(size).map(|chunk| Value::Array(chunk.to_vec())).collect();
        let sent = stream::iter(&bodies).map(|body| api.send(body)).buffered(at_once);
        sent.collect::<Vec<_>>().await.concat()
    }
}

/// Many runs, from the first request to the end of the last.
async fn many(api: &Api, server: &Server, runs: usize, sending: Sending) -> Used {
    let watch = Watch::start(&[server.pid()]);
    let ids = sending.send(api, "bench/three", runs).await;
    ended(api, ids.last().expect("at least one run")).await;
    // the last to be sent may not be the last to end
    for status in ["Running", "Scheduled"] {
        while !api.get(&format!("/v1/runs?status={status}&limit=1")).await.1["data"]
            .as_array()
            .expect("a list")
            .is_empty()
        {
            tokio::time::sleep(ASK).await;
        }
    }
    let used = watch.stop();
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(ended(api, id).await["output"], json!(n + STEPS_OF_MANY), "each run gives its own result");
    }
    used
}

/// The only run of an event, once it has completed.
async fn ended(api: &Api, event: &str) -> Value {
    loop {
        let (status, mut answer) = api.get(&format!("/v1/events/{event}/runs")).await;
        assert_eq!(status, 200, "{answer}");
        let run = answer["data"][0].take();
        if !run["ended_at"].is_null() {
            assert_eq!(run["status"], "Completed", "{run}");
            return run;
        }
        tokio::time::sleep(ASK).await;
    }
}

async fn ingest(options: &Options) -> Used {
    let server = Server::start("step").await;
    let api = server.api();
    Sending::Batches.send(&api, "bench/nobody", options.events / 10).await;
    let watch = Watch::start(&[server.pid()]);
    let ids = Sending::Batches.send(&api, "bench/nobody", options.events).await;
    let used = watch.stop();
    assert_eq!(ids.len(), options.events);
    used
}
