//! The command `send NAME [DATA]`: sends an event.

use std::io::Read;

use clap::Args;
use owo_colors::OwoColorize;
use stepladder_api::NewEvent;
use stepladder_core::Json;
use stepladder_core::limits::EVENT_BYTES;

use super::{CommandAccess, OutputArgs, ServerArgs};
use crate::app::App;
use crate::client::overload::retry_while_overloaded;
use crate::follow;
use crate::terminal::{CommandResult, StopReason, json, print};

pub(crate) const EXAMPLES: &str = "\
Examples:
  stepladder send test/hello.world --wait
  stepladder send client/enhance.requested \\
      '{\"clientId\":\"1\",\"clientName\":\"Acme\",\"clientDomain\":\"acme.test\"}' --wait
  stepladder send import/file.added @data.json --id file-7
  jq -n '{n: 1}' | stepladder send test/numbers -";

#[derive(Args, Debug)]
pub(crate) struct SendArgs {
    /// The event's name: `client/enhance.requested`
    name: String,
    /// The event's data: a JSON object, `@file`, or `-` for standard input
    #[arg(value_name = "DATA", allow_hyphen_values = true)]
    data: Option<String>,
    /// Your own id: within 24 hours, a second event with this id is the same event
    #[arg(long)]
    id: Option<String>,
    /// Follow its runs until they end; exit with 1 if one does not complete
    #[arg(long)]
    wait: bool,
    /// The event key; by default the first of STEPLADDER_EVENT_KEYS
    #[arg(long, value_name = "KEY", conflicts_with = "table")]
    key: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn execute(app: App, args: SendArgs) -> CommandResult {
    let data = args.data.as_deref().map(|data| read_data("DATA", data)).transpose()?;
    let event = NewEvent { name: args.name, data, id: args.id };
    let body = json(&event)?;
    let client = args.server.client(app, CommandAccess::Writes).await?;
    let key = event_key(args.key)?;
    let (sent, text) = retry_while_overloaded(async || client.send(&key, body.clone()).await).await?;
    let Some(id) = sent.ids.first().map(ToString::to_string) else {
        return Err(StopReason::problem("the server accepted the event but gave it no id"));
    };
    if args.output.json && !args.wait {
        return print(text);
    }
    if !args.output.json {
        print(format_args!("{} {} {}", "event".dimmed(), id, event.name.bold()))?;
    }
    if !args.wait {
        return Ok(());
    }
    let (runs, _) = client.runs_of_event(&id).await?;
    if runs.is_empty() {
        return Err(StopReason::problem(format!(
            "`{}` starts no function of this server; `stepladder functions` lists the triggers",
            event.name
        )));
    }
    let runs: Vec<_> = runs.iter().map(|run| run.run_id).collect();
    follow::follow_to_the_end(&client, &runs, args.output.json).await
}

/// Returns the event key to send. If the server has no keys, it accepts any key.
pub(crate) fn event_key(given: Option<String>) -> Result<String, StopReason> {
    let configured = || std::env::var("STEPLADDER_EVENT_KEYS").ok();
    match given.map(|key| key.trim().to_owned()) {
        Some(key) if key.is_empty() => Err(StopReason::problem("--key is blank; give the event key, or leave it out")),
        Some(key) => Ok(key),
        None => Ok(configured()
            .and_then(|keys| keys.split(',').map(str::trim).find(|key| !key.is_empty()).map(str::to_owned))
            .unwrap_or_else(|| "local".into())),
    }
}

/// Reads a JSON object from the command line, a file or standard input. The JSON is kept as text,
/// so that numbers keep all their digits.
///
/// # Errors
/// The input cannot be read, or is not a JSON object.
pub(crate) fn read_data(what: &str, given: &str) -> Result<Json, StopReason> {
    let data = read_json(what, given)?;
    if data.get().starts_with('{') {
        Ok(data)
    } else {
        Err(StopReason::problem(format!("{what} must be a JSON object")))
    }
}

/// Reads any JSON value from the command line, a file or standard input. See [`read_data`].
///
/// # Errors
/// The input cannot be read, or is not JSON.
pub(crate) fn read_json(what: &str, given: &str) -> Result<Json, StopReason> {
    let text = match given {
        "-" => read_limited(std::io::stdin())
            .map_err(|e| StopReason::problem(format!("standard input cannot be read: {e}")))?,
        _ => match given.strip_prefix('@') {
            Some(path) => std::fs::File::open(path)
                .and_then(read_limited)
                .map_err(|e| StopReason::problem(format!("the file `{path}` cannot be read: {e}")))?,
            None => given.to_owned(),
        },
    };
    serde_json::from_str(text.trim()).map_err(|e| {
        StopReason::problem(format!("{what} is not valid JSON: {e}; quote it for the shell: '{{\"clientId\": \"1\"}}'"))
    })
}

/// Reads a string that is at most as large as an event.
fn read_limited(from: impl Read) -> std::io::Result<String> {
    let mut text = String::new();
    from.take(EVENT_BYTES as u64 + 1).read_to_string(&mut text)?;
    match text.len() > EVENT_BYTES {
        true => Err(std::io::Error::other(format!("it has more than {EVENT_BYTES} bytes"))),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal_sentence(given: &str) -> String {
        match read_data("DATA", given) {
            Err(StopReason::Problem(sentence)) => sentence,
            other => panic!("{other:?}"),
        }
    }

    /// A reader that always fails.
    struct UnreadableInput;

    impl Read for UnreadableInput {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("read past the limit"))
        }
    }

    #[test]
    fn an_endless_file_is_read_up_to_the_limit() {
        let file = std::io::repeat(b' ').take(EVENT_BYTES as u64 + 1).chain(UnreadableInput);
        let fault = read_limited(file).unwrap_err().to_string();
        assert!(fault.contains("more than 3145728 bytes"), "{fault}");
        assert_eq!(read_limited(&b"{}"[..]).unwrap(), "{}");
    }

    #[test]
    fn a_blank_key_is_refused() {
        assert_eq!(event_key(Some(" k\n".into())).unwrap(), "k");
        assert!(
            matches!(event_key(Some(" ".into())), Err(StopReason::Problem(sentence)) if sentence.contains("--key is blank"))
        );
    }

    #[test]
    fn data_keeps_its_digits() {
        let data = read_data("DATA", r#" {"n": 1.00, "big": 12345678901234567890123} "#).unwrap();
        assert_eq!(data.get(), r#"{"n": 1.00, "big": 12345678901234567890123}"#);
    }

    #[test]
    fn data_that_is_no_object_is_refused_with_a_hint() {
        assert!(refusal_sentence("{clientId: 1}").contains("quote it for the shell"));
        assert_eq!(refusal_sentence("[1]"), "DATA must be a JSON object");
        assert!(refusal_sentence("@/no/such/file").contains("`/no/such/file` cannot be read"));
    }

    #[test]
    fn data_comes_from_a_file() {
        let file = std::env::temp_dir().join(format!("stepladder-send-{}.json", std::process::id()));
        std::fs::write(&file, "{\"a\":1}\n").unwrap();
        let data = read_data("DATA", &format!("@{}", file.display()));
        std::fs::remove_file(&file).unwrap();
        assert_eq!(data.unwrap().get(), r#"{"a":1}"#);
    }

    #[test]
    fn a_given_key_overrides_the_configured_ones() {
        assert_eq!(event_key(Some("k".into())).unwrap(), "k");
    }
}
