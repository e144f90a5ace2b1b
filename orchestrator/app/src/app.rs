//! The program that users write: their functions, and what these share.

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use stepladder_engine::{Pace, Program};
use stepladder_sdk::{Function, Result, States};

use crate::demo::Demo;

/// Functions and how to run them. [`run`](App::run) is the whole program. A method that sets one thing ([`pace`](App::pace),
/// say) may be called once.
///
/// ```no_run
/// use stepladder::prelude::*;
///
/// #[derive(Serialize, Deserialize)]
/// struct Hello { name: String }
///
/// impl EventData for Hello { const NAME: &'static str = "test/hello.world"; }
///
/// async fn hello(ctx: Context, event: Event<Hello>) -> Result<String> {
///     ctx.step("greet", || async { Ok(format!("hello, {}", event.data.name)) }).await
/// }
///
/// fn main() -> std::process::ExitCode {
///     stepladder::App::new().function(Function::new("hello", hello)).run()
/// }
/// ```
#[must_use = "an App does nothing until it is run"]
pub struct App {
    pub(crate) functions: Vec<Function>,
    states: States,
    pub(crate) pace: Pace,
    pub(crate) code: Option<String>,
    pub(crate) demo: Option<DemoHook>,
    /// How often each method was called that may be called once.
    calls: [(&'static str, u32); 3],
}

/// Prepares a demonstration.
pub(crate) type DemoHook = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = Result<Demo>> + Send>> + Send>;

impl Default for App {
    fn default() -> Self {
        Self::new()
    }
}

impl App {
    /// Without functions.
    pub fn new() -> Self {
        let calls = ["pace", "code_version", "demo"].map(|method| (method, 0));
        Self { functions: Vec::new(), states: States::default(), pace: Pace::default(), code: None, demo: None, calls }
    }

    /// Registers a function.
    pub fn function(mut self, function: Function) -> Self {
        self.functions.push(function);
        self
    }

    /// Registers several functions.
    pub fn functions(mut self, functions: impl IntoIterator<Item = Function>) -> Self {
        self.functions.extend(functions);
        self
    }

    /// Shares a value, such as a client built once, with every function: `ctx.state::<T>()`. One value a type.
    pub fn state<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        self.states.insert(value);
        self
    }

    /// How far one hop goes; one step unless told otherwise. `dev --pace` goes before it.
    pub fn pace(mut self, pace: Pace) -> Self {
        self.calls[0].1 += 1;
        self.pace = pace;
        self
    }

    /// The version of the code, written into every journal record: `env!("CARGO_PKG_VERSION")`, a commit. Shows which
    /// deployment did what.
    pub fn code_version(mut self, version: impl Into<String>) -> Self {
        self.calls[1].1 += 1;
        self.code = Some(version.into());
        self
    }

    /// What `dev --demo` prepares: stand-ins for services that the functions call. Called once, inside the server's
    /// runtime, before anything else starts; what it spawns lives as long as the server.
    ///
    /// ```no_run
    /// use stepladder::{App, Demo};
    ///
    /// let app = App::new().demo(|| async {
    ///     Ok(Demo::new()
    ///         .variable("GREETING_URL", "http://127.0.0.1:4000")
    ///         .note("greetings come from a stand-in at http://127.0.0.1:4000")
    ///         .event("test/hello.world", &serde_json::json!({ "name": "you" }))?)
    /// });
    /// ```
    pub fn demo<F, Fut>(mut self, hook: F) -> Self
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<Demo>> + Send + 'static,
    {
        self.calls[2].1 += 1;
        self.demo = Some(Box::new(|| Box::pin(hook())));
        self
    }

    /// Does what the command line says: `dev` starts the local server, `--help` lists the rest. The code is 0, 1 after
    /// an error that was told in one line, or 2 for a command line that makes no sense.
    ///
    /// Inside AWS Lambda (`AWS_LAMBDA_RUNTIME_API` is set) there is no command line: `STEPLADDER_ROLE` says which part the
    /// process plays, and it serves invocations until Lambda ends it.
    pub fn run(self) -> ExitCode {
        #[cfg(feature = "aws")]
        if crate::lambda::is_here() {
            return crate::lambda::run(self);
        }
        self.command_line()
    }

    #[cfg(feature = "cli")]
    fn command_line(self) -> ExitCode {
        match crate::cli::run(self, std::env::args_os()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(stop) => stop.exit(),
        }
    }

    #[cfg(not(feature = "cli"))]
    fn command_line(self) -> ExitCode {
        eprintln!(
            "error: this build is for AWS Lambda, and AWS_LAMBDA_RUNTIME_API is not set here; the feature `cli` of the \
             crate `stepladder` brings the command line"
        );
        ExitCode::FAILURE
    }

    /// The functions as the engine sees them.
    pub(crate) fn programs(&mut self) -> Result<Vec<Arc<dyn Program>>, String> {
        let mut twice = self.calls.iter().filter(|(_, times)| *times > 1);
        let fault = twice.next().map(|(method, _)| format!("the app calls `.{method}` twice; call it once"));
        if let Some(fault) = fault.or_else(|| self.states.fault()) {
            return Err(fault);
        }
        let mut programs = Vec::new();
        for function in std::mem::take(&mut self.functions) {
            programs.extend(function.programs(&self.states)?);
        }
        Ok(programs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_twice_is_refused_by_name() {
        let version = || App::new().code_version("1");
        assert!(version().programs().is_ok());
        let demo = || App::new().demo(|| async { Ok(Demo::new()) }).demo(|| async { Ok(Demo::new()) });
        for (mut app, says) in [
            (App::new().pace(Pace::WithinBudget).pace(Pace::WithinBudget), "`.pace` twice"),
            (version().code_version("2"), "`.code_version` twice"),
            (demo(), "`.demo` twice"),
            (App::new().state(1_u8).state(2_u8), "two values of type u8"),
        ] {
            let fault = app.programs().err().unwrap_or_default();
            assert!(fault.contains(says), "{fault}");
        }
    }
}
