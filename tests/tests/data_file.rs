//! Data files that a server must refuse at once.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use stepladder_tests::refusing_disk::RefusingDisk;
use stepladder_tests::wait::LIMIT;
use stepladder_tests::{ServerProcess, server};
use tempfile::TempDir;

/// Starts `dev` with this data file and waits until it exits. Returns the only line that it
/// printed.
async fn refusal_sentence(db: &Path) -> String {
    let mut command = server::command();
    command.args(["dev", "--port", "0", "--db"]).arg(db).stdin(Stdio::null());
    let output = tokio::time::timeout(LIMIT, command.output()).await.expect("it ends").expect("the binary starts");
    let line = String::from_utf8(output.stderr).expect("the command line writes UTF-8");
    assert_eq!((output.status.code(), line.lines().count()), (Some(1), 1), "{line}");
    line
}

#[tokio::test]
async fn a_second_server_is_refused_under_every_name_of_the_file() {
    let server = ServerProcess::without_services().await;
    let links = TempDir::new_in(server.folder()).expect("a temporary folder");
    let (symbolic, hard) = (links.path().join("symbolic.db"), links.path().join("hard.db"));
    std::os::unix::fs::symlink(server.db(), &symbolic).expect("a link");
    std::fs::hard_link(server.db(), &hard).expect("a link");
    for name in [symbolic, hard] {
        let line = refusal_sentence(&name).await;
        assert!(line.contains("in use by another process"), "{line}");
        assert!(line.contains(&*name.to_string_lossy()), "{line}");
    }
}

#[tokio::test]
async fn an_unwritable_data_file_is_refused_at_the_start() {
    let disk = RefusingDisk::new();
    let mut server = disk.attach_to(ServerProcess::new());
    server.start().await;
    server.interrupt().await;
    disk.make_read_only();
    server.launch();
    assert_eq!(server.wait_for_exit().await.code(), Some(1));
    assert!(server.log().contains("cannot be written"), "{}", server.log());
    assert!(!server.log().contains("is ready"), "{}", server.log());
    disk.accept_writes();
    server.start().await;
}

#[tokio::test]
async fn a_server_creates_private_folders_and_refuses_data_in_memory() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    assert!(refusal_sentence(Path::new(":memory:")).await.contains("kept in memory"));
    let inner = folder.path().join("outer/inner");
    let mut command = server::command();
    command.args(["dev", "--port", "0", "--db"]).arg(inner.join("notes.db")).stdin(Stdio::null());
    std::fs::create_dir_all(folder.path().join("outer")).expect("a folder");
    std::fs::set_permissions(folder.path().join("outer"), PermissionsExt::from_mode(0o755)).expect("rights");
    let mut running = command.stdout(Stdio::null()).spawn().expect("the binary starts");
    let mode = |path: &Path| Some(std::fs::metadata(path).ok()?.permissions().mode() & 0o777);
    let made = stepladder_tests::wait_for("the data file", async || mode(&inner.join("notes.db"))).await;
    assert_eq!((made, mode(&inner), mode(&folder.path().join("outer"))), (0o600, Some(0o700), Some(0o755)));
    running.kill().await.expect("the process is ours");
}
