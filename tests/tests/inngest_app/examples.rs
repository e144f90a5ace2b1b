//! The apps in `examples/`, with the real packages and stubs of the services that they call.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use stepladder_tests::database::DatabaseStub;
use stepladder_tests::openai::OpenAiStub;
use stepladder_tests::{ApiClient, ServerProcess, binary, parts, wait_for};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::on_aws::world::{EVENT_KEY, KEY, KeysIn, OnAws};

fn example(name: &str) -> PathBuf {
    binary::root().join("examples").join(name)
}

/// What executes the functions of an example.
enum Engine {
    Local(Box<ServerProcess>),
    /// A table on DynamoDB, and queues on SQS.
    OnAws(Box<OnAws>),
}

/// An app that runs with the stubs.
struct RunningExample {
    engine: Engine,
    database: DatabaseStub,
    ai: OpenAiStub,
    _app: Child,
    _folder: TempDir,
    address: String,
}

impl RunningExample {
    /// Starts the stubs and an app that listens on a port, and syncs the app.
    async fn start(engine: Engine, app: &mut Command, port: u16) -> Self {
        let (ai, database) = tokio::join!(OpenAiStub::start(), DatabaseStub::start());
        match &engine {
            Engine::Local(server) => app.env("INNGEST_DEV", server.url()),
            Engine::OnAws(aws) => app
                .env("INNGEST_BASE_URL", aws.url())
                .env("INNGEST_EVENT_KEY", EVENT_KEY)
                .env("INNGEST_SIGNING_KEY", KEY)
                .env("NODE_ENV", "production"),
        };
        app.env("OPENAI_BASE_URL", ai.url()).env("SUPABASE_URL", database.url());
        app.env("OPENAI_API_KEY", "sk-a-key-of-this-test").env("SUPABASE_SERVICE_ROLE_KEY", "a-role-key-of-this-test");
        app.env("NO_PROXY", "127.0.0.1,localhost").kill_on_drop(true);
        let folder = tempfile::Builder::new().prefix("stepladder-example-").tempdir().expect("a temporary folder");
        let log = folder.path().join("app.log");
        let output = || std::fs::File::create(&log).expect("a file in a folder of our own");
        let mut process = app.stdout(output()).stderr(output()).spawn().expect("the app starts");
        parts::wait_until_listening(&mut process, port, &log).await;
        let address = format!("http://127.0.0.1:{port}");
        let sync = ["apps", "sync", &format!("{address}/api/inngest")];
        match &engine {
            Engine::Local(server) => {
                let synced = server.client(&sync).output().await.expect("the binary starts");
                assert!(synced.status.success(), "{}", String::from_utf8_lossy(&synced.stderr));
            }
            Engine::OnAws(aws) => {
                let (synced, text) = aws.cli(&sync).await;
                assert!(synced, "{text}");
            }
        }
        Self { engine, database, ai, _app: process, _folder: folder, address }
    }

    fn api(&self) -> ApiClient {
        match &self.engine {
            Engine::Local(server) => server.api(),
            Engine::OnAws(aws) => aws.api(),
        }
    }

    /// Sends the event as the example's page does, and returns the ended run of the example.
    async fn enhance(&self, path: &str, function: &str) -> Value {
        let client = json!({"clientId": "c-1", "clientName": "Acme", "clientDomain": "acme.example"});
        let (status, sent) = ApiClient::new(&self.address).post(path, client.to_string()).await;
        let event = sent["ids"][0].as_str().unwrap_or_else(|| panic!("{status} {sent}")).to_owned();
        let api = self.api();
        // a function in Rust starts at the same event
        let run = wait_for("the run of the example", async || {
            let (_, runs) = api.get(&format!("/v1/events/{event}/runs")).await;
            let run = runs["data"].as_array()?.iter().find(|run| run["function_id"] == function)?;
            run["run_id"].as_str().map(str::to_owned)
        });
        let run = run.await;
        match &self.engine {
            Engine::Local(_) => api.wait_for_end(&run).await,
            Engine::OnAws(aws) => {
                let [ended] = aws.ended([run.parse().expect("an id")]).await;
                ended
            }
        }
    }

