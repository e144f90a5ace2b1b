//! A server without functions of its own, as in the packages of a release: its functions are those
//! of apps.

use std::process::ExitCode;

fn main() -> ExitCode {
    stepladder::App::new().run()
}
