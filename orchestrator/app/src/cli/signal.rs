//! `signal TOKEN [DATA]`.

use clap::Args;

use super::send::read_json;
use super::{Access, OutputArgs, ServerArgs};
use crate::app::App;
use crate::terminal::text::one_line;
use crate::terminal::{Done, print};

pub(crate) const EXAMPLES: &str = "\
Examples:
  stepladder signal 01JB….Zk3….cGF5bWVudA                  nothing but the word
  stepladder signal 01JB….Zk3….cGF5bWVudA '{\"cents\":995}'  with data: any JSON, `@file`, or `-` for standard input

The function hands the token out; `stepladder run ID` shows it while the run waits. A signal is completed once: the same
again is answered as the first was, anything else is refused.";

#[derive(Args, Debug)]
pub(crate) struct SignalArgs {
    /// The signal's token
    #[arg(value_name = "TOKEN")]
    token: String,
    /// What the wait gives: any JSON, `@file`, or `-` for standard input; `null` unless given
    #[arg(value_name = "DATA", allow_hyphen_values = true)]
    data: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn execute(app: App, args: SignalArgs) -> Done {
    let data = args.data.as_deref().map(|data| read_json("DATA", data)).transpose()?;
    let body = data.map_or_else(|| "null".to_owned(), |data| data.get().to_owned());
    let client = args.server.client(app, Access::Writes).await?;
    let (told, json) = client.signal(&args.token, body).await?;
    if args.output.json {
        return print(json);
    }
    let before = if told.before { "had been completed before, with the same" } else { "is completed" };
    print(format_args!("the signal of step `{}` of run {} {before}", one_line(&told.step, 80), told.run_id))
}
