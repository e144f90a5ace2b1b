//! Prints the figures.

pub(crate) mod apps;
pub(crate) mod growth;

use std::time::Duration;

use stepladder_tests::load::LoadSize;

use crate::machine::MachineState;
use crate::measured::{EngineFigures, ParallelFigures, SequentialFigures};
use crate::options::{BenchOptions, STEPS, STEPS_OF_MANY};
use crate::ours::OurFigures;
use crate::ours::overload::{self, OverloadFigures};
use crate::replay::ReplayTimes;

/// Prints the state of the machine before the measurements.
pub(crate) fn print_introduction(machine: &MachineState) {
    println!("{}", describe_machine(machine));
    println!("Stepladder: SQLite with WAL, synchronous=FULL, group commit; no step starts before the outcome of the");
    println!("one before is on disk. Server and functions are one process, the client another, all on this machine.");
}

/// Prints the state of the machine after the measurements, which are doubtful if the state has
/// changed.
pub(crate) fn print_closing_notes(machine: &MachineState) {
    println!("\nAfterwards: {}", describe_machine(machine));
}

fn describe_machine(MachineState { processors, load, sync: (p50, p99) }: &MachineState) -> String {
    let load = load.map_or("unknown".into(), |load| format!("{load:.1}"));
    format!(
        "{processors} processors, load {load}; a 4 KiB write with fdatasync: p50 {}, p99 {}",
        format_ms(*p50),
        format_ms(*p99)
    )
}

/// Prints the figures of replays.
pub(crate) fn print_replays(replays: &[ReplayTimes]) {
    println!("\nReplay of 1,000 steps (medians)");
    for ReplayTimes { bytes, read, fold, run } in replays {
        let (all, read, fold, run) =
            (format_ms(*read + *fold + *run), format_ms(*read), format_ms(*fold), format_ms(*run));
        println!(
            "  outcomes of {bytes:>3} bytes: {all} = {read} reading JSON + {fold} folding + {run} running the function"
        );
    }
}

/// Prints the figures of our server.
pub(crate) fn print_ours(ours: &OurFigures, options: &BenchOptions) {
    println!("\n{} runs of {STEPS} sequential steps, one after the other", options.sequential_runs);
    for pace in [&ours.step, &ours.budget] {
        println!("  {:<24} {}", pace.name, format_sequential(&pace.sequential));
    }
    println!("\n{} runs of {STEPS_OF_MANY} steps, {} times", options.runs, options.rounds);
    for pace in [&ours.step, &ours.budget] {
        for way in &pace.many {
            println!("  {:<24} {}", pace.name, format_parallel(way));
        }
    }
    let rate = options.events as f64 / ours.ingest.elapsed.as_secs_f64();
    println!(
        "\n{} events that start nothing, in batches: {rate:.0} events/s{}",
        options.events,
        format_noise(ours.ingest.others)
    );
    for pace in [&ours.step, &ours.budget] {
        println!("Peak memory {}: {}", pace.name, format_memory(pace.memory));
    }
}

/// Prints the figures of Restate's server and compares them with ours.
pub(crate) fn print_restate(restate: &EngineFigures, ours: &OurFigures) {
    println!("\n{} (its default settings: its log is synced too; server and Node.js process together)", restate.name);
    println!("  {:<24} {}", format!("{STEPS} sequential steps"), format_sequential(&restate.sequential));
    for way in &restate.many {
        println!("  {:<24} {}", format!("runs of {STEPS_OF_MANY} steps"), format_parallel(way));
    }
    println!("  peak memory {}", format_memory(restate.memory));
    println!("\nBeside {}", restate.name);
    let (gap, rate) = (restate.sequential.gaps.p50.as_secs_f64(), restate.best_figures().rate());
    for pace in [&ours.step, &ours.budget] {
        let shorter = gap / pace.sequential.gaps.p50.as_secs_f64();
        // compares like with like: one run per request
        let single = pace.many.last().expect("at least one way").rate() / rate;
        let batched = pace.many.first().expect("at least one way").rate() / rate;
        println!(
            "  {:<24} gaps {shorter:.1} times shorter; {single:.1} times its runs/s with one event a request, {batched:.1} in batches",
            pace.name
        );
    }
}

/// Prints the figures of an overload.
pub(crate) fn print_overload(of: &OverloadFigures) {
    let lasted = of.lasted.as_secs_f64();
    let rate = |n: usize| n as f64 / lasted;
    let (peak, early) = of.memory;
    let LoadSize { clients, batch } = overload::LOAD;
    println!(
        "\n{clients} clients that never wait send {batch} events a request, {STEPS_OF_MANY} steps each, for {lasted:.0} s"
    );
    println!("  accepted          {} events, {:.0} a second", of.accepted, rate(of.accepted));
    println!("  refused           {} events, {:.0} a second, none of which was kept", of.refused, rate(of.refused));
    if let Some((least, most)) = of.waits {
        println!("  Retry-After       {least} to {most} s");
    }
    println!("  served            {:.0} steps a second, to the end of the last run", of.steps_a_second());
    println!("  memory            peak {}; {} after a quarter of the time", format_memory(peak), format_memory(early));
    println!("  recovered         no run is left after {:.1} s", of.until_empty.as_secs_f64());
    println!(
        "                    an event's first step starts within {} again after {:.1} s",
        format_ms(overload::SOON),
        of.until_soon.as_secs_f64()
    );
}

fn format_sequential(of: &SequentialFigures) -> String {
    let gaps = &of.gaps;
    format!(
        "{:.2} ms a step; gap p50 {}, p99 {}; CPU {} a step{}",
        gaps.step_ms,
        format_ms(gaps.p50),
        format_ms(gaps.p99),
        format_micros(of.cpu),
        format_noise(of.others)
    )
}

fn format_parallel(of: &ParallelFigures) -> String {
    let (slowest, fastest) = (of.rates.first().unwrap_or(&0.0), of.rates.last().unwrap_or(&0.0));
    let (rate, cpu, noise) = (of.rate(), format_micros(of.cpu), format_noise(of.others));
    format!("{rate:.0} runs/s ({slowest:.0} to {fastest:.0}); CPU {cpu} a step; {}{noise}", of.sent)
}

/// Returns a warning if other programs may have disturbed a figure.
fn format_noise(others: Option<f64>) -> String {
    match others {
        Some(others) if others > 0.1 => format!(" [noisy: other programs had {others:.1} processors]"),
        Some(_) | None => String::new(),
    }
}

fn format_ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

fn format_micros(time: Option<Duration>) -> String {
    time.map_or("unknown".into(), |time| format!("{:.0} µs", time.as_secs_f64() * 1e6))
}

fn format_memory(bytes: Option<u64>) -> String {
    bytes.map_or("unknown".into(), |bytes| format!("{:.0} MB", bytes as f64 / 1e6))
}
