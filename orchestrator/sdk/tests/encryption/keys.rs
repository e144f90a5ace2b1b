//! Rotation of keys, and values that cannot be decrypted: no run is lost.

use stepladder_sdk::prelude::*;
use stepladder_sdk::testing::{Fact, Status, TestApp, TestRun};

use crate::vault::{OrderEvent, SECRET, Vault, card_function, current, set_key, set_keys, sleeping_run};

fn paid() -> String {
    format!("paid with {SECRET}")
}

/// Lets the hour of the sleep pass, and some time in which the run is tried again.
async fn after_two_hours(app: &mut TestApp, run: &TestRun) -> TestRun {
    app.advance(Duration::from_secs(2 * 3_600)).await;
    current(app, run).await
}

fn waiting(run: &TestRun) -> &str {
    assert!(!run.status().is_end(), "{run:?}");
    run.waiting().unwrap_or_default()
}

#[tokio::test]
async fn the_newest_key_encrypts_and_all_keys_decrypt() {
    set_keys(&["ROTATED_OLD", "ROTATED_NEW"]);
    let vault = Vault::new(&["ROTATED_OLD"]);
    let mut app = TestApp::new().payload_codec(vault.clone()).function(card_function());
    let run = sleeping_run(&mut app).await;
    vault.exchange(&["ROTATED_NEW", "ROTATED_OLD"]);
    let run = after_two_hours(&mut app, &run).await;
    assert_eq!(run.output::<String>(), paid());
    let keys: Vec<&str> = run.journal().iter().filter_map(|entry| key_of(&entry.fact)).collect();
    assert_eq!(keys, ["ROTATED_OLD", "ROTATED_NEW", "ROTATED_NEW"], "read, use, and the run's result");
}

fn key_of(fact: &Fact) -> Option<&str> {
    let (Fact::StepSucceeded { output, .. } | Fact::RunCompleted { output }) = fact else { return None };
    ["ROTATED_OLD", "ROTATED_NEW"].into_iter().find(|key| output.get().contains(key))
}

#[tokio::test]
async fn a_run_waits_for_a_key_that_was_removed_too_early() {
    set_keys(&["EARLY_OLD", "EARLY_NEW"]);
    let vault = Vault::new(&["EARLY_OLD"]);
    let mut app = TestApp::new().payload_codec(vault.clone()).function(card_function());
    let run = sleeping_run(&mut app).await;
    vault.exchange(&["EARLY_NEW"]);
    let stuck = after_two_hours(&mut app, &run).await;
    let why = "cannot read the outcome of step `read`: it is encrypted with key EARLY_OLD, and the app has only \
               EARLY_NEW; add EARLY_OLD again";
    assert!(waiting(&stuck).contains(why), "{}", waiting(&stuck));
    vault.exchange(&["EARLY_NEW", "EARLY_OLD"]);
    let run = after_two_hours(&mut app, &run).await;
    assert_eq!((run.output::<String>(), run.executions("read"), run.executions("use")), (paid(), 1, 1));
    assert!(!run.journal().iter().any(|entry| matches!(entry.fact, Fact::HandlerFailed { .. })), "no attempt is used");
}

#[tokio::test]
async fn a_run_waits_while_a_name_has_another_key() {
    set_key("REUSED_NAME", 1);
    let vault = Vault::new(&["REUSED_NAME"]);
    let mut app = TestApp::new().payload_codec(vault.clone()).function(card_function());
    let run = sleeping_run(&mut app).await;
    set_key("REUSED_NAME", 2);
    let stuck = after_two_hours(&mut app, &run).await;
    assert!(waiting(&stuck).contains("it was encrypted when key REUSED_NAME had another value"), "{}", waiting(&stuck));
    set_key("REUSED_NAME", 1);
    assert_eq!(after_two_hours(&mut app, &run).await.output::<String>(), paid());
}

#[tokio::test]
async fn a_run_waits_while_a_recorded_value_is_damaged() {
    set_keys(&["DAMAGED_KEY"]);
    let vault = Vault::new(&["DAMAGED_KEY"]);
    let mut app = TestApp::new().payload_codec(vault.clone()).function(card_function());
    let run = sleeping_run(&mut app).await;
    vault.damage(true);
    let stuck = after_two_hours(&mut app, &run).await;
    let why = "step `read`: key DAMAGED_KEY fits, but the value was changed after it was encrypted";
    assert!(waiting(&stuck).contains(why), "{}", waiting(&stuck));
    vault.damage(false);
    assert_eq!(after_two_hours(&mut app, &run).await.output::<String>(), paid());
}

#[tokio::test]
async fn no_body_is_executed_while_the_newest_key_is_missing_or_unusable() {
    let vault = Vault::new(&["ABSENT_KEY"]);
    let mut app = TestApp::new().payload_codec(vault).function(card_function());
    let run = app.start(&OrderEvent {}).await.remove(0);
    assert!(waiting(&run).contains("ABSENT_KEY is not set"), "{}", waiting(&run));
    stepladder_sdk::runtime::override_env("ABSENT_KEY", "c2hvcnQ=");
    let run = after_two_hours(&mut app, &run).await;
    assert_eq!((run.status(), run.executions("read")), (Status::Scheduled, 0));
    set_keys(&["ABSENT_KEY"]);
    assert_eq!(after_two_hours(&mut app, &run).await.executions("read"), 1);
    app.finish().await;
    assert_eq!(current(&mut app, &run).await.output::<String>(), paid());
}
