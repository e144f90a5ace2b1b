//! The roles on Lambda with an address: a stand-in for API Gateway turns each request into an
//! invocation of the HTTP role. The signing keys are in the emulators of Secrets Manager and
//! Systems Manager.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use stepladder_core::RunId;
use stepladder_tests::server::command;
use stepladder_tests::stub_server::{HttpRequest, StubResponse, serve};
use stepladder_tests::{ApiClient, JsonJournal};

use crate::roles::{LambdaRoles, RoleProcess, RoleRequest};

pub(crate) const EVENT_KEY: &str = "event-key-of-this-test";
const TOKEN: &str = "dashboard-token-of-this-test";
/// The name of the secret, and of the parameter.
pub(crate) const SECRET: &str = "/shop/signing-keys";
pub(crate) const KEY: &str = "signkey-prod-0011223344556677";

/// Where the signing keys are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeysIn {
    SecretsManager,
    SystemsManager,
    /// The stack has no signing key.
    None,
}

/// A stack whose processes the test starts.
pub(crate) struct OnAws {
    pub(crate) roles: Arc<LambdaRoles>,
    url: String,
    _fronts: [RoleProcess; 2],
    _worker: RoleProcess,
}

impl OnAws {
    /// Starts two processes of the HTTP role, and one of the worker.
    pub(crate) async fn start(keys: KeysIn, more: &[(&str, String)]) -> Self {
        let mut variables = vec![
            ("STEPLADDER_EVENT_KEYS", EVENT_KEY.to_owned()),
            ("STEPLADDER_DASHBOARD_TOKEN", TOKEN.to_owned()),
            ("RUST_LOG", "info".to_owned()),
            ("NO_PROXY", "127.0.0.1,localhost".to_owned()),
        ];
        match keys {
            KeysIn::SecretsManager => variables.push(("STEPLADDER_SIGNING_KEYS_SECRET", SECRET.into())),
            KeysIn::SystemsManager => variables.push(("STEPLADDER_SIGNING_KEYS_PARAMETER", SECRET.into())),
            KeysIn::None => {}
        }
        variables.extend_from_slice(more);
        let roles = Arc::new(LambdaRoles::start(&variables).await);
        let client = roles.stack.client();
        match keys {
            KeysIn::SecretsManager => {
                let secret = json!({ "Name": SECRET, "SecretString": KEY });
                client.secrets("CreateSecret", &secret).await.expect("an answer").expect("a secret");
            }
            KeysIn::SystemsManager => {
                let parameter = json!({ "Name": SECRET, "Value": format!("{KEY}\n"), "Type": "SecureString" });
                client.parameters("PutParameter", &parameter).await.expect("an answer").expect("a parameter");
            }
            KeysIn::None => {}
        }
        let front = roles.clone();
        let address = serve(move |asked| {
            let front = front.clone();
            async move { pass(&front, asked).await }
        })
        .await;
        let processes = [roles.http(), roles.http()];
        let worker = roles.worker();
        Self { url: format!("http://{address}"), _fronts: processes, _worker: worker, roles }
    }

    /// Changes the secret in Secrets Manager.
    pub(crate) async fn change_keys(&self, keys: &str) {
        let secret = json!({ "SecretId": SECRET, "SecretString": keys });
        let client = self.roles.stack.client();
        client.secrets("PutSecretValue", &secret).await.expect("an answer").expect("a secret");
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns a client that sends the dashboard token.
    pub(crate) fn api(&self) -> ApiClient {
        ApiClient::new(&self.url).with_token(TOKEN)
    }

    /// Runs a command of the command line at the address of the stack. Returns whether it
    /// succeeded, and what it has printed.
    pub(crate) async fn cli(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = command();
        command.args(arguments).args(["--url", &self.url]).env("STEPLADDER_DASHBOARD_TOKEN", TOKEN);
        printed(command).await
    }

    /// Runs a command of the command line with `--table`.
    pub(crate) async fn cli_on_table(&self, arguments: &[&str], variables: &[(&str, &str)]) -> (bool, String) {
        let mut command = command();
        command.args(arguments).args(["--table", self.roles.table()]).envs(self.roles.command_environment());
        command.envs(variables.iter().copied()).env("NO_PROXY", "127.0.0.1,localhost");
        printed(command).await
    }

    /// Sends an event with the event key, and returns its only run of the function.
    pub(crate) async fn send(&self, event: &Value) -> RunId {
        self.roles.run_of(&self.send_event(event).await).await
    }

    /// Sends an event with the event key, and returns its id.
    pub(crate) async fn send_event(&self, event: &Value) -> String {
        let path = format!("/e/{EVENT_KEY}");
        let (status, sent) = ApiClient::new(&self.url).post(&path, event.to_string()).await;
        sent["ids"][0].as_str().unwrap_or_else(|| panic!("{status} {sent}")).to_owned()
    }

    /// Delivers wakes until the runs have ended. Returns the runs as the REST interface shows them.
    pub(crate) async fn ended<const N: usize>(&self, runs: [RunId; N]) -> [Value; N] {
        self.roles.until_ended(&runs).await;
        let mut ended = Vec::new();
        for run in runs {
            ended.push(self.api().run(&run.to_string()).await);
        }
        ended.try_into().expect("as many as runs")
    }

    pub(crate) async fn journal(&self, run: RunId) -> JsonJournal {
        self.roles.journal(run).await
    }
}

async fn printed(mut command: tokio::process::Command) -> (bool, String) {
    let output = command.output().await.expect("the binary starts");
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// Passes a request to the HTTP role, as API Gateway does.
async fn pass(roles: &LambdaRoles, asked: HttpRequest) -> StubResponse {
    let headers: Vec<(&str, &str)> =
        asked.headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))).collect();
    let headers: Vec<_> = headers.into_iter().filter(|(name, _)| *name != "host").collect();
    let body = std::str::from_utf8(&asked.body).expect("text");
    let request = RoleRequest {
        method: asked.method.as_str(),
        path: asked.uri.path_and_query().expect("a path").as_str(),
        headers: &headers,
        body: (!body.is_empty()).then_some(body),
        base64: false,
    };
    match roles.send_request(request).await {
        Ok((status, body)) => {
            StubResponse::bytes(u16::try_from(status).expect("a status"), "application/json", Bytes::from(body))
        }
        Err(error) => StubResponse::json(502, &error),
    }
}
