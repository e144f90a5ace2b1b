//! Draws a run as a waterfall: one row per step, on a common time axis. The journal contains
//! everything that is drawn.
//!
//! The shape of a mark shows its meaning, not only its colour. A block is an executing attempt, and
//! a block with a cross a failed one. A thin bar is a step that is queued. A line is a step that
//! waits for its next attempt. A dashed bar is a step that sleeps or waits.

use std::time::Duration;

use stepladder_core::Timestamp;
use stepladder_engine::view::{AttemptView, StepStatus, StepView};

use super::scale::{CompressedSpan, TimeScale, format_percent};
use super::text::format_duration;

/// The minimum width of a mark in percent, so that even a millisecond is visible.
const NARROWEST: f64 = 0.35;

/// A mark in a row of the waterfall.
pub(super) struct WaterfallMark {
    /// The CSS class of the mark, which determines its shape and colour.
    pub(super) class: &'static str,
    pub(super) x: String,
    pub(super) width: String,
    /// The position at which the mark ends, for a symbol there.
    pub(super) end: String,
    pub(super) title: String,
}

/// The marks of a row, and a description of them in words.
pub(super) struct WaterfallLane {
    pub(super) marks: Vec<WaterfallMark>,
    pub(super) words: String,
}

/// A waterfall: the time axis that all rows share.
pub(super) struct Waterfall {
    scale: TimeScale,
    end: Timestamp,
}

impl Waterfall {
    /// Creates the axis of a run from `begin` to `end`. `invoked` contains the steps of called runs
    /// that are drawn too.
    pub(super) fn new(begin: Timestamp, end: Timestamp, steps: &[StepView], invoked: &[&StepView]) -> Self {
        let mut busy: Vec<_> = steps
            .iter()
            .chain(invoked.iter().copied())
            .flat_map(|step| &step.attempts)
            .map(|attempt| (attempt.started_at, attempt.ended_at.unwrap_or(end)))
            .collect();
        // time in a wait queue counts as busy, so that it is not compressed and stays visible
        busy.extend(steps.iter().filter_map(|step| Some((step.ready_at, step.attempts.first()?.started_at))));
        Self { scale: TimeScale::new(begin, end, busy), end }
    }

    /// Returns the compressed spans of the time axis.
    pub(super) fn compressed(&self) -> Vec<CompressedSpan> {
        self.scale.compressed()
    }

    /// Draws a step of this run, with its last `attempts` attempts.
    pub(super) fn lane(&self, step: &StepView, attempts: usize) -> WaterfallLane {
        self.draw(step, Some(step.ready_at), attempts)
    }

    /// Draws a step of a called run.
    pub(super) fn lane_of_child(&self, step: &StepView) -> WaterfallLane {
        self.draw(step, None, 3)
    }

    fn draw(&self, step: &StepView, ready: Option<Timestamp>, attempts: usize) -> WaterfallLane {
        let mut drawing = LaneDrawing { of: self, marks: Vec::new(), words: Vec::new() };
        drawing.draw(step, ready, attempts);
        WaterfallLane { marks: drawing.marks, words: drawing.words.join(", ") }
    }
}

/// Returns the last attempts of a step, at most `most`, because a poll may have thousands.
pub(super) fn latest(step: &StepView, most: usize) -> &[AttemptView] {
    &step.attempts[step.attempts.len().saturating_sub(most)..]
}

struct LaneDrawing<'a> {
    of: &'a Waterfall,
    marks: Vec<WaterfallMark>,
    words: Vec<String>,
}

impl LaneDrawing<'_> {
    fn draw(&mut self, step: &StepView, ready: Option<Timestamp>, attempts: usize) {
        let end = self.of.end;
        if let (Some(ready), Some(first)) = (ready, step.attempts.first())
            && first.started_at > ready
        {
            self.add_mark("queued", ready, first.started_at, |took| format!("queued for {took}"));
        }
        let mut free_at = None;
        for attempt in latest(step, attempts) {
            if let Some(free_at) = free_at {
                self.add_mark("retry", free_at, attempt.started_at, |took| format!("waited {took} for a retry"));
            }
            self.draw_attempt(attempt);
            free_at = attempt.ended_at;
        }
        match step.status {
            StepStatus::Scheduled => self.add_mark("queued", step.started_at, end, |took| format!("queued for {took}")),
            StepStatus::Running | StepStatus::Abandoned => {}
            StepStatus::Retrying => {
                let from = free_at.unwrap_or(step.started_at);
                self.add_mark("retry", from, end, |took| format!("waits for a retry, {took} so far"));
            }
            StepStatus::Sleeping => {
                self.add_mark("sleep", step.started_at, end, |took| format!("sleeps, {took} so far"))
            }
            StepStatus::Invoking => {
                self.add_mark("child", step.started_at, end, |took| format!("waits {took} for a run"))
            }
            StepStatus::Awaiting => self.add_mark("wait", step.started_at, end, |took| format!("waits, {took} so far")),
            StepStatus::Completed | StepStatus::Failed if step.attempts.is_empty() => self.draw_outcome(step),
            StepStatus::Completed | StepStatus::Failed => {}
        }
    }

    fn draw_attempt(&mut self, attempt: &AttemptView) {
        let AttemptView { attempt: n, started_at, ended_at, error, interrupted, dropped, usage: _ } = attempt;
        let (class, outcome) = match (error, interrupted, ended_at) {
            (Some(_), _, _) => ("failed", "failed after"),
            (None, true, _) => ("lost", "lost its worker after"),
            (None, false, _) if *dropped => ("carried", "was dropped after"),
            (None, false, Some(_)) => ("done", "took"),
            (None, false, None) => ("runs", "runs, so far"),
        };
        self.add_mark(class, *started_at, ended_at.unwrap_or(self.of.end), |took| {
            format!("attempt {n} {outcome} {took}")
        });
    }

    /// Draws a step that ended without an attempt in this run: a sleep, a wait or a called run.
    fn draw_outcome(&mut self, step: &StepView) {
        use stepladder_core::StepKind;
        let end = step.ended_at.unwrap_or(self.of.end);
        let (class, what) = match step.kind {
            StepKind::Sleep => ("sleep", "slept"),
            StepKind::Event | StepKind::Signal => ("wait", "waited"),
            StepKind::Invoke => ("child", "another run took"),
            StepKind::Send => ("done", "sent in"),
            StepKind::Run => ("carried", "kept from the other run, in"),
        };
        let class = if step.status == StepStatus::Failed { "failed" } else { class };
        self.add_mark(class, step.started_at, end, |took| format!("{what} {took}"));
    }

    fn add_mark(&mut self, class: &'static str, from: Timestamp, to: Timestamp, title: impl FnOnce(String) -> String) {
        let title = title(format_duration(Duration::from_millis(
            u64::try_from(to.as_millis().saturating_sub(from.as_millis())).unwrap_or(0),
        )));
        let x = self.of.scale.position_of(from);
        let width = (self.of.scale.position_of(to) - x).max(NARROWEST);
        let x = x.min(100.0 - width);
        self.words.push(title.clone());
        self.marks.push(WaterfallMark {
            class,
            x: format_percent(x),
            width: format_percent(width),
            end: format_percent(x + width),
            title,
        });
    }
}
