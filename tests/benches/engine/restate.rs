//! Restate's server under the same loads, as it comes: its default settings, with the functions in Node.js.

mod parts;
mod server;

use futures::{StreamExt, stream};
use serde_json::json;
use stepladder_tests::Api;

use crate::marks::Marks;
use crate::measured::{Many, Measured, Sequential};
use crate::options::{CLIENTS, Options, STEPS, STEPS_OF_MANY};
use crate::process::{Used, Watch, peak_memory};
pub(crate) use parts::{Parts, install};
use server::Server;

/// Requests at a time, each of which waits for its run's end. The better one counts.
const WAITING: [usize; 2] = [CLIENTS, 4 * CLIENTS];

/// Measures it.
pub(crate) async fn measure(parts: &Parts, options: &Options) -> Measured {
    let server = Server::start(parts).await;
    let api = server.api();
    // its functions are compiled while they run: they are to be warm
    sequential(&api).await;
    sequential(&api).await;
    many(&api, &server, options.runs.div_ceil(5), CLIENTS).await;

    let watch = Watch::start(&server.pids());
    let mut marks = Vec::new();
    for _ in 0..options.sequential_runs {
        marks.push(sequential(&api).await);
    }
    let sequential = Sequential::of(&marks, &watch.stop());
    let mut ways = Vec::new();
    for waiting in WAITING {
        let mut times = Vec::new();
        for _ in 0..options.rounds {
            times.push(many(&api, &server, options.runs, waiting).await);
        }
        let sent = format!("1 run a request, {waiting} requests at a time");
        ways.push(Many::of(sent, options.runs, STEPS_OF_MANY, &times));
    }
    let memory = peak_memory(&server.pids());
    Measured { name: format!("Restate {}", parts.version), sequential, many: ways, memory }
}

/// One run; its marks.
async fn sequential(api: &Api) -> Marks {
    let (status, body) = api.post("/bench/sequential", STEPS.to_string()).await;
    assert_eq!(status, 200, "{body}");
    let marks: Marks = serde_json::from_value(body).expect("the function gives marks");
    assert_eq!(marks.len(), STEPS);
    marks
}

/// Many runs, from the first request to the last answer.
async fn many(api: &Api, server: &Server, runs: usize, at_once: usize) -> Used {
    let watch = Watch::start(&server.pids());
    let answers = stream::iter(0..runs).map(|n| api.post("/bench/three", n.to_string())).buffered(at_once);
    let answers: Vec<_> = answers.collect().await;
    let used = watch.stop();
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(answer, &(200, json!(n + STEPS_OF_MANY)), "each run gives its own result");
    }
    used
}
