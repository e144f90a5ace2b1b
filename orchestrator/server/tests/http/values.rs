//! Values of every size: what a page shows, what the script loads, and what has a page of its own.

use serde_json::json;

use crate::world::ServerFixture;

/// Returns event data of about this many bytes: a list of records.
fn records(bytes: usize) -> serde_json::Value {
    let rows: Vec<_> = (0..bytes / 40).map(|n| json!({"id": n, "name": "a product", "ok": true})).collect();
    json!({ "rows": rows })
}

#[tokio::test]
async fn a_value_of_12_kb_is_shown_whole_and_indented() {
    let world = ServerFixture::new();
    let run = world.run(json!({"name": "test/echo", "data": records(6_000)})).await;
    let page = world.get(&format!("/runs/{run}")).await.text;
    assert!(page.contains("<bdi>      <b>&#34;id&#34;:</b> 149,</bdi>") && !page.contains("The beginning"), "{page}");
}

#[tokio::test]
async fn the_script_loads_the_rest_of_a_value_up_to_64_kb() {
    let world = ServerFixture::new();
    let run = world.run(json!({"name": "test/echo", "data": records(50_000)})).await;
    let page = world.get(&format!("/runs/{run}")).await.text;
    let lazy = format!("data-lazy=\"/runs/{run}/value?of=event&#38;view=page\"");
    assert!(page.contains(&lazy) && page.contains("The beginning of"), "{page}");
    assert!(page.contains("<bdi>      <b>&#34;id&#34;:</b> 7,</bdi>"), "the beginning is indented: {page}");
    let whole = world.get(&format!("/runs/{run}/value?of=event&view=page")).await.text;
    assert!(whole.contains("<b>&#34;id&#34;:</b> 1249,") && !whole.contains("The beginning of"));
}

#[tokio::test]
async fn a_larger_value_has_a_page_of_its_own_and_is_read_as_text() {
    let world = ServerFixture::new();
    let data = records(300_000);
    let run = world.run(json!({"name": "test/echo", "data": data})).await;
    let page = world.get(&format!("/runs/{run}")).await.text;
    assert!(!page.contains("data-lazy") && page.contains(">Show all</a>") && page.len() < 190_000, "{}", page.len());
    let own = world.get(&format!("/runs/{run}/value?of=step&n=0&view=page")).await;
    assert_eq!(own.status, 200);
    assert!(own.text.contains("<h1><bdi>Output of say</bdi></h1>") && own.text.contains("<b>&#34;id&#34;:</b> 3000,"));
    let raw = world.get(&format!("/runs/{run}/value?of=output&view=raw")).await;
    assert_eq!((raw.json(), raw.header("content-type")), (data, "text/plain; charset=utf-8"));
    assert!(raw.header("content-security-policy").starts_with("default-src 'none'"));
}

#[tokio::test]
async fn the_data_of_an_event_is_read_in_the_same_ways() {
    let world = ServerFixture::new();
    let id = world.send(json!({"name": "test/echo", "data": {"<b>": 1}})).await.remove(0);
    let page = world.get(&format!("/events/{id}/data?view=page")).await.text;
    assert!(page.contains("&#34;&#60;b&#62;&#34;:</b> 1") && page.contains("Data of test/echo"), "{page}");
    assert_eq!(world.get(&format!("/events/{id}/data?view=raw")).await.json(), json!({"<b>": 1}));
    assert_eq!(world.get(&format!("/events/{id}/data?view=x")).await.status, 400);
}

#[tokio::test]
async fn an_encrypted_value_is_described_and_can_be_downloaded() {
    let world = ServerFixture::new();
    let field = json!({"key": "k1", "for": {"place": "event", "name": "test/echo"}, "data": "U0VDUkVU"});
    let data = json!({"stepladder/encrypted": field, "tenant": "t1"});
    let run = world.run(json!({"name": "test/echo", "data": data})).await;
    for path in [format!("/runs/{run}"), format!("/runs/{run}/value?of=output&view=page")] {
        let page = world.get(&path).await.text;
        assert!(page.contains("encrypted with key k1, 6 bytes") && page.contains("t1"), "{page}");
    }
    let shown = world.get(&format!("/runs/{run}/value?of=event&view=page")).await.text;
    assert!(!shown.contains("U0VDUkVU"), "{shown}");
    // what people download, and what a rerun starts with, can still be decrypted
    assert_eq!(world.get(&format!("/runs/{run}/value?of=event")).await.json(), data);
    assert!(world.get(&format!("/runs/{run}")).await.text.contains("U0VDUkVU"), "the editor of the rerun");
}
