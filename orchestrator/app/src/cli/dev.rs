//! The command `dev`: the local server, with HTTP, workers and the dashboard in one process on one
//! SQLite file.

mod access;
mod alerts;
mod apps;
mod banner;
mod bounds;
pub(super) mod flags;
mod live;
mod logs;
mod retention;
mod stop_requests;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use access::AccessSettings;
use banner::Banner;
use clap::{Args, ValueEnum};
use live::LiveLines;
use stepladder_api::Function;
use stepladder_api::text::format_duration;
use stepladder_engine::{Config, Pace, Workers};
use stepladder_server::{AlertBoard, RunMetrics};
use stop_requests::StopRequests;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::app::App;
use crate::apps::Directory;
use crate::dev_setup::DevSetup;
use crate::mcp::http::McpRoute;
use crate::storage::{self, Location, Store};
use crate::telemetry::{ProcessInfo, Telemetry};
use crate::terminal::text::parse_duration;
use crate::terminal::{CommandResult, StopReason, print, print_remark};

pub(crate) const EXAMPLES: &str = "\
Examples:
  stepladder dev                          http://localhost:8288, data in .stepladder/dev.db
  stepladder dev --port 0 --db /tmp/a.db  a free port, another file
  stepladder dev --retry-delay 50ms       short waits between attempts
  stepladder dev -u http://localhost:3000/api/inngest
                                          run the functions of an app with Inngest's SDK

After Ctrl-C, steps that execute may end within 10 s; a second Ctrl-C stops at once.
The next start continues all runs.";

/// How long steps may continue after the server was told to stop.
const GRACE: Duration = Duration::from_secs(10);

/// How long the collector has to receive what is left when the server ends.
const EXPORT_GRACE: Duration = Duration::from_secs(5);

#[derive(Args, Debug)]
pub(crate) struct DevArgs {
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 8288)]
    pub(super) port: u16,
    /// Address to listen on; a public address needs an event key and STEPLADDER_DASHBOARD_TOKEN
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Data file; created if it is missing, readable by its owner only
    #[arg(long, value_name = "PATH", default_value = ".stepladder/dev.db")]
    db: PathBuf,
    /// Event key that clients must send; repeatable. Also STEPLADDER_EVENT_KEYS, separated by
    /// commas
    #[arg(long = "event-key", value_name = "KEY")]
    event_keys: Vec<String>,
    /// Delay of every retry, which overrides functions, steps and errors: 50ms, 2s, 1h. For tests
    /// and demonstrations, on loopback only
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(super) retry_delay: Option<Duration>,
    /// How far one hop goes: one step, or as many steps as fit into --worker-timeout
    #[arg(long, value_enum)]
    pace: Option<PaceArg>,
    /// Maximum number of hops at the same time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// Maximum duration of one hop; the timeout of a step must fit into it
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = parse_duration)]
    worker_timeout: Duration,
    /// Webhook that gets alerts in Slack's format: a high failure rate, a stalled queue, old waits,
    /// a full disk
    #[arg(long, value_name = "URL", env = "STEPLADDER_ALERT_WEBHOOK", hide_env_values = true)]
    alert_webhook: Option<alerts::WebhookArg>,
    /// How long ended runs are kept
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = parse_duration)]
    keep: Duration,
    #[command(flatten)]
    bounds: bounds::BoundsArgs,
    /// Address of an app with functions of Inngest's SDKs, such as
    /// http://localhost:3000/api/inngest; repeatable. The app is registered, and asked for changes
    /// every few seconds
    #[arg(short = 'u', long = "sdk-url", value_name = "URL")]
    apps: Vec<String>,
    /// Do not ask the apps for changes
    #[arg(long)]
    no_poll: bool,
    /// Do not look for apps on the usual ports of this machine
    #[arg(long)]
    no_discovery: bool,
    /// Do not print the progress of runs
    #[arg(short, long)]
    quiet: bool,
}

// these values have no doc comments, because a help text for each would double the length of the
// help
#[derive(Clone, Copy, Debug, ValueEnum)]
enum PaceArg {
    Step,
    Budget,
}

