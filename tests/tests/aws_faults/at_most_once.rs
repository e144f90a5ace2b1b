//! A step that starts at most once on DynamoDB and SQS: its body does not run twice, whatever is
//! lost and wherever the process dies.

use stepladder::prelude::*;
use stepladder_core::{ErrorCode, Status};
use stepladder_tests::aws_faults::AwsFault;

use crate::each_call::{run_with_death, run_with_fault};
use crate::functions::{ExecutionLog, GoEvent};
use crate::stage::{AwsStage, SdkRetryMode};

fn paying(account: &ExecutionLog) -> Function {
    let account = account.clone();
    Function::new("pays", move |ctx: Context, event: Event<GoEvent>| {
        let account = account.clone();
        async move {
            let n = event.data.n;
            ctx.step("cart", async || Ok(account.body(n, "cart").await)).await?;
            ctx.step("pay", async || Ok(account.body(n, "pay").await)).at_most_once().await?;
            ctx.step("ship", async || Ok(account.body(n, "ship").await)).await
        }
    })
}

/// Checks run number `n`: it has paid once, or says that it does not know. Returns whether it has
/// completed.
async fn has_paid(stage: &AwsStage, account: &ExecutionLog, n: u32, what: &str) -> bool {
    let runs = stage.observing_engine().query().runs_of_event(&format!("go-{n}")).await.expect("listed");
    assert_eq!(runs.len(), 1, "{what}");
    let paid = account.counts_of_run(n).get("pay").copied().unwrap_or(0);
    let code = runs[0].error.as_ref().and_then(|error| error.code.clone());
    match runs[0].status {
        Status::Completed => assert_eq!((paid, code), (1, None), "{what}"),
        Status::Failed => assert!(paid <= 1 && code == Some(ErrorCode::OutcomeUnknown), "{what}: {paid}, {code:?}"),
        other => panic!("{what}: {other:?}"),
    }
    runs[0].status == Status::Completed
}

#[tokio::test]
async fn a_body_runs_at_most_once_although_its_process_dies_at_any_call() {
    let account = ExecutionLog::default();
    let stage = AwsStage::new(SdkRetryMode::Tells, vec![paying(&account)]).await;
    let calls = run_with_fault(&stage, 0, usize::MAX, AwsFault::Pass).await;
    let mut completed = 0;
    for at in 0..calls {
        let n = at as u32 + 1;
        run_with_death(&stage, n, at).await;
        completed += usize::from(has_paid(&stage, &account, n, &format!("dead at {at} of {calls}")).await);
    }
    assert!(completed > 0 && completed < calls, "{completed} of {calls}: some deaths come after the start");
    stage.assert_journals().await;
}

#[tokio::test]
async fn a_lost_request_or_reply_is_repeated_and_the_body_runs_once() {
    let account = ExecutionLog::default();
    let stage = AwsStage::new(SdkRetryMode::Tells, vec![paying(&account)]).await;
    let calls = run_with_fault(&stage, 0, usize::MAX, AwsFault::Pass).await;
    let mut n = 0;
    for fault in [AwsFault::LoseReply, AwsFault::LoseRequest] {
        for at in 0..calls {
            n += 1;
            run_with_fault(&stage, n, at, fault.clone()).await;
            let what = format!("{fault:?} at {at} of {calls}");
            assert!(has_paid(&stage, &account, n, &what).await, "{what}: the store answers when it is asked again");
        }
    }
    stage.assert_journals().await;
}
