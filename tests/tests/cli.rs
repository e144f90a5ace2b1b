//! The command line as a user meets it: the real binary, its output in a pipe, its exit codes.

use std::process::{Output, Stdio};

use serde_json::{Value, json};
use stepladder_tests::wait::LIMIT;
use stepladder_tests::{Server, server, wait_for};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::process::Command;

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("the command line writes UTF-8");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Said {
    /// Panics unless the command succeeded, without a colour in the pipe.
    #[track_caller]
    fn well(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        assert!(!self.out.contains('\x1b') && !self.err.contains('\x1b'), "colours in a pipe: {:?}", self.out);
        self.out
    }

    /// Panics unless the command failed with one line on standard error.
    #[track_caller]
    fn badly(self) -> String {
        assert_eq!(self.code, Some(1), "{}{}", self.out, self.err);
        assert_eq!(self.err.lines().count(), 1, "not one line: {}", self.err);
        assert!(self.err.starts_with("error: "), "{}", self.err);
        assert!(!self.err.contains('\x1b'), "colours in a pipe: {:?}", self.err);
        self.err
    }
}

async fn said(mut command: Command) -> Said {
    let output = command.stdin(Stdio::null()).output();
    tokio::time::timeout(LIMIT, output).await.expect("the command ends").expect("the binary starts").into()
}

async fn tell(server: &Server, arguments: &[&str]) -> Said {
    said(server.client(arguments)).await
}

fn alone(arguments: &[&str]) -> Command {
    let mut command = server::command();
    command.args(arguments).current_dir(std::env::temp_dir());
    command
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test]
async fn help_tells_of_every_command() {
    let all = said(alone(&["--help"])).await.well();
    for command in ["dev", "functions", "send", "runs", "run", "cancel", "signal", "rerun", "journal", "check"] {
        assert!(all.lines().any(|line| line.trim_start().starts_with(&format!("{command} "))), "{command}: {all}");
        let help = said(alone(&[command, "--help"])).await.well();
        assert!(help.contains("Usage: stepladder"), "{help}");
    }
    let dev = said(alone(&["dev", "--help"])).await.well();
    for option in ["--port", "--host", "--db", "--event-key", "--demo", "--retry-delay", "8288", "127.0.0.1"] {
        assert!(dev.contains(option), "{option}: {dev}");
    }
    assert!(said(alone(&["--version"])).await.well().starts_with("stepladder "));
    assert_eq!(said(alone(&["no-such-command"])).await.code, Some(2));
}

#[tokio::test]
async fn functions_are_listed_without_a_server() {
    let text = said(alone(&["functions"])).await.well();
    for word in
        ["hello-world", "test/hello.world", "enhance-client-with-ai", "create-client-user", "content/brief.requested"]
    {
        assert!(text.contains(word), "{word}: {text}");
    }
    let listed = json(&said(alone(&["functions", "--json"])).await.well());
    let all = listed["data"].as_array().unwrap_or_else(|| panic!("no data: {listed}"));
    let enhance = all.iter().find(|function| function["id"] == "enhance-client-with-ai").expect("it is registered");
    assert_eq!((&enhance["retries"], &enhance["concurrency"][0]["limit"]), (&json!(2), &json!(3)));
}

