//! The command line: its commands, options and help texts. Each command is implemented in a
//! separate file.

pub(crate) mod apps;
pub(crate) mod cancel;
pub(crate) mod check;
#[cfg(feature = "local")]
pub(crate) mod dev;
pub(crate) mod functions;
pub(crate) mod health;
pub(crate) mod journal;
pub(crate) mod mcp;
pub(crate) mod new;
pub(crate) mod pause;
#[cfg(feature = "aws")]
pub(crate) mod redrive;
pub(crate) mod rerun;
pub(crate) mod run;
pub(crate) mod run_selection;
pub(crate) mod runs;
pub(crate) mod send;
pub(crate) mod signal;

use std::ffi::OsString;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use stepladder_core::{RunId, Status};

use crate::app::App;
use crate::client::Client;
use crate::terminal::{self, CommandResult, StopReason};

/// Runs and manages durable functions.
///
/// Without a command, `dev` starts the local server.
#[derive(Debug, Parser)]
#[command(name = "stepladder", version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[cfg(feature = "local")]
    #[command(flatten, next_help_heading = "Options of dev")]
    dev: dev::DevArgs,
}

const EXAMPLES: &str = "\
Examples:
  stepladder                                     start the local server: http://localhost:8288
  stepladder send test/hello.world --wait        send an event, follow the runs that it starts
  stepladder runs --status failed                list failed runs
  stepladder rerun 01JB… --from-step update      run it again from a step, keep the steps before

Commands talk to the server at --url, at STEPLADDER_URL, or at http://127.0.0.1:8288.
A server that requires a dashboard token gets the one in STEPLADDER_DASHBOARD_TOKEN. If
STEPLADDER_URL is set, only that server gets it.
With --table NAME they read and write a DynamoDB table instead, with your AWS credentials.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the local server: HTTP API, workers and dashboard
    #[cfg(feature = "local")]
    #[command(after_help = dev::EXAMPLES)]
    Dev(dev::DevArgs),
    /// List the registered functions: id, triggers, limits
    Functions(functions::FunctionsArgs),
    /// List the apps with functions of Inngest's SDKs; sync or remove one
    #[command(after_help = apps::EXAMPLES)]
    Apps(apps::AppsArgs),
    /// Send an event; with --wait, follow its runs until they end
    #[command(after_help = send::EXAMPLES)]
    Send(send::SendArgs),
    /// Check that a server answers; exits with 1 if none does
    #[command(after_help = health::EXAMPLES)]
    Health(health::HealthArgs),
    /// List runs, newest first
    #[command(after_help = runs::EXAMPLES)]
    Runs(runs::RunsArgs),
    /// Show one run: its steps, attempts, timings and errors
    Run(run::RunArgs),
    /// Print the journals of runs, one entry a line
    #[command(after_help = journal::EXAMPLES)]
    Journal(journal::JournalArgs),
    /// Replay runs with this build, and report those that would diverge
    #[command(after_help = check::EXAMPLES)]
    Check(check::CheckArgs),
    /// Cancel one run or many; a step that is executing ends, but its outcome is refused
    #[command(after_help = cancel::EXAMPLES)]
    Cancel(cancel::CancelArgs),
    /// Pause a function: new runs wait, started runs continue
    Pause(pause::PauseArgs),
    /// Resume a paused function: its waiting runs start
    Resume(pause::PauseArgs),
    /// Complete a signal that a run waits for, with data or a failure
    #[command(after_help = signal::EXAMPLES)]
    Signal(signal::SignalArgs),
    /// Run one run or many again, each as a new run
    #[command(after_help = rerun::EXAMPLES)]
    Rerun(rerun::RerunArgs),
    /// Serve the tools of coding agents (MCP) on standard input and output
    #[command(after_help = mcp::EXAMPLES)]
    Mcp(mcp::McpArgs),
    /// Create a project in a folder of its own
    #[command(after_help = new::EXAMPLES)]
    New(new::NewArgs),
    /// Move dead letters back to their queues, and list them
    #[cfg(feature = "aws")]
    #[command(after_help = redrive::EXAMPLES)]
    Redrive(redrive::RedriveArgs),
    #[cfg(not(feature = "aws"))]
    #[command(hide = true)]
    Redrive(AnyArgs),
}

