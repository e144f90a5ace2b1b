//! Apps in TypeScript and Python: their own tests, and an event that they serve.

use std::path::Path;

use stepladder_tests::{ServerProcess, parts};
use tokio::process::Command;

use super::{greets_and_sleeps, new_project, run};

#[tokio::test]
async fn an_app_in_typescript_passes_its_test_and_serves_an_event() {
    let folder = new_project(&["shop", "--lang", "ts"]).await;
    let app = folder.path().join("shop");
    let packages = app.join("node_modules");
    std::os::unix::fs::symlink(parts::node_folder().join("node_modules"), packages).expect("a link");
    let node = || {
        let mut node = Command::new("node");
        node.current_dir(&app).args(["--import", "tsx"]);
        node
    };
    let tested = run(node().args(["--test", "test/welcome.test.ts"])).await;
    assert!(tested.contains("# pass 1"), "{tested}");
    let port = parts::free_port();
    serves_an_event(node().arg("src/server.ts").env("PORT", port.to_string()), port, &app).await;
}

#[tokio::test]
async fn an_app_in_python_passes_its_test_and_serves_an_event() {
    let folder = new_project(&["shop", "--lang", "python"]).await;
    let app = folder.path().join("shop");
    let python = || {
        let mut python = Command::new(parts::python_program("python"));
        python.current_dir(&app);
        python
    };
    let tested = run(python().args(["-m", "pytest", "-q"])).await;
    assert!(tested.contains("1 passed"), "{tested}");
    let port = parts::free_port();
    serves_an_event(python().args(["-m", "uvicorn", "app:app", "--port", &port.to_string()]), port, &app).await;
}

/// Starts a server and the app, and checks that a run of `welcome` greets and then sleeps.
async fn serves_an_event(app: &mut Command, port: u16, folder: &Path) {
    let server = ServerProcess::without_services().await;
    let log = folder.join("app.log");
    let output = || std::fs::File::create(&log).expect("a file in a folder of our own");
    app.env("INNGEST_DEV", server.url()).env("NO_PROXY", "127.0.0.1,localhost").kill_on_drop(true);
    let mut process = app.stdout(output()).stderr(output()).spawn().expect("the app starts");
    parts::wait_until_listening(&mut process, port, &log).await;
    run(&mut server.client(&["apps", "sync", &format!("http://127.0.0.1:{port}/api/inngest")])).await;
    greets_and_sleeps(&server.api(), "shop-welcome").await;
}
