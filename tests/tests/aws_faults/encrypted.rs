//! Encrypted values in the table and in the queues: no item contains their clear text.

use std::time::Duration;

use stepladder::prelude::*;
use stepladder::{Encryption, NewEvent, ToEvent, override_env};
use stepladder_core::Status;
use stepladder_sdk::runtime::SharedData;
use stepladder_tests::aws_faults::AwsFault;

use crate::stage::{AwsStage, SdkRetryMode};

const SECRET: &str = "4000-0012-3456-7899";
const KEY: &str = "AWS_PAYLOAD_KEY";

#[derive(Serialize, Deserialize)]
struct CardEvent {
    card: String,
}

impl EventData for CardEvent {
    const NAME: &'static str = "shop/card.read";
}

fn card() -> CardEvent {
    CardEvent { card: SECRET.into() }
}

async fn pay(ctx: Context, event: Event<CardEvent>) -> Result<Vec<String>> {
    let read = ctx.step("read", async || Ok(event.data.card)).await?;
    let large = ctx.step("read much", async || Ok(SECRET.repeat(30_000))).await?;
    ctx.sleep("a minute", Duration::from_secs(60)).await?;
    let called: String = ctx.invoke("call", "echo", &card()).await?;
    let other = NewEvent::new("shop/unused", card().to_event()?.data);
    ctx.send_event("send", other).await?;
    Ok(vec![read, called, large[..SECRET.len()].to_owned()])
}

async fn echo(ctx: Context, event: Event<CardEvent>) -> Result<String> {
    ctx.step("echo", async || Ok(event.data.card)).await
}

/// Runs the functions. Returns the output of the run, and whether the secret was in an item or a
/// request.
async fn run(encrypts: bool) -> (String, bool) {
    let mut data = SharedData::default();
    if encrypts {
        data.set_codec(Encryption::with_keys([KEY]));
    }
    let functions = vec![Function::new("pay", pay), Function::new("echo", echo).filter("false")];
    let stage = AwsStage::with_data(SdkRetryMode::Retries, functions, data).await;
    let requests = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let seen = requests.clone();
    stage.wire.plan(move |call| {
        seen.lock().expect("no panic").push_str(&call.body.to_string());
        AwsFault::Pass
    });
    let event = card().to_event().expect("JSON").with_id("card-1");
    let event = match encrypts {
        true => Encryption::with_keys([KEY]).encrypt_event(&event).await.expect("encrypted"),
        false => event,
    };
    let engine = stage.engine();
    stage.send(&engine, &event).await;
    stage.settle(|| stage.engine()).await;
    let runs = stage.observing_engine().query().runs_of_event("card-1").await.expect("listed");
    let run = runs.into_iter().find(|run| &*run.function == "pay").expect("the run").run;
    let run = stage.observing_engine().query().run(run).await.expect("a run");
    assert_eq!(run.summary.status, Status::Completed, "{:?}", run.summary.error);
    let output =
        Encryption::with_keys([KEY]).decrypt(&run.summary.output.expect("an output")).await.expect("decrypted");

    let pages = stage.direct.dynamo().scan().table_name(&stage.table).into_paginator().items().send();
    let items: Vec<_> = pages.try_collect().await.expect("scanned");
    assert!(items.len() > 10, "{}", items.len());
    let is_stored = items.iter().flat_map(|item| item.values()).any(|value| match value {
        aws_sdk_dynamodb::types::AttributeValue::B(bytes) => contains(bytes.as_ref()),
        other => contains(format!("{other:?}").as_bytes()),
    });
    let is_sent = contains(requests.lock().expect("no panic").as_bytes());
    assert_eq!(is_stored, is_sent);
    (output.get().to_owned(), is_stored)
}

fn contains(bytes: &[u8]) -> bool {
    bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())
}

#[tokio::test]
async fn no_item_and_no_request_contains_clear_text() {
    override_env(KEY, "QEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEA=");
    let expected = serde_json::to_string(&[SECRET; 3]).expect("JSON");
    assert_eq!(run(false).await, (expected.clone(), true), "the search finds clear text");
    assert_eq!(run(true).await, (expected, false));
}
