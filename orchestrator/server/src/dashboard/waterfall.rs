//! Draws a run as a waterfall: one row per step, on a common time axis. The journal contains
//! everything that is drawn.
//!
//! The shape of a mark shows its meaning, not only its colour. A block is an executing attempt, and
//! a block with a cross a failed one. A thin bar is a step that is queued. A line is a step that
//! waits for its next attempt. A dashed bar is a step that sleeps or waits.

use std::time::Duration;

use stepladder_core::Timestamp;
use stepladder_engine::view::{AttemptView, StepStatus, StepView};

use super::scale::{ScaleKind, TimeScale, format_percent, millis, round_up};
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
    pub(super) scale: TimeScale,
    /// The end of the run, or now.
    end: Timestamp,
}

/// The time that a waterfall shows.
pub(super) struct WaterfallTime {
    pub(super) kind: ScaleKind,
    pub(super) begin: Timestamp,
    /// The end of the run, or now.
    pub(super) end: Timestamp,
    /// Whether the run is live. The axis of a live run extends beyond now, so that it changes
    /// seldom.
    pub(super) is_live: bool,
    /// The part that is shown, in milliseconds since the start of the run.
    pub(super) zoom: Option<(i64, i64)>,
}

impl WaterfallTime {
    /// Returns the length of the whole axis in milliseconds.
    pub(super) fn length(&self) -> i64 {
        let length = (millis(self.end) - millis(self.begin)).max(1);
        if self.is_live { round_up(length) } else { length }
    }

    /// Returns the begin and the end of the axis.
    fn shown(&self) -> (Timestamp, Timestamp) {
        let (from, to) = self.zoom.unwrap_or((0, self.length()));
        let at = |ms: i64| Timestamp::from_millis(millis(self.begin).saturating_add(ms));
        (at(from), at(to))
    }
}

impl Waterfall {
    /// Creates the axis of a run. `invoked` contains the steps of called runs that are drawn too.
    pub(super) fn new(time: &WaterfallTime, steps: &[StepView], invoked: &[&StepView]) -> Self {
        let end = time.end;
        let mut busy: Vec<_> = steps
            .iter()
            .chain(invoked.iter().copied())
            .flat_map(|step| &step.attempts)
            .map(|attempt| (attempt.started_at, attempt.ended_at.unwrap_or(end)))
            .collect();
        // time in a wait queue counts as busy, so that it is not cut and stays visible
        busy.extend(steps.iter().filter_map(|step| Some((step.ready_at, step.attempts.first()?.started_at))));
        Self { scale: TimeScale::new(time.kind, time.begin, time.shown(), &busy), end }
    }

    /// Returns whether a step did something in the time that is shown.
    pub(super) fn shows(&self, step: &StepView) -> bool {
        self.scale.contains(step.ready_at.min(step.started_at), step.ended_at.unwrap_or(self.end))
    }

    /// Draws a step of this run, with its last `attempts` attempts.
    pub(super) fn lane(&self, step: &StepView, attempts: usize) -> WaterfallLane {
        self.draw(step, Some(step.ready_at), attempts)
    }

    /// Draws a step of a called run.
    pub(super) fn lane_of_child(&self, step: &StepView) -> WaterfallLane {
        self.draw(step, None, 3)
    }

    /// Draws many steps in one lane: when at least one of them was executing, and when one failed.
    pub(super) fn lane_of_group(&self, steps: &[&StepView]) -> WaterfallLane {
        let mut busy = BusyTime::new(GROUP_BUCKETS);
        for attempt in steps.iter().flat_map(|step| &step.attempts) {
            let [from, to] = [attempt.started_at, attempt.ended_at.unwrap_or(self.end)];
            if self.scale.contains(from, to) {
                let is_failed = attempt.error.is_some();
                busy.add(self.scale.position_of(from) / 100.0, self.scale.position_of(to) / 100.0, is_failed);
            }
        }
        let share = 100.0 / GROUP_BUCKETS as f64;
        let marks = busy.spans().into_iter().map(|(from, to, is_failed)| WaterfallMark {
            class: if is_failed { "failed" } else { "done" },
            x: format_percent(from as f64 * share),
            width: format_percent((to - from) as f64 * share),
            end: format_percent(to as f64 * share),
            title: if is_failed { "at least one failed" } else { "at least one executed" }.into(),
        });
        let from = steps.iter().map(|step| step.started_at).min().unwrap_or(self.end);
        let to = steps.iter().map(|step| step.ended_at.unwrap_or(self.end)).max().unwrap_or(self.end);
        let words = format!("{} steps in {}", steps.len(), format_duration(to.since(from)));
        WaterfallLane { marks: marks.collect(), words }
    }

