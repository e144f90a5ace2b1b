//! The command `signal TOKEN [DATA]`: completes a signal.

use clap::Args;

use super::send::read_json;
use super::{CommandAccess, OutputArgs, ServerArgs};
use crate::app::App;
use crate::terminal::text::one_line;
use crate::terminal::{CommandResult, print};

pub(crate) const EXAMPLES: &str = "\
Examples:
  stepladder signal 01JB….Zk3….cGF5bWVudA                    without data
  stepladder signal 01JB….Zk3….cGF5bWVudA '{\"cents\":995}'    with data

The function hands out the callback token; `stepladder run ID` shows it while the run waits.
A signal is completed once: a repetition with the same data succeeds, other data is refused.";

#[derive(Args, Debug)]
pub(crate) struct SignalArgs {
    /// The callback token of the signal
    #[arg(value_name = "TOKEN")]
    token: String,
    /// The data: any JSON, `@file`, or `-` for standard input; by default `null`
    #[arg(value_name = "DATA", allow_hyphen_values = true)]
    data: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn execute(app: App, args: SignalArgs) -> CommandResult {
    let data = args.data.as_deref().map(|data| read_json("DATA", data)).transpose()?;
    let body = data.map_or_else(|| "null".to_owned(), |data| data.get().to_owned());
    let client = args.server.client(app, CommandAccess::Writes).await?;
    let (completed, json) = client.signal(&args.token, body).await?;
    if args.output.json {
        return print(json);
    }
    let outcome = if completed.before { "was already completed with this data" } else { "is completed" };
    print(format_args!("the signal of step `{}` of run {} {outcome}", one_line(&completed.step, 80), completed.run_id))
}
