//! Tests `create-client-user`: the function creates one account even if replies are lost, and
//! leaves no account if the account cannot be linked.

use serde_json::{Value, json};
use stepladder::testing::{Fact, Status, TestApp, TestRun};
use stepladder_functions::create_client_user::{UserCreated, UserRequested, function_with};
use wiremock::ResponseTemplate;

use crate::world::ServiceStubs;

fn user_requested() -> UserRequested {
    let full_name = Some("Ada Lovelace".to_owned());
    UserRequested { client_id: "c-1".to_owned(), email: " Ada@Acme.Example".to_owned(), full_name }
}

fn no_ai_output(schema: &str, _: &Value) -> Value {
    panic!("no AI is asked here: {schema}")
}

async fn run(world: &ServiceStubs) -> TestRun {
    TestApp::new().function(function_with(world.services())).send(&user_requested()).await.remove(0)
}

fn constraint_violation() -> ResponseTemplate {
    let message = "insert or update on table \"profiles\" violates foreign key constraint";
    ResponseTemplate::new(409).set_body_json(json!({ "code": "23503", "message": message }))
}

#[tokio::test]
async fn an_account_is_created_linked_and_announced() {
    let world = ServiceStubs::start(no_ai_output).await;
    let run = run(&world).await;
    assert_eq!(run.status(), Status::Completed, "{:?}", run.error());
    let created: UserCreated = run.output();
    assert_eq!((created.client_id.as_str(), created.email.as_str()), ("c-1", "ada@acme.example"));
    assert_eq!(world.accounts.emails(), ["ada@acme.example"]);
    let row = json!({
        "id": created.user_id, "client_id": "c-1", "email": "ada@acme.example", "full_name": "Ada Lovelace",
    });
    assert_eq!(world.sent_bodies("POST", "profiles").await, [json!([row])]);
    assert!(
        run.journal().iter().any(|entry| matches!(&entry.fact, Fact::EventsSent { step, .. } if &**step == "announce"))
    );
}

#[tokio::test]
async fn an_account_whose_reply_was_lost_is_found_again() {
    let world = ServiceStubs::start(no_ai_output).await;
    // the addresses of 70 other accounts contain this address, which is more than one page of
    // search results
    (0..70).for_each(|n| {
        drop(world.accounts.add_account(&format!("{n}.ada@acme.example"), json!({ "client_id": "c-1" })))
    });
    world.accounts.lose_a_reply();
    let run = run(&world).await;
    assert_eq!((run.status(), run.attempts("create-auth-user")), (Status::Completed, 2), "{:?}", run.error());
    assert_eq!(world.accounts.emails().len(), 71);
}

#[tokio::test]
async fn an_account_that_cannot_be_linked_is_deleted() {
    for replies_lost in 0..2 {
        let world = ServiceStubs::start(no_ai_output).await;
        (0..replies_lost).for_each(|_| world.accounts.lose_a_reply());
        world.mock_table_response("POST", "profiles", 9, constraint_violation()).await;
        let run = run(&world).await;
        assert_eq!((run.status(), run.attempts("undo create-auth-user")), (Status::Failed, 1));
        assert!(run.error().unwrap().message.contains("foreign key"), "{:?}", run.error());
        assert!(world.accounts.emails().is_empty(), "{:?}", world.accounts.emails());
    }
}

#[tokio::test]
async fn a_database_that_is_down_for_a_while_leaves_no_account() {
    let world = ServiceStubs::start(no_ai_output).await;
    world.mock_table_response("POST", "profiles", 4, ResponseTemplate::new(503)).await;
    let run = run(&world).await;
    assert_eq!((run.status(), run.attempts("link-profile")), (Status::Completed, 5), "{:?}", run.error());
    assert_eq!(world.accounts.emails(), ["ada@acme.example"]);
}

#[tokio::test]
async fn an_existing_account_of_the_client_is_linked_and_never_deleted() {
    let world = ServiceStubs::start(no_ai_output).await;
    let id = world.accounts.add_account("ada@acme.example", json!({ "client_id": "c-1", "made_by": "another run" }));
    assert_eq!(run(&world).await.output::<UserCreated>().user_id, id);
    world.mock_table_response("POST", "profiles", 9, constraint_violation()).await;
    assert_eq!(run(&world).await.status(), Status::Failed);
    assert_eq!(world.accounts.emails(), ["ada@acme.example"]);
}

#[tokio::test]
async fn an_account_of_another_client_is_not_changed() {
    for of_another in [json!({ "client_id": "c-2" }), json!({})] {
        let world = ServiceStubs::start(no_ai_output).await;
        world.accounts.add_account("ada@acme.example", of_another);
        let run = run(&world).await;
        assert_eq!((run.status(), run.attempts("create-auth-user")), (Status::Failed, 1));
        assert_eq!(run.error().unwrap().code(), Some("user-exists"));
        assert!(world.sent_bodies("POST", "profiles").await.is_empty());
        assert_eq!(world.accounts.emails(), ["ada@acme.example"]);
    }
}
