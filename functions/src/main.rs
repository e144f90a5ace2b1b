//! The binary: the command line, the local server and the roles on AWS, with all functions of this
//! crate.

use std::process::ExitCode;

fn main() -> ExitCode {
    let app = stepladder::App::new().functions(stepladder_functions::all()).code_version(env!("CARGO_PKG_VERSION"));
    #[cfg(feature = "local")]
    let app = app.dev_flag(
        "demo",
        "Start stand-ins for the services that the functions call, and send example events",
        stepladder_functions::demo::start,
    );
    app.run()
}
