//! Links between the traces of runs that call each other.

use stepladder_tests::collector::Collector;
use stepladder_tests::wait_for;

use super::{exporting_to, only};

#[tokio::test]
async fn a_step_and_the_run_that_it_calls_link_to_each_other() {
    let collector = Collector::over_http().await;
    let mut server = exporting_to(collector.url()).argument("--demo");
    server.start().await;
    let data = serde_json::json!({"clientId": "c9", "clientName": "Acme", "clientDomain": "acme.example"});
    let ids = server.api().send(&serde_json::json!({"name": "demo/client.signed", "data": data})).await;
    let caller = server.api().run_of(&ids[0]).await;
    let spans = collector.spans_of(&caller).await;
    let step = only(&spans, "enhance", "enhance");
    assert_eq!(step.attribute("stepladder.step.kind"), "invoke");
    let called_id = step.attribute("stepladder.called.run.id");
    let called = wait_for("the called run", async || {
        let spans = collector.received().spans;
        spans
            .into_iter()
            .find(|span| span.name == "enhance-client-with-ai" && span.attribute("stepladder.run.id") == called_id)
    })
    .await;
    assert_ne!(called.trace, step.trace);
    assert_eq!(step.links, [(called.trace.clone(), called.id.clone())]);
    assert_eq!(called.links, [(step.trace.clone(), step.id.clone())]);
    assert_eq!((called.parent.as_str(), called.attribute("stepladder.caller.run.id")), ("", &*caller));
}
