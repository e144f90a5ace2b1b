//! The builders of steps, which exist only in a run.

use super::*;

/// Calls each method of a step twice. Returns the methods and the errors of the runs.
pub(super) async fn step_refusals() -> Vec<(&'static str, String)> {
    async fn step_body() -> Result<u8> {
        Ok(1)
    }
    async fn undo_body(_: u8) -> Result<()> {
        Ok(())
    }
    macro_rules! awaited {
        (|$ctx:ident| $made:expr) => {
            failure_message(|$ctx, _| async move { $made.await.map(drop) }).await
        };
    }
    vec![
        ("Step::retries", awaited!(|c| c.step("s", step_body).retries(1).retries(2))),
        ("Step::timeout", awaited!(|c| c.step("s", step_body).timeout(S).timeout(S))),
        ("Step::backoff", awaited!(|c| c.step("s", step_body).backoff(backoff()).backoff(backoff()))),
        ("Step::undo", awaited!(|c| c.step("s", step_body).undo(undo_body).undo(undo_body))),
        ("Step::at_most_once", awaited!(|c| c.step("s", step_body).at_most_once().at_most_once())),
        ("Map::at_most_once", awaited!(|c| c.map("s", [1], |_| step_body()).at_most_once().at_most_once())),
        ("ItemMap::limit", awaited!(|c| c.map("s", [1], |_| step_body()).limit(1).limit(2))),
        ("Map::retries", awaited!(|c| c.map("s", [1], |_| step_body()).retries(1).retries(2))),
        ("Map::timeout", awaited!(|c| c.map("s", [1], |_| step_body()).timeout(S).timeout(S))),
        ("Map::backoff", awaited!(|c| c.map("s", [1], |_| step_body()).backoff(backoff()).backoff(backoff()))),
        ("Map::undo", awaited!(|c| c.map("s", [1], |_| step_body()).undo(undo_body).undo(undo_body))),
        ("Invoke::timeout", awaited!(|c| c.invoke::<u8>("s", "f", &json!({})).timeout(S).timeout(S))),
        ("Invoke::undo", awaited!(|c| c.invoke::<u8>("s", "f", &json!({})).undo(undo_body).undo(undo_body))),
        ("ItemMap::limit", awaited!(|c| c.map_runs::<u8, _>("s", "f", [json!({})]).limit(1).limit(2))),
        ("MapRuns::undo", awaited!(|c| c.map_runs::<u8, _>("s", "f", [json!({})]).undo(undo_body).undo(undo_body))),
        ("ItemMap::limit", awaited!(|c| c.map_steps("s", [1], |_, _| step_body()).limit(1).limit(2))),
        ("ItemMap::named", awaited!(|c| c.map_steps("s", [1], |_, _| step_body()).named(|n| *n).named(|n| *n))),
        ("ItemMap::min_successful", {
            awaited!(|c| c.map_steps("s", [1], |_, _| step_body()).min_successful(1).min_successful(1))
        }),
        ("ItemMap::tolerated_failures", {
            awaited!(|c| c.map_steps("s", [1], |_, _| step_body()).tolerated_failures(1).tolerated_failures(1))
        }),
        ("ItemMap::tolerated_failure_percentage", {
            awaited!(|c| {
                c.map("s", [1], |_| step_body()).tolerated_failure_percentage(1.0).tolerated_failure_percentage(2.0)
            })
        }),
        ("PollUntil::every", awaited!(|c| c.poll_until("s", async || Ok(Some(1))).every(60 * S).every(60 * S))),
        ("PollUntil::timeout", awaited!(|c| c.poll_until("s", async || Ok(Some(1))).timeout(S).timeout(S))),
        ("PollUntil::check_timeout", {
            awaited!(|c| c.poll_until("s", async || Ok(Some(1))).check_timeout(S).check_timeout(S))
        }),
        ("PollUntil::retries", awaited!(|c| c.poll_until("s", async || Ok(Some(1))).retries(1).retries(1))),
        ("WaitForEvent::timeout", awaited!(|c| c.wait_for_event::<StoppedEvent>("s").timeout(S).timeout(S))),
        ("WaitForSignal::heartbeat", awaited!(|c| c.wait_for_signal::<Json>("s").heartbeat(10 * S).heartbeat(10 * S))),
        ("WaitForSignal::timeout", awaited!(|c| c.wait_for_signal::<Json>("s").timeout(S).timeout(S))),
    ]
}