pub(crate) async fn execute(mut app: App, args: DevArgs) -> CommandResult {
    let access = access_settings(&args)?;
    let webhook = alerts::webhook(args.alert_webhook.as_ref()).map_err(StopReason::problem)?;
    let mut stop_requests =
        StopRequests::listen().map_err(|e| StopReason::problem(format!("cannot listen for Ctrl-C: {e}")))?;
    let live = (!args.quiet).then(LiveLines::start);
    let process = ProcessInfo { code: app.code.as_deref(), role: None, headers: None };
    let telemetry = Telemetry::start(process).map_err(StopReason::problem)?;
    logs::start(live.clone(), telemetry.spans())?;
    Telemetry::report_missing();
    let listener = bind_listener(&args.host, args.port).await?;
    let setup = flags::run_setup_hook(&mut app).await?;
    let mut config = engine_config(&app, &args, &setup);
    telemetry.connect(&mut config);
    let metrics = Arc::new(RunMetrics::default());
    config.observers.push(metrics.clone());
    let compiled = app.compile().map_err(StopReason::problem)?;
    app.check_codec().await.map_err(StopReason::problem)?;
    let bound = listener.local_addr().map_err(|e| cannot_listen(&args.host, args.port, &e))?;
    let (address, own_port) = (shown_address(&args.host, bound), bound.port());
    let Store { backend, queues, .. } = tokio::select! {
        opened = storage::open(Location::File(args.db.clone())) => opened.map_err(StopReason::problem)?,
        () = stop_requests.next() => return Err(StopReason::Interrupted),
    };
    let alerts = Arc::new(AlertBoard::default());
    let (engine, apps) = apps::engine(backend.clone(), compiled, config, access.loopback)?;

    let mcp = McpRoute::default();
    let router = stepladder_server::router(
        engine.clone(),
        stepladder_server::ServerOptions {
            event_keys: access.event_keys.clone(),
            dashboard_token: access.dashboard_token.clone(),
            loopback: access.loopback,
            version: env!("CARGO_PKG_VERSION").into(),
            bounds: args.bounds.intake(),
            streams: true,
            answer_bytes: None,
            queues,
            deadline: None,
            alerts: alerts.clone(),
            metrics: Some(metrics),
            apps: Some(Arc::new(Directory(apps.clone()))),
            open_routes: stepladder_inngest::open_routes(apps.clone(), engine.clone()),
            guarded_routes: stepladder_inngest::guarded_routes(apps.clone()).merge(mcp.routes()),
        },
    );
    mcp.connect(router.clone(), access.dashboard_token.as_deref(), access.event_keys.first().map(String::as_str))?;
    let router = stepladder_server::compressed(router);
    let (stop, mut stopped) = watch::channel(false);
    let mut http = tokio::spawn(stepladder_server::serve(listener, router, args.bounds.connections(), async move {
        // the sender is dropped when the server ends for another reason
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }));
    let pruning = tokio::spawn(retention::prune_periodically(backend, engine.clone(), args.keep));
    let metering = telemetry.watch_load(engine.clone());
    let watching = tokio::spawn(alerts::watch(engine.clone(), alerts, webhook, args.db.clone()));
    let workers = Workers::start(engine.clone(), args.concurrency.into());
    let (mut syncing, unsynced) = apps::sync(&apps, &args.apps, !args.no_poll).await;
    // a server that others reach must not give their events to any program that listens here
    if access.loopback && !args.no_discovery {
        syncing.spawn(apps.clone().discover(own_port, args.apps.clone()));
    }
    let mut notes = banner_notes(&setup, engine.config());
    notes.extend(unsynced);
    let functions: Vec<Function> =
        engine.functions().current().await.specs().map(|spec| Function::new(spec, None)).collect();
    let keyed = !access.event_keys.is_empty();
    print(Banner { address: &address, db: &args.db, functions: &functions, keyed, notes: &notes }.text())?;
    if !setup.events.is_empty() {
        engine.intake().ingest(setup.events, None).await.map_err(StopReason::problem)?;
    }

    tokio::select! {
        () = stop_requests.next() => {}
        ended = &mut http => return Err(server_ended(ended)),
    }
    print_remark(format_args!(
        "stopping: running steps have {} to end (Ctrl-C again stops at once)",
        format_duration(GRACE)
    ))?;
    stop.send_replace(true);
    pruning.abort();
    watching.abort();
    metering.inspect(tokio::task::JoinHandle::abort);
    drop(syncing);
    let done = tokio::select! {
        () = stop_requests.next() => Err(StopReason::Interrupted),
        (in_time, _) = async { tokio::join!(workers.stop(GRACE), tokio::time::timeout(GRACE, &mut http)) } => match in_time {
            true => Ok(()),
            false => print_remark("some steps did not end in time; the next start runs them again"),
        },
    };
    telemetry.shut_down(EXPORT_GRACE).await;
    if let Some(live) = live {
        live.flush();
    }
    done
}

