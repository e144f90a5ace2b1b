//! The command `journal`: prints the journals of runs, one entry per line.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use stepladder_core::{RunId, Status};

use super::{CommandAccess, ServerArgs, parse_run_id, parse_status};
use crate::app::App;
use crate::client::Client;
use crate::journals;
use crate::terminal::{CommandResult, StopReason, print};

pub(crate) const EXAMPLES: &str = "\
Examples:
  stepladder journal 01JB…                            the entries of one run, as JSON lines
  stepladder journal --status running > live.jsonl    the entries of the live runs
  stepladder check --against live.jsonl               check whether this build can continue them";

#[derive(Args, Debug)]
pub(crate) struct JournalArgs {
    /// Ids of runs; by default all runs that match the filters
    #[arg(value_name = "ID", value_parser = parse_run_id, conflicts_with_all = ["status", "function", "limit"])]
    runs: Vec<RunId>,
    #[command(flatten)]
    filter: RunFilterArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Options that select runs.
#[derive(Args, Clone, Debug)]
pub(crate) struct RunFilterArgs {
    /// Only runs of this status: scheduled, running, completed, failed, cancelled, skipped
    #[arg(long, value_name = "STATUS", value_parser = parse_status)]
    pub(crate) status: Option<Status>,
    /// Only runs of this function
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    function: Option<String>,
    /// Maximum number of runs
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

pub(crate) async fn execute(app: App, args: JournalArgs) -> CommandResult {
    let client = args.server.client(app, CommandAccess::Reads).await?;
    let runs = match args.runs.is_empty() {
        true => list_run_ids(&client, &args.filter).await?,
        false => args.runs,
    };
    for run in runs {
        for line in journals::journal_lines(&client, run).await? {
            print(line)?;
        }
    }
    Ok(())
}

/// Lists the ids of the selected runs, page by page, newest first.
pub(crate) async fn list_run_ids(client: &Client, filter: &RunFilterArgs) -> Result<Vec<RunId>, StopReason> {
    const PAGE: usize = 500;
    let limit = filter.limit as usize;
    let (mut runs, mut cursor) = (Vec::new(), None::<RunId>);
    while runs.len() < limit {
        let mut query = vec![("limit", PAGE.min(limit - runs.len()).to_string())];
        query.extend(filter.status.map(|status| ("status", status.to_string())));
        query.extend(filter.function.clone().map(|function| ("function", function)));
        query.extend(cursor.take().map(|cursor| ("cursor", cursor.to_string())));
        let (page, _) = client.runs(&query).await?;
        runs.extend(page.data.iter().map(|run| run.run_id));
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    Ok(runs)
}
