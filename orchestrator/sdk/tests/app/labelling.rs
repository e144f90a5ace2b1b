//! Labels that a function adds with `ctx.label`.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use stepladder_sdk::ErrorCode;
use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::TestRunDetail;
use stepladder_sdk::testing::{Fact, Pace, Status, TestApp, TestRun};

use crate::running::{OrderEvent, order_event};

/// Returns the labels in each `LabelsAdded` entry of a run.
fn added(run: &TestRun) -> Vec<String> {
    let of = |fact: &Fact| match fact {
        Fact::LabelsAdded { labels } => Some(labels.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")),
        _ => None,
    };
    run.journal().iter().filter_map(|entry| of(&entry.fact)).collect()
}

async fn labelling_handler(ctx: Context, event: Event<OrderEvent>) -> Result<()> {
    ctx.label("source", "web")?;
    let plan = ctx.step("find plan", async || Ok("pro".to_owned())).await?;
    ctx.label("plan", plan)?;
    ctx.label("client", &event.data.client_id)?;
    ctx.sleep("night", Duration::from_secs(86_400)).await?;
    ctx.label("rows", 7)?;
    Ok(())
}

#[tokio::test]
async fn each_label_is_recorded_once_and_found() {
    for pace in [Pace::StepPerInvocation, Pace::WithinBudget] {
        let function = Function::new("f", labelling_handler).label("client", "event.data.clientId");
        let run = TestApp::new().function(function).pace(pace).send(&order_event()).await.remove(0);
        assert_eq!(added(&run), ["source=web", "plan=pro", "rows=7"], "{pace:?}");
        let labels: Vec<_> = run.detail().summary.labels.iter().map(ToString::to_string).collect();
        assert_eq!(labels, ["client=acme", "source=web", "plan=pro", "rows=7"]);
    }
}

#[tokio::test]
async fn a_label_that_cannot_be_is_a_clear_error() {
    async fn handler_with_bad_labels(ctx: Context, _: Event<OrderEvent>) -> Result<Vec<String>> {
        let mut said = Vec::new();
        let mut note = |result: Result<()>| {
            let error = result.expect_err("refused");
            assert!(error.has_code(ErrorCode::BadLabel));
            said.push(error.to_string());
        };
        note(ctx.label("a b", "x"));
        note(ctx.label("a", ""));
        note(ctx.label("a", "x".repeat(257)));
        ctx.label("a", "x").expect("a label");
        note(ctx.label("a", "y"));
        note(ctx.step("body", async || ctx.label("b", "x")).await);
        for n in 1..8 {
            ctx.label(format!("k{n}"), n).expect("a label");
        }
        note(ctx.label("k8", 8));
        Ok(said)
    }
    let run = TestApp::new().function(Function::new("f", handler_with_bad_labels)).send(&order_event()).await.remove(0);
    assert_eq!(run.status(), Status::Completed, "{:?}", run.error());
    let said: Vec<String> = run.output();
    let says = [
        "the key of label `a b` contains ` `",
        "the value of label `a` is empty",
        "the value of label `a` has 257 bytes; use at most 256",
        "the label `a` is `x` and cannot become `y`",
        "the label `b` was added by the body of a step",
        "the label `k8` is one too many; a run has at most 8 labels",
    ];
    for (said, says) in said.iter().zip(says) {
        assert!(said.contains(says), "{said}");
    }
    assert_eq!(said.len(), says.len());
}

#[tokio::test]
async fn a_label_that_differs_in_a_replay_fails_the_run() {
    static REPLAYS: AtomicU32 = AtomicU32::new(0);
    async fn handler_with_a_changing_label(ctx: Context, _: Event<OrderEvent>) -> Result<()> {
        ctx.label("try", REPLAYS.fetch_add(1, Ordering::Relaxed))?;
        ctx.sleep("night", Duration::from_secs(86_400)).await
    }
    let mut app = TestApp::new().function(Function::new("f", handler_with_a_changing_label));
    let run = app.send(&order_event()).await.remove(0);
    assert_eq!(run.status(), Status::Failed);
    let error = run.error().expect("an error").message.to_string();
    assert!(error.contains("the label `try` is `0` and cannot become `1`; use a value that is the same"), "{error}");
}
