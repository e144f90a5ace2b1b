//! Tests `enhance-client-with-ai` from its event to its end, on a virtual clock, with the real
//! clients and with stub servers that count requests.

use std::time::Duration;

use serde_json::{Value, json};
use stepladder::testing::{Status, TestApp, TestRun};
use stepladder_functions::{
    enhance_client::{BusinessIntelligence, EnhanceRequested, function_with},
    openai::OpenAi,
    services::Services,
    supabase::Supabase,
};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{method, path},
};

const AI_KEY: &str = "sk-test-0123456789";
const DATABASE_KEY: &str = "service-role-0123456789";

/// Stubs of the two services. Each test sets their responses.
struct ServiceStubs {
    ai: MockServer,
    database: MockServer,
}

impl ServiceStubs {
    async fn start() -> Self {
        Self { ai: MockServer::start().await, database: MockServer::start().await }
    }

    async fn mock_ai_response(&self, template: ResponseTemplate) {
        Mock::given(path("/v1/chat/completions")).respond_with(template).mount(&self.ai).await;
    }

    async fn mock_ai_intelligence(&self, competitors: Value) {
        let content = intelligence_json(competitors).to_string();
        let message = json!({ "role": "assistant", "content": content });
        let body = json!({ "choices": [{ "index": 0, "finish_reason": "stop", "message": message }] });
        self.mock_ai_response(ResponseTemplate::new(200).set_body_json(body)).await;
    }

    async fn mock_working_database(&self) {
        let row = ResponseTemplate::new(200).set_body_json(json!([{ "id": "c-1" }]));
        Mock::given(path("/rest/v1/clients")).respond_with(row).mount(&self.database).await;
        let rows = ResponseTemplate::new(201).set_body_json(json!([]));
        Mock::given(path("/rest/v1/competitors")).respond_with(rows).mount(&self.database).await;
    }

    async fn mock_first_database_response(&self, verb: &str, times: u64, template: ResponseTemplate) {
        let first = Mock::given(method(verb)).respond_with(template).up_to_n_times(times).with_priority(1);
        first.mount(&self.database).await;
    }

    /// Returns an app with the function, connected to these two services.
    fn app(&self) -> TestApp {
        let openai = OpenAi::new(AI_KEY, &format!("{}/v1", self.ai.uri()), "some-model").unwrap();
        let supabase = Supabase::new(&self.database.uri(), DATABASE_KEY).unwrap();
        TestApp::new().function(function_with(Services::new(Some(openai), Some(supabase))))
    }

    async fn run(&self, client_id: &str) -> TestRun {
        self.app().send(&enhance_requested(client_id)).await.remove(0)
    }

    async fn received_bodies(server: &MockServer, verb: &str) -> Vec<Value> {
        let requests = server.received_requests().await.unwrap();
        let of_verb = requests.iter().filter(|request| request.method.as_str() == verb);
        of_verb.map(|request| request.body_json().unwrap()).collect()
    }
}

fn enhance_requested(client_id: &str) -> EnhanceRequested {
    EnhanceRequested {
        client_id: client_id.to_owned(),
        client_name: "Acme".to_owned(),
        client_domain: "acme.example".to_owned(),
    }
}

fn intelligence_json(competitors: Value) -> Value {
    let keywords: Vec<_> = (0..40).map(|n| format!("keyword {n}")).collect();
    json!({
        "industry": "Tools", "description": " Makes tools. ", "business_model": "Sales", "tone": "Plain",
        "products": ["Hammer", "hammer "], "services": [], "audiences": ["Builders"], "keywords": keywords,
        "unique_selling_points": [], "locations": ["Leeds"], "competitors": competitors,
    })
}

fn rival_json() -> Value {
    json!([{ "name": "Rival", "domain": "https://www.rival.example/", "reason": "hammers too" }])
}

