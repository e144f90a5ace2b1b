//! Prints the figures of an app with Inngest's SDK.

use std::time::Duration;

use crate::apps::AppFigures;
use crate::options::{BenchOptions, STEPS, STEPS_OF_MANY};

use super::{format_parallel, format_sequential};

/// Prints the figures of the app.
pub(crate) fn print(figures: &[AppFigures], options: &BenchOptions) {
    println!("\nAn app with Inngest's SDK for TypeScript, which Node.js executes: {STEPS} sequential steps;");
    println!("{} runs of {STEPS_OF_MANY} steps, {} times", options.runs, options.rounds);
    for of in figures {
        let share = describe_share(of.sequential_node, of.sequential.cpu);
        println!("  {:<24} {}{share}", of.name, format_sequential(&of.sequential));
        let share = describe_share(of.many_node, of.many.cpu);
        println!("  {:<24} {}{share}", of.name, format_parallel(&of.many));
    }
}

fn describe_share(node: Option<Duration>, all: Option<Duration>) -> String {
    let share = |node: Duration, all: Duration| 100.0 * node.as_secs_f64() / all.as_secs_f64();
    node.zip(all).map_or(String::new(), |(node, all)| format!("; {:.0} % of it is Node's", share(node, all)))
}
