//! `demo-onboard-client`: a function for the demonstration. It calls two functions in parallel, so
//! that the dashboard shows nested runs.

use serde_json::Value;
use stepladder::prelude::*;

use crate::{enhance_client::EnhanceRequested, generate_queries::QueriesRequested};

/// The data of `demo/client.signed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[event(name = "demo/client.signed")]
#[serde(rename_all = "camelCase")]
pub(super) struct ClientSigned {
    /// The client, in the form that both called functions accept.
    #[serde(flatten)]
    pub(super) client: EnhanceRequested,
}

/// Returns the function of the demonstration.
#[must_use]
pub(super) fn function() -> Function {
    Function::new("demo-onboard-client", onboard).example(&ClientSigned { client: EnhanceRequested::example() })
}

async fn onboard(ctx: Context, event: Event<ClientSigned>) -> Result<usize> {
    let client = &event.data.client;
    let EnhanceRequested { client_id, client_name, client_domain } = client.clone();
    let queries = QueriesRequested { client_id, client_name, client_domain, topics: Vec::new() };
    let (enhanced, queries, welcomed) = tokio::join!(
        ctx.invoke::<Value>("enhance", "enhance-client-with-ai", client),
        ctx.invoke::<Vec<Value>>("find-queries", "generate-queries", &queries),
        ctx.step("write-welcome", async || Ok(format!("Welcome, {}!", client.client_name))),
    );
    enhanced?;
    welcomed?;
    let found = queries?.len();
    ctx.step("report", async || Ok(found)).await
}
