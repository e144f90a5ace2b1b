//! Stress tests of a real app on SQLite: it is killed many times under load, its disk is full or
//! read-only, and it gets an hour's worth of events.
//!
//! This executable is also the server under test, with the command `dev`. The bodies of its
//! functions write to a ledger. At the end, the clients' responses, the ledger and the journals
//! must agree.
//!
//! `STEPLADDER_KILLS=200` sets the number of kills, and `STEPLADDER_SOAK=36000` the number of
//! events. `STEPLADDER_FIRE_SEED=n` repeats the times of a run with a printed seed, but not what
//! the server does at these times.

mod app;
mod chance;
mod clients;
mod journals;
mod kills;
mod ledger;
mod memory;
mod soak;
mod verdict;

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod disk;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|command| command == "dev") {
        return app::app().run();
    }
    let mut trials = kills::trials();
    trials.extend(soak::trials());
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    trials.extend(disk::trials());
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    println!("a full disk is played by a library that glibc's loader puts before the C library: not tried here");
    let mut arguments = Arguments::from_args();
    // one test at a time, because each uses the whole machine, and the soak measures the memory
    // under its own load
    arguments.test_threads.get_or_insert(1);
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Creates a test from an async function.
fn trial<F: Future<Output = ()>>(name: &str, test: impl FnOnce() -> F + Send + 'static) -> Trial {
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(test());
        Ok(())
    })
}

/// Returns a number from the environment variable `name`, or the default `usual`.
fn setting(name: &str, usual: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is `{text}`, which is no number")),
        Err(_) => usual,
    }
}
