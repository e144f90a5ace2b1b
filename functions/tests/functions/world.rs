//! Stubs of the services: an AI with answers that depend on the requested schema, tables that
//! accept everything, and accounts like GoTrue's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use stepladder_functions::{auth::AuthClient, openai::OpenAi, services::Services, supabase::Supabase};
use wiremock::matchers::{method, path, path_regex};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

const KEY: &str = "a-key-of-this-test";

pub(crate) struct ServiceStubs {
    pub(crate) ai: MockServer,
    /// The tables and accounts of a Supabase project.
    pub(crate) supabase: MockServer,
    pub(crate) accounts: AccountsStub,
}

impl ServiceStubs {
    /// Starts stubs without faults. A test adds other responses, which have a higher priority.
    pub(crate) async fn start(knows: fn(&str, &Value) -> Value) -> Self {
        let (ai, supabase) = (MockServer::start().await, MockServer::start().await);
        let answer = move |request: &Request| {
            let body: Value = request.body_json().unwrap();
            let schema = body["response_format"]["json_schema"]["name"].as_str().unwrap();
            let input = serde_json::from_str(body["messages"][1]["content"].as_str().unwrap()).unwrap();
            let message = json!({ "role": "assistant", "content": knows(schema, &input).to_string() });
            let choices = json!([{ "index": 0, "finish_reason": "stop", "message": message }]);
            let usage = json!({ "prompt_tokens": 1_000, "completion_tokens": 100, "total_tokens": 1_100 });
            let body = json!({ "model": "gpt-5-mini-2025-08-07", "choices": choices, "usage": usage });
            ResponseTemplate::new(200).set_body_json(body)
        };
        Mock::given(path("/v1/chat/completions")).respond_with(answer).mount(&ai).await;
        let tables = |verb| Mock::given(method(verb)).and(path_regex("^/rest/v1/"));
        let row = ResponseTemplate::new(200).set_body_json(json!([{ "id": "some-row" }]));
        tables("PATCH").respond_with(row).mount(&supabase).await;
        tables("POST").respond_with(ResponseTemplate::new(201).set_body_json(json!([]))).mount(&supabase).await;
        let accounts = AccountsStub::default();
        Mock::given(path_regex("^/auth/v1/admin/users")).respond_with(accounts.clone()).mount(&supabase).await;
        Self { ai, supabase, accounts }
    }

    pub(crate) fn services(&self) -> Services {
        let openai = OpenAi::new(KEY, &format!("{}/v1", self.ai.uri()), "some-model").unwrap();
        let supabase = Supabase::new(&self.supabase.uri(), KEY).unwrap();
        Services::new(Some(openai), Some(supabase)).with_auth(AuthClient::new(&self.supabase.uri(), KEY).unwrap())
    }

    /// Makes Supabase's stub respond with `template` to the next `times` requests with this method
    /// and table.
    pub(crate) async fn mock_table_response(&self, verb: &str, table: &str, times: u64, template: ResponseTemplate) {
        let on_table = Mock::given(method(verb)).and(path(format!("/rest/v1/{table}")));
        on_table.respond_with(template).up_to_n_times(times).with_priority(1).mount(&self.supabase).await;
    }

    /// Returns the names of the schemas that were requested from the AI, in order.
    pub(crate) async fn asked_schemas(&self) -> Vec<String> {
        let requests = self.ai.received_requests().await.unwrap();
        let schema = |request: &Request| -> String {
            let body: Value = request.body_json().unwrap();
            body["response_format"]["json_schema"]["name"].as_str().unwrap().to_owned()
        };
        requests.iter().map(schema).collect()
    }

    /// Returns the bodies of the requests with this method to a table.
    pub(crate) async fn sent_bodies(&self, verb: &str, table: &str) -> Vec<Value> {
        let requests = self.supabase.received_requests().await.unwrap();
        let path = format!("/rest/v1/{table}");
        let to_table = requests.iter().filter(|r| r.method.as_str() == verb && r.url.path() == path);
        to_table.map(|request| request.body_json().unwrap()).collect()
    }
}

/// A stub of GoTrue's admin interface.
#[derive(Clone, Default)]
pub(crate) struct AccountsStub(Arc<Mutex<StoredAccounts>>);

#[derive(Default)]
struct StoredAccounts {
    /// The accounts by id.
    users: BTreeMap<String, Value>,
    made: usize,
    /// How many replies to account creations to lose: the account is created, but the response is
    /// 504.
    lost: usize,
}

impl AccountsStub {
    /// Returns the email addresses of all accounts.
    pub(crate) fn emails(&self) -> Vec<String> {
        let kept = self.0.lock().unwrap();
        kept.users.values().map(|user| user["email"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn lose_a_reply(&self) {
        self.0.lock().unwrap().lost += 1;
    }

    /// Adds an account with this address and these metadata.
    pub(crate) fn add_account(&self, email: &str, app_metadata: Value) -> String {
        let mut kept = self.0.lock().unwrap();
        kept.insert_account(json!({ "email": email, "app_metadata": app_metadata }))["id"].as_str().unwrap().to_owned()
    }
}

impl StoredAccounts {
    fn insert_account(&mut self, mut user: Value) -> Value {
        self.made += 1;
        let id = format!("00000000-0000-4000-8000-{:012}", self.made);
        user["id"] = json!(id);
        self.users.insert(id, user.clone());
        user
    }
}

impl Respond for AccountsStub {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let mut kept = self.0.lock().unwrap();
        let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        if header("apikey").as_deref() != Some(KEY) || header("authorization") != Some(format!("Bearer {KEY}")) {
            return ResponseTemplate::new(401).set_body_json(json!({ "msg": "no key" }));
        }
        let one = request.url.path().strip_prefix("/auth/v1/admin/users/");
        match (request.method.as_str(), one) {
            ("POST", None) => {
                let user: Value = request.body_json().unwrap();
                if kept.users.values().any(|known| known["email"] == user["email"]) {
                    let said = "A user with this email address has already been registered";
                    let body = json!({ "code": 422, "error_code": "email_exists", "msg": said });
                    return ResponseTemplate::new(422).set_body_json(body);
                }
                let user = kept.insert_account(user);
                if kept.lost > 0 {
                    kept.lost -= 1;
                    return ResponseTemplate::new(504).set_body_string("upstream timed out");
                }
                ResponseTemplate::new(200).set_body_json(user)
            }
            ("GET", None) => {
                let asked: BTreeMap<_, _> = request.url.query_pairs().into_owned().collect();
                let number = |name: &str| asked[name].parse::<usize>().unwrap();
                let (page, size) = (number("page"), number("per_page"));
                let contains = |user: &&Value| user["email"].as_str().unwrap().contains(&asked["filter"]);
                let users = kept.users.values().rev().filter(contains).skip((page - 1) * size).take(size);
                let body = json!({ "users": users.collect::<Vec<_>>(), "aud": "authenticated" });
                ResponseTemplate::new(200).set_body_json(body)
            }
            ("DELETE", Some(id)) => match kept.users.remove(id) {
                Some(_) => ResponseTemplate::new(200).set_body_json(json!({})),
                None => ResponseTemplate::new(404).set_body_json(json!({ "msg": "User not found" })),
            },
            _ => ResponseTemplate::new(405),
        }
    }
}
