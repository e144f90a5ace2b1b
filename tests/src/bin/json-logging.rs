//! Executes the function that writes log lines once, on a virtual clock, with the JSON lines of a
//! Lambda function on standard output and the exporters of the environment. Prints the id of the
//! run to standard error.

use std::time::Duration;

use stepladder::testing::TestApp;
use stepladder_observe::logs::{self, ExportedSpans, LogOptions};
use stepladder_otel::{Otel, OtelSettings, current_span};
use stepladder_sdk::runtime::TestEngine;
use stepladder_tests::logging::{LoggingRequested, function};

#[tokio::main]
async fn main() {
    let settings = OtelSettings::read(|name| std::env::var(name).ok()).expect("valid settings");
    let otel = Otel::start(&settings).expect("exporters").expect("an endpoint is set");
    let spans = ExportedSpans { layer: otel.layer().expect("traces are exported"), current: current_span };
    logs::start_over(LogOptions::default(), std::io::stdout(), Some(spans));
    let mut app = TestApp::new().config(|config| otel.connect(config)).function(function());
    let run = app.send(&LoggingRequested {}).await.remove(0);
    tracing::warn!("outside of runs");
    otel.flush(Duration::from_secs(10)).await;
    eprintln!("{}", run.id());
}
