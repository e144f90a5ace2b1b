//! Tests of flow control on the real engine, in memory, with a virtual clock.

mod collecting;
mod configs;
mod counting;
mod ending;
mod ids;
mod many;
mod pausing;
mod rates;
mod refused;
mod requests;
mod same;
mod standstill;

use std::time::Duration;

use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::TestEngine;
use stepladder_sdk::testing::{TestApp, TestRun};
use stepladder_sdk::{Timestamp, ToEvent};

#[derive(Serialize, Deserialize)]
pub(crate) struct JobEvent {
    pub(crate) client: String,
    pub(crate) n: u32,
}

impl EventData for JobEvent {
    const NAME: &'static str = "job/asked";
}

pub(crate) fn job_event(client: &str, n: u32) -> JobEvent {
    JobEvent { client: client.into(), n }
}

/// A handler with one step that returns the job's number.
pub(crate) async fn working_handler(ctx: Context, event: Event<JobEvent>) -> Result<u32> {
    ctx.step("work", async || Ok(event.data.n)).await
}

/// A handler like `works`, but with a second step an hour later.
pub(crate) async fn long_working_handler(ctx: Context, event: Event<JobEvent>) -> Result<u32> {
    ctx.step("work", async || Ok(())).await?;
    ctx.sleep("an hour", Duration::from_secs(3_600)).await?;
    ctx.step("end", async || Ok(event.data.n)).await
}

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// Sends many events in one request.
pub(crate) async fn send_all(app: &mut TestApp, jobs: impl IntoIterator<Item = JobEvent>) {
    let events = jobs.into_iter().map(|job| job.to_event().unwrap()).collect();
    app.engine().intake().ingest(events, None).await.unwrap();
}

/// Returns the time between `moment` and the start of a run's first step.
pub(crate) fn delays_of_starts(run: &TestRun, moment: Timestamp) -> Duration {
    use stepladder_sdk::testing::Fact;
    let first = run.journal().iter().find(|entry| matches!(entry.fact, Fact::StepStarted { .. }));
    first.unwrap_or_else(|| panic!("{} has not begun: {:?}", run.id(), run.status())).at.since(moment)
}

/// Returns the outputs of all runs that have an output.
pub(crate) fn outputs(runs: &[TestRun]) -> Vec<u32> {
    use stepladder_sdk::testing::Status;
    runs.iter().filter(|run| run.status() == Status::Completed).map(TestRun::output::<u32>).collect()
}

/// Returns all runs, in the order of the events that created them.
pub(crate) async fn all_runs(app: &mut TestApp) -> Vec<TestRun> {
    use stepladder_sdk::testing::Fact;
    let mut runs = app.runs().await;
    runs.sort_by_key(|run| match &run.journal()[0].fact {
        Fact::RunCreated(created) => (created.event.id, run.id()),
        other => panic!("{other:?}"),
    });
    runs
}

/// Returns the runs of one function.
pub(crate) async fn runs_of(app: &mut TestApp, function: &str) -> Vec<TestRun> {
    let mut runs = all_runs(app).await;
    runs.retain(|run| run.function() == function);
    runs
}
