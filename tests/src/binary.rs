//! Finds the binary under test. The binary is built before its first use, so that tests never run
//! an old one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// Returns the path of the `stepladder` binary. If `STEPLADDER_BIN` is not set, builds the binary
/// into this test's target folder.
pub fn path() -> &'static Path {
    static BINARY: LazyLock<PathBuf> = LazyLock::new(|| match std::env::var_os("STEPLADDER_BIN") {
        Some(given) => PathBuf::from(given),
        None => build(),
    });
    &BINARY
}

/// Returns the root folder of the checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the checkout")
}

fn build() -> PathBuf {
    // the path of a test is <target>/<profile>/deps/<test>
    let test = std::env::current_exe().expect("a test knows its own path");
    let profile = test.parent().and_then(Path::parent).expect("a test lies in <target>/<profile>/deps");
    let target = profile.parent().expect("a profile lies in the target folder");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root()).args([
        "build",
        "--quiet",
        "--package",
        "stepladder-functions",
        "--all-features",
        "--bin",
        "stepladder",
    ]);
    cargo.arg("--target-dir").arg(target);
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    assert!(cargo.status().expect("cargo starts").success(), "the binary under test does not build");
    profile.join("stepladder")
}
