//! What the templates show, as text. No HTML: escaping is theirs.

use std::time::Duration;

use serde_json::value::RawValue;
use stepladder_core::journal::{Failure, Origin};
use stepladder_core::{RunId, Spec, Status, Timestamp};
use stepladder_engine::view::{AttemptView, RunDetail, RunSummary, StepView};

use crate::wire::kind;

/// Bytes of JSON that a page shows of one value; REST has the rest.
const SHOWN_BYTES: usize = 64 * 1024;

/// A function in the list.
pub(super) struct FunctionRow {
    pub(super) id: String,
    pub(super) triggers: Vec<String>,
    pub(super) retries: u32,
    pub(super) timeout: String,
    pub(super) limits: Vec<String>,
    pub(super) on_failure: Option<String>,
}

impl FunctionRow {
    pub(super) fn of(spec: &Spec) -> Self {
        let triggers = spec.triggers.iter().map(|trigger| match &trigger.condition {
            None => trigger.event.to_string(),
            Some(condition) => format!("{} if {}", trigger.event, condition.source()),
        });
        let ticks = spec.schedule.lines.iter().map(|line| format!("cron {line}"));
        let limits = spec.concurrency.iter().map(|limit| match &limit.key {
            None => format!("{} at a time", limit.limit),
            Some(key) => format!("{} at a time for each {}", limit.limit, key.source()),
        });
        Self {
            id: spec.id.to_string(),
            triggers: triggers.chain(ticks).collect(),
            retries: spec.retry.retries,
            timeout: duration(spec.timeout),
            limits: limits.collect(),
            on_failure: spec.on_failure.as_deref().map(str::to_owned),
        }
    }
}

/// A run in the list.
pub(super) struct RunRow {
    pub(super) id: RunId,
    pub(super) function: String,
    pub(super) status: Status,
    pub(super) created: String,
    pub(super) took: String,
    pub(super) error: Option<String>,
}

impl RunRow {
    pub(super) fn of(run: &RunSummary, now: Timestamp) -> Self {
        Self {
            id: run.run,
            function: run.function.to_string(),
            status: run.status,
            created: time(run.created_at),
            took: duration(run.ended_at.unwrap_or(now).since(run.created_at)),
            error: run.error.as_ref().map(sentence),
        }
    }
}

