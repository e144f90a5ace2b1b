//! The command line without functions of its own: the local server for apps with Inngest's SDKs,
//! and the commands for a server or a table elsewhere. Wheel, npm package, container image and
//! archives contain this binary. A program with functions in Rust has its own, like `functions/`.

use std::process::ExitCode;

fn main() -> ExitCode {
    stepladder::App::new().run()
}
