//! The command `cancel ID` or `cancel --all`.

use clap::Args;
use stepladder_api::DataResponse;

use super::run_selection::RunSelectionArgs;
use super::{CommandAccess, OutputArgs, ServerArgs};
use crate::app::App;
use crate::terminal::{CommandResult, json, print, status};

pub(crate) const EXAMPLES: &str = "\
Examples:
  stepladder cancel 01JB…
  stepladder cancel --all --function enhance-client-with-ai
  stepladder cancel --all --status scheduled    all runs that have not started
  stepladder cancel --all --yes                 every run, without confirmation";

#[derive(Args, Debug)]
pub(crate) struct CancelArgs {
    #[command(flatten)]
    selection: RunSelectionArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn execute(app: App, args: CancelArgs) -> CommandResult {
    let client = args.server.client(app, CommandAccess::Writes).await?;
    let Some(run) = args.selection.id else {
        let done = args.selection.each_page(&client, "cancel", "", "Cancel every run that has not ended?").await?;
        return match args.output.json {
            true => print(json(&DataResponse { data: done })?),
            false => print(format_args!("{} runs cancelled", done.len())),
        };
    };
    let (cancelled, text) = client.cancel(run).await?;
    if args.output.json {
        return print(text);
    }
    print(format_args!("run {} is {}", cancelled.run_id, status(cancelled.status)))
}