#[tokio::test]
async fn the_ai_is_paid_once_when_the_database_fails_twice() {
    let world = ServiceStubs::start().await;
    world.mock_ai_intelligence(rival_json()).await;
    world.mock_first_database_response("PATCH", 2, ResponseTemplate::new(503).set_body_string("away")).await;
    world.mock_working_database().await;

    let run = world.run("c-1").await;
    assert_eq!(run.status(), Status::Completed, "{:?}", run.error());
    assert_eq!(ServiceStubs::received_bodies(&world.ai, "POST").await.len(), 1);
    assert_eq!((run.attempts("call-openai"), run.attempts("update-client")), (1, 3));

    // the run's output and the stored row are both the AI's answer, without duplicates and with
    // lists of limited length
    let output: BusinessIntelligence = run.output();
    let patches = ServiceStubs::received_bodies(&world.database, "PATCH").await;
    assert_eq!(patches.len(), 3);
    assert_eq!(patches[2], serde_json::to_value(&output.profile).unwrap());
    assert_eq!(output.profile.description, "Makes tools.");
    assert_eq!((output.profile.products.len(), output.profile.keywords.len()), (1, 20));
    let row = json!({ "client_id": "c-1", "name": "Rival", "domain": "rival.example", "reason": "hammers too" });
    assert_eq!(ServiceStubs::received_bodies(&world.database, "POST").await, [json!([row])]);
}

#[tokio::test]
async fn without_competitors_the_last_step_sends_no_request() {
    let world = ServiceStubs::start().await;
    world.mock_ai_intelligence(json!([])).await;
    world.mock_working_database().await;
    let run = world.run("c-1").await;
    assert_eq!(run.status(), Status::Completed, "{:?}", run.error());
    assert_eq!(run.attempts("upsert-competitors"), 1);
    assert_eq!(ServiceStubs::received_bodies(&world.database, "POST").await.len(), 0);
}

#[tokio::test]
async fn a_busy_ai_gets_three_attempts_after_its_retry_after_and_the_database_none() {
    let world = ServiceStubs::start().await;
    world.mock_ai_response(ResponseTemplate::new(429).insert_header("retry-after", "7")).await;
    let mut app = world.app();
    let started = app.now();
    let run = app.send(&enhance_requested("c-1")).await.remove(0);
    assert_eq!(run.status(), Status::Failed);
    assert_eq!(ServiceStubs::received_bodies(&world.ai, "POST").await.len(), 3);
    assert_eq!(app.now().since(started), 2 * Duration::from_secs(7));
    assert!(world.database.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_refused_key_fails_the_run_at_once_and_is_shown_nowhere() {
    let world = ServiceStubs::start().await;
    let body = json!({ "error": { "message": format!("Incorrect API key provided: {AI_KEY}") } });
    world.mock_ai_response(ResponseTemplate::new(401).set_body_json(body)).await;
    let run = world.run("c-1").await;
    assert_eq!(run.status(), Status::Failed);
    assert_eq!(ServiceStubs::received_bodies(&world.ai, "POST").await.len(), 1);
    let told = format!("{:?} {:?}", run.error(), run.journal());
    assert!(told.contains("Incorrect API key provided: ***"), "{told}");
    assert!(!told.contains(AI_KEY) && !told.contains(DATABASE_KEY), "{told}");
}

#[tokio::test]
async fn a_client_without_a_row_fails_the_run_at_once_and_stores_no_competitors() {
    let world = ServiceStubs::start().await;
    world.mock_ai_intelligence(rival_json()).await;
    world.mock_first_database_response("PATCH", 9, ResponseTemplate::new(200).set_body_json(json!([]))).await;
    world.mock_working_database().await;
    let run = world.run("c-404").await;
    assert_eq!(run.status(), Status::Failed);
    let told = format!("{:?}", run.error());
    assert!(told.contains("no row of `clients` has the id c-404"), "{told}");
    assert_eq!(ServiceStubs::received_bodies(&world.database, "PATCH").await.len(), 1);
    assert_eq!(ServiceStubs::received_bodies(&world.database, "POST").await.len(), 0);
}

#[tokio::test]
async fn a_blank_id_fails_before_a_step_costs_money() {
    let world = ServiceStubs::start().await;
    world.mock_ai_intelligence(rival_json()).await;
    let run = world.run(" ").await;
    assert_eq!(run.status(), Status::Failed);
    assert!(format!("{:?}", run.error()).contains("clientId is blank"), "{:?}", run.error());
    assert_eq!(ServiceStubs::received_bodies(&world.ai, "POST").await.len(), 0);
}