/// The server to talk to.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServerArgs {
    /// Address of the server; by default STEPLADDER_URL, or http://127.0.0.1:8288
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Use this DynamoDB table instead of a server; needs AWS credentials and a region, like the
    /// AWS CLI
    #[arg(long, value_name = "NAME", conflicts_with = "url")]
    pub(crate) table: Option<String>,
}

/// Whether a command only reads, or also writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommandAccess {
    Reads,
    Writes,
}

/// The format of the output.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct OutputArgs {
    /// Print the server's JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The id of one run.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct RunIdArg {
    /// The run's id, as `runs` shows it
    #[arg(value_name = "ID", value_parser = parse_run_id)]
    pub(crate) id: RunId,
}

impl ServerArgs {
    pub(crate) async fn client(&self, app: App, access: CommandAccess) -> Result<Client, StopReason> {
        #[cfg(feature = "aws")]
        if let Some(table) = &self.table {
            return Client::without_server(app, table, access == CommandAccess::Writes).await;
        }
        #[cfg(not(feature = "aws"))]
        if self.table.is_some() {
            return Err(built_without_aws());
        }
        let _ = (app, access);
        Client::for_url(self.url.as_deref())
    }
}

/// The arguments of a command that this binary does not have.
#[cfg(not(feature = "aws"))]
#[derive(Args, Clone, Debug)]
struct AnyArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    _rest: Vec<OsString>,
}

/// Returns the error of a command that needs AWS.
#[cfg(not(feature = "aws"))]
fn built_without_aws() -> StopReason {
    StopReason::problem(
        "this binary was built without AWS; build it with the feature `aws` of the crate `stepladder`, for example with \
         `cargo run --features lambda -- …`",
    )
}

/// Parses the command line and runs its command.
pub(crate) fn run(app: App, args: impl IntoIterator<Item = OsString>) -> CommandResult {
    let command = Cli::command();
    #[cfg(feature = "local")]
    let (command, mut app) = (dev::flags::add_flags(command, &app.dev_flags)?, app);
    let parsed = command.try_get_matches_from(args).and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let cli = match parsed {
        #[cfg(feature = "local")]
        Ok((cli, matches)) => {
            dev::flags::retain_given_flags(&matches, &mut app.dev_flags);
            cli
        }
        #[cfg(not(feature = "local"))]
        Ok((cli, _)) => cli,
        // clap prints its own errors and its help
        Err(e) => {
            let code = e.exit_code();
            terminal::check_written(e.print())?;
            return if code == 0 { Ok(()) } else { Err(StopReason::Usage) };
        }
    };
    let runtime = runtime(cli.is_server())?;
    let done = runtime.block_on(cli.execute(app));
    // does not wait for bodies that block their threads, because the process must end now
    runtime.shutdown_background();
    done
}

