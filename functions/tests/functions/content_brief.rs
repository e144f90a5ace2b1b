//! Tests `content-brief-generator`: every answer is paid for once, and the row of a failed brief
//! gets the status `failed`.

use serde_json::{Value, json};
use stepladder::testing::{Status, TestApp, TestRun};
use stepladder_functions::content_brief::{Brief, BriefDecided, BriefRequested, function_with};
use wiremock::matchers::body_string_contains;
use wiremock::{Mock, ResponseTemplate};

use crate::world::ServiceStubs;

fn brief_requested() -> BriefRequested {
    BriefRequested {
        brief_id: "b-1".to_owned(),
        client_id: "c-1".to_owned(),
        topic: "Hammers".to_owned(),
        audience: None,
        approval: false,
    }
}

fn ai_output(schema: &str, input: &Value) -> Value {
    match schema {
        "research_plan" => json!({ "questions": ["Why?", " why? ", "How?", "When?", "Where?"] }),
        "finding" => json!({ "answer": format!(" Because of {}", input["question"].as_str().unwrap()) }),
        "outline" => json!({ "title": "On hammers", "headings": ["One", "one", "Two"] }),
        "draft" => {
            assert_eq!(input["outline"], json!({ "title": "On hammers", "headings": ["One", "Two"] }));
            json!({ "markdown": "## One\n\nHit.\n" })
        }
        _ => panic!("{schema} is not asked for"),
    }
}

async fn run(world: &ServiceStubs) -> TestRun {
    TestApp::new().function(function_with(world.services())).send(&brief_requested()).await.remove(0)
}

#[tokio::test]
async fn a_brief_is_researched_outlined_drafted_and_stored() {
    let world = ServiceStubs::start(ai_output).await;
    let run = run(&world).await;
    assert_eq!(run.status(), Status::Completed, "{:?}", run.error());
    let brief: Brief = run.output();
    let told: Vec<_> = brief.research.iter().map(|found| (found.question.as_str(), found.answer.as_str())).collect();
    let because = [
        ("Why?", "Because of Why?"),
        ("How?", "Because of How?"),
        ("When?", "Because of When?"),
        ("Where?", "Because of Where?"),
    ];
    assert_eq!(told, because, "in the order of the questions");
    assert_eq!((brief.title.as_str(), brief.draft.as_str()), ("On hammers", "## One\n\nHit."));

    let opened =
        json!([{ "id": "b-1", "client_id": "c-1", "topic": "Hammers", "audience": null, "status": "writing" }]);
    assert_eq!(world.sent_bodies("POST", "content_briefs").await, [opened]);
    let mut stored = serde_json::to_value(&brief).unwrap();
    stored["status"] = json!("ready");
    assert_eq!(world.sent_bodies("PATCH", "content_briefs").await, [stored]);
}

#[tokio::test]
async fn no_answer_is_requested_twice() {
    let world = ServiceStubs::start(ai_output).await;
    let busy = |what| Mock::given(body_string_contains(what)).respond_with(ResponseTemplate::new(503));
    busy("When?").up_to_n_times(1).with_priority(1).mount(&world.ai).await;
    busy("You draft a text").up_to_n_times(2).with_priority(1).mount(&world.ai).await;
    world.mock_table_response("PATCH", "content_briefs", 4, ResponseTemplate::new(503)).await;
    let run = run(&world).await;
    assert_eq!(run.status(), Status::Completed, "{:?}", run.error());
    let asked = world.asked_schemas().await;
    let count = |schema: &str| asked.iter().filter(|asked| *asked == schema).count();
    // one finding was requested again, and the draft twice: exactly the requests that the stub had
    // refused
    assert_eq!((count("research_plan"), count("finding"), count("outline"), count("draft")), (1, 5, 1, 3));
}

#[tokio::test]
async fn a_brief_that_fails_for_good_has_the_status_failed() {
    let world = ServiceStubs::start(ai_output).await;
    let refusing = Mock::given(body_string_contains("You outline a text")).respond_with(ResponseTemplate::new(400));
    refusing.with_priority(1).mount(&world.ai).await;
    world.mock_table_response("PATCH", "content_briefs", 2, ResponseTemplate::new(503)).await;
    let run = run(&world).await;
    assert_eq!(run.status(), Status::Failed);
    assert_eq!(run.error().unwrap().code(), Some("http-400"));
    assert_eq!(world.sent_bodies("PATCH", "content_briefs").await, vec![json!({ "status": "failed" }); 3]);
    assert_eq!(run.attempts("undo open-brief"), 3);
}

#[tokio::test]
async fn a_brief_that_was_not_opened_has_no_row() {
    let world = ServiceStubs::start(ai_output).await;
    let missing = json!({ "code": "23503", "message": "violates foreign key constraint" });
    world.mock_table_response("POST", "content_briefs", 1, ResponseTemplate::new(409).set_body_json(missing)).await;
    let run = run(&world).await;
    assert_eq!((run.status(), run.steps()), (Status::Failed, vec!["open-brief"]));
    assert!(world.sent_bodies("PATCH", "content_briefs").await.is_empty());
    assert!(world.asked_schemas().await.is_empty());
}

/// Runs the function and sends these decisions. Returns the run, and the statuses that the brief's
/// row had.
async fn run_with_decisions(decisions: &[(&str, bool)]) -> (TestRun, Vec<String>) {
    let world = ServiceStubs::start(ai_output).await;
    let mut app = TestApp::new().function(function_with(world.services()));
    app.start(&BriefRequested { approval: true, ..brief_requested() }).await;
    for (brief_id, approved) in decisions {
        app.start(&BriefDecided { brief_id: (*brief_id).to_owned(), approved: *approved }).await;
    }
    app.finish().await;
    let run = app.runs_of_function("content-brief-generator").await.remove(0);
    let patches = world.sent_bodies("PATCH", "content_briefs").await;
    let statuses = patches.iter().map(|patch| patch["status"].as_str().unwrap().to_owned()).collect();
    (run, statuses)
}

#[tokio::test]
async fn a_draft_waits_for_the_decision_on_its_own_brief() {
    let (run, statuses) = run_with_decisions(&[("another", false), ("b-1", true)]).await;
    assert_eq!(
        (run.status(), statuses.as_slice()),
        (Status::Completed, ["approval", "ready"].map(String::from).as_slice())
    );
    assert!(run.steps().contains(&"announce"));

    let (run, statuses) = run_with_decisions(&[("b-1", false)]).await;
    assert_eq!(
        (run.status(), statuses.as_slice()),
        (Status::Completed, ["approval", "rejected"].map(String::from).as_slice())
    );
    assert!(!run.steps().contains(&"announce"), "a rejected brief is not announced");
}

#[tokio::test]
async fn an_undecided_draft_fails_after_a_week_and_its_row_says_so() {
    let (run, statuses) = run_with_decisions(&[]).await;
    assert_eq!(
        (run.status(), statuses.as_slice()),
        (Status::Failed, ["approval", "failed"].map(String::from).as_slice())
    );
    assert_eq!(run.error().unwrap().code(), Some("approval-timeout"));
}
