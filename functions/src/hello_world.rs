//! `hello-world`: the smallest durable function. It creates a greeting, sleeps for a second, and
//! creates a farewell.
//!
//! It needs no service and no key, so it can be used to check that events arrive and that runs
//! complete.

use stepladder::prelude::*;

/// The data of `test/hello.world`. Both fields are optional.
#[derive(Debug, Clone, Default, Serialize, Deserialize, Event)]
#[event(name = "test/hello.world")]
#[serde(default)]
pub struct HelloEvent {
    /// The name in the greeting. The default is `World`.
    pub name: Option<String>,
    /// A text that follows the greeting.
    pub message: Option<String>,
}

impl HelloEvent {
    /// Returns example data for the dashboard.
    #[must_use]
    pub fn example() -> Self {
        Self { name: Some("newcomer".to_owned()), message: None }
    }
}

/// The output of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelloOutput {
    /// The greeting, created before the sleep.
    pub greeting: String,
    /// The farewell, created after the sleep.
    pub farewell: String,
}

/// Returns the function `hello-world`.
#[must_use]
pub fn function() -> Function {
    Function::new("hello-world", hello_world).example(&HelloEvent::example())
}

async fn hello_world(ctx: Context, event: Event<HelloEvent>) -> Result<HelloOutput> {
    let name = event.data.name.as_deref().map(str::trim).filter(|name| !name.is_empty()).unwrap_or("World");
    let message = event.data.message.as_deref().map(str::trim).filter(|message| !message.is_empty());
    let greeting = ctx
        .step("greet", || async move {
            Ok(match message {
                Some(message) => format!("Hello, {name}! {message}"),
                None => format!("Hello, {name}!"),
            })
        })
        .await?;
    ctx.sleep("a-short-sleep", Duration::from_secs(1)).await?;
    let farewell = ctx.step("farewell", || async move { Ok(format!("Goodbye, {name}!")) }).await?;
    Ok(HelloOutput { greeting, farewell })
}
