//! Questions in the background: each answer is paid for once, its usage is recorded, and an answer
//! that never arrives is an error.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use stepladder::prelude::*;
use stepladder::testing::{Status, TestApp, TestRun};
use stepladder_functions::{
    openai::{self, OpenAi, Question},
    services::Services,
};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

const KEY: &str = "sk-test-0123456789";

#[derive(Serialize, Deserialize)]
struct TopicEvent {
    topic: String,
}

impl EventData for TopicEvent {
    const NAME: &'static str = "test/asked";
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ReportOutput {
    text: String,
}

/// A server that accepts questions. It responds to the nth check with the nth of these responses,
/// and repeats the last one.
struct AiServer {
    server: MockServer,
    looks: Arc<AtomicUsize>,
}

impl AiServer {
    async fn start(answers: Vec<ResponseTemplate>) -> Self {
        let (server, looks) = (MockServer::start().await, Arc::new(AtomicUsize::new(0)));
        let queued = json!({ "id": "resp_1", "object": "response", "status": "queued", "output": [], "usage": null });
        let submission = Mock::given(method("POST")).and(path("/v1/responses"));
        submission.respond_with(ResponseTemplate::new(200).set_body_json(queued)).mount(&server).await;
        let counted = looks.clone();
        let answer = move |_: &Request| {
            let look = counted.fetch_add(1, Ordering::Relaxed);
            answers[look.min(answers.len() - 1)].clone()
        };
        Mock::given(method("GET")).and(path("/v1/responses/resp_1")).respond_with(answer).mount(&server).await;
        Self { server, looks }
    }

    fn app(&self) -> TestApp {
        let openai = OpenAi::new(KEY, &format!("{}/v1", self.server.uri()), "gpt-5-mini").unwrap();
        let services = Services::new(Some(openai), None);
        let function = Function::new("report", move |ctx: Context, event: Event<TopicEvent>| {
            let services = services.clone();
            async move {
                let report: ReportOutput =
                    openai::in_background(&ctx, &services, "report", question_about(&event.data)).await?;
                ctx.step("store", async || Err::<(), _>(Error::new("the disk is full"))).retries(2).await?;
                Ok(report)
            }
        });
        TestApp::new().function(function.backoff(Backoff::Fixed(Duration::from_secs(1))).retries(1))
    }

    async fn run(&self, app: TestApp) -> TestRun {
        let mut app = app;
        app.send(&TopicEvent { topic: "tea".to_owned() }).await.remove(0)
    }

