//! The dashboard in a headless Chromium against the real server: `tests/node/dashboard.mjs` says what is done and seen.
//!
//! With `STEPLADDER_SCREENSHOTS` set to a folder it leaves pictures of every page there (`just screenshots`).

use std::path::PathBuf;
use std::process::Stdio;

use stepladder_tests::openai::OpenAi;
use stepladder_tests::{Server, binary, parts};
use tokio::process::Command;

/// Runs the script on a server; panics with what it says when something does not hold.
async fn browse(server: &Server, scene: &str) {
    let mut node = Command::new("node");
    node.arg(binary::root().join("tests/node/dashboard.mjs")).args([scene, server.url()]);
    if let Some(folder) = std::env::var_os("STEPLADDER_SCREENSHOTS") {
        let folder = binary::root().join(PathBuf::from(folder));
        std::fs::create_dir_all(&folder).expect("a folder for pictures");
        node.arg(folder);
    }
    node.current_dir(parts::node_folder()).env("NO_PROXY", "127.0.0.1,localhost").env("CHROMIUM", chromium());
    let output = node.stdin(Stdio::null()).kill_on_drop(true).output().await.expect("node starts");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{said}\n{}", server.log());
}

/// Debian's Chromium, or the one that `CHROMIUM` names.
fn chromium() -> PathBuf {
    let chromium = std::env::var_os("CHROMIUM").map_or_else(|| PathBuf::from("/usr/bin/chromium"), PathBuf::from);
    assert!(chromium.exists(), "{} is missing; run ./test once, or name another in CHROMIUM", chromium.display());
    chromium
}

/// Runs that complete, fail and wait, without a database.
#[tokio::test]
async fn what_a_person_does_with_the_dashboard() {
    let ai = OpenAi::start().await;
    let mut server = Server::new()
        .argument("--retry-delay")
        .argument("50ms")
        .variable("OPENAI_API_KEY", "sk-a-key-of-this-test")
        .variable("OPENAI_BASE_URL", ai.url());
    server.start().await;
    browse(&server, "person").await;
    server.assert_no_error_logged();
}

/// What the demonstration shows: runs within a run, beside one another.
#[tokio::test]
async fn a_run_that_calls_others_side_by_side() {
    let mut server = Server::new().argument("--demo").argument("--retry-delay").argument("300ms");
    server.start().await;
    browse(&server, "demonstration").await;
    server.assert_no_error_logged();
}

/// A service that is not there is asked again at once when somebody says so.
#[tokio::test]
async fn a_person_who_does_not_wait_for_a_retry() {
    let nobody = format!("http://127.0.0.1:{}/v1", parts::free_port());
    let mut server =
        Server::new().variable("OPENAI_API_KEY", "sk-a-key-of-this-test").variable("OPENAI_BASE_URL", nobody);
    server.start().await;
    browse(&server, "retries").await;
    server.assert_no_error_logged();
}
