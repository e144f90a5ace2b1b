//! The one binary: the command line, the local server and its workers, with every function of this crate.

use std::process::ExitCode;

fn main() -> ExitCode {
    stepladder::App::new().functions(stepladder_functions::all()).demo(stepladder_functions::demo::start).run()
}
