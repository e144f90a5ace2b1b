//! The runs that a run is related to: the run that called it or that it reruns, and its reruns.

use stepladder_core::journal::RunOrigin;
use stepladder_core::{RunId, Status};
use stepladder_engine::Engine;
use stepladder_engine::view::RunDetail;

/// The maximum number of runs of the same event that are read to find reruns.
const RUNS_READ: usize = 10;

/// A related run.
pub(super) struct RelatedRun {
    pub(super) how: &'static str,
    pub(super) run: RunId,
    /// The status of the run; `None` if the run cannot be read.
    pub(super) status: Option<Status>,
    /// The path of the comparison with this run, if there is one.
    pub(super) compare: Option<String>,
}

/// Returns the runs that this run comes from, and its reruns. A rerun has the event of the original
/// run, so only the latest runs of this event are read.
pub(super) async fn related_runs(engine: &Engine, run: &RunDetail) -> Vec<RelatedRun> {
    let id = run.summary.run;
    let mut related = Vec::new();
    let origin = match run.origin {
        RunOrigin::Event | RunOrigin::Cron => None,
        RunOrigin::Invoke { parent, .. } => Some(("Invoked by", parent, false)),
        RunOrigin::Failure { of } => Some(("Handles the failure of", of, false)),
        RunOrigin::Rerun { of } => Some(("A rerun of", of, true)),
    };
    if let Some((how, of, is_same)) = origin {
        let status = engine.query().run(of).await.ok().map(|run| run.summary.status);
        let compare = is_same.then(|| compare_link(id, of));
        related.push(RelatedRun { how, run: of, status, compare });
    }
    let Ok(event) = engine.query().event_with_runs(&run.summary.event.to_string()).await else { return related };
    let others = event.runs.iter().rev().filter(|row| row.run != id && row.function == run.summary.function);
    for row in others.take(RUNS_READ) {
        let Ok(other) = engine.query().run(row.run).await else { continue };
        if matches!(other.origin, RunOrigin::Rerun { of } if of == id) {
            let compare = Some(compare_link(row.run, id));
            related.push(RelatedRun { how: "Rerun as", run: row.run, status: Some(other.summary.status), compare });
        }
    }
    related
}

/// Returns the path of the comparison of a rerun with the original run.
fn compare_link(rerun: RunId, original: RunId) -> String {
    format!("/runs/{rerun}/compare?with={original}")
}
