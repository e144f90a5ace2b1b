//! `dev`: the local server. HTTP, workers and a page, in one process on one SQLite file.

mod banner;
mod bounds;
pub(super) mod flags;
mod guard;
mod live;
mod logs;
mod retention;
mod stopping;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use banner::Ready;
use clap::{Args, ValueEnum};
use guard::Access;
use live::Live;
use stepladder_api::Function;
use stepladder_api::text::duration;
use stepladder_engine::{Config, Engine, Pace, Workers};
use stepladder_sqlite::Sqlite;
use stopping::Wishes;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::app::App;
use crate::dev_setup::DevSetup;
use crate::terminal::text::parse_duration;
use crate::terminal::{Done, Stop, print, remark};

pub(crate) const EXAMPLES: &str = "\
Examples:
  stepladder dev                          http://localhost:8288, data in .stepladder/dev.db
  stepladder dev --port 0 --db /tmp/a.db  a free port, another file
  stepladder dev --retry-delay 50ms       no long waits between attempts

Ctrl-C lets the steps that execute end, for at most 10 s; twice stops at once.
Either way the next start goes on where this one was.";

/// Steps that execute may take so long to end when the server is stopped.
const GRACE: Duration = Duration::from_secs(10);

#[derive(Args, Debug)]
pub(crate) struct DevArgs {
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 8288)]
    pub(super) port: u16,
    /// Address to listen on; one that others can reach needs an event key and STEPLADDER_DASHBOARD_TOKEN
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Data file; made when it is not there, readable by its owner alone
    #[arg(long, value_name = "PATH", default_value = ".stepladder/dev.db")]
    db: PathBuf,
    /// Key that events must come with; may be repeated. Also STEPLADDER_EVENT_KEYS, separated by commas
    #[arg(long = "event-key", value_name = "KEY")]
    event_keys: Vec<String>,
    /// Wait this long before every retry, whatever function, step and error say: 50ms, 2s, 1h. For tests and demonstrations,
    /// on loopback only
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(super) retry_delay: Option<Duration>,
    /// How far one hop goes: one step, or as many as fit into the time that a hop may take
    #[arg(long, value_enum)]
    pace: Option<PaceArg>,
    /// How many hops may run side by side
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// How long one hop may take; a step's time-out must fit into it
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = parse_duration)]
    worker_timeout: Duration,
    /// How long ended runs are kept
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = parse_duration)]
    keep: Duration,
    #[command(flatten)]
    bounds: bounds::BoundsArgs,
    /// Do not show what runs do
    #[arg(short, long)]
    quiet: bool,
}

// plain comments: a text for each value would spread the help over twice as many lines
#[derive(Clone, Copy, Debug, ValueEnum)]
enum PaceArg {
    Step,
    Budget,
}

pub(crate) async fn execute(mut app: App, args: DevArgs) -> Done {
    let access = access(&args)?;
    let mut wishes = Wishes::listen().map_err(|e| Stop::problem(format!("Ctrl-C cannot be listened for: {e}")))?;
    let live = (!args.quiet).then(Live::start);
    logs::start(live.clone())?;
    let listener = listen(&args.host, args.port).await?;
    let setup = flags::set_up(&mut app).await?;
    let config = config(&app, &args, &setup);
    let programs = app.programs().map_err(Stop::problem)?;
    let address = address(&args.host, listener.local_addr().map_err(|e| cannot_listen(&args.host, args.port, &e))?);
    // on a thread of its own: a file on a disk that does not answer must not take Ctrl-C along
    let db = args.db.clone();
    let backend = tokio::select! {
        opened = tokio::task::spawn_blocking(move || open(&db)) => Arc::new(opened.map_err(Stop::problem)??),
        () = wishes.next() => return Err(Stop::Interrupted),
    };
    let engine = Arc::new(Engine::new(backend.clone(), programs, config).map_err(Stop::problem)?);

    let functions: Vec<Function> = engine.functions().specs().map(|spec| Function::new(spec, None)).collect();
    let router = stepladder_server::router(
        engine.clone(),
        stepladder_server::Options {
            event_keys: access.event_keys.clone(),
            dashboard_token: access.dashboard_token.clone(),
            loopback: access.loopback,
            version: env!("CARGO_PKG_VERSION").into(),
            bounds: args.bounds.intake(),
            streams: true,
            answer_bytes: None,
            // the file's own
            queues: None,
            deadline: None,
        },
    );
    let (stop, mut stopped) = watch::channel(false);
    let mut http = tokio::spawn(stepladder_server::serve(listener, router, args.bounds.connections(), async move {
        // the sender is dropped when the server ends anyhow
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }));
    let pruning = tokio::spawn(retention::keep(backend, engine.clone(), args.keep));
    let workers = Workers::start(engine.clone(), args.concurrency.into());
    let notes = notes(&setup, engine.config());
    let keyed = !access.event_keys.is_empty();
    print(Ready { address: &address, db: &args.db, functions: &functions, keyed, notes: &notes }.text())?;
    if !setup.events.is_empty() {
        engine.intake().ingest(setup.events, None).await.map_err(Stop::problem)?;
    }

    tokio::select! {
        () = wishes.next() => {}
        ended = &mut http => return Err(server_ended(ended)),
    }
    remark(format_args!("stopping: what executes may end within {} (Ctrl-C again stops at once)", duration(GRACE)))?;
    stop.send_replace(true);
    pruning.abort();
    let done = tokio::select! {
        () = wishes.next() => Err(Stop::Interrupted),
        (in_time, _) = async { tokio::join!(workers.stop(GRACE), tokio::time::timeout(GRACE, &mut http)) } => match in_time {
            true => Ok(()),
            false => remark("some steps did not end in time; the next start takes them over"),
        },
    };
    if let Some(live) = live {
        live.flush();
    }
    done
}

