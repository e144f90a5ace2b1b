//! Runs are found by their labels.

use serde_json::json;

use crate::world::ServerFixture;

#[tokio::test]
async fn runs_are_found_by_labels_that_no_function_declares() {
    let world = ServerFixture::new();
    let run = world.run(json!({"name": "test/nap", "data": {"long": true}})).await;
    let other = world.run(json!({"name": "test/echo", "data": {"text": "plan:free"}})).await;
    let labels = vec![stepladder_core::Label::new("plan", "pro").unwrap()];
    world.append(&run, vec![stepladder_core::Fact::LabelsAdded { labels }]).await;
    let found = world.get("/?q=plan%3Apro").await.text;
    assert!(found.contains("runs with the label plan = pro") && found.contains(&format!("r-{run}")), "{found}");
    assert!(found.contains("plan <bdi>pro</bdi>"), "the label is shown: {found}");
    assert_eq!(world.get("/v1/runs?label=plan%3Dpro").await.data()[0]["labels"], json!({"plan": "pro"}));
    assert_eq!(world.get(&format!("/v1/runs/{run}")).await.data()["labels"], json!({"plan": "pro"}));
    let text = world.get("/?q=plan%3Afree").await.text;
    assert!(text.contains("runs with this in their input") && text.contains(&format!("r-{other}")), "{text}");
}

#[tokio::test]
async fn runs_are_found_by_their_labels_on_the_page_and_over_rest() {
    let world = ServerFixture::new();
    let one = world.run(json!({"name": "test/echo", "data": {"client": "cust-42"}})).await;
    world.run(json!({"name": "test/echo", "data": {"client": "cust-7"}})).await;
    world.run(json!({"name": "test/echo", "data": {"client": "<b>", "again": "no"}})).await;
    world.run(json!({"name": "test/echo", "data": {"client": ""}})).await;
    let page = world.get("/").await.text;
    assert!(page.contains("href=\"/?q=client%3Acust-42\"") && page.contains("client <bdi>cust-42</bdi>"), "{page}");
    assert!(page.contains("client <bdi>&#60;b&#62;</bdi>"), "the label of a live run: {page}");
    assert_eq!(page.matches("class=\"label\"").count(), 3);
    let found = world.get("/?q=client%3Acust-42").await.text;
    assert!(found.contains("runs with the label client = cust-42"), "{found}");
    assert_eq!((found.matches("<tr id=\"r-").count(), found.contains(&format!("r-{one}"))), (1, true));
    assert_eq!(
        world.get("/?q=client%3Acust").await.text.matches("<tr id=\"r-").count(),
        0,
        "the value is compared as a whole"
    );
    let rest = world.get("/v1/runs?label=client%3Dcust-42").await.data();
    assert_eq!((rest.as_array().unwrap().len(), &rest[0]["labels"]), (1, &json!({"client": "cust-42"})));
    assert_eq!(world.get(&format!("/v1/runs/{one}")).await.data()["labels"], json!({"client": "cust-42"}));
    for (bad, says) in [("client", "no label"), ("a%20b%3Dc", "contains ` `"), ("client%3D", "is empty")] {
        let refused = world.get(&format!("/v1/runs?label={bad}")).await;
        assert!(refused.status == 400 && refused.sentence().contains(says), "{bad}: {}", refused.text);
    }
    assert_eq!(world.post("/v1/runs/cancel?label=", "").await.status, 400, "an empty filter selects nothing");
    let cancelled = world.post("/v1/runs/cancel?label=client%3D%3Cb%3E", "").await;
    assert_eq!(cancelled.data().as_array().unwrap().len(), 1, "{}", cancelled.text);
    let ask = world.post_form("/runs", "do=rerun-all&back=%2F%3Fq%3Dclient%253Acust-42").await.text;
    assert!(ask.contains("Rerun all matching runs: 1 run?"), "{ask}");
}
