//! The packages of this workspace, as `cargo publish` would upload them, in a folder that cargo
//! reads instead of crates.io.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use stepladder_tests::binary;
use tokio::process::Command;

use super::run;

/// These are programs of this repository. Projects do not depend on them.
const NOT_PUBLISHED: [&str; 3] = ["stepladder-functions", "stepladder-proof", "stepladder-tests"];

/// Packages the workspace into `folder`, and adds what it depends on. Returns the settings with
/// which cargo takes each crate from there, and none from the network.
pub(super) async fn local_source(folder: &Path) -> String {
    let packed = folder.join("packed");
    let mut package = cargo();
    package.args(["package", "--workspace", "--no-verify", "--offline", "--allow-dirty", "--target-dir"]).arg(&packed);
    run(package.args(NOT_PUBLISHED.iter().flat_map(|name| ["--exclude", name]))).await;
    let source = folder.join("crates");
    std::fs::create_dir(&source).expect("a folder in a folder of our own");
    for entry in std::fs::read_dir(packed.join("package")).expect("cargo wrote the packages") {
        let path = entry.expect("a readable folder").path();
        if path.extension().is_some_and(|extension| extension == "crate") {
            run(Command::new("tar").arg("-xzf").arg(&path).arg("-C").arg(&source)).await;
            let name = path.file_stem().expect("a name");
            write_checksums(&source.join(name));
        }
    }
    for manifest in dependencies().await {
        link_dependency(&manifest, &source);
    }
    format!(
        "[source.crates-io]\nreplace-with = \"packages\"\n[source.packages]\ndirectory = {}\n",
        json!(source.to_str().expect("the name of a temporary folder is UTF-8"))
    )
}

pub(super) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(binary::root());
    cargo
}

/// Returns the manifests of all packages of other people in this workspace's lock file.
async fn dependencies() -> Vec<PathBuf> {
    let metadata = cargo().args(["metadata", "--offline", "--locked", "--format-version", "1"]).output().await;
    let metadata: Value = serde_json::from_slice(&metadata.expect("cargo starts").stdout).expect("metadata is JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let others = packages.iter().filter(|package| package["source"].is_string());
    others.map(|package| PathBuf::from(package["manifest_path"].as_str().expect("a path"))).collect()
}

/// Makes a package of cargo's own store a package of `source`, without copying it.
fn link_dependency(manifest: &Path, source: &Path) {
    let stored = manifest.parent().expect("a manifest lies in a folder");
    let folder = source.join(stored.file_name().expect("a name"));
    std::fs::create_dir(&folder).expect("each package is there once");
    for entry in std::fs::read_dir(stored).expect("cargo has unpacked it") {
        let entry = entry.expect("a readable folder");
        std::os::unix::fs::symlink(entry.path(), folder.join(entry.file_name())).expect("a link");
    }
    write_checksums(&folder);
}

/// Writes the file that cargo expects in each package of a folder: here without checksums.
fn write_checksums(package: &Path) {
    std::fs::write(package.join(".cargo-checksum.json"), r#"{"files":{}}"#).expect("a file in a folder of our own");
}
