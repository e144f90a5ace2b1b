//! A program: its functions, and the data that they share.

use std::future::Future;
use std::process::ExitCode;

use stepladder_engine::Pace;
use stepladder_sdk::runtime::SharedData;
use stepladder_sdk::{Function, PayloadCodec, Result};

use crate::dev_setup::{DevFlag, DevSetup};

/// Functions and how to run them. [`run`](App::run) is the whole program. A method that sets one
/// value, such as [`pace`](App::pace), may be called once.
///
/// ```no_run
/// use stepladder::prelude::*;
///
/// #[derive(Serialize, Deserialize, Event)]
/// #[event(name = "test/hello.world")]
/// struct Hello { name: String }
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
    data: SharedData,
    pub(crate) pace: Pace,
    pub(crate) code: Option<String>,
    pub(crate) dev_flags: Vec<DevFlag>,
    /// The methods called so far that may be called only once.
    single_calls: Vec<&'static str>,
}

impl Default for App {
    fn default() -> Self {
        Self::new()
    }
}

impl App {
    /// Creates an app without functions.
    pub fn new() -> Self {
        Self {
            functions: Vec::new(),
            data: SharedData::default(),
            pace: Pace::default(),
            code: None,
            dev_flags: Vec::new(),
            single_calls: Vec::new(),
        }
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

    /// Shares a value with every function, for example a client:
    /// [`ctx.data::<T>()`](crate::Context::data) returns it. An app has at most one value of each
    /// type.
    pub fn data<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        self.data.insert(value);
        self
    }

    /// Encodes values before they reach the journal, and decodes them when a run is replayed.
    /// `Encryption` (feature `encryption`) encrypts them. See
    /// [`PayloadCodec`](crate::PayloadCodec).
    pub fn payload_codec(mut self, codec: impl PayloadCodec) -> Self {
        self.single_calls.push("payload_codec");
        self.data.set_codec(codec);
        self
    }

    /// Sets how many steps one hop executes. The default is one. `dev --pace` overrides it.
    pub fn pace(mut self, pace: Pace) -> Self {
        self.single_calls.push("pace");
        self.pace = pace;
        self
    }

    /// Sets the version of the code, for example `env!("CARGO_PKG_VERSION")` or a commit hash.
    /// Every journal record contains the version, so it shows which deployment wrote the record.
    pub fn code_version(mut self, version: impl Into<String>) -> Self {
        self.single_calls.push("code_version");
        self.code = Some(version.into());
        self
    }

    /// Adds a flag to `dev`, such as `--stubs`. If it is given, `setup` runs once inside the
    /// server's runtime, before the server starts. Tasks that it spawns live as long as the server.
    ///
    /// ```no_run
    /// use stepladder::{App, DevSetup};
    ///
    /// let app = App::new().dev_flag("stubs", "Start stubs for other services", || async {
    ///     stepladder::override_env("GREETING_URL", "http://127.0.0.1:4000");
    ///     Ok(DevSetup::new().note("greetings come from a stub at http://127.0.0.1:4000"))
    /// });
    /// ```
    pub fn dev_flag<F, Fut>(mut self, name: &'static str, help: &'static str, setup: F) -> Self
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<DevSetup>> + Send + 'static,
    {
        self.dev_flags.push(DevFlag { name, help, setup: Box::new(|| Box::pin(setup())) });
        self
    }

    /// Runs the command line. `dev` starts the local server; `--help` lists the other commands. The
    /// exit code is 0 after success, 1 after an error, which is printed in one line, and 2 for an
    /// invalid command line.
    ///
    /// Inside AWS Lambda (`AWS_LAMBDA_RUNTIME_API` is set) there is no command line: the process
    /// serves invocations until Lambda ends it. `STEPLADDER_ROLE` sets the role of the process.
    pub fn run(self) -> ExitCode {
        #[cfg(feature = "aws")]
        if crate::lambda::is_here() {
            return crate::lambda::run(self);
        }
        #[cfg(not(feature = "aws"))]
        if std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_some() {
            eprintln!(
                "error: this build has no roles for AWS Lambda; build it with the feature `aws` of the crate `stepladder`"
            );
            return ExitCode::FAILURE;
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

    /// Checks that the payload codec can encode.
    #[cfg(feature = "local")]
    pub(crate) async fn check_codec(&self) -> Result<(), String> {
        match self.data.codec() {
            Some(codec) => codec.prepare().await.map_err(|error| format!("the payload codec is not ready: {error}")),
            None => Ok(()),
        }
    }

    /// Compiles the functions to programs that the engine executes.
    #[cfg(any(feature = "cli", feature = "aws"))]
    pub(crate) fn compile(&mut self) -> Result<Vec<stepladder_engine::RegisteredFunction>, String> {
        let mut calls = self.single_calls.iter().enumerate();
        if let Some((_, method)) = calls.find(|(i, method)| self.single_calls[..*i].contains(method)) {
            return Err(format!("the app calls `.{method}` twice; call it once"));
        }
        self.data.check()?;
        let mut compiled = Vec::new();
        for function in std::mem::take(&mut self.functions) {
            compiled.extend(stepladder_sdk::runtime::compile(function, &self.data)?);
        }
        Ok(compiled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_call_of_a_method_is_refused_by_name() {
        let version = || App::new().code_version("1");
        assert!(version().compile().is_ok());
        for (mut app, says) in [
            (App::new().pace(Pace::WithinBudget).pace(Pace::WithinBudget), "`.pace` twice"),
            (version().code_version("2"), "`.code_version` twice"),
            (App::new().data(1_u8).data(2_u8), "two values of type u8"),
        ] {
            let error = app.compile().err().unwrap_or_default();
            assert!(error.contains(says), "{error}");
        }
    }
    #[cfg(all(feature = "encryption", feature = "local"))]
    #[tokio::test]
    async fn a_codec_without_its_key_is_refused_by_name() {
        let with_key = |name: &str| App::new().payload_codec(crate::Encryption::with_keys([name]));
        let error = with_key("STEPLADDER_TEST_NO_PAYLOAD_KEY").check_codec().await.expect_err("there is no key");
        assert!(error.contains("STEPLADDER_TEST_NO_PAYLOAD_KEY is not set"), "{error}");
        crate::override_env("STEPLADDER_TEST_PAYLOAD_KEY", "QEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEA=");
        with_key("STEPLADDER_TEST_PAYLOAD_KEY").check_codec().await.expect("a key");
        let mut twice = with_key("A").payload_codec(crate::Encryption::with_keys(["B"]));
        assert!(twice.compile().err().unwrap_or_default().contains("`.payload_codec` twice"));
    }
}
