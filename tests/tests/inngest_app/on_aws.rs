//! An app on AWS: the roles on Lambda register it and execute its functions, with a table on
//! DynamoDB and queues on SQS.

mod endpoint;
mod function;
mod table;
pub(crate) mod world;

use serde_json::{Value, json};
use stepladder_tests::{ApiClient, wait_for};

use crate::app::{App, node};
use crate::output;
use world::{EVENT_KEY, KEY, KeysIn, OnAws};

/// Starts an app with this signing key.
pub(crate) async fn app(aws: &OnAws, key: &str) -> App {
    let variables = [("INNGEST_EVENT_KEY", EVENT_KEY), ("INNGEST_SIGNING_KEY", key)];
    App::start_command(node(include_str!("on_aws.mjs")), aws.url(), &variables).await
}

/// Executes a run of `order` to its end, and checks it.
pub(crate) async fn assert_order(aws: &OnAws, app: &App) {
    let run = aws.send(&json!({"name": "shop/ordered", "data": {"item": "tea"}})).await;
    let pump = aws.roles.pump_steps();
    wait_for("the wait for the payment", async || {
        pump.drain().await;
        aws.roles.stack.advance(std::time::Duration::from_secs(1));
        let run = aws.api().run(&run.to_string()).await;
        run["steps"].as_array()?.iter().any(|step| step["id"] == "paid").then_some(())
    })
    .await;
    aws.send_event(&json!({"name": "shop/paid", "data": {"item": "coffee", "by": "Eve"}})).await;
    aws.send_event(&json!({"name": "shop/paid", "data": {"item": "tea", "by": "Ada"}})).await;
    let [ended] = aws.ended([run]).await;
    let expected = json!({"reserved": 1, "charged": "tea charged", "by": "Ada", "both": 2, "sent": 1});
    assert_eq!(output(&ended), &expected);
    assert_eq!(app.counts(&ended, &["reserve", "charge", "mail", "ship"]).await, [1, 2, 1, 1]);
    aws.journal(run).await;
    // the event that the run has sent has started another run
    let (_, runs) = aws.api().get("/v1/runs?function=shop-shipped").await;
    let sent = runs["data"][0]["run_id"].as_str().expect("a run").parse().expect("an id");
    assert_eq!(output(&aws.ended([sent]).await[0]), "tea");
}

