//! Answers that must fit through a front with a limit, as Lambda's is: of a run, the largest values are replaced by where
//! each is to be had whole; lists end early and say where to go on.

use std::io::{self, Write};

use serde::Serialize;
use stepladder_core::journal::Failure;
use stepladder_core::{Json, RunId, json};
use stepladder_engine::view::{RunDetail, RunSummary};

use crate::error::Problem;
use crate::wire::{Data, FullRun, Run};

/// Values up to this size stay: what stands for them is not much smaller.
const STAYS_BYTES: usize = 512;
/// Bytes that are kept of an error's message where values alone make no room.
const MESSAGE_BYTES: usize = 2 * 1024;

/// What stands for a value that was left out.
#[derive(Serialize)]
struct LeftOut {
    stepladder_left_out: Link,
}

#[derive(Serialize)]
struct Link {
    bytes: usize,
    href: String,
}

/// Bytes of a value as JSON.
pub(crate) fn bytes(value: &impl Serialize) -> usize {
    struct Count(usize);
    impl Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // what is counted here is answered next, and a failure is told there
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

/// Makes a run fit.
///
/// # Errors
/// 413 for a run of so many steps that it is too large without any value.
pub(crate) fn run(run: &mut RunDetail, most: usize) -> Result<(), Problem> {
    let size = |run: &RunDetail| bytes(&Data { data: FullRun::of(run) });
    let id = run.summary.run;
    let total = size(run);
    if total <= most {
        return Ok(());
    }
    let event = run.event.id;
    let mut values = vec![(&mut run.event.data, value(id, "event"))];
    values.extend(run.event.user.as_mut().map(|user| (user, format!("/v1/events/{event}"))));
    values.extend(run.summary.output.as_mut().map(|output| (output, value(id, "output"))));
    let steps = run.steps.iter_mut().enumerate();
    values.extend(steps.filter_map(|(n, step)| Some((step.output.as_mut()?, value(id, &format!("step&n={n}"))))));
    leave_out(values, total, most);
    if size(run) <= most {
        return Ok(());
    }
    for step in &mut run.steps {
        step.error.iter_mut().for_each(shorten);
        step.attempts.iter_mut().filter_map(|attempt| attempt.error.as_mut()).for_each(shorten);
    }
    run.handler_errors.iter_mut().for_each(|(_, error)| shorten(error));
    run.summary.error.iter_mut().for_each(shorten);
    match size(run) {
        total if total <= most => Ok(()),
        total => Err(Problem::new(
            axum::http::StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "the run takes {total} bytes, and at most {most} pass here; read /v1/runs/{id}/journal, page by page"
            ),
        )),
    }
}

/// Makes runs in full fit, which are all of an event.
pub(crate) fn runs(runs: &mut [RunSummary], most: usize) {
    let total = bytes(&Data { data: runs.iter().map(Run::of).collect::<Vec<_>>() });
    let values = runs.iter_mut().filter_map(|run| Some((run.run, run.output.as_mut()?)));
    leave_out(values.map(|(run, output)| (output, value(run, "output"))).collect(), total, most);
}

/// How many items of a list fit: at least one.
pub(crate) fn how_many<T: Serialize>(items: impl IntoIterator<Item = T>, most: usize) -> usize {
    let mut room = most;
    let fitting = items.into_iter().enumerate().take_while(|(n, item)| {
        // with its comma
        let bytes = bytes(item) + 1;
        let fits = *n == 0 || bytes <= room;
        room = room.saturating_sub(bytes);
        fits
    });
    fitting.count()
}

/// Replaces the largest values, until all of it is small enough or only small ones are left.
fn leave_out(mut values: Vec<(&mut Json, String)>, mut total: usize, most: usize) {
    values.sort_by_key(|(value, _)| std::cmp::Reverse(value.get().len()));
    for (value, href) in values {
        let bytes = value.get().len();
        if total <= most || bytes <= STAYS_BYTES {
            return;
        }
        let Ok(link) = json::of(&LeftOut { stepladder_left_out: Link { bytes, href } }) else { return };
        total = total.saturating_sub(bytes - link.get().len());
        *value = link;
    }
}

fn shorten(error: &mut Failure) {
    let bytes = error.message.len();
    if bytes > MESSAGE_BYTES {
        error.message.truncate(error.message.floor_char_boundary(MESSAGE_BYTES));
        error.message.push_str(&format!("… [cut, {bytes} bytes]"));
    }
}

/// Where a value of a run is to be had whole.
fn value(run: RunId, of: &str) -> String {
    format!("/runs/{run}/value?of={of}")
}
