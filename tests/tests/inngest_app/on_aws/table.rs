//! `stepladder apps --table`: straight to the table, with the signing key of the environment.

use serde_json::json;

use super::world::{KEY, KeysIn, OnAws};
use super::{app, output};

#[tokio::test]
async fn apps_are_listed_synced_and_removed_with_the_table() {
    let aws = OnAws::start(KeysIn::SecretsManager, &[]).await;
    let app = app(&aws, KEY).await;
    let key = [("INNGEST_SIGNING_KEY", KEY)];
    let sync = ["apps", "sync", &app.url()];
    let (good, text) = aws.cli_on_table(&["apps"], &[]).await;
    assert!(good && text.contains("no apps are registered"), "{text}");
    let (good, text) = aws.cli_on_table(&sync, &key).await;
    assert!(!good && text.contains("does not name its queues yet"), "{text}");
    aws.roles.publish_addresses().await;
    for (arguments, variables, says) in [
        (&sync, &[][..], "set INNGEST_SIGNING_KEY"),
        (&sync, &[("INNGEST_SIGNING_KEY", "secret")], "INNGEST_SIGNING_KEY: a signing key is"),
        (&sync, &[("INNGEST_SIGNING_KEY", "signkey-prod-ff")], "have the same signing key"),
        (&["apps", "sync", "shop"], &key, "it is no address"),
        (&["apps", "sync", "http://127.0.0.1:1/api/inngest"], &key, "does not answer"),
        (&["apps", "sync", "lambda:shop"], &key, "it is not the ARN of a function"),
        (&["apps", "remove", "shop"], &[], "there is no app `shop`"),
    ] {
        let (good, text) = aws.cli_on_table(arguments, variables).await;
        assert!(!good && text.contains(says), "{arguments:?}: {text}");
    }
    let (good, text) = aws.cli_on_table(&sync, &key).await;
    assert!(good && text.contains("shop is registered with 4 functions"), "{text}");
    let (_, text) = aws.cli_on_table(&["apps", "--json"], &[]).await;
    assert!(text.contains("\"shop-order\""), "{text}");

    // the roles know it, and so does a command that sends an event
    let run = aws.send(&json!({"name": "shop/calls", "data": {}})).await;
    assert_eq!(output(&aws.ended([run]).await[0]), &json!([1, 1, 1]));
    let (good, text) = aws.cli_on_table(&["send", "shop/calls", "{}", "--json"], &[]).await;
    let sent: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let event = sent["ids"][0].as_str().unwrap_or_else(|| panic!("{good} {text}"));
    let run = aws.roles.run_of(event).await;
    assert_eq!(output(&aws.ended([run]).await[0]), &json!([1, 1, 1]));

    let (good, text) = aws.cli_on_table(&["apps", "remove", "shop"], &[]).await;
    assert!(good && text.contains("shop is removed"), "{text}");
    let (_, text) = aws.cli_on_table(&["apps"], &[]).await;
    assert!(text.contains("no apps are registered"), "{text}");
}
