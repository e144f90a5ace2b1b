//! The command `run ID`: shows one run with its steps, attempts, timings and errors.

use std::fmt::Write;

use clap::Args;
use owo_colors::OwoColorize;
use stepladder_api::text::{format_duration, format_time_of_day, format_usage};
use stepladder_api::{Attempt, Failure, LogLevel, LogLine, RunDetail, RunOrigin};
use stepladder_core::Timestamp;

use super::{CommandAccess, OutputArgs, RunIdArg, ServerArgs};
use crate::app::App;
use crate::terminal::table::Table;
use crate::terminal::text::{format_relative_time, now, one_line, pretty_json};
use crate::terminal::{CommandResult, print, status, step_status};

#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    run: RunIdArg,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn execute(app: App, args: RunArgs) -> CommandResult {
    let (run, json) = args.server.client(app, CommandAccess::Reads).await?.run(args.run.id).await?;
    if args.output.json { print(json) } else { print(describe(&run, now()).trim_end()) }
}

/// Describes a run: what it does or why it does not continue, its steps, their attempts and errors.
pub(crate) fn describe(run: &RunDetail, now: Timestamp) -> String {
    let mut out = format!("{} {} {}\n", run.run_id, one_line(&run.function_id, 80).bold(), status(run.status));
    let mut add = |label: &str, value: String| {
        // writing to a string does not fail
        let _ = writeln!(out, "  {} {value}", format!("{label:8}").dimmed());
    };
    add("event", format!("{} {}", one_line(&run.event.name, 80), run.event_id));
    match &run.origin {
        RunOrigin::Event => {}
        RunOrigin::Cron => add("origin", "a cron schedule of the function".into()),
        RunOrigin::Invoke { parent, step } => add("origin", format!("invoked by step `{step}` of run {parent}")),
        RunOrigin::Failure { of } => add("origin", format!("failure of run {of}")),
        RunOrigin::Rerun { of } => add("origin", format!("rerun of run {of}")),
    }
    if let Some(version) = &run.version {
        add("version", one_line(version, 80));
    }
    add("created", format!("{} ({})", run.created_at, format_relative_time(run.created_at.0, now)));
    match run.ended_at {
        Some(end) => add("took", format_duration(end.0.since(run.created_at.0))),
        None => add("for", format_duration(now.since(run.created_at.0))),
    }
    if let Some(waiting) = &run.waiting {
        add("waiting", one_line(waiting, 200));
    }
    if !run.steps.is_empty() {
        let _ = writeln!(out, "\n{}", steps_table(run, now));
    }
    if !run.logs.is_empty() {
        let _ = writeln!(out, "\n{}\n{}", "log".dimmed(), format_log_lines(&run.logs));
    }
    for failed in &run.handler_errors {
        let _ = writeln!(out, "\n{} at {}\n{}", "the handler failed".yellow(), failed.at, failure_text(&failed.error));
    }
    if let Some(error) = &run.error {
        let _ = writeln!(out, "\n{}\n{}", "error".red(), failure_text(error));
    }
    if let Some(output) = &run.output {
        let _ = writeln!(out, "\n{}\n{}", "output".dimmed(), pretty_json(output.get()));
    }
    out
}

fn steps_table(run: &RunDetail, now: Timestamp) -> Table {
    let mut table = Table::new(["STEP", "KIND", "STATUS", "ATTEMPTS", "TOOK", ""]);
    for step in &run.steps {
        let remark = match (step.child, step.due) {
            (Some(child), _) => format!("run {child}"),
            // the due time of a run that has ended has no meaning
            (None, Some(due)) if !run.status.is_end() => format_relative_time(due.0, now),
            (None, Some(_) | None) => String::new(),
        };
        table.row([
            one_line(&step.id, 80),
            step.kind.to_string(),
            step_status(step.status),
            if step.attempts.is_empty() { String::new() } else { step.attempts.len().to_string() },
            step.ended_at.map(|end| format_duration(end.0.since(step.started_at.0))).unwrap_or_default(),
            remark,
        ]);
        if let Some(awaits) = step.awaits.as_ref().filter(|_| !run.status.is_end()) {
            table.note(format!("waits for {}", one_line(awaits, 200)));
        }
        if let Some(token) = &step.token {
            table.note(format!("stepladder signal {}", one_line(token, usize::MAX)));
        }
        step.attempts.iter().filter_map(attempt_problem).for_each(|note| table.note(note));
        step.usage.iter().for_each(|used| table.note(format_usage(&one_line(&used.model, 80), used)));
        if let Some(error) = step.error.as_ref().filter(|_| step.attempts.is_empty()) {
            table.note(one_line(&error.headline(), 200).red().to_string());
        }
    }
    table
}

