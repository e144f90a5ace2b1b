//! Runs are found over REST by a text in their input or error.

use serde_json::{Value, json};

use crate::world::ServerFixture;

fn ids(page: &Value) -> Vec<&str> {
    page["data"].as_array().unwrap().iter().map(|run| run["run_id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn runs_are_found_by_a_text_page_by_page() {
    let world = ServerFixture::new();
    let mut acme = Vec::new();
    for n in 0..3 {
        acme.push(world.run(json!({"name": "test/echo", "data": {"for": "Acme", "n": n}})).await);
        world.run(json!({"name": "test/echo", "data": {"for": "other", "n": n}})).await;
    }
    acme.sort_by(|one, other| other.cmp(one)); // newest first
    let all = world.get("/v1/runs?text=aCME").await.json();
    assert_eq!(
        (ids(&all), &all["searched"], &all["cursor"]),
        (acme.iter().map(|id| &id[..]).collect(), &json!(6), &Value::Null)
    );
    let first = world.get("/v1/runs?text=acme&limit=2").await.json();
    assert_eq!(ids(&first), acme[..2]);
    let cursor = first["cursor"].as_str().expect("a cursor, because one is left");
    let rest = world.get(&format!("/v1/runs?text=acme&limit=2&cursor={cursor}")).await.json();
    assert_eq!((ids(&rest), &rest["cursor"]), (vec![&acme[2][..]], &Value::Null));
    let none = world.get("/v1/runs?text=acme&function=nowhere").await.json();
    assert_eq!((ids(&none).len(), &none["searched"]), (0, &json!(0)));
    assert_eq!(world.get("/v1/runs").await.json().get("searched"), None, "nothing was searched");
}

#[tokio::test]
async fn a_bad_search_is_refused_by_name() {
    let world = ServerFixture::new();
    for limit in ["0", "501"] {
        let refused = world.get(&format!("/v1/runs?text=a&limit={limit}")).await;
        assert!(refused.status == 400 && refused.sentence().contains("`limit`"), "{}", refused.text);
    }
    let refused = world.post("/v1/runs/cancel?text=a", "").await;
    assert!(refused.status == 400 && refused.sentence().contains("`text`"), "{}", refused.text);
}