/// A run on its page.
pub(super) struct RunView {
    pub(super) row: RunRow,
    pub(super) live: bool,
    pub(super) origin: Option<(&'static str, RunId)>,
    pub(super) ended: Option<String>,
    pub(super) waiting: Option<String>,
    pub(super) event_id: String,
    pub(super) event_name: String,
    pub(super) event_data: Shown,
    pub(super) output: Option<Shown>,
    pub(super) handler_errors: Vec<(String, String)>,
    pub(super) steps: Vec<StepRow>,
}

impl RunView {
    pub(super) fn of(run: &RunDetail, now: Timestamp) -> Self {
        let summary = &run.summary;
        Self {
            row: RunRow::of(summary, now),
            live: summary.ended_at.is_none(),
            origin: match &run.origin {
                Origin::Event | Origin::Cron => None,
                Origin::Invoke { parent, .. } => Some(("invoked by", *parent)),
                Origin::Failure { of } => Some(("handles the failure of", *of)),
                Origin::Rerun { of } => Some(("a rerun of", *of)),
            },
            ended: summary.ended_at.map(time),
            waiting: run.waiting.clone(),
            event_id: run.event.id.to_string(),
            event_name: run.event.name.to_string(),
            event_data: Shown::of(&run.event.data),
            output: summary.output.as_deref().map(Shown::of),
            handler_errors: run.handler_errors.iter().map(|(at, error)| (time(*at), sentence(error))).collect(),
            steps: run.steps.iter().map(|step| StepRow::of(step, now)).collect(),
        }
    }
}

/// A step on its run's page.
pub(super) struct StepRow {
    pub(super) id: String,
    pub(super) kind: &'static str,
    pub(super) status: &'static str,
    pub(super) took: String,
    pub(super) due: Option<String>,
    pub(super) child: Option<RunId>,
    pub(super) awaits: Option<String>,
    pub(super) error: Option<String>,
    pub(super) output: Option<Shown>,
    pub(super) attempts: Vec<AttemptRow>,
}

impl StepRow {
    fn of(step: &StepView, now: Timestamp) -> Self {
        Self {
            id: step.id.to_string(),
            kind: kind(step.kind),
            status: step.status.as_str(),
            took: duration(step.ended_at.unwrap_or(now).since(step.started_at)),
            due: step.due.map(time),
            child: step.child,
            awaits: step.awaits.clone(),
            error: step.error.as_ref().map(sentence),
            output: step.output.as_deref().map(Shown::of),
            attempts: step.attempts.iter().map(|attempt| AttemptRow::of(attempt, now)).collect(),
        }
    }
}

/// An attempt under its step.
pub(super) struct AttemptRow {
    pub(super) number: u32,
    pub(super) started: String,
    pub(super) took: String,
    pub(super) outcome: String,
}

impl AttemptRow {
    fn of(attempt: &AttemptView, now: Timestamp) -> Self {
        let outcome = match (&attempt.error, attempt.interrupted, attempt.ended_at) {
            (Some(error), _, _) => sentence(error),
            (None, true, _) => "interrupted: its worker was lost".into(),
            (None, false, Some(_)) => "done".into(),
            (None, false, None) => "runs".into(),
        };
        Self {
            number: attempt.attempt,
            started: time(attempt.started_at),
            took: duration(attempt.ended_at.unwrap_or(now).since(attempt.started_at)),
            outcome,
        }
    }
}

/// A JSON value, indented, perhaps cut.
pub(super) struct Shown {
    pub(super) text: String,
    pub(super) cut: bool,
}

impl Shown {
    fn of(json: &RawValue) -> Self {
        let json = json.get();
        let mut text = if json.len() > SHOWN_BYTES { json.to_owned() } else { indented(json) };
        let cut = text.len() > SHOWN_BYTES;
        if cut {
            text.truncate(text.floor_char_boundary(SHOWN_BYTES));
        }
        Self { text, cut }
    }
}

/// The same JSON with line breaks, its fields in their order; as it is when it cannot be read.
fn indented(json: &str) -> String {
    let mut out = Vec::with_capacity(json.len() * 2);
    let mut from = serde_json::Deserializer::from_str(json);
    let mut to = serde_json::Serializer::pretty(&mut out);
    match serde_transcode::transcode(&mut from, &mut to) {
        Ok(()) => String::from_utf8(out).unwrap_or_else(|_| json.to_owned()),
        Err(_) => json.to_owned(),
    }
}

fn sentence(failure: &Failure) -> String {
    match &failure.code {
        None => failure.message.clone(),
        Some(code) => format!("{} ({code})", failure.message),
    }
}

/// `2026-11-24 21:47:32`, in UTC.
fn time(at: Timestamp) -> String {
    let text = at.to_string();
    match text.get(..19) {
        Some(seconds) => seconds.replace('T', " "),
        None => text,
    }
}

fn duration(d: Duration) -> String {
    let seconds = d.as_secs();
    match seconds {
        0 => format!("{} ms", d.as_millis()),
        1..60 => format!("{:.1} s", d.as_secs_f64()),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short_and_have_a_unit() {
        let shown = |ms| duration(Duration::from_millis(ms));
        assert_eq!(
            [shown(0), shown(999), shown(1_500), shown(61_000), shown(7_260_000), shown(90_000_000)],
            ["0 ms", "999 ms", "1.5 s", "1 min 1 s", "2 h 1 min", "1 d 1 h"]
        );
    }

    #[test]
    fn json_is_indented_in_its_own_order_and_cut_between_characters() {
        let json = RawValue::from_string(r#"{"b":1.0,"a":[2]}"#.into()).unwrap();
        assert_eq!(Shown::of(&json).text, "{\n  \"b\": 1.0,\n  \"a\": [\n    2\n  ]\n}");
        let json = RawValue::from_string(format!("\"{}\"", "é".repeat(SHOWN_BYTES))).unwrap();
        let shown = Shown::of(&json);
        assert!(shown.cut && shown.text.len() <= SHOWN_BYTES && shown.text.ends_with('é'));
    }
}
