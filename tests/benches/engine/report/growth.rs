//! Prints the figures of long and wide runs.

use crate::growth::{FanOut, GrowthFigures, LONG, WINDOWS};

use super::{format_memory, format_micros, format_ms};

/// Prints the figures of our server.
pub(crate) fn print_ours(figures: &[GrowthFigures]) {
    println!("\nA run of {LONG} sequential steps without work; fan-outs of steps that last 5 ms; maps of empty steps");
    figures.iter().for_each(print);
}

/// Prints the figures of Restate's server.
pub(crate) fn print_restate(figures: &GrowthFigures) {
    println!("\nRestate (its default settings; server and Node.js process together)");
    print(figures);
}

fn print(of: &GrowthFigures) {
    println!("  {}", of.name);
    for ((first, length), gap) in WINDOWS.iter().zip(&of.long.gaps) {
        println!("    gap at steps {first} to {}: p50 {}", first + length - 1, format_ms(*gap));
    }
    let whole = of.long.whole.as_secs_f64();
    println!("    {LONG} steps: {whole:.2} s; CPU {} a step", format_micros(of.long.cpu));
    for (width, FanOut { first, last, end }) in &of.fan_outs {
        let [first, last, end] = [first, last, end].map(|time| format_ms(*time));
        println!("    fan-out of {width}: first start {first}, last start {last}, end {end}");
    }
    for (items, limit, time) in &of.maps {
        println!("    map of {items} at {limit}: {:.2} s", time.as_secs_f64());
    }
    if let Some((runs, time)) = &of.asleep {
        println!("    {runs} runs, from the first request until all sleep: {:.1} s", time.as_secs_f64());
    }
    let memory: Vec<String> = of.memory.iter().map(|bytes| format_memory(*bytes)).collect();
    println!("    peak memory after each of these parts: {}", memory.join(", "));
}
