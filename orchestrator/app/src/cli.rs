//! The command line: what can be asked for, and the texts of its help. What each command does is in a file of its own.

pub(crate) mod cancel;
pub(crate) mod check;
mod chosen;
#[cfg(feature = "local")]
pub(crate) mod dev;
pub(crate) mod functions;
pub(crate) mod journal;
pub(crate) mod pause;
#[cfg(feature = "aws")]
pub(crate) mod redrive;
pub(crate) mod rerun;
pub(crate) mod run;
pub(crate) mod runs;
pub(crate) mod send;
pub(crate) mod signal;

use std::ffi::OsString;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use stepladder_core::{RunId, Status};

use crate::app::App;
use crate::client::Client;
use crate::terminal::{self, Done, Stop};

/// Durable functions: what runs them, and what looks after them.
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
  stepladder send test/hello.world --wait        send an event, watch what it starts
  stepladder runs --status failed                what went wrong
  stepladder rerun 01JB… --from-step update      run it again, keeping the steps before

Commands find the server at http://127.0.0.1:8288, at STEPLADDER_URL, or at --url.
A server that asks for a dashboard token gets the one in STEPLADDER_DASHBOARD_TOKEN; with
STEPLADDER_URL set, only that server does.
With --table NAME they ask no server but a DynamoDB table, with your AWS credentials.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the local server: HTTP API, workers, a page to look at
    #[cfg(feature = "local")]
    #[command(after_help = dev::EXAMPLES)]
    Dev(dev::DevArgs),
    /// List the functions that this program has registered: id, triggers, limits
    Functions(functions::FunctionsArgs),
    /// Send an event; with --wait, follow the runs that it starts to their end
    #[command(after_help = send::EXAMPLES)]
    Send(send::SendArgs),
    /// List runs, newest first
    #[command(after_help = runs::EXAMPLES)]
    Runs(runs::RunsArgs),
    /// Show one run: its steps, attempts, timings and errors
    Run(run::RunArgs),
    /// Print what runs have recorded, one entry a line
    #[command(after_help = journal::EXAMPLES)]
    Journal(journal::JournalArgs),
    /// Replay recorded runs under this build: which would diverge?
    #[command(after_help = check::EXAMPLES)]
    Check(check::CheckArgs),
    /// Cancel a run, or all of a kind; a step that is executing ends, but its outcome is refused
    #[command(after_help = cancel::EXAMPLES)]
    Cancel(cancel::CancelArgs),
    /// Pause a function: runs of it that have not begun wait, those that have go on
    Pause(pause::PauseArgs),
    /// Let a paused function's runs begin again
    Resume(pause::PauseArgs),
    /// Complete a signal that a run waits for, or will
    #[command(after_help = signal::EXAMPLES)]
    Signal(signal::SignalArgs),
    /// Run a run again, or all of a kind, as new runs
    #[command(after_help = rerun::EXAMPLES)]
    Rerun(rerun::RerunArgs),
    /// Move dead letters back to their queues, and say what they were
    #[cfg(feature = "aws")]
    #[command(after_help = redrive::EXAMPLES)]
    Redrive(redrive::RedriveArgs),
}

/// Which server.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServerArgs {
    /// Address of the server; otherwise that in STEPLADDER_URL, or http://127.0.0.1:8288
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Ask no server, but this DynamoDB table: needs AWS credentials and a region, as the AWS CLI does
    #[cfg(feature = "aws")]
    #[arg(long, value_name = "NAME", conflicts_with = "url")]
    pub(crate) table: Option<String>,
}

/// Whether a command changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Reads,
    Writes,
}

/// How to answer.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct OutputArgs {
    /// Print the server's JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A run that is named.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct RunIdArg {
    /// The run's id, as `runs` shows it
    #[arg(value_name = "ID", value_parser = parse_run_id)]
    pub(crate) id: RunId,
}

impl ServerArgs {
    pub(crate) async fn client(&self, app: App, access: Access) -> Result<Client, Stop> {
        #[cfg(feature = "aws")]
        if let Some(table) = &self.table {
            return Client::of_table(app, table, access == Access::Writes).await;
        }
        let _ = (app, access);
        Client::of(self.url.as_deref())
    }
}

/// Parses the command line and runs its command.
pub(crate) fn run(app: App, args: impl IntoIterator<Item = OsString>) -> Done {
    let command = Cli::command();
    #[cfg(feature = "local")]
    let (command, mut app) = (dev::flags::add(command, &app.dev_flags)?, app);
    let parsed = command.try_get_matches_from(args).and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let cli = match parsed {
        #[cfg(feature = "local")]
        Ok((cli, matches)) => {
            dev::flags::retain(&matches, &mut app.dev_flags);
            cli
        }
        #[cfg(not(feature = "local"))]
        Ok((cli, _)) => cli,
        // help is no error, and knows its own way to the terminal
        Err(e) => {
            let code = e.exit_code();
            terminal::written(e.print())?;
            return if code == 0 { Ok(()) } else { Err(Stop::Usage) };
        }
    };
    let runtime = runtime(cli.is_server())?;
    let done = runtime.block_on(cli.execute(app));
    // a body that blocks its thread must not keep the process alive
    runtime.shutdown_background();
    done
}

fn runtime(server: bool) -> Result<tokio::runtime::Runtime, Stop> {
    let mut builder = if server {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    builder.enable_all().build().map_err(|e| Stop::problem(format!("no threads to run on: {e}")))
}

impl Cli {
    fn is_server(&self) -> bool {
        #[cfg(feature = "local")]
        return matches!(self.command, None | Some(Command::Dev(_)));
        #[cfg(not(feature = "local"))]
        return false;
    }

    async fn execute(self, app: App) -> Done {
        match self.command {
            #[cfg(feature = "local")]
            None => dev::execute(app, self.dev).await,
            #[cfg(not(feature = "local"))]
            None => Err(Stop::problem("a command is missing; `--help` lists them")),
            #[cfg(feature = "local")]
            Some(Command::Dev(args)) => dev::execute(app, args).await,
            Some(Command::Functions(args)) => functions::execute(app, args).await,
            Some(Command::Send(args)) => send::execute(app, args).await,
            Some(Command::Runs(args)) => runs::execute(app, args).await,
            Some(Command::Run(args)) => run::execute(app, args).await,
            Some(Command::Journal(args)) => journal::execute(app, args).await,
            Some(Command::Check(args)) => check::execute(app, args).await,
            Some(Command::Cancel(args)) => cancel::execute(app, args).await,
            Some(Command::Pause(args)) => pause::pause(app, args).await,
            Some(Command::Resume(args)) => pause::resume(app, args).await,
            #[cfg(feature = "aws")]
            Some(Command::Redrive(args)) => redrive::execute(args).await,
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
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_bad_id_status_or_limit_is_refused_with_what_would_do() {
        assert!(parse(&["run", "01"]).unwrap_err().contains("`stepladder runs` lists them"));
        assert!(parse(&["runs", "--status", "done"]).unwrap_err().contains("use Scheduled, Running"));
        assert!(parse(&["runs", "--limit", "0"]).unwrap_err().contains("1..=500"));
        assert!(parse(&["runs", "--status", "failed"]).is_ok());
    }

    /// What would be ignored is refused.
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

    #[cfg(feature = "aws")]
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
