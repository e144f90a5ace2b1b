//! Makes responses fit the size limit of a service in front of the server, such as Lambda. The
//! largest values of a run are replaced with links to them. Long lists are shortened and say where
//! they continue.

use std::io::{self, Write};

use serde::Serialize;
use stepladder_api::{DataResponse, Failure, OmittedValue, Run, RunDetail, ValueLink};
use stepladder_core::sentence::truncated;
use stepladder_core::{Json, RunId, json};

use crate::error::HttpProblem;

/// Values up to this size are never replaced, because a link would hardly be smaller.
const KEPT_BYTES: usize = 512;
/// The maximum size of an error message in bytes, if replacing values is not enough.
const MESSAGE_BYTES: usize = 2 * 1024;

/// Returns the size of a value as JSON, in bytes.
fn json_len(value: &impl Serialize) -> usize {
    struct ByteCounter(usize);
    impl Write for ByteCounter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = ByteCounter(0);
    // an error is ignored here, because serializing the same value into the response reports it
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

/// Makes a run fit into `limit` bytes.
///
/// # Errors
/// 413 if the run has so many steps that it is too large even without any values.
pub(super) fn fit_run(answer: &mut DataResponse<RunDetail>, limit: usize) -> Result<(), HttpProblem> {
    let total = json_len(answer);
    if total <= limit {
        return Ok(());
    }
    let run = &mut answer.data;
    let (id, event) = (run.run_id, run.event_id);
    let mut values = vec![(&mut run.event.data, value_href(id, "event"))];
    values.extend(run.event.user.as_mut().map(|user| (user, format!("/v1/events/{event}"))));
    values.extend(run.output.as_mut().map(|output| (output, value_href(id, "output"))));
    let steps = run.steps.iter_mut().enumerate();
    values.extend(steps.filter_map(|(n, step)| Some((step.output.as_mut()?, value_href(id, &format!("step&n={n}"))))));
    leave_out(values, total, limit);
    if json_len(answer) <= limit {
        return Ok(());
    }
    let run = &mut answer.data;
    for step in &mut run.steps {
        step.error.iter_mut().for_each(shorten_error);
        step.attempts.iter_mut().filter_map(|attempt| attempt.error.as_mut()).for_each(shorten_error);
    }
    run.handler_errors.iter_mut().for_each(|failed| shorten_error(&mut failed.error));
    run.error.iter_mut().for_each(shorten_error);
    match json_len(answer) {
        total if total <= limit => Ok(()),
        total => Err(HttpProblem::new(
            axum::http::StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "the run takes {total} bytes, and at most {limit} pass here; read /v1/runs/{id}/journal, page by page"
            ),
        )),
    }
}

/// Makes the runs of an event fit into `limit` bytes. (They are not divided into pages.)
pub(super) fn fit_runs(answer: &mut DataResponse<Vec<Run>>, limit: usize) {
    let total = json_len(answer);
    let values =
        answer.data.iter_mut().filter_map(|run| Some((value_href(run.run_id, "output"), run.output.as_mut()?)));
    leave_out(values.map(|(href, output)| (output, href)).collect(), total, limit);
}

/// Returns how many items of a list fit into `limit` bytes, but at least one.
pub(super) fn count_fitting<T: Serialize>(items: &[T], limit: usize) -> usize {
    let mut room = limit;
    let fitting = items.iter().enumerate().take_while(|(n, item)| {
        // each item is followed by a comma
        let bytes = json_len(item) + 1;
        let fits = *n == 0 || bytes <= room;
        room = room.saturating_sub(bytes);
        fits
    });
    fitting.count()
}

/// Replaces values with links, the largest first, until `total` is at most `limit` or only small
/// values are left.
fn leave_out(mut values: Vec<(&mut Json, String)>, mut total: usize, limit: usize) {
    values.sort_by_key(|(value, _)| std::cmp::Reverse(value.get().len()));
    for (value, href) in values {
        let bytes = value.get().len();
        if total <= limit || bytes <= KEPT_BYTES {
            return;
        }
        let Ok(link) = json::to_json(&OmittedValue { stepladder_left_out: ValueLink { bytes, href } }) else { return };
        total = total.saturating_sub(bytes - link.get().len());
        *value = link;
    }
}

/// Truncates the message and the stack of an error, and removes data that is not small.
fn shorten_error(error: &mut Failure) {
    error.data = error.data.take().filter(|data| data.get().len() <= KEPT_BYTES);
    if let Some(stack) = error.stack.take() {
        error.stack = Some(truncated(&stack, KEPT_BYTES).into());
    }
    let bytes = error.message.len();
    if bytes > MESSAGE_BYTES {
        error.message.truncate(error.message.floor_char_boundary(MESSAGE_BYTES));
        error.message.push_str(&format!("… [cut, {bytes} bytes]"));
    }
}

/// Returns the path under which a value of a run can be read.
fn value_href(run: RunId, value: &str) -> String {
    format!("/runs/{run}/value?of={value}")
}
