//! `cancel ID`, `cancel --all`.

use clap::Args;
use stepladder_api::Data;

use super::chosen::ChosenArgs;
use super::{Access, OutputArgs, ServerArgs};
use crate::app::App;
use crate::terminal::{Done, json, print, status};

pub(crate) const EXAMPLES: &str = "\
Examples:
  stepladder cancel 01JB…
  stepladder cancel --all --function enhance-client-with-ai
  stepladder cancel --all --function enhance-client-with-ai --status scheduled    those that have not begun
  stepladder cancel --all --yes                                                   every run, without a question";

#[derive(Args, Debug)]
pub(crate) struct CancelArgs {
    #[command(flatten)]
    chosen: ChosenArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn execute(app: App, args: CancelArgs) -> Done {
    let client = args.server.client(app, Access::Writes).await?;
    let Some(run) = args.chosen.id else {
        let done = args.chosen.each_page(&client, "cancel", "", "Cancel every run that has not ended?").await?;
        return match args.output.json {
            true => print(json(&Data { data: done })?),
            false => print(format_args!("{} runs cancelled", done.len())),
        };
    };
    let (cancelled, text) = client.cancel(run).await?;
    if args.output.json {
        return print(text);
    }
    print(format_args!("run {} is {}", cancelled.run_id, status(cancelled.status)))
}
