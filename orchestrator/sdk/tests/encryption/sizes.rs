//! Limits apply to encrypted values, which are larger than their clear text.

use stepladder_sdk::prelude::*;
use stepladder_sdk::testing::TestApp;
use stepladder_sdk::{Encryption, NewEvent};

use crate::vault::{OrderEvent, set_keys};

const MIB: usize = 1024 * 1024;

/// The bytes that a function returns, sends and passes on.
struct Sizes {
    step: usize,
    event: usize,
    input: usize,
}

async fn large(ctx: Context, _: Event<OrderEvent>) -> Result<Vec<String>> {
    let sizes = ctx.data::<Sizes>()?;
    let result = ctx.step("return", async || Ok("x".repeat(sizes.step))).await;
    let data = |bytes: usize| json!({ "text": "x".repeat(bytes) });
    let event = NewEvent::new("test/large", serde_json::value::to_raw_value(&data(sizes.event))?.into());
    let sent = ctx.send_event("send", event).await;
    let called = ctx.invoke::<usize>("call", "length", &data(sizes.input)).await;
    let codes = [result.map(drop), sent.map(drop), called.map(drop)];
    Ok(codes
        .into_iter()
        .map(|ended| ended.err().and_then(|e| e.code().map(String::from)).unwrap_or_default())
        .collect())
}

#[derive(Serialize, Deserialize)]
struct LargeEvent {
    text: String,
}

impl EventData for LargeEvent {
    const NAME: &'static str = "test/length";
}

async fn length(_: Context, event: Event<LargeEvent>) -> Result<usize> {
    Ok(event.data.text.len())
}

async fn codes(encrypts: bool, sizes: Sizes) -> Vec<String> {
    let mut app = TestApp::new().data(sizes);
    if encrypts {
        app = app.payload_codec(Encryption::with_keys(["SIZE_KEY"]));
    }
    let mut app = app.function(Function::new("large", large)).function(Function::new("length", length));
    app.send(&OrderEvent {}).await[0].output()
}

#[tokio::test]
async fn values_whose_encrypted_form_exceeds_a_limit_are_refused_by_code() {
    set_keys(&["SIZE_KEY"]);
    let fitting = || Sizes { step: 3 * MIB - 1_000, event: 9 * MIB / 4 - 1_000, input: 9 * MIB / 4 - 1_000 };
    let larger = || Sizes { step: 3 * MIB, event: 9 * MIB / 4, input: 9 * MIB / 4 };
    assert_eq!(codes(true, fitting()).await, ["", "", ""]);
    assert_eq!(codes(true, larger()).await, ["too-large", "bad-event", "bad-event"]);
    assert_eq!(codes(false, larger()).await, ["", "", ""]);
}
