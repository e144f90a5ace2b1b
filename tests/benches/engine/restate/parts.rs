//! Installs Restate from npm into a folder of this project, in the versions that
//! `tests/bench/node/package-lock.json` names.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use stepladder_tests::binary::root;

/// The installed files of Restate.
#[derive(Clone, Debug)]
pub(crate) struct RestateInstallation {
    /// The path of the server.
    pub(super) server: PathBuf,
    /// The path of the functions. They are beside the packages that they import.
    pub(super) functions: PathBuf,
    /// The server's version.
    pub(crate) version: String,
}

const FILES: [&str; 4] = ["package.json", "package-lock.json", ".npmrc", "endpoint.mjs"];

/// Installs the packages that are missing.
///
/// # Errors
///
/// A sentence that says why Restate cannot be installed.
pub(crate) fn install() -> Result<RestateInstallation, String> {
    let platform = match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => "linux-x64",
        ("linux", "aarch64") => "linux-arm64",
        ("macos", "aarch64") => "darwin-arm64",
        ("macos", "x86_64") => "darwin-x64",
        (os, arch) => return Err(format!("npm has no server of it for {os} on {arch}")),
    };
    let (from, into) = (root().join("tests/bench/node"), root().join(".test/bench"));
    let packages = into.join("node_modules/@restatedev");
    let server = packages.join(format!("restate-server-{platform}/bin/restate-server"));
    let lock = |folder: &Path| std::fs::read(folder.join("package-lock.json")).ok();
    if !server.exists() || lock(&from) != lock(&into) {
        let missing = |what: &str| format!("{what} is missing; it comes with Node.js 20 or newer");
        let version = run(Command::new("node").arg("--version")).ok_or_else(|| missing("node"))?;
        let major = version.trim().trim_start_matches('v').split('.').next().and_then(|n| n.parse::<u32>().ok());
        if major.is_none_or(|major| major < 20) {
            return Err(format!("it needs Node.js 20 or newer, this one is {}", version.trim()));
        }
        copy(&from, &into)?;
        let installed = run(Command::new("npm").args(["ci", "--loglevel=error"]).current_dir(&into));
        installed.ok_or("`npm ci` failed in .test/bench; see above")?;
    }
    copy(&from, &into)?;
    let package = std::fs::read_to_string(packages.join("restate-server/package.json")).unwrap_or_default();
    let package: serde_json::Value = serde_json::from_str(&package).unwrap_or_default();
    let version = package["version"].as_str().unwrap_or("of an unknown version").to_owned();
    Ok(RestateInstallation { server, functions: into.join("endpoint.mjs"), version })
}

fn copy(from: &Path, into: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{} cannot be written: {error}", into.display());
    std::fs::create_dir_all(into).map_err(failed)?;
    FILES.iter().try_for_each(|file| std::fs::copy(from.join(file), into.join(file)).map(|_| ())).map_err(failed)
}

/// Returns what the command prints; `None` if the command is not installed or fails.
fn run(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
