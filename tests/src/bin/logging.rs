//! A server whose function writes log lines wherever a function can.

use std::process::ExitCode;

fn main() -> ExitCode {
    stepladder::App::new().function(stepladder_tests::logging::function()).run()
}
