//! The command `rerun ID` or `rerun --all`.

use clap::Args;
use stepladder_api::{DataResponse, RerunAllRequest, RerunRequest};
use stepladder_core::Json;

use super::run_selection::RunSelectionArgs;
use super::send::read_data;
use super::{CommandAccess, OutputArgs, ServerArgs};
use crate::app::App;
use crate::client::overload::retry_while_overloaded;
use crate::follow;
use crate::terminal::{CommandResult, json, print};

pub(crate) const EXAMPLES: &str = "\
Examples:
  stepladder rerun 01JB…                               the whole run, with the same event
  stepladder rerun 01JB… --from-step update-client     keep the outcomes of earlier steps
  stepladder rerun --all --status failed --since 24h   all runs that failed since yesterday
  stepladder rerun 01JB… --input '{\"clientId\":\"7\"}'    with other data";

#[derive(Args, Debug)]
pub(crate) struct RerunArgs {
    #[command(flatten)]
    selection: RunSelectionArgs,
    /// Keep the outcomes of the steps before this one, and run from this step
    #[arg(long, value_name = "STEP")]
    from_step: Option<String>,
    /// Other data for the event: a JSON object, `@file`, or `-` for standard input
    #[arg(long, value_name = "JSON", conflicts_with = "all")]
    input: Option<String>,
    /// Follow the new run until it ends; exit with 1 if it does not complete
    #[arg(long, conflicts_with = "all")]
    wait: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn execute(app: App, args: RerunArgs) -> CommandResult {
    let input: Option<Json> = args.input.as_deref().map(|input| read_data("--input", input)).transpose()?;
    let client = args.server.client(app, CommandAccess::Writes).await?;
    let Some(run) = args.selection.id else {
        let body = json(&RerunAllRequest { from_step: args.from_step })?;
        let done = args.selection.each_page(&client, "rerun", &body, "Rerun every run that has ended?").await?;
        return match args.output.json {
            true => print(json(&DataResponse { data: done })?),
            false => print(format_args!("{} runs started", done.len())),
        };
    };
    let request = RerunRequest { from_step: args.from_step, input };
    let (again, text) = retry_while_overloaded(async || client.rerun(run, &request).await).await?;
    if args.output.json && !args.wait {
        return print(text);
    }
    if !args.output.json {
        print(format_args!("run {} reruns {}", again.run_id, run))?;
    }
    if args.wait { follow::follow_to_the_end(&client, &[again.run_id], args.output.json).await } else { Ok(()) }
}
