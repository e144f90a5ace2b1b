//! The live part of the terminal: a line with a spinner for each step that is in progress. Finished
//! steps are printed above these lines.

use std::collections::HashMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use owo_colors::OwoColorize;
use stepladder_api::text::format_duration;
use stepladder_api::{RunDetail, Step, StepStatus};
use stepladder_core::{RunId, StepId, Timestamp};

use crate::terminal::text::{now, one_line};

/// The maximum number of live lines, because more may not fit into a terminal.
const LINES: usize = 12;

/// The live lines at the bottom of the terminal.
#[derive(Debug)]
pub(super) struct ProgressBoard {
    lines: MultiProgress,
    moving: HashMap<(RunId, Option<StepId>), ProgressBar>,
}

impl ProgressBoard {
    pub(super) fn new() -> Self {
        Self { lines: MultiProgress::new(), moving: HashMap::new() }
    }

    /// Prints a line above the live lines.
    pub(super) fn print_above(&self, line: &str) {
        // a failure means that the terminal is gone; the runs continue
        let _ = self.lines.println(line);
    }

    /// Shows the steps of a run that are in progress.
    pub(super) fn show_run(&mut self, run: &RunDetail) {
        let now = now();
        let mut shown: Vec<(Option<StepId>, String)> = run
            .steps
            .iter()
            .filter(|step| step.ended_at.is_none())
            .map(|step| (Some(step.id.clone()), progress_text(step, now)))
            .collect();
        if shown.is_empty() && !run.status.is_end() {
            let waiting = run.waiting.as_deref().unwrap_or("under way");
            shown.push((None, one_line(waiting, 100)));
        }
        let lines = &self.lines;
        self.moving.retain(|(of, step), bar| {
            let stays = *of != run.run_id || shown.iter().any(|(id, _)| id == step);
            if !stays {
                bar.finish_and_clear();
                lines.remove(bar);
            }
            stays
        });
        for (step, message) in shown {
            let key = (run.run_id, step);
            if !self.moving.contains_key(&key) && self.moving.len() >= LINES {
                continue;
            }
            self.moving.entry(key).or_insert_with(|| add_spinner(lines)).set_message(message);
        }
    }
}

impl Drop for ProgressBoard {
    fn drop(&mut self) {
        self.moving.values().for_each(ProgressBar::finish_and_clear);
    }
}

fn add_spinner(lines: &MultiProgress) -> ProgressBar {
    let style = ProgressStyle::with_template("  {spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
    let bar = lines.add(ProgressBar::new_spinner().with_style(style));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn progress_text(step: &Step, now: Timestamp) -> String {
    let name = one_line(&step.id, 60).bold().to_string();
    let left = step.due.map(|due| format_duration(due.0.since(now))).unwrap_or_default();
    let since = step.attempts.last().map_or(step.started_at, |attempt| attempt.started_at);
    let elapsed = format_duration(now.since(since.0));
    match (step.status, step.attempts.len()) {
        (StepStatus::Retrying, n) => format!("{name} attempt {} in {left}", n + 1),
        (StepStatus::Sleeping, _) => format!("{name} sleeps, {left} left"),
        (StepStatus::Running, 1) => format!("{name} {}", elapsed.dimmed()),
        (StepStatus::Running, n) => format!("{name} attempt {n} {}", elapsed.dimmed()),
        (StepStatus::Invoking, _) => match step.child {
            Some(child) => format!("{name} waits for run {child}"),
            None => format!("{name} waits for another run"),
        },
        (
            status @ (StepStatus::Scheduled
            | StepStatus::Awaiting
            | StepStatus::Completed
            | StepStatus::Failed
            | StepStatus::Abandoned
            | StepStatus::Unknown),
            _,
        ) => format!("{name} {}", status.as_str().to_lowercase()),
    }
}
