//! The benchmark. `just bench` (or `just bench --quick`) measures how fast the engine is on this
//! machine. `just load` overloads a server.
//!
//! The server is the real one (SQLite, HTTP, workers) in a separate process: this executable again,
//! with functions that do nothing. Events are sent over HTTP. If npm is installed, Restate's server
//! is measured with the same functions. No time makes the benchmark fail, because machines differ.
//! `just bench --counts` counts instead, and fails if a count is too high.

mod apps;
mod counts;
mod functions;
mod growth;
mod machine;
mod marks;
mod measured;
mod options;
mod ours;
mod process;
mod replay;
mod report;
mod restate;

use std::process::ExitCode;

use machine::MachineState;
use options::BenchOptions;

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|command| command == "dev") {
        return functions::app().run();
    }
    let options = match BenchOptions::from_arguments() {
        Ok(options) => options,
        Err(fault) => {
            eprintln!("{fault}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    if options.counts {
        return if runtime.block_on(counts::check()) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    runtime.block_on(measure(&options));
    ExitCode::SUCCESS
}

async fn measure(options: &BenchOptions) {
    report::print_introduction(&MachineState::measure());
    if let Some(lasts) = options.overload {
        report::print_overload(&ours::overload::measure(lasts).await);
        report::print_closing_notes(&MachineState::measure());
        return;
    }
    if options.growth {
        report::growth::print_ours(&growth::measure(options).await);
        if !options.alone {
            match restate::install() {
                Ok(parts) => report::growth::print_restate(&restate::growth::measure(&parts, options).await),
                Err(why) => println!("\nRestate is not measured beside it: {why}"),
            }
        }
        report::print_closing_notes(&MachineState::measure());
        return;
    }
    if options.apps {
        measure_apps(options).await;
        report::print_closing_notes(&MachineState::measure());
        return;
    }
    report::print_replays(&[20, 700].map(|bytes| replay::measure(bytes, options.replays)));
    let ours = ours::measure(options).await;
    report::print_ours(&ours, options);
    measure_apps(options).await;
    if !options.alone {
        match restate::install() {
            Ok(parts) => report::print_restate(&restate::measure(&parts, options).await, &ours),
            Err(why) => println!("\nRestate is not measured beside it: {why}"),
        }
    }
    report::print_closing_notes(&MachineState::measure());
}

async fn measure_apps(options: &BenchOptions) {
    match apps::missing() {
        Some(why) => println!("\nAn app with Inngest's SDK is not measured: {why}"),
        None => report::apps::print(&apps::measure(options).await, options),
    }
}