    /// Returns the submitted questions.
    async fn submitted_requests(&self) -> Vec<Value> {
        let requests = self.server.received_requests().await.unwrap();
        requests.iter().filter(|r| r.method.as_str() == "POST").map(|r| r.body_json().unwrap()).collect()
    }
}

fn question_about(asked: &TopicEvent) -> Question {
    Question {
        instructions: "You write reports.".to_owned(),
        input: json!({ "topic": asked.topic }).to_string(),
        schema_name: "report",
        schema: json!({ "type": "object" }),
    }
}

fn background_response(status: &str, more: Value) -> ResponseTemplate {
    let mut body = json!({ "id": "resp_1", "object": "response", "status": status, "model": "gpt-5-mini-2025-08-07" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    ResponseTemplate::new(200).set_body_json(body)
}

fn usage_json() -> Value {
    json!({ "input_tokens": 1_000, "input_tokens_details": { "cached_tokens": 200 }, "output_tokens": 300 })
}

fn completed_response(text: &str) -> ResponseTemplate {
    let thought = json!({ "type": "reasoning", "summary": [], "content": null });
    let said = json!({ "type": "message", "content": [{ "type": "output_text", "text": text }] });
    background_response("completed", json!({ "output": [thought, said], "usage": usage_json() }))
}

fn unfinished_response() -> ResponseTemplate {
    background_response("in_progress", json!({ "output": [], "usage": null }))
}

#[tokio::test]
async fn a_question_is_submitted_once_and_polled_until_its_answer_is_there() {
    let busy = ResponseTemplate::new(503);
    let ai = AiServer::start(vec![
        unfinished_response(),
        busy,
        unfinished_response(),
        completed_response(r#"{"text":"Tea."}"#),
    ])
    .await;
    let run = ai.run(ai.app().mock("store", ())).await;
    assert_eq!(run.output::<ReportOutput>(), ReportOutput { text: "Tea.".to_owned() });
    assert_eq!((run.attempts("hand in report"), run.attempts("report")), (1, 4));
    let submitted = ai.submitted_requests().await;
    assert_eq!(submitted.len(), 1);
    let asked = &submitted[0];
    assert_eq!(
        (&asked["background"], &asked["store"], &asked["model"]),
        (&json!(true), &json!(true), &json!("gpt-5-mini"))
    );
    assert_eq!((&asked["input"], &asked["text"]["format"]["name"]), (&json!(r#"{"topic":"tea"}"#), &json!("report")));
}

#[tokio::test]
async fn usage_is_recorded_once_with_the_answer() {
    let ai = AiServer::start(vec![unfinished_response(), completed_response(r#"{"text":"Tea."}"#)]).await;
    let run = ai.run(ai.app()).await;
    assert_eq!(run.status(), Status::Failed, "the store does not work");
    let usage = run.usage("report");
    let [used] = &usage[..] else { panic!("{usage:?}") };
    assert_eq!((&*used.model, used.input_tokens, used.output_tokens), ("gpt-5-mini-2025-08-07", 1_000, 300));
    assert_eq!((used.cached_input_tokens, used.micro_dollars), (200, Some(805)));
    // the function was retried, but the question was submitted once and its answer fetched once
    assert_eq!((ai.submitted_requests().await.len(), ai.looks.load(Ordering::Relaxed)), (1, 2));
}

#[tokio::test]
async fn an_answer_that_will_not_come_fails_with_the_reason() {
    let failed = json!({ "error": { "code": "server_error", "message": "out of luck" }, "usage": usage_json() });
    let incomplete = json!({ "incomplete_details": { "reason": "max_output_tokens" }, "usage": usage_json() });
    let refusal = json!({ "type": "message", "content": [{ "type": "refusal", "refusal": "I will not" }] });
    for (answer, code, says) in [
        (background_response("failed", failed), Some("openai-failed"), "has failed: out of luck"),
        (background_response("incomplete", incomplete), Some("openai-incomplete"), "is incomplete: max_output_tokens"),
        (background_response("cancelled", json!({})), Some("openai-cancelled"), "was cancelled"),
        (completed_response("no JSON"), Some("openai-unfit"), "does not fit the schema"),
        (background_response("completed", json!({ "output": [refusal] })), None, "the model refused: I will not"),
        (ResponseTemplate::new(404).set_body_json(json!({ "error": { "message": "gone" } })), Some("http-404"), "gone"),
    ] {
        let ai = AiServer::start(vec![answer]).await;
        let run = ai.run(ai.app()).await;
        let error = run.error().unwrap();
        assert!(error.message.contains(says), "{says}: {error:?}");
        assert_eq!((error.code(), run.attempts("report")), (code, 1), "{says}");
        assert_eq!(ai.submitted_requests().await.len(), 1, "{says}");
    }
}

#[tokio::test]
async fn an_id_that_could_change_the_address_is_refused() {
    let long = "r".repeat(256);
    for id in ["../models", KEY, &long] {
        let server = MockServer::start().await;
        let submission = Mock::given(method("POST")).and(path("/v1/responses"));
        let body = json!({ "id": id, "status": "queued" });
        submission.respond_with(ResponseTemplate::new(200).set_body_json(body)).mount(&server).await;
        let openai = OpenAi::new(KEY, &format!("{}/v1", server.uri()), "m").unwrap();
        let error = openai.submit(question_about(&TopicEvent { topic: "tea".to_owned() })).await.unwrap_err();
        assert!(error.to_string().contains("returned no valid id"), "{error}");
    }
}

#[tokio::test]
async fn a_key_that_the_service_sends_back_as_the_models_name_reaches_no_journal() {
    let answer = json!({ "model": KEY, "output": [], "usage": usage_json() });
    let ai = AiServer::start(vec![background_response("incomplete", answer)]).await;
    let run = ai.run(ai.app()).await;
    let models: Vec<_> = run.usage("report").into_iter().map(|usage| usage.model.to_string()).collect();
    assert_eq!(models, ["***"]);
}
