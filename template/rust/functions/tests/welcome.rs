//! Tests `welcome` from its event to its end, on a virtual clock: three days take milliseconds.

use std::time::Duration;

use functions::welcome::{SignedUp, Welcomed, function};
use stepladder::testing::{Status, TestApp};

#[tokio::test]
async fn a_new_user_is_greeted_at_once_and_asked_after_three_days() {
    let mut app = TestApp::new().function(function());
    let started = app.now();
    let run = app.send(&SignedUp { name: "Ada".to_owned() }).await.remove(0);
    assert_eq!(run.status(), Status::Completed, "{:?}", run.error());
    assert_eq!(app.now().since(started), Duration::from_secs(3 * 24 * 60 * 60));
    let expected =
        Welcomed { greeting: "Welcome, Ada!".to_owned(), question: "How is it going, Ada?".to_owned() };
    assert_eq!(run.output::<Welcomed>(), expected);
}
