//! The command line as users see it: the real binary, its output in a pipe, and its exit codes.

use std::process::{Output, Stdio};

use serde_json::{Value, json};
use stepladder_tests::stub_server::{self, StubResponse};
use stepladder_tests::wait::LIMIT;
use stepladder_tests::{ServerProcess, server, wait_for};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::process::Command;

struct CommandOutput {
    code: Option<i32>,
    out: String,
    err: String,
}

impl From<Output> for CommandOutput {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("the command line writes UTF-8");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl CommandOutput {
    /// Panics unless the command succeeded without printing colours. Returns its standard output.
    #[track_caller]
    fn expect_success(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        assert!(!self.out.contains('\x1b') && !self.err.contains('\x1b'), "colours in a pipe: {:?}", self.out);
        self.out
    }

    /// Panics unless the command failed and printed one line to standard error. Returns that line.
    #[track_caller]
    fn expect_failure(self) -> String {
        assert_eq!(self.code, Some(1), "{}{}", self.out, self.err);
        assert_eq!(self.err.lines().count(), 1, "not one line: {}", self.err);
        assert!(self.err.starts_with("error: "), "{}", self.err);
        assert!(!self.err.contains('\x1b'), "colours in a pipe: {:?}", self.err);
        self.err
    }
}

async fn execute(mut command: Command) -> CommandOutput {
    let output = command.stdin(Stdio::null()).output();
    tokio::time::timeout(LIMIT, output).await.expect("the command ends").expect("the binary starts").into()
}

async fn run_client(server: &ServerProcess, arguments: &[&str]) -> CommandOutput {
    execute(server.client(arguments)).await
}

fn without_server(arguments: &[&str]) -> Command {
    let mut command = server::command();
    command.args(arguments).current_dir(std::env::temp_dir());
    command
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test]
async fn help_lists_every_command() {
    let all = execute(without_server(&["--help"])).await.expect_success();
    for command in
        ["dev", "functions", "send", "runs", "run", "cancel", "signal", "rerun", "journal", "check", "health"]
    {
        assert!(all.lines().any(|line| line.trim_start().starts_with(&format!("{command} "))), "{command}: {all}");
        let help = execute(without_server(&[command, "--help"])).await.expect_success();
        assert!(help.contains("Usage: stepladder"), "{help}");
    }
    let dev = execute(without_server(&["dev", "--help"])).await.expect_success();
    for option in ["--port", "--host", "--db", "--event-key", "--demo", "--retry-delay", "8288", "127.0.0.1"] {
        assert!(dev.contains(option), "{option}: {dev}");
    }
    assert!(execute(without_server(&["--version"])).await.expect_success().starts_with("stepladder "));
    assert_eq!(execute(without_server(&["no-such-command"])).await.code, Some(2));
}

#[tokio::test]
async fn functions_are_listed_without_a_server() {
    let text = execute(without_server(&["functions"])).await.expect_success();
    for word in
        ["hello-world", "test/hello.world", "enhance-client-with-ai", "create-client-user", "content/brief.requested"]
    {
        assert!(text.contains(word), "{word}: {text}");
    }
    let listed = json(&execute(without_server(&["functions", "--json"])).await.expect_success());
    let all = listed["data"].as_array().unwrap_or_else(|| panic!("no data: {listed}"));
    let enhance = all.iter().find(|function| function["id"] == "enhance-client-with-ai").expect("it is registered");
    assert_eq!((&enhance["retries"], &enhance["concurrency"][0]["limit"]), (&json!(2), &json!(3)));
}

#[tokio::test]
async fn health_succeeds_only_if_a_healthy_server_answers() {
    let mut server = ServerProcess::new().variable("STEPLADDER_DASHBOARD_TOKEN", "a-token-of-this-test");
    server.start().await;
    // without the token, as the health check of a container
    assert!(run_client(&server, &["health"]).await.expect_success().ends_with(" is healthy\n"));
    assert!(run_client(&server, &["health", "--json"]).await.expect_success().starts_with("{\"status\""));
    assert_eq!(run_client(&server, &["runs"]).await.code, Some(1), "the token is required elsewhere");
    server.kill().await;
    let dead = run_client(&server, &["health"]).await.expect_failure();
    assert!(
        dead.contains(&format!("no server answers at {}; start one with `stepladder dev`", server.url())),
        "{dead}"
    );

    let foreign = stub_server::serve(|_| async { StubResponse::json(200, &json!({ "status": "starting" })) }).await;
    let starting = execute(without_server(&["health", "--url", &format!("http://{foreign}")])).await.expect_failure();
    assert!(starting.contains("its health is `starting`"), "{starting}");
}

#[tokio::test]
async fn send_with_wait_prints_how_the_run_ended() {
    let server = ServerProcess::without_services().await;
    let out = run_client(&server, &["send", "test/hello.world", r#"{"name":"Ada"}"#, "--wait"]).await.expect_success();
    assert!(out.contains("Completed") && out.contains("Hello, Ada!"), "{out}");

    // OPENAI_API_KEY is not set, so the step that needs it fails for good, with an error that names
    // the variable
    let data = r#"{"clientId":"1","clientName":"Acme","clientDomain":"acme.example"}"#;
    let failed = run_client(&server, &["send", "client/enhance.requested", data, "--wait"]).await;
    assert_eq!(failed.code, Some(1), "{}{}", failed.out, failed.err);
    assert!(failed.out.contains("OPENAI_API_KEY") || failed.err.contains("OPENAI_API_KEY"), "{}", failed.out);
}

#[tokio::test]
async fn an_event_is_read_from_a_file_or_a_pipe_and_its_id_counts_once() {
    let server = ServerProcess::without_services().await;
    let file = server.folder().join("data.json");
    std::fs::write(&file, r#"{"name":"File"}"#).expect("a file in a folder of our own");
    let out = run_client(&server, &["send", "test/hello.world", "@data.json", "--wait"]).await.expect_success();
    assert!(out.contains("Hello, File!"), "{out}");

    let mut command = server.client(&["send", "test/hello.world", "-", "--wait"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the binary starts");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(br#"{"name":"Pipe"}"#).await.expect("it reads");
    drop(input);
    let out = CommandOutput::from(child.wait_with_output().await.expect("it is ours")).expect_success();
    assert!(out.contains("Hello, Pipe!"), "{out}");

    let send = ["send", "test/hello.world", "--id", "only-once", "--json"];
    let first = json(&run_client(&server, &send).await.expect_success());
    let again = json(&run_client(&server, &send).await.expect_success());
    assert_eq!((&first["ids"], first["ids"].as_array().map(Vec::len)), (&again["ids"], Some(1)));
}

#[tokio::test]
async fn runs_are_listed_shown_cancelled_and_rerun() {
    let server = ServerProcess::without_services().await;
    let api = server.api();
    let ids = api.send(&json!({"name": "test/hello.world", "data": {"name": "Ada"}})).await;
    let run = api.run_of(&ids[0]).await;
    api.wait_for_end(&run).await;

    let listed = run_client(&server, &["runs"]).await.expect_success();
    assert!(listed.contains(&run) && listed.contains("hello-world") && listed.contains("Completed"), "{listed}");
    let page = json(
        &run_client(&server, &["runs", "--json", "--status", "completed", "--function", "hello-world"])
            .await
            .expect_success(),
    );
    assert_eq!(page["data"][0]["run_id"], json!(run));
    let none = json(&run_client(&server, &["runs", "--json", "--status", "failed"]).await.expect_success());
    assert_eq!(none["data"], json!([]));

    let shown = run_client(&server, &["run", &run]).await.expect_success();
    for word in ["greet", "a-short-sleep", "farewell", "Completed", "Goodbye, Ada!"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    let whole = json(&run_client(&server, &["run", &run, "--json"]).await.expect_success());
    assert_eq!(whole["data"]["steps"].as_array().map(Vec::len), Some(3), "{whole}");

    let repeated =
        json(&run_client(&server, &["rerun", &run, "--from-step", "farewell", "--json"]).await.expect_success());
    let copy = repeated["data"]["run_id"].as_str().expect("an id").to_owned();
    assert_ne!(copy, run);
    assert_eq!(api.wait_for_end(&copy).await["status"], "Completed");
    let journal = api.journal(&copy).await;
    assert_eq!(
        journal.steps_with_fact("StepStarted"),
        ["farewell"],
        "what came before is carried: {:#?}",
        journal.story()
    );

    let ids = api.send(&json!({"name": "test/hello.world"})).await;
    let sleeping = api.run_of(&ids[0]).await;
    run_client(&server, &["cancel", &sleeping]).await.expect_success();
    assert_eq!(api.wait_for_end(&sleeping).await["status"], "Cancelled");
}

#[tokio::test]
async fn a_function_is_paused_and_its_runs_are_cancelled_and_rerun_in_bulk() {
    let server = ServerProcess::without_services().await;
    let api = server.api();
    assert!(run_client(&server, &["pause", "hello-world"]).await.expect_success().contains("hello-world is paused"));
    for n in 0..3 {
        api.send(&json!({"name": "test/hello.world", "data": {"name": n.to_string()}})).await;
    }
    let count = async |arguments: &[&str]| {
        let page = json(&run_client(&server, &[arguments, &["--json"]].concat()).await.expect_success());
        page["data"].as_array().expect("runs").len()
    };
    assert_eq!(count(&["runs", "--status", "scheduled", "--since", "1h"]).await, 3);
    assert_eq!(count(&["runs", "--until", "1h"]).await, 0);
    let out =
        run_client(&server, &["cancel", "--all", "--status", "scheduled", "--since", "1h"]).await.expect_success();
    assert!(out.contains("3 runs cancelled"), "{out}");
    assert!(run_client(&server, &["resume", "hello-world"]).await.expect_success().contains("hello-world is resumed"));
    wait_for("them to be cancelled", async || (count(&["runs", "--status", "cancelled"]).await == 3).then_some(()))
        .await;
    assert_eq!(count(&["rerun", "--all", "--status", "cancelled", "--function", "hello-world"]).await, 3);
    wait_for("them to end", async || (count(&["runs", "--status", "completed"]).await == 3).then_some(())).await;
    // with a pipe instead of a terminal, the command cannot ask for confirmation
    for all in [&["cancel", "--all"][..], &["rerun", "--all"], &["rerun", "--all", "--from-step", "greet"]] {
        assert!(run_client(&server, all).await.expect_failure().contains("--yes"), "{all:?}");
    }
    assert_eq!(count(&["runs"]).await, 6, "nothing was done");
    assert!(run_client(&server, &["cancel", "--all", "--yes"]).await.expect_success().contains("0 runs cancelled"));
    assert_eq!(count(&["rerun", "--all", "--yes"]).await, 6);
    let run = run_client(&server, &["cancel", "--all", "--since", "soon"]).await;
    assert!(run.code == Some(2) && run.err.contains("`soon` is not a time"), "{}", run.err);
}

#[tokio::test]
async fn a_failed_command_prints_one_line_and_exits_with_a_code() {
    let server = ServerProcess::without_services().await;
    let unknown = "01JB0000000000000000000000";
    for arguments in [
        &["run", unknown][..],
        &["cancel", unknown],
        &["rerun", unknown],
        &["signal", unknown],
        &["signal", unknown, "{"],
        &["send", "test/hello.world", "{"],
        &["send", "test/hello.world", "[1]"],
        &["send", "test/hello.world", "@no-such-file.json"],
        &["send", "inngest/reserved"],
        &["send", ""],
        &["send", "test/unused", "--wait"],
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
        let run = run_client(&server, arguments).await;
        // `send` prints the accepted event before it fails because the event has no run
        assert!(run.out.is_empty() || arguments[0] == "send", "{arguments:?}: {}", run.out);
        let line = run.expect_failure();
        assert!(!line.contains("pass@") && !line.contains("ada"), "{line}");
    }
    server.assert_no_error_logged();

    // this port is bound but not listening: connections are refused, and no other process can get
    // the port
    let nobody_listens = TcpSocket::new_v4().expect("a socket");
    nobody_listens.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let away = format!("http://{}", nobody_listens.local_addr().expect("it is bound"));
    for arguments in [&["runs"][..], &["run", unknown], &["send", "test/hello.world"], &["cancel", unknown]] {
        let mut command = without_server(arguments);
        command.env("STEPLADDER_URL", &away);
        let line = execute(command).await.expect_failure();
        assert!(line.contains(&away), "it names the server that does not answer: {line}");
    }
}

#[tokio::test]
async fn a_second_server_on_one_file_or_port_is_refused() {
    let server = ServerProcess::without_services().await;
    let file = server.db();
    let file = file.to_str().expect("a readable path");
    let line = execute(without_server(&["dev", "--port", "0", "--db", file])).await.expect_failure();
    assert!(line.contains(file), "it names the file: {line}");

    let other = tempfile::tempdir().expect("a temporary folder");
    let other = other.path().join("other.db");
    let port = server.port().to_string();
    let line = execute(without_server(&["dev", "--port", &port, "--db", other.to_str().expect("a readable path")]))
        .await
        .expect_failure();
    assert!(line.contains(&port), "it names the port: {line}");

    let out = run_client(&server, &["send", "test/hello.world", "--wait"]).await.expect_success();
    assert!(out.contains("Completed"), "the first server still works: {out}");
}

#[tokio::test]
async fn a_server_reachable_from_outside_requires_keys() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("dev.db");
    let file = file.to_str().expect("a readable path");
    let line =
        execute(without_server(&["dev", "--host", "0.0.0.0", "--port", "0", "--db", file])).await.expect_failure();
    assert!(line.contains("--event-key") && line.contains("STEPLADDER_DASHBOARD_TOKEN"), "{line}");

    let arguments =
        ["dev", "--host", "0.0.0.0", "--port", "0", "--db", file, "--event-key", "long-enough", "--retry-delay", "1ms"];
    let mut command = without_server(&arguments);
    command.env("STEPLADDER_DASHBOARD_TOKEN", "long-enough");
    assert!(execute(command).await.expect_failure().contains("--retry-delay"));

    for (key, token, what) in [("k", "long-enough", "an event key"), ("long-enough", "t", "the dashboard token")] {
        let mut command =
            without_server(&["dev", "--host", "0.0.0.0", "--port", "0", "--db", file, "--event-key", key]);
        command.env("STEPLADDER_DASHBOARD_TOKEN", token);
        let line = execute(command).await.expect_failure();
        assert!(line.contains(what) && line.contains("has 1 characters"), "{line}");
    }
    for key in ["", " ", ".."] {
        let line =
            execute(without_server(&["dev", "--port", "0", "--db", file, "--event-key", key])).await.expect_failure();
        assert!(line.contains("event key"), "{line}");
    }
    let mut command = without_server(&["dev", "--port", "0", "--db", file]);
    command.env("STEPLADDER_EVENT_KEYS", " , ");
    assert!(execute(command).await.expect_failure().contains("STEPLADDER_EVENT_KEYS has no key"));

    let line =
        execute(without_server(&["dev", "--port", "0", "--db", "/proc/no/such/folder/dev.db"])).await.expect_failure();
    assert!(line.contains("/proc/no/such/folder"), "{line}");
}

/// A proxy elsewhere could not reach a server on this machine.
#[tokio::test]
async fn commands_reach_a_local_server_without_the_environments_proxy() {
    let server = ServerProcess::without_services().await;
    let proxy = TcpSocket::new_v4().expect("a socket");
    proxy.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let proxy = format!("http://{}", proxy.local_addr().expect("it is bound"));
    let mut command = server.client(&["functions", "--url", server.url()]);
    command.env_remove("NO_PROXY").env_remove("no_proxy");
    command.envs(["HTTP_PROXY", "http_proxy", "ALL_PROXY"].map(|name| (name, &proxy)));
    assert!(execute(command).await.expect_success().contains("hello-world"));
}

#[tokio::test]
async fn a_closed_pipe_is_not_a_failure() {
    let server = ServerProcess::without_services().await;
    let mut command = server.client(&["functions"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    drop(child.stdout.take());
    let mut complaint = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut complaint).await.expect("UTF-8");
    assert_eq!((child.wait().await.expect("it is ours").code(), complaint.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn the_demonstration_finishes_its_runs_without_keys() {
    let mut server = ServerProcess::new().argument("--demo").argument("--retry-delay").argument("50ms");
    server.start().await;
    let api = server.api();
    let run = wait_for("the enhance run of the demonstration", async || {
        let (_, page) = api.get("/v1/runs?function=enhance-client-with-ai").await;
        page["data"][0]["run_id"].as_str().map(str::to_owned)
    })
    .await;
    let ended = api.wait_for_end(&run).await;
    assert_eq!(ended["status"], "Completed", "{ended}");
    let journal = api.journal(&run).await;
    assert_eq!(
        journal.steps_with_fact("StepFailed"),
        ["update-client"; 2],
        "the database fails at first: {:#?}",
        journal.story()
    );
    assert_eq!(journal.steps_with_fact("StepStarted").iter().filter(|step| *step == "call-openai").count(), 1);
    // the output of the server shows every step, including retries
    for word in ["call-openai", "update-client", "upsert-competitors", "Completed"] {
        assert!(server.log().contains(word), "{word}: {}", server.log());
    }
    assert!(!server.log().contains('\x1b'), "colours in a pipe");
}

/// The demo's database responds with `Retry-After: 2`.
#[tokio::test]
async fn retries_wait_as_long_as_retry_after_says() {
    let mut server = ServerProcess::new().argument("--demo").argument("--retry-delay").argument("1h");
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
