//! Messages that are delivered twice, in the wrong order, or to several workers at the same time,
//! as SQS may deliver them.

use std::sync::Arc;

use stepladder_core::Status;
use stepladder_engine::ports::Delivery;

use crate::functions::{ExecutionLog, everything_once, functions_with_every_step, go_event};
use crate::stage::{AwsStage, SdkRetryMode};

fn copy_delivery(delivery: &Delivery) -> Delivery {
    Delivery { wake: delivery.wake.clone(), receipt: stepladder_aws::invocation_receipt(), receives: 2 }
}

async fn assert_ended(stage: &AwsStage, account: &ExecutionLog, numbers: std::ops::Range<u32>) {
    for n in numbers {
        let runs = stage.observing_engine().query().runs_of_event(&format!("go-{n}")).await.expect("listed");
        assert_eq!((runs.len(), runs[0].status), (1, Status::Completed), "{:#?}", stage.facts(runs[0].run).await);
        assert_eq!(account.counts_of_run(n), everything_once(), "{n}");
    }
    stage.assert_journals().await;
    stage.assert_within_limits();
}

#[tokio::test]
async fn runs_complete_with_wakes_that_come_twice_in_reverse_order_and_to_cold_workers() {
    let account = ExecutionLog::default();
    let stage = AwsStage::new(SdkRetryMode::Tells, functions_with_every_step(&account)).await;
    let engine = stage.engine();
    for n in 0..3 {
        stage.send(&engine, &go_event(n)).await;
    }
    loop {
        let mut deliveries = stage.receive_now().await;
        if deliveries.is_empty() && !stage.move_on(&engine).await {
            break;
        }
        deliveries.reverse();
        for delivery in deliveries {
            let (again, cold) = (copy_delivery(&delivery), copy_delivery(&delivery));
            assert!(stage.invoke(&engine, delivery).await);
            engine.hop(again).await.expect("hopped");
            stage.engine().hop(cold).await.expect("hopped");
        }
    }
    assert_ended(&stage, &account, 0..3).await;
}

/// Two workers handle the same wake at the same time, each on its own thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn two_racing_workers_execute_each_body_once() {
    let account = ExecutionLog::default();
    let stage = Arc::new(AwsStage::new(SdkRetryMode::Tells, functions_with_every_step(&account)).await);
    let workers = [stage.engine(), stage.engine()];
    for n in 0..6 {
        stage.send(&workers[0], &go_event(n)).await;
    }
    loop {
        let deliveries = stage.receive_now().await;
        if deliveries.is_empty() && !stage.move_on(&workers[0]).await {
            break;
        }
        let mut hops = Vec::new();
        for delivery in deliveries {
            for worker in workers.clone() {
                let same = copy_delivery(&delivery);
                hops.push(tokio::spawn(async move { worker.hop(same).await }));
            }
            stage.delete(delivery.receipt).await;
        }
        for hop in hops {
            hop.await.expect("no panic").expect("hopped");
        }
    }
    assert_ended(&stage, &account, 0..6).await;
}
