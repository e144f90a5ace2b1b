//! Tests that a missing environment variable fails only the step that needs it. The test is alone
//! in its file, because it changes the environment of the process.

use stepladder::testing::{Status, TestApp};
use stepladder_functions::{
    enhance_client::{BusinessIntelligence, EnhanceRequested, function},
    hello_world::{self, HelloEvent},
};

#[tokio::test]
async fn a_missing_variable_fails_its_step_at_once_and_names_it() {
    for name in ["OPENAI_API_KEY", "SUPABASE_URL", "SUPABASE_SERVICE_ROLE_KEY"] {
        // an empty variable counts as missing; this hides a value that the machine may have
        stepladder::override_env(name, "");
    }
    let event = EnhanceRequested {
        client_id: "c-1".to_owned(),
        client_name: "Acme".to_owned(),
        client_domain: "acme.example".to_owned(),
    };
    let run = TestApp::new().function(function()).send(&event).await.remove(0);
    assert_eq!((run.status(), run.attempts("call-openai")), (Status::Failed, 1));
    assert!(format!("{:?}", run.error()).contains("OPENAI_API_KEY"), "{:?}", run.error());

    // with a mock instead of the AI's step, the database's step is the one that fails
    let mut app = TestApp::new().function(function()).mock("call-openai", BusinessIntelligence::default());
    let run = app.send(&event).await.remove(0);
    assert_eq!((run.status(), run.attempts("update-client")), (Status::Failed, 1));
    assert!(format!("{:?}", run.error()).contains("SUPABASE_SERVICE_ROLE_KEY"), "{:?}", run.error());

    // a run succeeds if its steps need neither variable
    let run = TestApp::new().function(hello_world::function()).send(&HelloEvent::default()).await.remove(0);
    assert_eq!(run.status(), Status::Completed);
}
