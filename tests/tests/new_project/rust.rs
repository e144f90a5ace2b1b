//! A project in Rust.

use std::path::{Path, PathBuf};

use stepladder_tests::ServerProcess;
use stepladder_tests::deployed::DeployedStack;
use tokio::process::Command;

use super::{contains, greets_and_sleeps, new_project, packages, run};

/// The project's folder for compiled crates. It lies in this workspace's, so a repetition of the
/// test compiles only what has changed.
fn target() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    // the path of a test is <target>/<profile>/deps/<test>
    test.ancestors().nth(3).expect("a test lies in <target>/<profile>/deps").join("new-project")
}

fn cargo_in(project: &Path) -> Command {
    let mut cargo = packages::cargo();
    cargo.current_dir(project).env("CARGO_TARGET_DIR", target()).env("CARGO_INCREMENTAL", "0");
    cargo
}

#[tokio::test]
async fn a_project_builds_against_the_packages_and_runs_here_and_on_aws() {
    let folder = new_project(&["shop"]).await;
    let project = folder.path().join("shop");
    assert!(contains(&project.join("functions/Cargo.toml"), "name = \"shop\""));
    let settings = packages::local_source(folder.path()).await;
    take_packages_from(&project, &settings);

    let examples = add_examples_of_the_skill(&project);
    let tested = run(cargo_in(&project).args(["test", "--offline", "--features", "lambda"])).await;
    assert!(tested.contains("a_new_user_is_greeted_at_once_and_asked_after_three_days ... ok"), "{tested}");
    for test in examples {
        assert!(tested.contains(&format!("{test} ... ok")), "{test}: {tested}");
    }
    run(cargo_in(&project).args(["build", "--offline", "--features", "lambda"])).await;
    let program = target().join("debug/stepladder");
    tokio::join!(serves_an_event(&program), serves_an_event_when_deployed(&project, &program));
}

/// Lets cargo take the packages of projects in this folder from those of this machine.
fn take_packages_from(folder: &Path, settings: &str) {
    std::fs::create_dir(folder.join(".cargo")).expect("a folder in a folder of our own");
    std::fs::write(folder.join(".cargo/config.toml"), settings).expect("a file in a folder of our own");
}

/// Makes each example of the project's skill file a test of the project. Returns the names of its
/// tests.
fn add_examples_of_the_skill(project: &Path) -> Vec<String> {
    let skill = std::fs::read_to_string(project.join("skills/stepladder/SKILL.md")).expect("the skill file");
    let mut lines = skill.lines();
    assert!(lines.next() == Some("---") && lines.next() == Some("name: stepladder"), "agents read this");
    let mut tests = Vec::new();
    for (n, block) in skill.split("```rust\n").skip(1).enumerate() {
        let (code, _) = block.split_once("```").expect("a block ends");
        // what a function defines is public in its module
        let code = format!("#![allow(dead_code)]\n{code}");
        let file = project.join(format!("functions/tests/skill_{n}.rs"));
        std::fs::write(file, &code).expect("a file in a folder of our own");
        let names =
            code.split("#[tokio::test]").skip(1).filter_map(|rest| rest.split_once("async fn ")?.1.split_once('('));
        tests.extend(names.map(|(name, _)| format!("tests::{name}")));
    }
    assert!(tests.len() >= 5, "{tests:?}");
    tests
}

async fn serves_an_event(program: &Path) {
    let mut server = ServerProcess::for_program(program);
    server.start().await;
    greets_and_sleeps(&server.api(), "welcome").await;
    server.assert_no_error_logged();
}

async fn serves_an_event_when_deployed(project: &Path, program: &Path) {
    let stack = DeployedStack::start_project(project, program, &[]).await;
    greets_and_sleeps(&stack.api(), "welcome").await;
}