fn runtime(server: bool) -> Result<tokio::runtime::Runtime, StopReason> {
    let mut builder = if server {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    builder.enable_all().build().map_err(|e| StopReason::problem(format!("cannot start threads: {e}")))
}

impl Cli {
    fn is_server(&self) -> bool {
        #[cfg(feature = "local")]
        return matches!(self.command, None | Some(Command::Dev(_)));
        #[cfg(not(feature = "local"))]
        return false;
    }

    async fn execute(self, app: App) -> CommandResult {
        match self.command {
            #[cfg(feature = "local")]
            None => dev::execute(app, self.dev).await,
            #[cfg(not(feature = "local"))]
            None => Err(StopReason::problem("no command is given; `--help` lists them")),
            #[cfg(feature = "local")]
            Some(Command::Dev(args)) => dev::execute(app, args).await,
            Some(Command::Functions(args)) => functions::execute(app, args).await,
            Some(Command::Apps(args)) => apps::execute(app, args).await,
            Some(Command::Send(args)) => send::execute(app, args).await,
            Some(Command::Health(args)) => health::execute(args).await,
            Some(Command::Runs(args)) => runs::execute(app, args).await,
            Some(Command::Run(args)) => run::execute(app, args).await,
            Some(Command::Journal(args)) => journal::execute(app, args).await,
            Some(Command::Check(args)) => check::execute(app, args).await,
            Some(Command::Cancel(args)) => cancel::execute(app, args).await,
            Some(Command::Pause(args)) => pause::pause(app, args).await,
            Some(Command::Resume(args)) => pause::resume(app, args).await,
            #[cfg(feature = "aws")]
            Some(Command::Redrive(args)) => redrive::execute(args).await,
            #[cfg(not(feature = "aws"))]
            Some(Command::Redrive(_)) => Err(built_without_aws()),
            Some(Command::Mcp(args)) => mcp::execute(app, args).await,
            Some(Command::New(args)) => new::execute(args),
            Some(Command::Signal(args)) => signal::execute(app, args).await,
            Some(Command::Rerun(args)) => rerun::execute(app, args).await,
        }
    }
}

pub(crate) fn parse_run_id(text: &str) -> Result<RunId, String> {
    text.parse().map_err(|_| "a run's id has 26 letters and digits; `stepladder runs` lists them".to_owned())
}

pub(crate) fn parse_status(text: &str) -> Result<Status, String> {
    text.parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Cli, String> {
        Cli::try_parse_from([&["stepladder"], args].concat()).map_err(|e| e.to_string())
    }

    #[test]
    fn clap_accepts_the_definition() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_bad_id_status_or_limit_is_refused_with_a_hint() {
        assert!(parse(&["run", "01"]).unwrap_err().contains("`stepladder runs` lists them"));
        assert!(parse(&["runs", "--status", "done"]).unwrap_err().contains("use Scheduled, Running"));
        assert!(parse(&["runs", "--limit", "0"]).unwrap_err().contains("1..=500"));
        assert!(parse(&["runs", "--status", "failed"]).is_ok());
    }

    #[test]
    fn an_option_that_would_have_no_effect_is_refused() {
        const ID: &str = "01KAVZ9Y3M0000000000000001";
        for args in [
            &["cancel", ID, "--since", "1h"][..],
            &["cancel", ID, "--until", "1h"],
            &["cancel", ID, "--function", "f"],
            &["cancel", ID, "--status", "failed"],
            &["cancel", ID, "--yes"],
            &["cancel", ID, "--all"],
            &["cancel", "--function", "f"],
            &["cancel", "--functoin", "f"],
            &["cancel", "--all", "--functoin", "f"],
            &["cancel", "--all", "--function", ""],
            &["rerun", ID, "--since", "1h"],
            &["rerun", "--all", "--wait"],
            &["rerun", "--all", "--input", "{}"],
            &["journal", ID, "--status", "failed"],
            &["journal", ID, "--function", "f"],
            &["journal", ID, "--limit", "1"],
            &["journal", "--limit", "0"],
            &["check", "--against", "x", "--status", "failed"],
            &["check", "--against", "x", "--limit", "1"],
            &["check", "--against", "x", "--url", "http://x"],
            &["runs", "--function", ""],
            &["runs", "--state", "failed"],
            &["functions", "--function", "f"],
            &["send", "a", "{}", "more"],
            &["pause", "f", "--all"],
            &["run", ID, "--limit", "1"],
        ] {
            assert!(parse(args).is_err(), "{args:?}");
        }
        for args in [
            &["cancel", "--all", "--since", "1h", "--function", "f", "--status", "failed", "--yes"][..],
            &["rerun", "--all", "--from-step", "s", "--until", "1h"],
            &["journal", ID, ID],
            &["journal", "--status", "failed", "--limit", "1"],
            &["check", "--against", "x"],
        ] {
            assert!(parse(args).is_ok(), "{args:?}");
        }
    }

    #[test]
    fn a_table_and_a_server_are_not_asked_together() {
        for args in [
            &["runs", "--table", "t", "--url", "http://x"][..],
            &["send", "a", "--table", "t", "--key", "k"],
            &["check", "--against", "x", "--table", "t"],
        ] {
            assert!(parse(args).is_err(), "{args:?}");
        }
        assert!(parse(&["runs", "--table", "t"]).is_ok());
    }

    #[cfg(feature = "local")]
    #[test]
    fn without_a_command_the_options_are_those_of_dev() {
        let cli = parse(&["--quiet", "--port", "0"]).unwrap();
        assert!(cli.is_server() && cli.dev.port == 0);
        assert!(parse(&["--quiet", "runs"]).is_err());
    }

    #[cfg(feature = "local")]
    #[test]
    fn retry_delays_are_read_with_their_units() {
        let Some(Command::Dev(args)) = parse(&["dev", "--retry-delay", "50ms"]).unwrap().command else {
            panic!("dev");
        };
        assert_eq!(args.retry_delay, Some(std::time::Duration::from_millis(50)));
        assert!(parse(&["dev", "--retry-delay", "50"]).unwrap_err().contains("write it like 50ms"));
    }
}
