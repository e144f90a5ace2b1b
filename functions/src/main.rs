//! The one binary: the command line, the local server and its workers, with every function of this crate.

use std::process::ExitCode;

fn main() -> ExitCode {
    let app = stepladder::App::new().functions(stepladder_functions::all()).code_version(env!("CARGO_PKG_VERSION"));
    #[cfg(feature = "local")]
    let app = app.demo(stepladder_functions::demo::start);
    app.run()
}
