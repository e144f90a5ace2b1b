//! The command line flags that a program adds to `dev`, and what each of them sets up before the
//! local server starts.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use stepladder_core::NewEvent;
use stepladder_sdk::{Error, Function, Result, ToEvent};

/// What a flag of `dev` prepares: see [`App::dev_flag`](crate::App::dev_flag).
///
/// ```
/// # use stepladder::prelude::*;
/// use stepladder::DevSetup;
///
/// # #[derive(Serialize, Deserialize, Event)]
/// # #[event(name = "test/hello.world")]
/// # struct Hello { name: String }
/// async fn start_stubs() -> Result<DevSetup> {
///     stepladder::override_env("GREETING_URL", "http://127.0.0.1:4000");
///     DevSetup::new().note("greetings come from a stub").event(&Hello { name: "Ada".into() })
/// }
/// ```
#[derive(Default)]
pub struct DevSetup {
    pub(crate) functions: Vec<Function>,
    pub(crate) notes: Vec<String>,
    pub(crate) events: Vec<NewEvent>,
    /// The retry delays that were set. More than one is an error.
    pub(crate) retry_delays: Vec<Duration>,
}

/// A command line flag that a program adds to `dev`.
#[cfg_attr(not(feature = "local"), expect(dead_code, reason = "only `dev` reads flags"))]
pub(crate) struct DevFlag {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) setup: SetupHook,
}

pub(crate) type SetupHook = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = Result<DevSetup>> + Send>> + Send>;

impl DevSetup {
    /// Creates an empty setup.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a function at the server.
    #[must_use]
    pub fn function(mut self, function: Function) -> Self {
        self.functions.push(function);
        self
    }

    /// Prints a line once the server is ready.
    #[must_use]
    pub fn note(mut self, line: impl Into<String>) -> Self {
        self.notes.push(line.into());
        self
    }

    /// Sends an event once the server is ready.
    ///
    /// # Errors
    /// The server would refuse the event: its name is reserved, or its data is not a JSON object.
    pub fn event(mut self, event: &impl ToEvent) -> Result<Self> {
        let event = event.to_event()?;
        if let Some(fault) = event.problem() {
            return Err(Error::terminal(format!("the event `{}`: {fault}", event.name)));
        }
        self.events.push(event);
        Ok(self)
    }

    /// Sets the delay before every retry, unless `--retry-delay` sets another one. Call this at
    /// most once.
    #[must_use]
    pub fn retry_delay(mut self, wait: Duration) -> Self {
        self.retry_delays.push(wait);
        self
    }
}
