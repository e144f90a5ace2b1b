//! `just bench-lambda` measures the deployed binary: its size, and the time from the start of its
//! process to the response of its first invocation.
//!
//! The process is the real one, built as `cargo lambda` builds it (release, without SQLite and the
//! local server). Lambda is a stub of its Runtime API. DynamoDB and SQS are a stub that responds at
//! once, so that the figures contain neither an emulator's time nor the network's. The invocation
//! is a real hop: it reads the journal of a run, executes its first step, writes two records and
//! sends a wake. No figure makes the benchmark fail, because machines differ.

mod aws;
mod bootstrap;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stepladder_tests::lambda_api::{InvocationOutcome, LambdaApi};

/// The number of processes that are measured, one after the other.
const STARTS: usize = 40;
/// The number of processes that are started before the measured ones, because the file is not in
/// memory at first.
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
    print_percentiles("asks for its first invocation", &mut asked);
    print_percentiles("has answered it (one hop)", &mut answered);
}

/// Starts a process, lets it execute one hop, and ends it. Returns the time until the process asked
/// for an invocation, and the time until it responded.
async fn first_invocation(bootstrap: &bootstrap::BootstrapBinary) -> (Duration, Duration) {
    let (lambda, aws) = (LambdaApi::start().await, aws::start().await);
    let begun = Instant::now();
    let mut process = bootstrap.start(&lambda, aws).expect("the binary starts");
    let outcome = lambda.invoke(&sqs_delivery(), Duration::from_secs(120)).await;
    assert_eq!(outcome, InvocationOutcome::Response(json!({"batchItemFailures": []})), "the hop succeeds");
    let at = |instant: Option<Instant>| instant.expect("it was invoked").duration_since(begun);
    let times = (at(lambda.first_asked()), at(lambda.first_answered()));
    process.kill().await.expect("the process is ours");
    times
}

/// Returns the wake of the stub's run, as an event source mapping delivers it.
fn sqs_delivery() -> Value {
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

fn print_percentiles(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!("  {what:32} p50 {:.1}  p90 {:.1}  most {:.1}", at(0.5), at(0.9), at(1.0));
}
