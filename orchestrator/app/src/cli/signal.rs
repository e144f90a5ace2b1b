//! The command `signal TOKEN [DATA]`: completes a signal, with data or with a failure, or posts a
//! heartbeat.

use clap::Args;
use stepladder_api::{HeartbeatEffect, SignalFailure, SignalHeartbeat};

use super::send::read_json;
use super::{CommandAccess, OutputArgs, ServerArgs};
use crate::app::App;
use crate::terminal::text::{format_relative_time, now, one_line};
use crate::terminal::{CommandResult, json, print};

pub(crate) const EXAMPLES: &str = "\
Examples:
  stepladder signal 01JB….Zk3….cGF5bWVudA                    without data
  stepladder signal 01JB….Zk3….cGF5bWVudA '{\"cents\":995}'    with data
  stepladder signal 01JB….Zk3….cGF5bWVudA --fail 'no funds' --code declined
  stepladder signal 01JB….Zk3….cGF5bWVudA --heartbeat

The function hands out the callback token; `stepladder run ID` shows it while the run waits.
A signal is completed once: a repetition with the same data or failure succeeds, another is refused.";

#[derive(Args, Debug)]
pub(crate) struct SignalArgs {
    /// The callback token of the signal
    #[arg(value_name = "TOKEN")]
    token: String,
    /// The data: any JSON, `@file`, or `-` for standard input; by default `null`. With --fail,
    /// further fields of the error
    #[arg(value_name = "DATA", allow_hyphen_values = true)]
    data: Option<String>,
    /// Report a failure instead: the wait ends with an error that has this message
    #[arg(long, value_name = "MESSAGE")]
    fail: Option<String>,
    /// The name of the error's type: `CardDeclined`
    #[arg(long, value_name = "NAME", requires = "fail")]
    name: Option<String>,
    /// The error's code, for the function to branch on: `declined`
    #[arg(long, value_name = "CODE", requires = "fail")]
    code: Option<String>,
    /// Keep a wait open that asks for heartbeats, without completing the signal
    #[arg(long, conflicts_with_all = ["data", "fail"])]
    heartbeat: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn execute(app: App, args: SignalArgs) -> CommandResult {
    let SignalArgs { token, data, fail, name, code, heartbeat, output, server } = args;
    if heartbeat {
        let (answer, text) = server.client(app, CommandAccess::Writes).await?.heartbeat(&token).await?;
        return if output.json { print(text) } else { print(describe_heartbeat(&answer)) };
    }
    let data = data.as_deref().map(|data| read_json("DATA", data)).transpose()?;
    let failure = fail.map(|message| SignalFailure { message, name, code, stack: None, data: data.clone() });
    let client = server.client(app, CommandAccess::Writes).await?;
    let (completed, text) = match &failure {
        Some(failure) => client.fail_signal(&token, json(failure)?).await?,
        None => client.signal(&token, data.map_or_else(|| "null".to_owned(), |data| data.get().to_owned())).await?,
    };
    if output.json {
        return print(text);
    }
    let outcome = match (completed.before, failure.is_some()) {
        (true, true) => "had already failed with this error",
        (false, true) => "has failed",
        (true, false) => "was already completed with this data",
        (false, false) => "is completed",
    };
    print(format_args!("the signal of step `{}` of run {} {outcome}", one_line(&completed.step, 80), completed.run_id))
}

fn describe_heartbeat(answer: &SignalHeartbeat) -> String {
    let SignalHeartbeat { run_id, step, effect, next_before } = answer;
    let step = one_line(step, 80);
    let next = next_before.map(|next| format!("; the next one is due {}", format_relative_time(next.0, now())));
    let what = match effect {
        HeartbeatEffect::Recorded => "was recorded",
        HeartbeatEffect::Recent => "counts; another one was recorded just before",
        HeartbeatEffect::Early => "does not count: the run does not wait yet",
        HeartbeatEffect::Unneeded => "does not count: the wait asks for no heartbeats",
        HeartbeatEffect::Unknown => "was accepted",
    };
    format!("the heartbeat for step `{step}` of run {run_id} {what}{}", next.unwrap_or_default())
}
