//! Keys of tests, a codec that a test can exchange while runs are live, and functions with secrets.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::override_env;
use stepladder_sdk::testing::{TestApp, TestRun};
use stepladder_sdk::{EncodedPayload, Encryption, PayloadCodec, PayloadContext};

/// What must never be readable.
pub(crate) const SECRET: &str = "4000-0012-3456-7899";

/// Sets keys, whose names must be used by one test only: variables belong to the process.
pub(crate) fn set_keys(names: &[&str]) {
    for name in names {
        set_key(name, name.bytes().fold(7, u8::wrapping_add));
    }
}

/// Sets a key that consists of one byte.
pub(crate) fn set_key(name: &str, byte: u8) {
    use base64::Engine;
    override_env(name, base64::engine::general_purpose::STANDARD.encode([byte; 32]));
}

/// A codec that uses the current one, and can damage what it decodes, as a changed store does.
#[derive(Clone)]
pub(crate) struct Vault(Arc<Mutex<VaultState>>);

struct VaultState {
    codec: Arc<Encryption>,
    damages: bool,
}

impl Vault {
    pub(crate) fn new(names: &[&str]) -> Self {
        Self(Arc::new(Mutex::new(VaultState { codec: encryption(names), damages: false })))
    }

    /// Continues with these keys, as a new deployment does.
    pub(crate) fn exchange(&self, names: &[&str]) {
        self.0.lock().unwrap().codec = encryption(names);
    }

    /// Changes the last byte of each stored value from now on, or no longer.
    pub(crate) fn damage(&self, damages: bool) {
        self.0.lock().unwrap().damages = damages;
    }

    fn codec(&self) -> Arc<Encryption> {
        self.0.lock().unwrap().codec.clone()
    }
}

fn encryption(names: &[&str]) -> Arc<Encryption> {
    Arc::new(Encryption::with_keys(names.iter().copied()))
}

#[async_trait]
impl PayloadCodec for Vault {
    async fn prepare(&self) -> Result<()> {
        self.codec().prepare().await
    }

    fn encode(&self, context: &PayloadContext, clear: &[u8]) -> Result<EncodedPayload> {
        self.codec().encode(context, clear)
    }

    fn decode(&self, context: &PayloadContext, encoded: &EncodedPayload) -> Result<Vec<u8>> {
        let mut encoded = encoded.clone();
        if self.0.lock().unwrap().damages {
            *encoded.data.last_mut().unwrap() ^= 1;
        }
        self.codec().decode(context, &encoded)
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct OrderEvent {}

impl EventData for OrderEvent {
    const NAME: &'static str = "shop/order.placed";
}

/// Reads a card, and uses it after a sleep.
pub(crate) fn card_function() -> Function {
    async fn pay(ctx: Context, _: Event<OrderEvent>) -> Result<String> {
        let card = ctx.step("read", async || Ok(SECRET.to_owned())).await?;
        ctx.sleep("an hour", Duration::from_secs(3_600)).await?;
        let used = ctx.step("use", async || Ok(format!("paid with {card}"))).await?;
        Ok(used)
    }
    Function::new("pay", pay)
}

/// Starts a run of [`card_function`], which then sleeps for an hour.
pub(crate) async fn sleeping_run(app: &mut TestApp) -> TestRun {
    let run = app.start(&OrderEvent {}).await.remove(0);
    assert!(run.steps().contains(&"an hour"), "{run:?}");
    run
}

/// Returns the run as it is now.
pub(crate) async fn current(app: &mut TestApp, run: &TestRun) -> TestRun {
    app.runs().await.into_iter().find(|other| other.id() == run.id()).expect("the run")
}
