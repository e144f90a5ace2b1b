//! Tests the dashboard of the real server in a headless Chromium. The steps and checks are in
//! `tests/node`: `dashboard.mjs`, `run-page.mjs`, `faults.mjs`, `tasks.mjs` and `pages.mjs`.
//!
//! If `STEPLADDER_SCREENSHOTS` is set to a folder, the test saves pictures of every page there
//! (`just screenshots`).

#[path = "dashboard/long_run.rs"]
mod long_run;

use std::path::PathBuf;
use std::process::Stdio;

use stepladder_tests::openai::OpenAiStub;
use stepladder_tests::{ServerProcess, binary, parts};
use tokio::process::Command;

/// Runs a scene of the script against a server. If a check fails, panics with the script's output.
async fn run_browser_scene(server: &ServerProcess, scene: &str) {
    run_scene_of(server, "dashboard.mjs", scene).await;
}

async fn run_scene_of(server: &ServerProcess, script: &str, scene: &str) {
    let mut node = Command::new("node");
    node.arg(binary::root().join("tests/node").join(script)).args([scene, server.url()]);
    if let Some(folder) = std::env::var_os("STEPLADDER_SCREENSHOTS") {
        let folder = binary::root().join(PathBuf::from(folder));
        std::fs::create_dir_all(&folder).expect("a folder for pictures");
        node.arg(folder);
    }
    node.current_dir(parts::node_folder()).env("NO_PROXY", "127.0.0.1,localhost").env("CHROMIUM", chromium_path());
    let output = node.stdin(Stdio::null()).kill_on_drop(true).output().await.expect("node starts");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{said}\n{}", server.log());
}

/// Returns the path of Chromium: the value of `CHROMIUM` if it is set, otherwise Debian's.
fn chromium_path() -> PathBuf {
    let chromium = std::env::var_os("CHROMIUM").map_or_else(|| PathBuf::from("/usr/bin/chromium"), PathBuf::from);
    assert!(chromium.exists(), "{} is missing; run ./test once, or name another in CHROMIUM", chromium.display());
    chromium
}

/// The server has runs that complete, fail and wait. It has no database.
#[tokio::test]
async fn a_person_uses_the_dashboard() {
    let ai = OpenAiStub::start().await;
    let mut server = ServerProcess::new()
        .argument("--retry-delay")
        .argument("50ms")
        .variable("OPENAI_API_KEY", "sk-a-key-of-this-test")
        .variable("OPENAI_BASE_URL", ai.url());
    server.start().await;
    run_browser_scene(&server, "person").await;
    server.assert_no_error_logged();
}

/// In the demonstration, a run calls several runs at the same time.
#[tokio::test]
async fn the_dashboard_shows_a_run_that_calls_parallel_runs() {
    let mut server = ServerProcess::new().argument("--demo").argument("--retry-delay").argument("300ms");
    server.start().await;
    run_browser_scene(&server, "demonstration").await;
    server.assert_no_error_logged();
}

/// A person skips the wait before a retry. The service that the step calls cannot be reached.
#[tokio::test]
async fn a_person_skips_the_wait_for_a_retry() {
    let unreachable = format!("http://127.0.0.1:{}/v1", parts::free_port());
    let mut server = ServerProcess::new()
        .variable("OPENAI_API_KEY", "sk-a-key-of-this-test")
        .variable("OPENAI_BASE_URL", unreachable);
    server.start().await;
    run_browser_scene(&server, "retries").await;
    server.assert_no_error_logged();
}

/// A person reads, searches and copies values, and the page changes meanwhile.
#[tokio::test]
async fn a_person_reads_values_of_a_run() {
    let mut server = ServerProcess::new();
    server.start().await;
    run_scene_of(&server, "run-page.mjs", "values").await;
    server.assert_no_error_logged();
}

/// A person finds a step among a thousand: by scrolling, by name, by time, and by its address.
#[tokio::test]
async fn a_person_finds_a_step_of_a_long_run() {
    let mut server = ServerProcess::new();
    long_run::write_long_run(&server.db(), 1_000).await;
    server.start().await;
    run_scene_of(&server, "run-page.mjs", "long").await;
    server.assert_no_error_logged();
}

/// Faults that were mended stay so: on a phone, in filters, in live pages, before costly actions.
#[tokio::test]
async fn mended_faults_stay_mended() {
    let unreachable = format!("http://127.0.0.1:{}/v1", parts::free_port());
    let mut server = ServerProcess::new()
        .argument("--retry-delay")
        .argument("50ms")
        .variable("OPENAI_API_KEY", "sk-a-key-of-this-test")
        .variable("OPENAI_BASE_URL", unreachable);
    server.start().await;
    run_scene_of(&server, "faults.mjs", "faults").await;
    server.assert_no_error_logged();
}

/// The everyday tasks need no more clicks than in the best dashboard of this kind.
#[tokio::test]
async fn everyday_tasks_need_few_clicks() {
    let ai = OpenAiStub::start().await;
    ai.answer_first(1);
    let mut server = ServerProcess::new()
        .argument("--retry-delay")
        .argument("50ms")
        .variable("OPENAI_API_KEY", "sk-a-key-of-this-test")
        .variable("OPENAI_BASE_URL", ai.url());
    server.start().await;
    run_scene_of(&server, "tasks.mjs", "tasks").await;
    server.assert_no_error_logged();
}

/// Times are relative or local, and in UTC on demand.
#[tokio::test]
async fn times_are_shown_in_the_zone_of_the_reader() {
    let mut server = ServerProcess::new();
    server.start().await;
    run_scene_of(&server, "tasks.mjs", "times").await;
    server.assert_no_error_logged();
}

/// Every page is accessible in all widths and themes, and complete without the script.
#[tokio::test]
async fn every_page_is_accessible_and_works_without_its_script() {
    let mut server = ServerProcess::new().argument("--retry-delay").argument("50ms");
    server.start().await;
    run_scene_of(&server, "pages.mjs", "pages").await;
    server.assert_no_error_logged();
}