/// Formats a log, with one line of the terminal for each log line.
fn format_log_lines(logs: &[LogLine]) -> String {
    let line = |log: &LogLine| {
        let level = match log.level {
            LogLevel::Warn => "warn ".yellow().to_string(),
            LogLevel::Error => "error".red().to_string(),
            level @ (LogLevel::Info | LogLevel::Unknown) => format!("{level:5}"),
        };
        let step = log.step.as_ref().map(|step| format!(" {}:", one_line(step, 80))).unwrap_or_default();
        let fields = log.fields.as_ref().map(|fields| format!(" {}", one_line(fields.get(), 300).dimmed()));
        format!(
            "  {} {level}{step} {}{}",
            format_time_of_day(log.at.0).dimmed(),
            one_line(&log.message, 500),
            fields.unwrap_or_default()
        )
    };
    logs.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Returns a line that says why an attempt did not succeed; `None` if it succeeded.
pub(crate) fn attempt_problem(attempt: &Attempt) -> Option<String> {
    let after = attempt.ended_at.map(|end| format_duration(end.0.since(attempt.started_at.0))).unwrap_or_default();
    let number = attempt.attempt;
    match &attempt.error {
        Some(error) => {
            Some(format!("attempt {number} failed after {after}: {}", one_line(&error.headline(), 300).red()))
        }
        None if attempt.interrupted => {
            Some(format!("attempt {number} was interrupted after {after}").yellow().to_string())
        }
        None if attempt.dropped => Some(format!("attempt {number} was dropped after {after}").yellow().to_string()),
        None => None,
    }
}

/// Formats a failure with all lines of its message and of its stack.
fn failure_text(error: &Failure) -> String {
    let mut lines: Vec<String> = error.headline().lines().map(|line| one_line(line, usize::MAX)).collect();
    lines.extend(error.code.as_ref().map(|code| format!("code: {code}")));
    lines.extend(error.data.as_ref().map(|data| format!("data: {}", one_line(data.get(), 1_000))));
    let stack = error.stack.iter().flat_map(|stack| stack.lines());
    lines.extend(stack.map(|line| format!("  {}", one_line(line, usize::MAX))));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = r#"{"run_id":"01KAVZ9Y3M0000000000000001","function_id":"enhance","status":"Completed",
        "event_id":"01KAVZ9Y3M0000000000000002","created_at":"2026-01-01T00:00:00.000Z",
        "run_started_at":"2026-01-01T00:00:00.100Z","ended_at":"2026-01-01T00:00:03.000Z","output":{"b":1,"a":2},
        "error":null,"origin":{"Rerun":{"of":"01KAVZ9Y3M0000000000000003"}},"waiting":null,"handler_errors":[],
        "event":{"id":"01KAVZ9Y3M0000000000000002","name":"client/enhance.requested","data":{},"ts":1,
          "received_at":"2026-01-01T00:00:00.000Z"},
        "steps":[{"id":"update","kind":"run","status":"Completed","output":null,"error":null,"child":null,"due":null,
          "started_at":"2026-01-01T00:00:00.100Z","ended_at":"2026-01-01T00:00:02.600Z","attempts":[
           {"attempt":1,"started_at":"2026-01-01T00:00:00.100Z","ended_at":"2026-01-01T00:00:00.150Z",
            "error":{"message":"503: try\nlater","name":"HttpError"},"interrupted":false},
           {"attempt":2,"started_at":"2026-01-01T00:00:01.000Z","ended_at":"2026-01-01T00:00:01.500Z","error":null,
            "interrupted":true},
           {"attempt":3,"started_at":"2026-01-01T00:00:02.500Z","ended_at":"2026-01-01T00:00:02.600Z","error":null,
            "interrupted":false}],
          "usage":[{"model":"gpt-5-mini","input_tokens":1200,"cached_input_tokens":200,"output_tokens":300,
            "micro_dollars":850},
           {"model":"other","input_tokens":1,"cached_input_tokens":0,"output_tokens":2,"micro_dollars":null}]}],
        "logs":[{"at":"2026-01-01T00:00:00.100Z","level":"info","message":"begun","attempt":1},
         {"at":"2026-01-01T00:00:02.600Z","level":"warn","message":"few\nrows","fields":{"rows":7},"step":"update",
          "attempt":3}]}"#;

    #[test]
    fn a_failure_is_shown_with_its_name_code_data_and_stack() {
        let error = r#"{"message":"no","code":"declined","name":"CardError","data":{"status":402},
            "stack":"CardError: no\n  at \u001b[31mpay"}"#;
        let text = failure_text(&serde_json::from_str(error).unwrap());
        let expected = "CardError: no\ncode: declined\ndata: {\"status\":402}\n  CardError: no\n  at [31mpay";
        assert_eq!(text, expected, "without control characters");
        assert_eq!(failure_text(&serde_json::from_str(r#"{"message":"no"}"#).unwrap()), "no");
    }

    #[test]
    fn a_run_is_shown_with_its_steps_attempts_timings_and_output() {
        let run: RunDetail = serde_json::from_str(RUN).unwrap();
        let text = describe(&run, Timestamp::from_millis(1_767_225_660_000));
        let plain = console::strip_ansi_codes(&text);
        assert_eq!(
            plain,
            "01KAVZ9Y3M0000000000000001 enhance Completed\n  \
               event    client/enhance.requested 01KAVZ9Y3M0000000000000002\n  \
               origin   rerun of run 01KAVZ9Y3M0000000000000003\n  \
               created  2026-01-01T00:00:00.000Z (1 m ago)\n  \
               took     3.0 s\n\n\
             STEP    KIND  STATUS     ATTEMPTS  TOOK\n\
             update  run   Completed  3         2.5 s\n    \
                 attempt 1 failed after 50 ms: HttpError: 503: try later\n    \
                 attempt 2 was interrupted after 500 ms\n    \
                 gpt-5-mini: 1200 tokens in (200 cached), 300 out, $0.000850\n    \
                 other: 1 tokens in, 2 out, price not known\n\n\
             log\n  \
               00:00:00.100 info  begun\n  \
               00:00:02.600 warn  update: few rows {\"rows\":7}\n\n\
             output\n{\n  \"b\": 1,\n  \"a\": 2\n}\n"
        );
    }
}
