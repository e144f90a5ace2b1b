//! `rerun ID`, `rerun --all`.

use clap::Args;
use serde_json::value::RawValue;

use super::chosen::ChosenArgs;
use super::send::read_data;
use super::{Access, OutputArgs, ServerArgs};
use crate::app::App;
use crate::client::patience::patiently;
use crate::client::wire::Rerun;
use crate::follow;
use crate::terminal::{Done, Stop, print};

pub(crate) const EXAMPLES: &str = "\
Examples:
  stepladder rerun 01JB…                               all of it, with the same event
  stepladder rerun 01JB… --from-step update-client     keep the outcomes of the steps before
  stepladder rerun --all --status failed --since 24h   what has failed since yesterday
  stepladder rerun 01JB… --input '{\"clientId\":\"7\"}'    with other data";

#[derive(Args, Debug)]
pub(crate) struct RerunArgs {
    #[command(flatten)]
    chosen: ChosenArgs,
    /// Take over the outcomes of the steps before this one, run from it on
    #[arg(long, value_name = "STEP")]
    from_step: Option<String>,
    /// Other data for the event: a JSON object, `@file`, or `-` for standard input
    #[arg(long, value_name = "JSON", conflicts_with = "all")]
    input: Option<String>,
    /// Follow the new run to its end; exit 1 if it does not complete
    #[arg(long, conflicts_with = "all")]
    wait: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn execute(app: App, args: RerunArgs) -> Done {
    let input: Option<Box<RawValue>> = args.input.as_deref().map(|input| read_data("--input", input)).transpose()?;
    let client = args.server.client(app, Access::Writes).await?;
    let Some(run) = args.chosen.id else {
        let body = serde_json::json!({ "from_step": args.from_step }).to_string();
        let done = args.chosen.each_page(&client, "rerun", &body, "Run every run again that has ended?").await?;
        return match args.output.json {
            true => print(serde_json::to_string(&serde_json::json!({ "data": done })).map_err(Stop::problem)?),
            false => print(format_args!("{} runs begun", done.len())),
        };
    };
    let how = Rerun { from_step: args.from_step.as_deref(), input: input.as_deref() };
    let (told, json) = patiently(async || client.rerun(run, &how).await).await?;
    if args.output.json && !args.wait {
        return print(json);
    }
    if !args.output.json {
        print(format_args!("run {} repeats {}", told.run_id, run))?;
    }
    if args.wait { follow::to_the_end(&client, &[told.run_id], args.output.json).await } else { Ok(()) }
}
