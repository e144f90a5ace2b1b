//! `cancel ID`.

use clap::Args;

use super::{Access, OutputArgs, RunIdArg, ServerArgs};
use crate::app::App;
use crate::terminal::{Done, print, status};

#[derive(Args, Debug)]
pub(crate) struct CancelArgs {
    #[command(flatten)]
    run: RunIdArg,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn execute(app: App, args: CancelArgs) -> Done {
    let (told, json) = args.server.client(app, Access::Writes).await?.cancel(args.run.id).await?;
    if args.output.json {
        return print(json);
    }
    match told.status {
        Some(now) => print(format_args!("run {} is {}", told.run_id, status(now))),
        None => print(format_args!("run {} is to be cancelled", told.run_id)),
    }
}
