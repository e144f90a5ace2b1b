//! The command `check`: whether this build can continue the runs that another build started.

use std::path::PathBuf;

use clap::Args;
use owo_colors::OwoColorize;
use stepladder_core::Status;
use stepladder_engine::check::{Divergence, divergence};

use super::journal::{RunFilterArgs, list_run_ids};
use super::{CommandAccess, ServerArgs};
use crate::app::App;
use crate::journals::{self, Journals};
use crate::terminal::text::one_line;
use crate::terminal::{CommandResult, StopReason, print, print_remark};

pub(crate) const EXAMPLES: &str = "\
Examples:
  stepladder check                        the live runs of the local server
  stepladder check --table PROD           the live runs of a deployment, before the next one
  stepladder check --against journals/    saved journals, as `stepladder journal` prints them

Run it with the new build. It executes no step and writes nothing.
The exit code is 1 if a run would diverge.";

#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// A file of journals (JSON lines), or a folder of .jsonl files, instead of a server's runs
    #[arg(long, value_name = "PATH", conflicts_with_all = ["status", "function", "limit", "url", "table"])]
    against: Option<PathBuf>,
    #[command(flatten)]
    filter: RunFilterArgs,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn execute(mut app: App, args: CheckArgs) -> CommandResult {
    let compiled = app.compile().map_err(StopReason::problem)?;
    let journals = match &args.against {
        Some(path) => journals::read_path(path)?,
        None => check_server(app, &args).await?,
    };
    if journals.is_empty() {
        return print_remark("no such runs");
    }
    let mut diverging = 0;
    for (run, entries) in &journals {
        let divergence = divergence(&compiled, *run, entries).await;
        let divergence = divergence.map_err(|e| StopReason::problem(format!("run {run} cannot be replayed: {e}")))?;
        if let Some(Divergence { at, why }) = divergence {
            diverging += 1;
            let at = at.map(|at| format!(" at entry {at}")).unwrap_or_default();
            print(format!("{run}{at}: {}", one_line(&why, 1_000).red()))?;
        }
    }
    let all = journals.len();
    match diverging {
        0 => print(format!("{all} runs replay under this build")),
        n => Err(StopReason::problem(format!(
            "{n} of {all} runs would diverge under this build; see docs/changing-code.md"
        ))),
    }
}

/// Reads the journals of runs from a server. By default, reads those of live runs.
async fn check_server(app: App, args: &CheckArgs) -> Result<Journals, StopReason> {
    let client = args.server.client(app, CommandAccess::Reads).await?;
    let statuses = match args.filter.status {
        Some(status) => vec![status],
        None => vec![Status::Running, Status::Scheduled],
    };
    let mut journals = Journals::new();
    for status in statuses {
        let mut filter = args.filter.clone();
        filter.status = Some(status);
        for run in list_run_ids(&client, &filter).await? {
            // a run appears in both listings if its status changes in the meantime
            if !journals.contains_key(&run) {
                let lines = journals::journal_lines(&client, run).await?;
                journals::read_journals(&mut journals, &format!("the journal of {run}"), &lines.join("\n"))?;
            }
        }
    }
    Ok(journals)
}
