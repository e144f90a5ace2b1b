//! Types the commands of a quick start in `docs/new-project.md` into shells, from an empty folder.
//! `tests/python/quick_start.py` does the typing.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use stepladder_tests::{ApiClient, binary, parts};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

/// The servers of a quick start, which run until this is ended.
pub(super) struct QuickStart {
    process: Child,
    url: String,
}

impl QuickStart {
    /// Types the commands below a heading in an empty folder, up to the last one.
    pub(super) async fn type_commands(heading: &str, folder: &Path, variables: &[(&str, String)]) -> Self {
        let mut python = script("quick_start.py");
        python.arg(folder).arg(heading).env("PROGRAM", binary::path()).envs(variables.iter().cloned());
        python.env("PACKAGES", parts::node_folder().join("node_modules"));
        python.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = python.spawn().expect("Python starts");
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().expect("its output")).read_line(&mut line).await.expect("it writes");
        let Ok(started) = serde_json::from_str::<Value>(&line) else {
            let mut problem = String::new();
            process.stderr.take().expect("its errors").read_to_string(&mut problem).await.expect("it writes");
            panic!("{heading}: {line}{problem}");
        };
        Self { process, url: started["url"].as_str().expect("a URL").to_owned() }
    }

    pub(super) fn api(&self) -> ApiClient {
        ApiClient::new(&self.url)
    }

    /// Ends the servers.
    pub(super) async fn end(mut self) {
        drop(self.process.stdin.take());
        let ended = self.process.wait().await.expect("the process is ours");
        assert!(ended.success(), "{ended}");
    }
}

pub(super) fn script(name: &str) -> Command {
    let mut python = Command::new(parts::python_program("python"));
    python.arg(binary::root().join("tests/python").join(name)).env("PYTHONDONTWRITEBYTECODE", "1").kill_on_drop(true);
    python
}
