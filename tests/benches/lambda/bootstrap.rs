//! Builds, strips and starts the binary that would be deployed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use stepladder_tests::binary::root;
use stepladder_tests::lambda_api::LambdaApi;

/// The stripped binary, and the folder that contains it.
pub(crate) struct BootstrapBinary {
    pub(crate) path: PathBuf,
    _folder: tempfile::TempDir,
}

/// Builds the binary for this machine, with the features of `functions/CargoLambda.toml` and the
/// profile of `functions/.cargo/config.toml`.
pub(crate) fn build() -> BootstrapBinary {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.current_dir(root().join("functions"));
    build.args(["build", "--release", "--package", "stepladder-functions", "--bin", "stepladder"]);
    build
        .args(["--no-default-features", "--features", "lambda"])
        .arg("--target-dir")
        .arg(target_folder().join("lambda"));
    assert!(build.status().expect("cargo starts").success(), "the binary does not build");
    let folder = tempfile::Builder::new().prefix("stepladder-bootstrap-").tempdir().expect("a temporary folder");
    let path = folder.path().join("bootstrap");
    std::fs::copy(target_folder().join("lambda/release/stepladder"), &path).expect("the binary was just built");
    let stripped =
        Command::new("strip").arg(&path).status().expect("strip is there (Debian: apt-get install binutils)");
    assert!(stripped.success(), "the binary cannot be stripped");
    BootstrapBinary { path, _folder: folder }
}

/// Returns the target folder of this benchmark, which is at `<target>/<profile>/deps/<this>`.
fn target_folder() -> PathBuf {
    let this = std::env::current_exe().expect("a program knows its own path");
    this.ancestors().nth(3).map(Path::to_path_buf).expect("a benchmark lies in <target>/<profile>/deps")
}

impl BootstrapBinary {
    /// Starts a process with only the environment variables that Lambda and the template set.
    pub(crate) fn start(&self, lambda: &LambdaApi, aws: String) -> std::io::Result<tokio::process::Child> {
        let mut command = tokio::process::Command::new(&self.path);
        command.env_clear().envs(lambda.environment());
        command.env("AWS_ENDPOINT_URL", aws);
        command.env("STEPLADDER_ROLE", "worker").env("STEPLADDER_TABLE", "runs");
        command.env("STEPLADDER_STEPS_QUEUE_URL", "https://sqs.us-east-1.amazonaws.com/000000000000/steps");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
        command.spawn()
    }
}
