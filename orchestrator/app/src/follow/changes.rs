//! Describes in lines what happened to a run since the last poll. Each change is reported once.

use std::collections::HashSet;

use owo_colors::OwoColorize;
use stepladder_api::text::format_duration;
use stepladder_api::{RunDetail, Step, StepKind, Time};
use stepladder_core::StepId;

use crate::cli::run::attempt_problem;
use crate::terminal::text::one_line;
use crate::terminal::{status, step_status};

/// The changes of a run that were already reported.
#[derive(Debug, Default)]
pub(crate) struct ReportedChanges {
    reported: HashSet<RunChange>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum RunChange {
    Start,
    Attempt(StepId, u32),
    Sleep(StepId),
    Step(StepId),
    Handler(usize),
    End,
}

impl ReportedChanges {
    /// Returns a line for each change that was not reported yet.
    pub(crate) fn new_lines(&mut self, run: &RunDetail) -> Vec<String> {
        let start = self.reported.insert(RunChange::Start).then(|| format!("{} {}", "run".dimmed(), run_tag(run)));
        let mut lines = Vec::new();
        for step in &run.steps {
            self.add_step(step, &mut lines);
        }
        for (i, failed) in run.handler_errors.iter().enumerate() {
            if self.reported.insert(RunChange::Handler(i)) {
                let error = one_line(&failed.error.headline(), 300);
                lines.push((failed.at, format!("  {} {}", "the handler failed:".yellow(), error.red())));
            }
        }
        // the sort is stable, so changes at the same time keep the order of their steps
        lines.sort_by_key(|(at, _)| *at);
        let mut lines: Vec<String> = start.into_iter().chain(lines.into_iter().map(|(_, line)| line)).collect();
        if let Some(end) = run.ended_at
            && self.reported.insert(RunChange::End)
        {
            let took = format_duration(end.0.since(run.created_at.0));
            lines.push(format!("{} {} {} in {took}", "run".dimmed(), run_tag(run), status(run.status)));
        }
        lines
    }

    fn add_step(&mut self, step: &Step, lines: &mut Vec<(Time, String)>) {
        let name = one_line(&step.id, 80);
        for attempt in &step.attempts {
            if let (Some(at), Some(problem)) = (attempt.ended_at, attempt_problem(attempt))
                && self.reported.insert(RunChange::Attempt(step.id.clone(), attempt.attempt))
            {
                lines.push((at, format!("  {name} {problem}")));
            }
        }
        if step.kind == StepKind::Sleep
            && step.ended_at.is_none()
            && self.reported.insert(RunChange::Sleep(step.id.clone()))
        {
            let until = step.due.map(|due| format!(" for {}", format_duration(due.0.since(step.started_at.0))));
            lines.push((step.started_at, format!("  {name} {}{}", "sleeps".cyan(), until.unwrap_or_default())));
        }
        if let Some(end) = step.ended_at
            && self.reported.insert(RunChange::Step(step.id.clone()))
        {
            let took = format_duration(end.0.since(step.started_at.0));
            lines.push((end, format!("  {name} {} {}", step_status(step.status), took.dimmed())));
        }
    }
}

fn run_tag(run: &RunDetail) -> String {
    format!("{} {}", run.run_id, one_line(&run.function_id, 80).bold())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rest: &str) -> RunDetail {
        serde_json::from_str(&format!(
            r#"{{"run_id":"01KAVZ9Y3M0000000000000001","function_id":"f","event_id":"01KAVZ9Y3M0000000000000002",
                "created_at":"2026-01-01T00:00:00Z","run_started_at":"2026-01-01T00:00:00Z","origin":"Event",
                "event":{{"id":"01KAVZ9Y3M0000000000000002","name":"e","data":{{}},"ts":0,
                "received_at":"2026-01-01T00:00:00Z"}},{rest}}}"#
        ))
        .unwrap()
    }

    fn without_styles(lines: &[String]) -> Vec<String> {
        lines.iter().map(|line| console::strip_ansi_codes(line).into_owned()).collect()
    }

    #[test]
    fn each_change_is_reported_once_and_in_order() {
        let mut changes = ReportedChanges::default();
        let failed = r#"{"attempt":1,"started_at":"2026-01-01T00:00:00Z","ended_at":"2026-01-01T00:00:01Z",
            "error":{"message":"no"},"interrupted":false}"#;
        let retrying = run(&format!(
            r#""status":"Running","steps":[{{"id":"s","kind":"run","status":"Retrying",
                "started_at":"2026-01-01T00:00:00Z","attempts":[{failed}]}}]"#
        ));
        assert_eq!(
            without_styles(&changes.new_lines(&retrying)),
            ["run 01KAVZ9Y3M0000000000000001 f", "  s attempt 1 failed after 1.0 s: no"]
        );
        assert!(changes.new_lines(&retrying).is_empty());
        let done = run(&format!(
            r#""status":"Completed","ended_at":"2026-01-01T00:00:03Z","steps":[{{"id":"s","kind":"run",
                "status":"Completed","started_at":"2026-01-01T00:00:00Z","ended_at":"2026-01-01T00:00:02Z",
                "attempts":[{failed}]}}]"#
        ));
        assert_eq!(
            without_styles(&changes.new_lines(&done)),
            ["  s Completed 2.0 s", "run 01KAVZ9Y3M0000000000000001 f Completed in 3.0 s"]
        );
        assert!(changes.new_lines(&done).is_empty());
    }

    #[test]
    fn outcomes_that_are_older_than_the_run_come_after_its_start() {
        let carried = run(r#""status":"Running","steps":[{"id":"s","kind":"run","status":"Completed",
                "started_at":"2025-12-31T23:59:59Z","ended_at":"2025-12-31T23:59:59Z"}]"#);
        assert_eq!(
            without_styles(&ReportedChanges::default().new_lines(&carried)),
            ["run 01KAVZ9Y3M0000000000000001 f", "  s Completed 0 ms"]
        );
    }

    #[test]
    fn a_sleep_is_reported_when_it_starts() {
        let mut changes = ReportedChanges::default();
        let asleep = run(r#""status":"Running","steps":[{"id":"nap","kind":"sleep","status":"Sleeping",
                "started_at":"2026-01-01T00:00:00Z","due":"2026-01-01T00:02:00Z"}]"#);
        assert_eq!(without_styles(&changes.new_lines(&asleep))[1], "  nap sleeps for 2 m");
        assert!(changes.new_lines(&asleep).is_empty());
    }
}