#[tokio::test]
async fn an_app_is_registered_by_one_role_and_called_by_another() {
    let aws = OnAws::start(KeysIn::SecretsManager, &[]).await;
    // the worker has looked for apps before there is one
    let run = aws.send(&json!({"name": "test/hello.world", "data": {"name": "Ada"}})).await;
    aws.ended([run]).await;
    let app = app(&aws, KEY).await;
    let (synced, text) = aws.cli(&["apps", "sync", &app.url()]).await;
    assert!(synced && text.contains("shop is registered with 4 functions"), "{text}");
    let (_, apps) = aws.cli(&["apps"]).await;
    assert!(apps.contains("shop-order") && apps.contains(&app.url()), "{apps}");
    assert_order(&aws, &app).await;

    let run = aws.send(&json!({"name": "shop/calls", "data": {}})).await;
    let [ended] = aws.ended([run]).await;
    assert_eq!(output(&ended), &json!([1, 1, 1]));
    let (_, signatures) = ApiClient::new(&app.root()).get("/signatures").await;
    let signatures = signatures.as_array().expect("a list");
    assert!(signatures.len() > 5 && signatures.iter().all(Value::is_string), "each request is signed: {signatures:?}");

    // each process knows the change within two seconds
    let (removed, text) = aws.cli(&["apps", "remove", "shop"]).await;
    assert!(removed, "{text}");
    wait_for("both processes to know it", async || {
        let both = [aws.api().get("/v1/functions").await.1, aws.api().get("/v1/functions").await.1];
        both.iter().all(|functions| !functions.to_string().contains("shop-order")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn one_invocation_calls_an_app_for_several_runs_at_the_same_time() {
    let aws = OnAws::start(KeysIn::SecretsManager, &[]).await;
    let app = app(&aws, KEY).await;
    let (synced, text) = aws.cli(&["apps", "sync", &app.url()]).await;
    assert!(synced, "{text}");
    let first = aws.send(&json!({"name": "shop/together", "data": {}})).await;
    let second = aws.send(&json!({"name": "shop/together", "data": {}})).await;
    let pumped = aws.roles.pump_steps().pump().await.expect("two wakes");
    assert_eq!((pumped.deleted.len(), pumped.failed.len()), (2, 0), "{pumped:?}");
    for ended in aws.ended([first, second]).await {
        assert_eq!(output(&ended), "met");
        assert_eq!(app.counts(&ended, &["meet"]).await, [1]);
    }
}

#[tokio::test]
async fn keys_are_rotated_and_an_app_with_another_key_is_refused() {
    let (old, new) = (KEY, "signkey-prod-8899aabbccddeeff");
    let aws = OnAws::start(KeysIn::SecretsManager, &[]).await;
    aws.change_keys(&format!("{new},{old}")).await;
    // the app accepts both keys, and sends the old one
    let variables =
        [("INNGEST_EVENT_KEY", EVENT_KEY), ("INNGEST_SIGNING_KEY", old), ("INNGEST_SIGNING_KEY_FALLBACK", new)];
    let app = App::start_command(node(include_str!("on_aws.mjs")), aws.url(), &variables).await;
    let (synced, text) = aws.cli(&["apps", "sync", &app.url()]).await;
    assert!(synced, "{text}");
    let run = aws.send(&json!({"name": "shop/calls", "data": {}})).await;
    assert_eq!(output(&aws.ended([run]).await[0]), &json!([1, 1, 1]));

    let stranger = App::start_command(
        node(include_str!("on_aws.mjs")),
        aws.url(),
        &[("INNGEST_EVENT_KEY", EVENT_KEY), ("INNGEST_SIGNING_KEY", "signkey-prod-ffff")],
    )
    .await;
    let (synced, text) = aws.cli(&["apps", "sync", &stranger.url()]).await;
    assert!(!synced && text.contains("have the same signing key"), "{text}");
    assert_nothing_is_open(&aws, &run.to_string()).await;
}

/// Checks that each route of apps refuses requests without the key, and with the tokens of people.
async fn assert_nothing_is_open(aws: &OnAws, run: &str) {
    let register = json!({"url": "http://127.0.0.1:1/api/inngest", "appName": "evil", "functions": []}).to_string();
    for api in [ApiClient::new(aws.url()), aws.api()] {
        for path in [format!("/v0/runs/{run}/batch"), format!("/v0/runs/{run}/actions")] {
            assert_eq!(api.get(&path).await.0, 401, "{path}");
        }
        let checkpoint = format!("/v1/checkpoint/{run}/async");
        for path in ["/fn/register", &checkpoint, "/v1/signals", "/v1/cancellations"] {
            assert_eq!(api.post(path, register.clone()).await.0, 401, "{path}");
        }
        let remove = api.request(reqwest::Method::DELETE, "/fn/remove?url=http://127.0.0.1:1/").send().await;
        assert_eq!(remove.expect("an answer").status(), 401);
    }
    let people = ApiClient::new(aws.url());
    assert_eq!(people.get("/v1/apps").await.0, 401);
    assert_eq!(people.post("/v1/apps", json!({"url": "http://127.0.0.1:1/"}).to_string()).await.0, 401);
}

#[tokio::test]
async fn a_stack_without_a_readable_key_has_no_apps_and_says_why() {
    let aws = OnAws::start(KeysIn::None, &[]).await;
    let (status, answer) = ApiClient::new(aws.url()).post("/fn/register", "{}").await;
    assert!(status == 503 && answer["error"].as_str().is_some_and(|e| e.contains("SigningKeysSecretName")), "{answer}");
    let (synced, text) = aws.cli(&["apps", "sync", "http://127.0.0.1:1/api/inngest"]).await;
    assert!(!synced && text.contains("SigningKeysParameterName"), "{text}");

    let missing = [("STEPLADDER_SIGNING_KEYS_SECRET", "not-there".to_owned())];
    let aws = OnAws::start(KeysIn::None, &missing).await;
    let (status, answer) = ApiClient::new(aws.url()).post("/fn/register", "{}").await;
    let sentence = answer["error"].as_str().expect("a sentence");
    assert!(status == 503 && sentence.contains("cannot read its signing keys") && !sentence.contains("not-there"));
    let (synced, text) = aws.cli(&["apps", "sync", "http://127.0.0.1:1/api/inngest"]).await;
    let says = "the secret `not-there` of Secrets Manager: ResourceNotFoundException";
    assert!(!synced && text.contains(says), "{text}");
}
