//! The program: the command line, the local server and the roles on AWS, with the functions of this
//! crate.

use std::process::ExitCode;

fn main() -> ExitCode {
    stepladder::App::new().functions(functions::all()).code_version(env!("CARGO_PKG_VERSION")).run()
}