fn access(args: &DevArgs) -> Result<Access, Stop> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let mut keys = args.event_keys.clone();
    if let Some(more) = variable("STEPLADDER_EVENT_KEYS") {
        let given = keys.len();
        keys.extend(more.split(',').map(str::trim).filter(|key| !key.is_empty()).map(str::to_owned));
        if keys.len() == given {
            return Err(Stop::problem("STEPLADDER_EVENT_KEYS holds no key; write it like KEY or KEY,OTHER-KEY"));
        }
    }
    Access::judge(&args.host, keys, variable("STEPLADDER_DASHBOARD_TOKEN"), args.retry_delay.is_some())
}

fn config(app: &App, args: &DevArgs, setup: &DevSetup) -> Config {
    let defaults = Config::default();
    Config {
        pace: match args.pace {
            Some(PaceArg::Step) => Pace::StepPerInvocation,
            Some(PaceArg::Budget) => Pace::WithinBudget,
            None => app.pace,
        },
        worker_timeout: args.worker_timeout,
        is_only_process: true,
        retry_delay: args.retry_delay.or(setup.retry_delays.first().copied()),
        code: app.code.clone().map_or(defaults.code, Into::into),
        ..defaults
    }
}

async fn listen(host: &str, port: u16) -> Result<TcpListener, Stop> {
    TcpListener::bind((host.trim_matches(['[', ']']), port)).await.map_err(|e| cannot_listen(host, port, &e))
}

fn cannot_listen(host: &str, port: u16, error: &std::io::Error) -> Stop {
    Stop::problem(match error.kind() {
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

/// The address to open in a browser.
fn address(host: &str, bound: SocketAddr) -> String {
    match host {
        "127.0.0.1" | "localhost" | "::1" | "[::1]" => format!("http://localhost:{}", bound.port()),
        _ => format!("http://{bound}"),
    }
}

fn open(db: &Path) -> Result<Sqlite, Stop> {
    if let Some(folder) = db.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        private_folder().recursive(true).create(folder).map_err(|e| {
            Stop::problem(format!("the folder `{}` cannot be made: {e}; name another file with --db", folder.display()))
        })?;
    }
    Sqlite::open(db, stepladder_sqlite::Options::default()).map_err(Stop::problem)
}

/// Makes folders that their owner alone can look into: data files hold what events and steps said.
fn private_folder() -> std::fs::DirBuilder {
    let mut folder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut folder, 0o700);
    folder
}

fn notes(setup: &DevSetup, config: &Config) -> Vec<String> {
    let mut notes = setup.notes.clone();
    if let Some(wait) = config.retry_delay {
        notes.push(format!("every wait before a retry is {}", duration(wait)));
    }
    notes
}

fn server_ended(ended: Result<(), tokio::task::JoinError>) -> Stop {
    Stop::problem(match ended {
        Ok(()) => "the server ended by itself".into(),
        Err(e) => format!("the server cannot go on: {e}"),
    })
}