    fn draw(&self, step: &StepView, ready: Option<Timestamp>, attempts: usize) -> WaterfallLane {
        let mut drawing = LaneDrawing { of: self, marks: Vec::new(), words: Vec::new() };
        drawing.draw(step, ready, attempts);
        WaterfallLane { marks: drawing.marks, words: drawing.words.join(", ") }
    }
}

/// The number of parts into which the lane of a group is divided.
const GROUP_BUCKETS: usize = 160;

/// How many attempts were executing in each part of a time, and in which parts one failed.
struct BusyTime {
    changes: Vec<i32>,
    failed: Vec<bool>,
}

impl BusyTime {
    fn new(parts: usize) -> Self {
        Self { changes: vec![0; parts + 1], failed: vec![false; parts] }
    }

    /// Adds an attempt, given its begin and its end as shares of the time.
    fn add(&mut self, from: f64, to: f64, is_failed: bool) {
        let most = self.failed.len() - 1;
        let part = |share: f64| ((share * self.failed.len() as f64) as usize).min(most);
        let (from, to) = (part(from), part(to).max(part(from)));
        self.changes[from] += 1;
        self.changes[to + 1] -= 1;
        self.failed[to] |= is_failed;
    }

    /// Returns the number of attempts in each part.
    fn counts(&self) -> Vec<i32> {
        let mut count = 0;
        self.changes[..self.failed.len()]
            .iter()
            .map(|change| {
                count += change;
                count
            })
            .collect()
    }

    /// Returns the spans of parts in which at least one attempt was executing, and those in which
    /// one failed.
    fn spans(&self) -> Vec<(usize, usize, bool)> {
        let counts = self.counts();
        let mut spans: Vec<(usize, usize, bool)> = Vec::new();
        for (i, _) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            match spans.last_mut() {
                Some((_, to, is_failed)) if *to == i && *is_failed == self.failed[i] => *to += 1,
                _ => spans.push((i, i + 1, self.failed[i])),
            }
        }
        spans
    }
}

/// A small picture of a whole run: how many attempts were executing, and where one failed.
pub(super) struct RunOverview {
    /// The outline as the path of an SVG with 200 × 24 units.
    pub(super) outline: String,
    /// The failures as a path.
    pub(super) failures: String,
    /// The length of the run in milliseconds.
    pub(super) length: i64,
    /// The position and the width of the part that is shown, in units.
    pub(super) window: Option<(f64, f64)>,
}

const OVERVIEW_WIDTH: usize = 200;
const OVERVIEW_HEIGHT: f64 = 24.0;

impl RunOverview {
    pub(super) fn of(time: &WaterfallTime, steps: &[StepView]) -> Self {
        let (begin, length) = (millis(time.begin), time.length());
        let share = |at: Timestamp| ((millis(at) - begin) as f64 / length as f64).clamp(0.0, 1.0);
        let mut busy = BusyTime::new(OVERVIEW_WIDTH);
        for attempt in steps.iter().flat_map(|step| &step.attempts) {
            let to = attempt.ended_at.unwrap_or(time.end);
            busy.add(share(attempt.started_at), share(to), attempt.error.is_some());
        }
        let counts = busy.counts();
        let most = f64::from(counts.iter().copied().max().unwrap_or(0).max(1));
        let (mut outline, mut failures, mut last) = (format!("M0 {OVERVIEW_HEIGHT}"), String::new(), 0);
        for (x, (count, failed)) in counts.iter().zip(&busy.failed).enumerate() {
            if *count != last {
                let y = OVERVIEW_HEIGHT - f64::from(*count) / most * (OVERVIEW_HEIGHT - 6.0);
                outline.push_str(&format!("H{x}V{y:.1}"));
                last = *count;
            }
            if *failed {
                failures.push_str(&format!("M{x} 0h1v5h-1z"));
            }
        }
        outline.push_str(&format!("H{OVERVIEW_WIDTH}V{OVERVIEW_HEIGHT}z"));
        let unit = OVERVIEW_WIDTH as f64 / length as f64;
        let window = time.zoom.map(|(from, to)| (from as f64 * unit, ((to - from) as f64 * unit).max(1.0)));
        Self { outline, failures, length, window }
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
        let [from, end] = [step.started_at, end].map(|at| self.of.scale.not_before_start(at));
        self.add_mark(class, from, end, |took| format!("{what} {took}"));
    }

    fn add_mark(&mut self, class: &'static str, from: Timestamp, to: Timestamp, title: impl FnOnce(String) -> String) {
        if !self.of.scale.contains(from, to) {
            return;
        }
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
