//! AWS Lambda: one binary with four roles. An environment variable sets the role of a process.
//!
//! - `worker` executes hops; its event source is the steps queue.
//! - `ingest` ingests events; its event source is the events queue.
//! - `sweep` fires timers; a schedule invokes it once a minute.
//! - `http` serves the same HTTP interface as the local server.
//!
//! Decisions about runs are deliberately not made here, but in the crate `stepladder-engine`.
//! Permissions are in `template.yaml`.

mod answer;
pub(crate) mod apps;
mod environment;
mod http;
mod ingest;
mod records;
mod secrets;
mod supervisor;
mod sweep;
mod worker;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use stepladder_aws::{Aws, Connection};
use stepladder_core::Timestamp;
use stepladder_engine::clock::{Clock, SystemClock};
use stepladder_engine::{Config, Engine};
use stepladder_inngest::{Apps, AppsSettings};
use stepladder_observe::logs::ExportedSpans;

use crate::app::App;
use crate::storage;
use crate::telemetry::{ProcessInfo, Telemetry};
use environment::{LambdaRole, LambdaSettings};

/// The time at the end of an invocation that ingest and the HTTP function reserve for sending the
/// rest of their work to the queue.
const RESERVE: Duration = Duration::from_secs(3);

/// The variable with the headers for the collector, which may be a secret of the worker.
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";

/// How long an invocation waits at most until the collector has received its spans.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

/// Returns whether Lambda started this process.
pub(crate) fn is_here() -> bool {
    std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_some()
}

/// The state that all roles share.
pub(crate) struct LambdaProcess {
    pub(crate) engine: Arc<Engine>,
    /// The apps; `None` if the stack has no signing key.
    pub(crate) apps: Option<Arc<Apps>>,
    pub(crate) aws: Arc<Aws>,
    pub(crate) settings: LambdaSettings,
    telemetry: Telemetry,
}

impl LambdaProcess {
    /// Ends an invocation: sends spans and metrics before Lambda freezes the process, as far as a
    /// second, or half of the time that is left, is enough.
    pub(crate) async fn flush(&self, context: &lambda_runtime::Context) {
        let end = Timestamp::from_millis(i64::try_from(context.deadline).unwrap_or(i64::MAX));
        self.telemetry.flush(FLUSH_WITHIN.min(end.since(SystemClock.now()) / 2)).await;
    }
}

/// Serves invocations until Lambda ends the process. If the start fails, this logs one line and
/// returns the exit code 1; Lambda then reports the invocation as failed.
pub(crate) fn run(app: App) -> ExitCode {
    let settings = match LambdaSettings::read(|name| std::env::var(name).ok()) {
        Ok(settings) => settings,
        Err(problem) => {
            start_logging(&LambdaSettings::unknown(), "", None);
            return report_problem(&problem);
        }
    };
    // with a second thread, a body that blocks its thread does not stop the other bodies
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            start_logging(&settings, "", None);
            return report_problem(&format!("cannot start threads: {error}"));
        }
    };
    let served = runtime.block_on(async {
        let (code, role) = (app.code.as_deref(), settings.role.to_string());
        let headers = telemetry_headers(&settings).await;
        let known = headers.as_ref().ok().and_then(Option::as_deref);
        let telemetry = Telemetry::start(ProcessInfo { code, role: Some(&role), headers: known });
        let spans = telemetry.as_ref().ok().and_then(Telemetry::spans);
        start_logging(&settings, code.unwrap_or_default(), spans);
        Telemetry::report_missing();
        if let Err(error) = headers {
            // runs do not depend on the collector
            tracing::error!(error, "the headers for the collector could not be read; it gets none");
        }
        serve(app, settings, telemetry?).await
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => report_problem(&problem),
    }
}

/// Reads the headers for the collector, if they are a secret of this process and there is a
/// collector.
async fn telemetry_headers(settings: &LambdaSettings) -> Result<Option<String>, String> {
    let has_endpoint = std::env::vars().any(|(name, value)| {
        name.starts_with("OTEL_EXPORTER_OTLP_") && name.ends_with("ENDPOINT") && !value.is_empty()
    });
    if !Telemetry::IS_BUILT_IN || !has_endpoint {
        return Ok(None);
    }
    secrets::read_once(&settings.secrets, HEADERS).await
}

async fn serve(mut app: App, settings: LambdaSettings, telemetry: Telemetry) -> Result<(), String> {
    for (name, value) in &settings.variables {
        stepladder_sdk::runtime::override_env(name.as_str(), value.as_str());
    }
    secrets::start(&settings.secrets)?;
    let compiled = app.compile()?;
    let aws = Arc::new(backend(&settings));
    let mut config = engine_config(&app, &settings);
    telemetry.connect(&mut config);
    let (engine, apps) = match settings.signing_keys.clone() {
        // without a key no app can be called, so that no process looks for apps
        None => (Arc::new(Engine::new(aws.clone(), compiled, config).map_err(|e| e.to_string())?), None),
        Some(keys) => {
            let connector = apps::connector(&Connection::from_environment(), keys)?;
            let apps_settings = AppsSettings { workers: config.clone(), allows_unsigned: false, shares_store: true };
            let (engine, apps) = crate::apps::engine(aws.clone(), compiled, config, connector, apps_settings)?;
            (engine, Some(apps))
        }
    };
    let process = Arc::new(LambdaProcess { engine, apps, aws, settings, telemetry });
    let served = match process.settings.role {
        LambdaRole::Worker => worker::serve(process).await,
        LambdaRole::Ingest => ingest::serve(process).await,
        LambdaRole::Sweep => sweep::serve(process).await,
        LambdaRole::Http => http::serve(process).await,
    };
    served.map_err(|e| format!("the runtime cannot continue: {e}"))
}

/// Returns the deadline of an invocation. The reserve after the deadline is used to send the rest
/// of the work to the queue.
pub(crate) fn invocation_deadline(context: &lambda_runtime::Context) -> Timestamp {
    let end = Timestamp::from_millis(i64::try_from(context.deadline).unwrap_or(i64::MAX));
    end - RESERVE.min(end.since(SystemClock.now()) / 4)
}

/// Opens the store with separate connections.
fn backend(settings: &LambdaSettings) -> Aws {
    storage::open_stack(&settings.table, &settings.queues, settings.retention)
}

fn engine_config(app: &App, settings: &LambdaSettings) -> Config {
    let defaults = Config::default();
    let dedicated = &settings.queues.dedicated;
    Config {
        pace: settings.pace.unwrap_or(app.pace),
        worker_timeout: settings.worker_timeout,
        worker_timeouts: dedicated.iter().map(|(id, own)| (id.as_str().into(), own.worker_timeout())).collect(),
        code: app.code.clone().map_or(defaults.code, Into::into),
        ..defaults
    }
}

fn start_logging(settings: &LambdaSettings, code: &str, spans: Option<ExportedSpans>) {
    let options = stepladder_observe::LogOptions {
        role: settings.role.to_string(),
        stack: settings.stack.clone(),
        code: code.to_owned(),
        filter: None,
    };
    stepladder_observe::logs::start_over(options, std::io::stdout(), spans);
}

fn report_problem(problem: &str) -> ExitCode {
    tracing::error!(error = problem, "cannot start");
    ExitCode::FAILURE
}
