//! A project in Rust.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use stepladder_tests::binary;
use stepladder_tests::ministack::Ministack;

use super::quick_starts::{self, QuickStart};
use super::{greets_and_sleeps, packages, run};

/// The project's folder for compiled crates. It lies in this workspace's, so a repetition of the
/// test compiles only what has changed.
fn target() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    // the path of a test is <target>/<profile>/deps/<test>
    test.ancestors().nth(3).expect("a test lies in <target>/<profile>/deps").join("new-project")
}

/// The settings of a cargo that compiles into [`target`], and downloads nothing.
fn settings() -> [(&'static str, String); 3] {
    let target = target().into_os_string().into_string().expect("a target folder's name is UTF-8");
    [("CARGO_TARGET_DIR", target), ("CARGO_INCREMENTAL", "0".to_owned()), ("CARGO_NET_OFFLINE", "true".to_owned())]
}

/// The commands are typed one after the other, because cargo compiles into one folder.
#[tokio::test]
async fn the_quick_starts_for_rust_and_for_aws_work_from_an_empty_folder() {
    let folder = tempfile::Builder::new().prefix("stepladder-new-").tempdir().expect("a temporary folder");
    let packages = packages::local_source(folder.path()).await;
    let [here, on_aws] = ["here", "aws"].map(|name| folder.path().join(name));
    for place in [&here, &on_aws] {
        std::fs::create_dir(place).expect("a folder in a folder of our own");
    }
    take_packages_from(folder.path(), &packages);

    let servers = QuickStart::type_commands("Rust", &here, &settings()).await;
    greets_and_sleeps(&servers.api(), "welcome").await;
    servers.end().await;
    the_examples_of_the_skill_work(&here.join("shop")).await;

    let stack = Ministack::start().await;
    let mut python = quick_starts::script("quick_start_aws.py");
    stack.name_to(&mut python);
    python.arg(&on_aws).arg(binary::path()).envs(settings()).stdin(Stdio::null());
    let done = python.output().await.expect("Python starts");
    let printed = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    assert!(done.status.success(), "{printed}\n{}", stack.log());
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

async fn the_examples_of_the_skill_work(project: &Path) {
    let examples = add_examples_of_the_skill(project);
    let tested = run(packages::cargo().current_dir(project).arg("test").envs(settings())).await;
    for test in examples {
        assert!(tested.contains(&format!("{test} ... ok")), "{test}: {tested}");
    }
}
