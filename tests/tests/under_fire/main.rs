//! The real thing under fire: a real app on SQLite, killed again and again under load, its disk full and read-only, and
//! an hour's worth of events.
//!
//! This is a program of its own, not a list of test functions: started with the command `dev`, it is the server under
//! test, with functions whose bodies write down that they run. What is told by the clients, by those lines and by the
//! journals in the file must fit together in the end.
//!
//! `STEPLADDER_KILLS=200` kills that often, `STEPLADDER_SOAK=36000` sends so many events; `STEPLADDER_FIRE_SEED=n`
//! repeats the moments of a printed seed (what the server was doing then is the machine's affair).

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
    // one after the other: each loads the machine, and the soak looks at memory under a load of its own
    arguments.test_threads.get_or_insert(1);
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A test of an async function.
fn trial<F: Future<Output = ()>>(name: &str, test: impl FnOnce() -> F + Send + 'static) -> Trial {
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(test());
        Ok(())
    })
}

/// A number from the environment.
fn setting(name: &str, usual: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is `{text}`, which is no number")),
        Err(_) => usual,
    }
}
