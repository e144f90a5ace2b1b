//! Executes the commands of `README.md` and of the runbook (`docs/deploying-on-aws.md`,
//! `docs/operating.md`) word for word in a shell, with an emulator of AWS: from the first
//! deployment to the deletion of the last queue. `tests/python/runbook.py` types the commands.

use std::process::Stdio;

use stepladder_tests::binary;
use stepladder_tests::ministack::Ministack;
use stepladder_tests::parts::python_program;
use tokio::process::Command;

#[tokio::test]
async fn the_commands_of_the_runbook_work() {
    let stack = Ministack::start().await;
    let folder = tempfile::Builder::new().prefix("stepladder-runbook-").tempdir().expect("a temporary folder");
    let work = folder.path().join("work");
    std::fs::create_dir(&work).expect("a folder in a folder of our own");
    let mut command = Command::new(python_program("python"));
    stack.name_to(&mut command);
    // otherwise SAM would store state in the user's home folder
    command.env("HOME", folder.path()).env("SAM_CLI_TELEMETRY", "0").env("PYTHONDONTWRITEBYTECODE", "1");
    command.arg(binary::root().join("tests/python/runbook.py")).arg(&work).arg(binary::path());
    let done = command.stdin(Stdio::null()).kill_on_drop(true).output().await.expect("Python starts");
    let (shown, said) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{shown}\n{said}\n{}", stack.log());
}
