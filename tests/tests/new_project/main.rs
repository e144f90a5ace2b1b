//! Projects that `stepladder new` creates, away from this repository, with the commands of the
//! quick starts: a project in Rust is built against the packages of this workspace, offline, and
//! runs on one machine and on the emulators; apps in TypeScript and Python run with the real
//! packages.

mod apps;
mod packages;
mod quick_starts;
mod rust;

use serde_json::json;
use stepladder_tests::{ApiClient, server, wait_for};
use tempfile::TempDir;
use tokio::process::Command;

/// Creates a project in a folder of its own, with the command that a user types.
async fn new_project(arguments: &[&str]) -> TempDir {
    let folder = tempfile::Builder::new().prefix("stepladder-new-").tempdir().expect("a temporary folder");
    run(server::command().arg("new").args(arguments).current_dir(folder.path())).await;
    folder
}

/// Runs a command to its end, and returns what it printed. Fails if the command fails.
async fn run(command: &mut Command) -> String {
    let done = command.kill_on_drop(true).output().await.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let printed = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    assert!(done.status.success(), "{command:?} ended with {}:\n{printed}", done.status);
    printed
}

#[tokio::test]
async fn a_folder_that_is_not_empty_is_left_alone() {
    let project = new_project(&["shop"]).await;
    let again = server::command().args(["new", "shop"]).current_dir(project.path()).output().await;
    let again = again.expect("the binary starts");
    assert_eq!(again.status.code(), Some(1));
    let said = String::from_utf8_lossy(&again.stderr);
    assert!(said.contains("the folder shop is not empty"), "{said}");
}

#[tokio::test]
async fn another_tool_creates_the_same_project() {
    let project = new_project(&["shop"]).await;
    let template = stepladder_tests::binary::root().join("template/rust");
    let made = tempfile::tempdir().expect("a temporary folder");
    let program = stepladder_tests::parts::python_program("cargo-lambda");
    let mut command = Command::new(program);
    command.args(["lambda", "new", "--no-interactive", "--template"]).arg(template).arg("shop");
    run(command.current_dir(made.path())).await;
    // other tools do not copy hidden files in each version; the rest is the same
    let differences = Command::new("diff")
        .args(["-r", "--exclude=.*"])
        .args([project.path().join("shop"), made.path().join("shop")])
        .output()
        .await
        .expect("diff is everywhere");
    assert_eq!(String::from_utf8_lossy(&differences.stdout), "");
}

/// Sends an event, and checks that a run of `function` greets and then sleeps for three days.
async fn greets_and_sleeps(api: &ApiClient, function: &str) {
    let event = api.send(&json!({"name": "user/signed.up", "data": {"name": "Ada"}})).await.remove(0);
    let run = api.run_of(&event).await;
    wait_for("the run to greet, and to sleep", async || {
        let run = api.run(&run).await;
        assert_eq!(run["function_id"], function);
        let steps = run["steps"].as_array()?;
        let greeted = steps.iter().any(|step| step["id"] == "greet" && step["output"] == "Welcome, Ada!");
        (greeted && steps.iter().any(|step| step["id"] == "three-days")).then_some(())
    })
    .await;
}
