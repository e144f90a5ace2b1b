//! Tests `hello-world` from its event to its end, on a virtual clock.

use std::time::Duration;

use stepladder::testing::{Status, TestApp};
use stepladder_functions::hello_world::{HelloEvent, HelloOutput, function};

async fn run_hello(hello: HelloEvent) -> HelloOutput {
    let mut app = TestApp::new().function(function());
    let started = app.now();
    let run = app.send(&hello).await.remove(0);
    assert_eq!(app.now().since(started), Duration::from_secs(1), "a second's sleep lies between");
    assert_eq!(run.status(), Status::Completed, "{:?}", run.error());
    run.output()
}

#[tokio::test]
async fn it_greets_by_name_with_the_message() {
    let hello = HelloEvent { name: Some(" Ada ".to_owned()), message: Some("Welcome.".to_owned()) };
    let expected = HelloOutput { greeting: "Hello, Ada! Welcome.".to_owned(), farewell: "Goodbye, Ada!".to_owned() };
    assert_eq!(run_hello(hello).await, expected);
}

#[tokio::test]
async fn it_greets_the_world_by_default() {
    let expected = HelloOutput { greeting: "Hello, World!".to_owned(), farewell: "Goodbye, World!".to_owned() };
    assert_eq!(run_hello(HelloEvent::default()).await, expected);
    assert_eq!(run_hello(HelloEvent { name: Some("  ".to_owned()), message: Some(String::new()) }).await, expected);
}
