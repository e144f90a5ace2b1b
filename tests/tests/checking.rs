//! The commands `journal` and `check`, as used before a deploy: the real binary replays the
//! journals of live runs.

use std::process::{Output, Stdio};

use serde_json::{Value, json};
use stepladder_tests::ServerProcess;

async fn run_check(server: &ServerProcess, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = server.client(arguments);
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().await.expect("the binary starts");
    let text = |bytes| String::from_utf8(bytes).expect("the command line writes UTF-8");
    (status.code(), text(stdout), text(stderr))
}

#[tokio::test]
async fn saved_journals_replay_under_their_own_build_and_not_under_another() {
    let server = ServerProcess::without_services().await;
    let ids = server.api().send(&json!({"name": "test/hello.world", "data": {"name": "Ada"}})).await;
    let run = server.api().run_of(&ids[0]).await;
    server.api().wait_for_end(&run).await;

    let (code, lines, err) = run_check(&server, &["journal", &run]).await;
    assert_eq!(code, Some(0), "{err}");
    let first: Value = serde_json::from_str(lines.lines().next().expect("a line")).expect("JSON");
    assert_eq!((&first["run_id"], &first["seq"]), (&json!(run), &json!(0)));
    assert_eq!(run_check(&server, &["journal", "--status", "completed"]).await.1, lines);

    let kept = server.folder().join("kept");
    std::fs::create_dir(&kept).expect("a folder of our own");
    std::fs::write(kept.join("one.jsonl"), &lines).expect("a file of our own");
    let (code, out, err) = run_check(&server, &["check", "--against", "kept"]).await;
    assert_eq!((code, out.as_str()), (Some(0), "1 runs replay under this build\n"), "{err}");

    // the journals look as if a build in which the first step has another name had written them
    let older = lines.replace("\"greet\"", "\"hail\"");
    std::fs::write(server.folder().join("older.jsonl"), older).expect("a file of our own");
    let (code, out, err) = run_check(&server, &["check", "--against", "older.jsonl"]).await;
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(out.starts_with(&format!("{run} at entry 1: the journal goes on with a step with a body `hail`")), "{out}");
    assert!(err.contains("1 of 1 runs would diverge"), "{err}");

    let (code, _, err) = run_check(&server, &["check", "--against", "nowhere"]).await;
    assert!(code == Some(1) && err.contains("nowhere cannot be read"), "{err}");
}

#[tokio::test]
async fn live_runs_are_checked_at_their_server() {
    let server = ServerProcess::without_services().await;
    let (code, out, _) = run_check(&server, &["check"]).await;
    assert_eq!((code, out.as_str()), (Some(0), ""), "there are no runs");
    // the run does not start before the year 2100
    let data = json!({"name": "test/hello.world", "data": {"name": "Ada"}, "ts": 4_102_444_800_000_i64});
    let ids = server.api().send(&data).await;
    server.api().run_of(&ids[0]).await;
    let (code, out, err) = run_check(&server, &["check"]).await;
    assert_eq!((code, out.as_str()), (Some(0), "1 runs replay under this build\n"), "{err}");
}