fn access_settings(args: &DevArgs) -> Result<AccessSettings, StopReason> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let mut keys = args.event_keys.clone();
    if let Some(more) = variable("STEPLADDER_EVENT_KEYS") {
        let given = keys.len();
        keys.extend(more.split(',').map(str::trim).filter(|key| !key.is_empty()).map(str::to_owned));
        if keys.len() == given {
            return Err(StopReason::problem("STEPLADDER_EVENT_KEYS has no key; write it like KEY or KEY,OTHER-KEY"));
        }
    }
    AccessSettings::check_access(&args.host, keys, variable("STEPLADDER_DASHBOARD_TOKEN"), args.retry_delay.is_some())
}

/// The maximum number of parallel steps in one invocation. All invocations are in this process, so
/// more of them would not make the steps faster.
const PARALLEL_STEPS: usize = 100_000;

fn engine_config(app: &App, args: &DevArgs, setup: &DevSetup) -> Config {
    let defaults = Config::default();
    Config {
        pace: match args.pace {
            Some(PaceArg::Step) => Pace::StepPerInvocation,
            Some(PaceArg::Budget) => Pace::WithinBudget,
            None => app.pace,
        },
        worker_timeout: args.worker_timeout,
        side_by_side: PARALLEL_STEPS,
        retry_delay: args.retry_delay.or(setup.retry_delays.first().copied()),
        code: app.code.clone().map_or(defaults.code, Into::into),
        ..defaults
    }
}

async fn bind_listener(host: &str, port: u16) -> Result<TcpListener, StopReason> {
    TcpListener::bind((host.trim_matches(['[', ']']), port)).await.map_err(|e| cannot_listen(host, port, &e))
}

fn cannot_listen(host: &str, port: u16, error: &std::io::Error) -> StopReason {
    StopReason::problem(match error.kind() {
        ErrorKind::AddrInUse => {
            format!(
                "port {port} is in use, perhaps by another `stepladder dev`; stop that one, or choose another with --port"
            )
        }
        ErrorKind::PermissionDenied => {
            format!("port {port} needs rights that this user does not have; choose one above 1023")
        }
        _ => format!("no server can listen on {host}:{port}: {error}"),
    })
}

/// Returns the address to open in a browser.
fn shown_address(host: &str, bound: SocketAddr) -> String {
    match host {
        "127.0.0.1" | "localhost" | "::1" | "[::1]" => format!("http://localhost:{}", bound.port()),
        _ => format!("http://{bound}"),
    }
}

fn banner_notes(setup: &DevSetup, config: &Config) -> Vec<String> {
    let mut notes = setup.notes.clone();
    if let Some(wait) = config.retry_delay {
        notes.push(format!("every retry delay is {}", format_duration(wait)));
    }
    notes
}

fn server_ended(ended: Result<(), tokio::task::JoinError>) -> StopReason {
    StopReason::problem(match ended {
        Ok(()) => "the server ended unexpectedly".into(),
        Err(e) => format!("the server cannot continue: {e}"),
    })
}