#[tokio::test]
async fn send_and_wait_tells_how_it_ended() {
    let server = Server::plain().await;
    let out = tell(&server, &["send", "test/hello.world", r#"{"name":"Ada"}"#, "--wait"]).await.well();
    assert!(out.contains("Completed") && out.contains("Hello, Ada!"), "{out}");

    // no key is set: the step that needs it fails for good and names it
    let data = r#"{"clientId":"1","clientName":"Acme","clientDomain":"acme.example"}"#;
    let failed = tell(&server, &["send", "client/enhance.requested", data, "--wait"]).await;
    assert_eq!(failed.code, Some(1), "{}{}", failed.out, failed.err);
    assert!(failed.out.contains("OPENAI_API_KEY") || failed.err.contains("OPENAI_API_KEY"), "{}", failed.out);
}

#[tokio::test]
async fn an_event_can_come_from_a_file_or_a_pipe_and_has_an_id_once() {
    let server = Server::plain().await;
    let file = server.folder().join("data.json");
    std::fs::write(&file, r#"{"name":"File"}"#).expect("a file in a folder of our own");
    let out = tell(&server, &["send", "test/hello.world", "@data.json", "--wait"]).await.well();
    assert!(out.contains("Hello, File!"), "{out}");

    let mut command = server.client(&["send", "test/hello.world", "-", "--wait"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the binary starts");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(br#"{"name":"Pipe"}"#).await.expect("it reads");
    drop(input);
    let out = Said::from(child.wait_with_output().await.expect("it is ours")).well();
    assert!(out.contains("Hello, Pipe!"), "{out}");

    let send = ["send", "test/hello.world", "--id", "only-once", "--json"];
    let first = json(&tell(&server, &send).await.well());
    let again = json(&tell(&server, &send).await.well());
    assert_eq!((&first["ids"], first["ids"].as_array().map(Vec::len)), (&again["ids"], Some(1)));
}

#[tokio::test]
async fn runs_are_listed_shown_cancelled_and_repeated() {
    let server = Server::plain().await;
    let api = server.api();
    let ids = api.send(&json!({"name": "test/hello.world", "data": {"name": "Ada"}})).await;
    let run = api.run_of(&ids[0]).await;
    api.ended(&run).await;

    let listed = tell(&server, &["runs"]).await.well();
    assert!(listed.contains(&run) && listed.contains("hello-world") && listed.contains("Completed"), "{listed}");
    let page =
        json(&tell(&server, &["runs", "--json", "--status", "completed", "--function", "hello-world"]).await.well());
    assert_eq!(page["data"][0]["run_id"], json!(run));
    let none = json(&tell(&server, &["runs", "--json", "--status", "failed"]).await.well());
    assert_eq!(none["data"], json!([]));

    let shown = tell(&server, &["run", &run]).await.well();
    for word in ["greet", "a-short-sleep", "farewell", "Completed", "Goodbye, Ada!"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    let whole = json(&tell(&server, &["run", &run, "--json"]).await.well());
    assert_eq!(whole["data"]["steps"].as_array().map(Vec::len), Some(3), "{whole}");

    let repeated = json(&tell(&server, &["rerun", &run, "--from-step", "farewell", "--json"]).await.well());
    let copy = repeated["data"]["run_id"].as_str().expect("an id").to_owned();
    assert_ne!(copy, run);
    assert_eq!(api.ended(&copy).await["status"], "Completed");
    let journal = api.journal(&copy).await;
    assert_eq!(journal.steps("StepStarted"), ["farewell"], "what came before is carried: {:#?}", journal.story());

    let ids = api.send(&json!({"name": "test/hello.world"})).await;
    let sleeping = api.run_of(&ids[0]).await;
    tell(&server, &["cancel", &sleeping]).await.well();
    assert_eq!(api.ended(&sleeping).await["status"], "Cancelled");
}

#[tokio::test]
async fn a_function_is_paused_and_its_runs_are_cancelled_and_repeated_together() {
    let server = Server::plain().await;
    let api = server.api();
    assert!(tell(&server, &["pause", "hello-world"]).await.well().contains("hello-world is paused"));
    for n in 0..3 {
        api.send(&json!({"name": "test/hello.world", "data": {"name": n.to_string()}})).await;
    }
    let count = async |arguments: &[&str]| {
        let page = json(&tell(&server, &[arguments, &["--json"]].concat()).await.well());
        page["data"].as_array().expect("runs").len()
    };
    assert_eq!(count(&["runs", "--status", "scheduled", "--since", "1h"]).await, 3);
    assert_eq!(count(&["runs", "--until", "1h"]).await, 0);
    let out = tell(&server, &["cancel", "--all", "--status", "scheduled", "--since", "1h"]).await.well();
    assert!(out.contains("3 runs cancelled"), "{out}");
    assert!(tell(&server, &["resume", "hello-world"]).await.well().contains("hello-world is resumed"));
    wait_for("them to be cancelled", async || (count(&["runs", "--status", "cancelled"]).await == 3).then_some(()))
        .await;
    assert_eq!(count(&["rerun", "--all", "--status", "cancelled", "--function", "hello-world"]).await, 3);
    wait_for("them to end", async || (count(&["runs", "--status", "completed"]).await == 3).then_some(())).await;
    // in a pipe nobody can be asked
    for all in [&["cancel", "--all"][..], &["rerun", "--all"], &["rerun", "--all", "--from-step", "greet"]] {
        assert!(tell(&server, all).await.badly().contains("--yes"), "{all:?}");
    }
    assert_eq!(count(&["runs"]).await, 6, "nothing was done");
    assert!(tell(&server, &["cancel", "--all", "--yes"]).await.well().contains("0 runs cancelled"));
    assert_eq!(count(&["rerun", "--all", "--yes"]).await, 6);
    let said = tell(&server, &["cancel", "--all", "--since", "soon"]).await;
    assert!(said.code == Some(2) && said.err.contains("`soon` is not a time"), "{}", said.err);
}

#[tokio::test]
async fn a_failure_is_one_line_and_an_exit_code() {
    let server = Server::plain().await;
    let nobody = "01JB0000000000000000000000";
    for arguments in [
        &["run", nobody][..],
        &["cancel", nobody],
        &["rerun", nobody],
        &["signal", nobody],
        &["signal", nobody, "{"],
        &["send", "test/hello.world", "{"],
        &["send", "test/hello.world", "[1]"],
        &["send", "test/hello.world", "@no-such-file.json"],
        &["send", "inngest/reserved"],
        &["send", ""],
        &["send", "test/nobody-listens", "--wait"],
        &["runs", "--cursor", "x"],
        &["runs", "--url", "nonsense"],
        &["runs", "--url", "http://ada:pass@127.0.0.1:1"],
        &["pause", ".."],
        &["resume", "."],
        &["pause", ""],
        &["signal", ".."],
        &["send", "test/hello.world", "--key", ".."],
        &["send", "test/hello.world", "--key", " "],
    ] {
        let said = tell(&server, arguments).await;
        // an event that starts nothing was still accepted, and that is told before
        assert!(said.out.is_empty() || arguments[0] == "send", "{arguments:?}: {}", said.out);
        let line = said.badly();
        assert!(!line.contains("pass@") && !line.contains("ada"), "{line}");
    }
    server.assert_no_error_logged();

    // bound, but not listening: whoever connects is refused, and nobody else gets the port
    let nobody_listens = TcpSocket::new_v4().expect("a socket");
    nobody_listens.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let away = format!("http://{}", nobody_listens.local_addr().expect("it is bound"));
    for arguments in [&["runs"][..], &["run", nobody], &["send", "test/hello.world"], &["cancel", nobody]] {
        let mut command = alone(arguments);
        command.env("STEPLADDER_URL", &away);
        let line = said(command).await.badly();
        assert!(line.contains(&away), "it says who does not answer: {line}");
    }
}

#[tokio::test]
async fn a_second_server_on_one_file_or_port_is_refused() {
    let server = Server::plain().await;
    let file = server.db();
    let file = file.to_str().expect("a readable path");
    let line = said(alone(&["dev", "--port", "0", "--db", file])).await.badly();
    assert!(line.contains(file), "it says which file: {line}");

    let other = tempfile::tempdir().expect("a temporary folder");
    let other = other.path().join("other.db");
    let port = server.port().to_string();
    let line = said(alone(&["dev", "--port", &port, "--db", other.to_str().expect("a readable path")])).await.badly();
    assert!(line.contains(&port), "it says which port: {line}");

    let out = tell(&server, &["send", "test/hello.world", "--wait"]).await.well();
    assert!(out.contains("Completed"), "the first one is unharmed: {out}");
}

#[tokio::test]
async fn a_server_that_others_can_reach_asks_for_keys() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("dev.db");
    let file = file.to_str().expect("a readable path");
    let line = said(alone(&["dev", "--host", "0.0.0.0", "--port", "0", "--db", file])).await.badly();
    assert!(line.contains("--event-key") && line.contains("STEPLADDER_DASHBOARD_TOKEN"), "{line}");

    let arguments =
        ["dev", "--host", "0.0.0.0", "--port", "0", "--db", file, "--event-key", "long-enough", "--retry-delay", "1ms"];
    let mut command = alone(&arguments);
    command.env("STEPLADDER_DASHBOARD_TOKEN", "long-enough");
    assert!(said(command).await.badly().contains("--retry-delay"));

    for (key, token, what) in [("k", "long-enough", "an event key"), ("long-enough", "t", "the dashboard token")] {
        let mut command = alone(&["dev", "--host", "0.0.0.0", "--port", "0", "--db", file, "--event-key", key]);
        command.env("STEPLADDER_DASHBOARD_TOKEN", token);
        let line = said(command).await.badly();
        assert!(line.contains(what) && line.contains("has 1 characters"), "{line}");
    }
    for key in ["", " ", ".."] {
        let line = said(alone(&["dev", "--port", "0", "--db", file, "--event-key", key])).await.badly();
        assert!(line.contains("event key"), "{line}");
    }
    let mut command = alone(&["dev", "--port", "0", "--db", file]);
    command.env("STEPLADDER_EVENT_KEYS", " , ");
    assert!(said(command).await.badly().contains("STEPLADDER_EVENT_KEYS has no key"));

    let line = said(alone(&["dev", "--port", "0", "--db", "/proc/no/such/folder/dev.db"])).await.badly();
    assert!(line.contains("/proc/no/such/folder"), "{line}");
}

/// A proxy cannot reach a server of this machine.
#[tokio::test]
async fn a_server_on_this_machine_is_asked_without_the_proxy_of_the_environment() {
    let server = Server::plain().await;
    let proxy = TcpSocket::new_v4().expect("a socket");
    proxy.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let proxy = format!("http://{}", proxy.local_addr().expect("it is bound"));
    let mut command = server.client(&["functions", "--url", server.url()]);
    command.env_remove("NO_PROXY").env_remove("no_proxy");
    command.envs(["HTTP_PROXY", "http_proxy", "ALL_PROXY"].map(|name| (name, &proxy)));
    assert!(said(command).await.well().contains("hello-world"));
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_failure() {
    let server = Server::plain().await;
    let mut command = server.client(&["functions"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    drop(child.stdout.take());
    let mut complaint = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut complaint).await.expect("UTF-8");
    assert_eq!((child.wait().await.expect("it is ours").code(), complaint.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn the_demonstration_finishes_its_runs_without_keys() {
    let mut server = Server::new().argument("--demo").argument("--retry-delay").argument("50ms");
    server.start().await;
    let api = server.api();
    let run = wait_for("the enhance run of the demonstration", async || {
        let (_, page) = api.get("/v1/runs?function=enhance-client-with-ai").await;
        page["data"][0]["run_id"].as_str().map(str::to_owned)
    })
    .await;
    let ended = api.ended(&run).await;
    assert_eq!(ended["status"], "Completed", "{ended}");
    let journal = api.journal(&run).await;
    assert_eq!(
        journal.steps("StepFailed"),
        ["update-client"; 2],
        "the database fails at first: {:#?}",
        journal.story()
    );
    assert_eq!(journal.steps("StepStarted").iter().filter(|step| *step == "call-openai").count(), 1);
    // what a watcher sees: every step, and the retries
    for word in ["call-openai", "update-client", "upsert-competitors", "Completed"] {
        assert!(server.log().contains(word), "{word}: {}", server.log());
    }
    assert!(!server.log().contains('\x1b'), "colours in a pipe");
}

/// Whatever the service asks for: the database of the demonstration wants to be asked again after two seconds.
#[tokio::test]
async fn retries_wait_as_long_as_they_are_told_to() {
    let mut server = Server::new().argument("--demo").argument("--retry-delay").argument("1h");
    server.start().await;
    let api = server.api();
    let due = wait_for("the step that the database refused", async || {
        let (_, page) = api.get("/v1/runs?function=enhance-client-with-ai").await;
        let (_, run) = api.get(&format!("/v1/runs/{}", page["data"][0]["run_id"].as_str()?)).await;
        let steps = run["data"]["steps"].as_array()?;
        steps.iter().find(|step| step["status"] == "Retrying")?["due"].as_str().map(str::to_owned)
    })
    .await;
    let wait = due.parse::<jiff::Timestamp>().expect("a time").duration_since(jiff::Timestamp::now());
    assert!((3_500..=3_600).contains(&wait.as_secs()), "{wait:?}");
}
