//! Measures long and wide runs on Restate's server.

use serde_json::Value;
use stepladder_tests::ApiClient;

use super::RestateInstallation;
use super::server::RestateServer;
use crate::growth::{FanOut, GrowthFigures, LONG, LongRun, WIDTHS};
use crate::marks::BodyTimes;
use crate::options::BenchOptions;
use crate::process::{ProcessorWatch, peak_memory};

/// The widest fan-out that is measured. Restate does not end a wider one within minutes.
const WIDEST: usize = 1_000;

/// Measures Restate's server.
pub(crate) async fn measure(parts: &RestateInstallation, options: &BenchOptions) -> GrowthFigures {
    let server = RestateServer::start(parts).await;
    let api = server.api();
    call(&api, "sequential", 100).await; // warms up
    let watch = ProcessorWatch::start(&server.pids());
    let marks: BodyTimes =
        serde_json::from_value(call(&api, "sequential", LONG).await).expect("the function gives marks");
    let long = LongRun::of(&marks, watch.stop().cpu);
    let mut fan_outs = Vec::new();
    for width in WIDTHS.into_iter().filter(|width| *width <= WIDEST) {
        let times = call(&api, "fanOut", width).await;
        fan_outs.push((width, FanOut::of(serde_json::from_value(times).expect("the function gives three times"))));
        if options.quick {
            break;
        }
    }
    let name = format!("Restate {}", parts.version);
    GrowthFigures { name, long, fan_outs, maps: Vec::new(), asleep: None, memory: vec![peak_memory(&server.pids())] }
}

async fn call(api: &ApiClient, function: &str, n: usize) -> Value {
    let (status, body) = api.post(&format!("/bench/{function}"), n.to_string()).await;
    assert_eq!(status, 200, "{body}");
    body
}
