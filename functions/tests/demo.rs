//! Tests the stand-ins of `dev --demo` with the real clients: they must behave like the services.

use std::time::Duration;

use serde_json::json;
use stepladder::testing::{Status, TestApp};
use stepladder_functions::{
    auth::AuthClient,
    content_brief::{self, Brief, BriefRequested},
    create_client_user::{self, UserCreated, UserRequested},
    demo::{KEY, LABEL, StandInAddresses, StandInBehaviour},
    enhance_client::{BusinessIntelligence, EnhanceRequested, limit_array_fields, question},
    generate_queries::{self, QueriesRequested, Query},
    openai::OpenAi,
    services::Services,
    supabase::Supabase,
};

#[tokio::test]
async fn the_stand_in_for_openai_fits_the_schema_and_names_itself() {
    let stand_ins = StandInAddresses::start(StandInBehaviour { thinking: Duration::ZERO, failures: 0 }).await.unwrap();
    let openai = OpenAi::new(KEY, &format!("http://{}/v1", stand_ins.openai), LABEL).unwrap();
    let client = EnhanceRequested {
        client_id: "c-1".to_owned(),
        client_name: "Acme".to_owned(),
        client_domain: "acme.example".to_owned(),
    };
    let raw: BusinessIntelligence = openai.answer(question(&client)).await.unwrap();
    assert!(raw.profile.description.contains("Acme (acme.example)"), "{}", raw.profile.description);
    assert!(raw.profile.description.contains(LABEL), "{}", raw.profile.description);
    // the answer contains duplicates, so that `process-data` has something to remove
    let tidy = limit_array_fields(raw.clone(), &client.client_domain);
    assert!(tidy.profile.products.len() < raw.profile.products.len());
    assert_eq!(tidy.competitors.len(), 2);
}

#[tokio::test]
async fn the_stand_in_for_supabase_refuses_twice_and_then_works() {
    let stand_ins = StandInAddresses::start(StandInBehaviour { thinking: Duration::ZERO, failures: 2 }).await.unwrap();
    let supabase = Supabase::new(&format!("http://{}", stand_ins.supabase), KEY).unwrap();
    for nth in ["failure 1 of 2", "failure 2 of 2"] {
        let error = supabase.update_by_id("clients", "c-1", &json!({})).await.unwrap_err();
        assert_eq!(error.retry_delay(), Some(Duration::from_secs(2)));
        assert!(error.to_string().contains(LABEL) && error.to_string().contains(nth), "{error}");
    }
    supabase.update_by_id("clients", "c-1", &json!({})).await.unwrap();
    let rows = [json!({ "client_id": "c-1", "domain": "rival.example" })];
    supabase.upsert("competitors", "client_id,domain", &rows).await.unwrap();
}

#[tokio::test]
async fn the_stand_ins_answer_for_every_function() {
    let stand_ins = StandInAddresses::start(StandInBehaviour { thinking: Duration::ZERO, failures: 2 }).await.unwrap();
    let supabase = format!("http://{}", stand_ins.supabase);
    let openai = OpenAi::new(KEY, &format!("http://{}/v1", stand_ins.openai), LABEL).unwrap();
    let services = Services::new(Some(openai), Some(Supabase::new(&supabase, KEY).unwrap()));
    let services = services.with_auth(AuthClient::new(&supabase, KEY).unwrap());
    let mut app = TestApp::new()
        .function(generate_queries::function_with(services.clone()))
        .function(content_brief::function_with(services.clone()))
        .function(create_client_user::function_with(services));
    // the example events that the dashboard offers
    let (queries, brief, user) = (QueriesRequested::example(), BriefRequested::example(), UserRequested::example());
    let runs = [app.send(&queries).await, app.send(&brief).await, app.send(&user).await, app.send(&user).await];
    for run in runs.iter().flatten() {
        assert_eq!(run.status(), Status::Completed, "{}: {:?}", run.function(), run.error());
    }
    assert_eq!(runs[0][0].output::<Vec<Query>>().len(), 2, "a repeat is left out");
    assert_eq!(runs[1][0].output::<Brief>().research.len(), 3);
    assert_eq!(runs[2][0].output::<UserCreated>(), runs[3][0].output(), "the account is found again");
}

#[test]
fn every_function_has_an_example_that_starts_it() {
    for function in stepladder_functions::all() {
        let id = function.id().to_owned();
        let function = stepladder_sdk::runtime::compile(function, &Default::default()).expect("a function").remove(0);
        let spec = function.spec();
        assert!(spec.example.is_some(), "{id} has no example");
        assert_eq!(spec.problem(), None);
    }
}
