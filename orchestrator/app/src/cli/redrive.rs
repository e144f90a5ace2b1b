//! The command `redrive`: lists dead letters, or moves them back to their queues.

use clap::Args;
use owo_colors::OwoColorize;
use serde::Serialize;
use stepladder_api::DataResponse;
use stepladder_core::Timestamp;
use stepladder_engine::ports::queues::{DeadLetter, DeadLetterContent, DeadLetterQueue};

use super::OutputArgs;
use crate::client::here;
use crate::terminal::table::Table;
use crate::terminal::text::{format_relative_time, now, one_line};
use crate::terminal::{CommandResult, StopReason, json, print, print_remark};

pub(crate) const EXAMPLES: &str = "\
Examples:
  stepladder redrive --table my-stack --look     list them without moving them
  stepladder redrive --table my-stack            move all of them back
  stepladder redrive --table my-stack --events --limit 10

A wake that is moved back continues its run; the wake of an ended run does nothing. An event keeps
the id of its first message, so it starts nothing twice. Unreadable messages are not moved.";

#[derive(Args, Debug)]
pub(crate) struct RedriveArgs {
    /// The DynamoDB table, which names the queues; needs AWS credentials and a region, as the AWS
    /// CLI does
    #[arg(long, value_name = "NAME")]
    table: String,
    /// Only dead letters of the events queue
    #[arg(long, conflicts_with = "steps")]
    events: bool,
    /// Only dead letters of the steps queue
    #[arg(long)]
    steps: bool,
    /// List them without moving them
    #[arg(long)]
    look: bool,
    /// Maximum number of dead letters of each queue
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    #[command(flatten)]
    output: OutputArgs,
}

/// A dead letter in JSON, as one line of the output.
#[derive(Serialize)]
struct DeadLetterLine<'a> {
    queue: &'static str,
    moved: bool,
    message: &'a str,
    sent_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<&'a str>,
}

pub(crate) async fn execute(args: RedriveArgs) -> CommandResult {
    let Some(service) = here::open(&args.table).await?.queues else {
        return Err(here::queues_unknown(&args.table));
    };
    let queues = [(DeadLetterQueue::Wakes, "steps", !args.events), (DeadLetterQueue::Events, "events", !args.steps)];
    let (mut found, mut moved) = (Vec::new(), 0);
    for (letters, queue, _) in queues.into_iter().filter(|(_, _, wanted)| *wanted) {
        let redriven =
            service.redrive_listed(letters, args.limit as usize, args.look).await.map_err(StopReason::problem)?;
        moved += redriven.moved.len();
        found.extend(redriven.moved.into_iter().map(|letter| (queue, true, letter)));
        found.extend(redriven.left.into_iter().map(|letter| (queue, false, letter)));
    }
    if args.output.json {
        let lines: Vec<DeadLetterLine<'_>> = found.iter().map(dead_letter_line).collect();
        return print(json(&DataResponse { data: lines })?);
    }
    if found.is_empty() {
        return print_remark("no dead letters");
    }
    print(dead_letters_table(&found, now()))?;
    let left = found.len() - moved;
    match (args.look, left) {
        (true, _) => print_remark(format_args!("{left} found; run it without --look to move them back")),
        (false, 0) => print_remark(format_args!("{moved} moved back")),
        (false, _) => print_remark(format_args!("{moved} moved back, {left} left because they are unreadable")),
    }
}

fn dead_letter_line<'a>((queue, moved, letter): &'a (&'static str, bool, DeadLetter)) -> DeadLetterLine<'a> {
    let mut line = DeadLetterLine {
        queue,
        moved: *moved,
        message: &letter.message,
        sent_at: letter.sent_at.map(|at| at.to_string()),
        run: None,
        cause: None,
        events: None,
        unreadable: None,
    };
    match &letter.content {
        DeadLetterContent::Wake(wake) => {
            line.run = Some(wake.run.to_string());
            line.cause = Some(format!("{:?}", wake.cause));
        }
        DeadLetterContent::Events(names) => line.events = Some(names),
        DeadLetterContent::Unreadable(beginning) => line.unreadable = Some(beginning),
    }
    line
}

fn dead_letters_table(found: &[(&'static str, bool, DeadLetter)], now: Timestamp) -> Table {
    let mut table = Table::new(["QUEUE", "WHAT", "SENT", ""]);
    for (queue, moved, letter) in found {
        let what = match &letter.content {
            DeadLetterContent::Wake(wake) => format!("wake of run {} ({:?})", wake.run, wake.cause),
            DeadLetterContent::Events(names) => format!("event {}", names.join(", ")),
            DeadLetterContent::Unreadable(beginning) => format!("unreadable: {beginning}"),
        };
        table.row([
            (*queue).to_owned(),
            one_line(&what, 100),
            letter.sent_at.map(|at| format_relative_time(at, now)).unwrap_or_default(),
            if *moved { "moved back".green().to_string() } else { "left".dimmed().to_string() },
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dead_letter_is_a_line() {
        let wake =
            serde_json::from_str(r#"{"run":"01KAVZ9Y3M0000000000000001","cause":"Next","group":"hello"}"#).unwrap();
        let at = Timestamp::from_millis(1_767_225_600_000);
        let letter = |content| DeadLetter { content, sent_at: Some(at), message: "m".into() };
        let found = [
            ("steps", true, letter(DeadLetterContent::Wake(wake))),
            ("events", true, letter(DeadLetterContent::Events(vec!["a/b".into(), "c".into()]))),
            ("events", false, letter(DeadLetterContent::Unreadable("<xml>\n".into()))),
        ];
        let text = dead_letters_table(&found, Timestamp::from_millis(1_767_225_660_000)).to_string();
        let plain: Vec<_> = console::strip_ansi_codes(&text).lines().skip(1).map(str::to_owned).collect();
        assert!(plain[0].starts_with("steps   wake of run 01KAVZ9Y3M0000000000000001 (Next)"), "{plain:?}");
        assert!(plain[1].contains("event a/b, c") && plain[1].contains("1 m ago"), "{plain:?}");
        assert!(plain[2].contains("unreadable: <xml>") && plain[2].ends_with("left"), "{plain:?}");
        let json = serde_json::to_value(dead_letter_line(&found[0])).unwrap();
        assert_eq!(
            (json["cause"].as_str(), json["moved"].as_bool(), json.get("events")),
            (Some("Next"), Some(true), None)
        );
    }
}
