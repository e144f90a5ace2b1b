//! Tests `generate-queries`: three parallel questions, each paid for once, and rows without
//! duplicates.

use serde_json::{Value, json};
use stepladder::testing::{Fact, Status, TestApp};
use stepladder_functions::generate_queries::{QueriesRequested, Query, SearchIntent, function_with};
use wiremock::matchers::body_string_contains;
use wiremock::{Mock, ResponseTemplate};

use crate::world::ServiceStubs;

fn queries_requested() -> QueriesRequested {
    QueriesRequested {
        client_id: "c-1".to_owned(),
        client_name: "Acme".to_owned(),
        client_domain: "acme.example".to_owned(),
        topics: vec!["hammers".to_owned()],
    }
}

fn suggested_queries(schema: &str, input: &Value) -> Value {
    assert_eq!((schema, &input["topics"]), ("search_queries", &json!(["hammers"])));
    json!({ "queries": ["Best  hammer", "best hammer", " "] })
}

#[tokio::test]
async fn suggestions_are_stored_once_and_announced() {
    let world = ServiceStubs::start(suggested_queries).await;
    let run = TestApp::new().function(function_with(world.services())).send(&queries_requested()).await.remove(0);
    assert_eq!(run.status(), Status::Completed, "{:?}", run.error());
    let best = Query { query: "best hammer".to_owned(), intent: SearchIntent::Learn };
    assert_eq!(run.output::<Vec<Query>>(), [best]);
    let row = json!({ "client_id": "c-1", "query": "best hammer", "intent": "learn" });
    assert_eq!(world.sent_bodies("POST", "queries").await, [json!([row])]);
    assert!(
        run.journal().iter().any(|entry| matches!(&entry.fact, Fact::EventsSent { step, .. } if &**step == "announce"))
    );
}

#[tokio::test]
async fn a_failed_intent_is_repeated_alone() {
    let world = ServiceStubs::start(suggested_queries).await;
    let busy = Mock::given(body_string_contains("about to buy")).respond_with(ResponseTemplate::new(503));
    busy.up_to_n_times(2).with_priority(1).mount(&world.ai).await;
    world.mock_table_response("POST", "queries", 3, ResponseTemplate::new(503)).await;
    let run = TestApp::new().function(function_with(world.services())).send(&queries_requested()).await.remove(0);
    assert_eq!(run.status(), Status::Completed, "{:?}", run.error());
    assert_eq!(world.asked_schemas().await.len(), 5, "two of the three intents are asked once, the third three times");
    assert_eq!((run.attempts("ask-openai"), run.attempts("ask-openai:2")), (1, 3));
    assert_eq!(run.attempts("upsert-queries"), 4);
}

#[tokio::test]
async fn a_blank_name_fails_before_a_step_costs_money() {
    let world = ServiceStubs::start(suggested_queries).await;
    let blank = QueriesRequested { client_name: " ".to_owned(), ..queries_requested() };
    let run = TestApp::new().function(function_with(world.services())).send(&blank).await.remove(0);
    assert!(run.error().unwrap().message.contains("clientName is blank"), "{:?}", run.error());
    assert!(world.asked_schemas().await.is_empty());
}

#[tokio::test]
async fn the_usage_of_every_question_is_recorded_also_of_a_useless_answer() {
    let world = ServiceStubs::start(suggested_queries).await;
    let message = json!({ "role": "assistant", "content": "no JSON" });
    let body = json!({ "choices": [{ "message": message }], "model": "llama3", "usage": { "prompt_tokens": 7, "completion_tokens": 3 } });
    let vain =
        Mock::given(body_string_contains("about to buy")).respond_with(ResponseTemplate::new(200).set_body_json(body));
    vain.up_to_n_times(1).with_priority(1).mount(&world.ai).await;
    let run = TestApp::new().function(function_with(world.services())).send(&queries_requested()).await.remove(0);
    let used = |step: &str| -> Vec<_> {
        let usage = run.usage(step);
        usage.iter().map(|used| (used.model.to_string(), used.input_tokens, used.micro_dollars)).collect()
    };
    // 1,000 tokens at $0.25 per million, and 100 tokens at $2.00 per million
    let once = ("gpt-5-mini-2025-08-07".to_owned(), 1_000, Some(450));
    assert_eq!(used("ask-openai"), std::slice::from_ref(&once));
    assert_eq!(used("ask-openai:2"), [("llama3".to_owned(), 7, None), once]);
    assert_eq!(used("upsert-queries"), []);
}
