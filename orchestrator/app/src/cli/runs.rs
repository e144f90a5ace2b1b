//! The command `runs`: lists runs.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use owo_colors::OwoColorize;
use stepladder_api::Run;
use stepladder_api::text::format_duration;
use stepladder_core::{Label, Status, Timestamp};

use super::run_selection::{TimeSpanArgs, parse_label};
use super::{CommandAccess, OutputArgs, ServerArgs, parse_status};
use crate::app::App;
use crate::terminal::table::Table;
use crate::terminal::text::{format_relative_time, now, one_line};
use crate::terminal::{CommandResult, print, print_remark, status};

pub(crate) const EXAMPLES: &str = "\
Examples:
  stepladder runs --status failed --limit 10
  stepladder runs --function enhance-client-with-ai --since 24h
  stepladder runs --label clientId=cust-42
  stepladder runs --text 'card declined' --status failed
  stepladder runs --json | jq -r '.data[].run_id'";

#[derive(Args, Debug)]
pub(crate) struct RunsArgs {
    /// Only runs of this status: scheduled, running, completed, failed, cancelled, skipped
    #[arg(long, value_name = "STATUS", value_parser = parse_status)]
    status: Option<Status>,
    /// Only runs of this function
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    function: Option<String>,
    /// Only runs with this label, such as clientId=cust-42
    #[arg(long, value_name = "K=V", value_parser = parse_label)]
    label: Option<Label>,
    /// Only runs with this text in their input or error, of the newest 300 (50 of a table) that
    /// match the other filters
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    text: Option<String>,
    #[command(flatten)]
    span: TimeSpanArgs,
    /// Maximum number of runs
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,
    /// Continue after this run, as the previous page printed it
    #[arg(long, value_name = "ID")]
    cursor: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn execute(app: App, args: RunsArgs) -> CommandResult {
    let mut query = vec![("limit", args.limit.to_string())];
    query.extend(args.status.map(|status| ("status", status.to_string())));
    query.extend(args.function.map(|function| ("function", function)));
    query.extend(args.label.map(|label| ("label", label.to_string())));
    query.extend(args.text.map(|text| ("text", text)));
    query.extend(args.span.query());
    query.extend(args.cursor.map(|cursor| ("cursor", cursor)));
    let (page, json) = args.server.client(app, CommandAccess::Reads).await?.runs(&query).await?;
    if args.output.json {
        return print(json);
    }
    match (page.data.is_empty(), page.searched) {
        (false, _) => print(runs_table(&page.data, now()))?,
        (true, Some(searched)) => print_remark(format_args!("none of the {searched} runs searched matches"))?,
        (true, None) => print_remark("no runs match; `stepladder send NAME` starts some")?,
    }
    match page.cursor {
        Some(cursor) => print_remark(format_args!("older runs: --cursor {cursor}").dimmed()),
        None => Ok(()),
    }
}

/// Returns a table with one run per line.
pub(crate) fn runs_table(runs: &[Run], now: Timestamp) -> Table {
    let mut table = Table::new(["RUN", "FUNCTION", "STATUS", "CREATED", "TOOK", ""]);
    for run in runs {
        let took = run.ended_at.map(|end| format_duration(end.0.since(run.created_at.0))).unwrap_or_default();
        let error = run.error.as_ref().map(|error| one_line(&error.headline(), 60).dimmed().to_string());
        table.row([
            run.run_id.to_string(),
            one_line(&run.function_id, 60),
            status(run.status),
            format_relative_time(run.created_at.0, now),
            took,
            error.unwrap_or_default(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_a_line_with_its_status_times_and_error() {
        let run: Run = serde_json::from_str(
            r#"{"run_id":"01KAVZ9Y3M0000000000000001","function_id":"hello","status":"Failed",
                "event_id":"01KAVZ9Y3M0000000000000002","created_at":"2026-01-01T00:00:00Z","run_started_at":"2026-01-01T00:00:00Z",
                "ended_at":"2026-01-01T00:00:01.5Z","output":null,"error":{"message":"no\nway"},"new":1}"#,
        )
        .unwrap();
        let text = runs_table(&[run], Timestamp::from_millis(1_767_225_660_000)).to_string();
        let plain = console::strip_ansi_codes(&text);
        assert_eq!(plain.lines().nth(1), Some("01KAVZ9Y3M0000000000000001  hello     Failed  1 m ago  1.5 s  no way"));
    }
}
