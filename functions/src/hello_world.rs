//! `hello-world`: the smallest durable function. It greets, sleeps a second, and says farewell.
//!
//! It needs no service and no key: it is here to see that events arrive and that runs finish.

use stepladder::prelude::*;

/// The data of `test/hello.world`; both fields may be missing.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Hello {
    /// Who is greeted; `World` when missing or blank.
    pub name: Option<String>,
    /// What the greeting passes on, if anything.
    pub message: Option<String>,
}

impl EventData for Hello {
    const NAME: &'static str = "test/hello.world";
}

impl Hello {
    /// Of somebody who is new here.
    #[must_use]
    pub fn example() -> Self {
        Self { name: Some("newcomer".to_owned()), message: None }
    }
}

/// What a run ends with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeted {
    /// Said before the sleep.
    pub greeting: String,
    /// Said after it.
    pub farewell: String,
}

/// The function, as [`crate::all`] registers it.
#[must_use]
pub fn function() -> Function {
    Function::new("hello-world", hello_world).example(&Hello::example())
}

async fn hello_world(ctx: Context, event: Event<Hello>) -> Result<Greeted> {
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
    Ok(Greeted { greeting, farewell })
}
