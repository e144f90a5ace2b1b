//! An app with the real package whose first answer breaks off.

use serde_json::json;

use crate::app::node;
use crate::calls::{count, facts};
use crate::changing::start;
use crate::{ended, output};

#[tokio::test]
async fn half_an_answer_is_no_result_and_what_is_recorded_is_not_repeated() {
    let (server, app) = start(node(include_str!("cut.mjs"))).await;
    // the app has executed the first step, and its answer is lost
    let run = ended(&server, "test/cut", json!({})).await;
    assert_eq!(output(&run), &json!([2, 1, 1]));
    assert_eq!(app.counts(&run, &["a", "b", "c"]).await, [2, 1, 1]);
    // the app has recorded each step before its answer is lost
    let run = ended(&server, "test/recorded", json!({})).await;
    assert_eq!(output(&run), &json!([1, 1, 1]));
    assert_eq!(app.counts(&run, &["a", "b", "c"]).await, [1, 1, 1]);
    let journal = facts(&server.api(), run["run_id"].as_str().expect("a run")).await;
    assert_eq!(count(&journal, "HandlerFailed"), 0, "a lost answer uses no retry: {journal:?}");
}
