//! The binary that is deployed: how large it is, and how long it takes from the start of its process to the answer of
//! its first invocation: `just bench-lambda`.
//!
//! The process is the real one, built as `cargo lambda` builds it (release, without SQLite and the local server). Lambda
//! is a stub of its Runtime API, DynamoDB and SQS are a stub that answers at once: what is measured is our part, and
//! neither an emulator's nor the network's. The invocation is a real hop: the journal of a run is read, its first step
//! executes, two records are written and a wake is sent. Nothing here judges a figure: machines differ.

mod aws;
mod bootstrap;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stepladder_tests::lambda_api::{LambdaApi, Outcome};

/// Processes that are started, one after the other.
const STARTS: usize = 40;
/// Of those, the first that do not count: the file is not in memory yet.
const WARM_UP: usize = 5;

#[tokio::main]
async fn main() {
    let bootstrap = bootstrap::build();
    let bytes = std::fs::metadata(&bootstrap.path).expect("the binary was just built").len();
    println!("bootstrap, stripped: {:.2} MB ({bytes} bytes)", bytes as f64 / 1e6);
    let (mut asked, mut answered) = (Vec::new(), Vec::new());
    for start in 0..STARTS {
        let (until_asked, until_answered) = first_invocation(&bootstrap).await;
        if start >= WARM_UP {
            asked.push(until_asked);
            answered.push(until_answered);
        }
    }
    println!("{} processes, one after the other, milliseconds from the start of the process:", STARTS - WARM_UP);
    print("asks for its first invocation", &mut asked);
    print("has answered it (one hop)", &mut answered);
}

/// Starts a process, lets it hop once, ends it. The times until it asked for an invocation, and until it answered.
async fn first_invocation(bootstrap: &bootstrap::Bootstrap) -> (Duration, Duration) {
    let (lambda, aws) = (LambdaApi::start().await, aws::start().await);
    let begun = Instant::now();
    let mut process = bootstrap.start(&lambda, aws).expect("the binary starts");
    let outcome = lambda.invoke(&delivery(), Duration::from_secs(120)).await;
    assert_eq!(outcome, Outcome::Response(json!({"batchItemFailures": []})), "the hop succeeds");
    let at = |instant: Option<Instant>| instant.expect("it was invoked").duration_since(begun);
    let times = (at(lambda.first_asked()), at(lambda.first_answered()));
    process.kill().await.expect("the process is ours");
    times
}

/// The wake of the run that the stub of DynamoDB holds, as an event source mapping delivers it.
fn delivery() -> Value {
    json!({"Records": [{
        "messageId": "5a1d9c40-0000-4000-8000-000000000001",
        "receiptHandle": "receipt",
        "body": json!({"run": aws::RUN, "cause": "Created", "group": "hello-world"}).to_string(),
        "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1700000000000"},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "awsRegion": "us-east-1",
    }]})
}

fn print(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!("  {what:32} p50 {:.1}  p90 {:.1}  most {:.1}", at(0.5), at(0.9), at(1.0));
}
