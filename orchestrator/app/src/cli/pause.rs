//! The commands `pause FUNCTION` and `resume FUNCTION`.

use clap::Args;

use super::{CommandAccess, OutputArgs, ServerArgs};
use crate::app::App;
use crate::terminal::text::one_line;
use crate::terminal::{CommandResult, print};

#[derive(Args, Debug)]
pub(crate) struct PauseArgs {
    /// The function's id, as `functions` shows it
    #[arg(value_name = "FUNCTION")]
    function: String,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn pause(app: App, args: PauseArgs) -> CommandResult {
    let (_, json) = args.server.client(app, CommandAccess::Writes).await?.pause(&args.function).await?;
    if args.output.json {
        return print(json);
    }
    print(format_args!("{} is paused: new runs wait", one_line(&args.function, 80)))
}

pub(crate) async fn resume(app: App, args: PauseArgs) -> CommandResult {
    let (resumed, json) = args.server.client(app, CommandAccess::Writes).await?.resume(&args.function).await?;
    if args.output.json {
        return print(json);
    }
    let waiting = match resumed.woken {
        1 => "1 run was waiting".to_owned(),
        n => format!("{n} runs were waiting"),
    };
    print(format_args!("{} is resumed; {waiting}", one_line(&args.function, 80)))
}