    /// Checks that the run has asked the model once, and has stored what it said.
    fn assert_enhanced(&self, run: &Value) {
        assert_eq!(run["status"], "Completed", "{run:#}");
        assert_eq!(run["output"]["clientId"], "c-1");
        let steps: Vec<&str> =
            run["steps"].as_array().expect("steps").iter().filter_map(|s| s["id"].as_str()).collect();
        assert_eq!(steps, ["call-openai", "process-data", "update-client", "upsert-competitors"]);
        let rows = self.database.rows();
        assert!(rows.clients["c-1"]["industry"].is_string(), "{:?}", rows.clients);
        let questions = self.ai.request_count().requests;
        let asked = questions.iter().filter(|question| question.to_string().contains("(acme.example)"));
        assert_eq!(asked.count(), 1);
    }
}

#[tokio::test]
async fn the_example_of_nuxt_runs() {
    let folder = built_nitro_app(&example("nuxt-inngest")).await;
    nuxt_enhances(Engine::OnAws(Box::new(OnAws::start(KeysIn::SecretsManager, &[]).await)), &folder).await;
    let example = nuxt_enhances(Engine::Local(Box::new(ServerProcess::without_services().await)), &folder).await;
    let page = ApiClient::new(&example.address);
    let html = page.request(reqwest::Method::GET, "/").send().await.expect("a page").text().await.expect("text");
    assert!(html.contains("<h1>Enhance a client</h1>"), "{html}");
}

/// Starts the built app, and checks a run of it.
async fn nuxt_enhances(engine: Engine, folder: &TempDir) -> RunningExample {
    let port = parts::free_port();
    let mut app = Command::new("node");
    app.arg(folder.path().join(".output/server/index.mjs")).env("PORT", port.to_string()).env("HOST", "127.0.0.1");
    let example = RunningExample::start(engine, &mut app, port).await;
    let run = example.enhance("/api/enhance", "nuxt-app-enhance-client-with-ai").await;
    example.assert_enhanced(&run);
    // on AWS, the app asks with its signing key
    let event = run["event_id"].as_str().expect("an event");
    let (_, runs) = ApiClient::new(&example.address).get(&format!("/api/runs?event={event}")).await;
    let runs = runs["data"].as_array().unwrap_or_else(|| panic!("the page follows the run: {runs}"));
    let own = runs.iter().find(|run| run["function_id"] == "nuxt-app-enhance-client-with-ai").expect("the run");
    assert_eq!(own["status"], "Completed", "{own}");
    example
}

#[tokio::test]
async fn the_example_of_fastapi_runs() {
    fastapi_enhances(Engine::Local(Box::new(ServerProcess::without_services().await))).await;
    fastapi_enhances(Engine::OnAws(Box::new(OnAws::start(KeysIn::SecretsManager, &[]).await))).await;
}

async fn fastapi_enhances(engine: Engine) {
    let port = parts::free_port();
    let mut app = Command::new(parts::python_program("python"));
    app.args(["-m", "uvicorn", "app:app", "--port", &port.to_string()]).current_dir(example("fastapi-inngest"));
    let example = RunningExample::start(engine, app.env("PYTHONDONTWRITEBYTECODE", "1"), port).await;
    let run = example.enhance("/enhance", "fastapi-app-enhance-client-with-ai").await;
    example.assert_enhanced(&run);
}

/// Builds a copy of an app with the packages that `./test` has installed.
async fn built_nitro_app(source: &Path) -> TempDir {
    let folder = tempfile::Builder::new().prefix("stepladder-nitro-").tempdir().expect("a temporary folder");
    let copied = Command::new("cp").arg("-r").arg(source.join(".")).arg(folder.path()).status().await;
    assert!(copied.expect("cp is everywhere").success());
    let packages = folder.path().join("node_modules");
    std::os::unix::fs::symlink(parts::node_folder().join("node_modules"), packages).expect("a link");
    let built = Command::new("node")
        .arg(parts::package_file("nitro/dist/cli/index.mjs"))
        .arg("build")
        .current_dir(folder.path())
        .env("CI", "true")
        .output()
        .await
        .expect("node starts");
    let text = [built.stdout, built.stderr].concat();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&text));
    folder
}
