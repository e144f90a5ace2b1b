//! Tests of `derive(Event)`.

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use stepladder::prelude::*;
use stepladder::testing::{Status, TestApp};

#[derive(Serialize, Deserialize, Event)]
#[event(name = "client/created")]
struct ClientCreated {
    plan: String,
}

#[derive(Serialize, Deserialize, Event)]
#[event(name = "client/deleted")]
struct ClientDeleted {
    plan: String,
}

#[derive(Deserialize, Event)]
#[serde(untagged)]
enum ClientChanged {
    Created(ClientCreated),
    Deleted(ClientDeleted),
}

#[derive(Serialize, Deserialize, Event)]
#[event(name = "list/sent")]
#[serde(bound = "")]
struct ListSent<T>
where
    T: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    items: Vec<T>,
}

async fn record(_: Context, event: Event<ClientChanged>) -> Result<String> {
    Ok(match event.data {
        ClientChanged::Created(ClientCreated { plan }) => format!("created {plan}"),
        ClientChanged::Deleted(ClientDeleted { plan }) => format!("deleted {plan}"),
    })
}

#[test]
fn a_struct_has_the_name_of_its_attribute() {
    assert_eq!((ClientCreated::NAME, ClientCreated::NAMES), ("client/created", &["client/created"][..]));
    assert_eq!(ListSent::<u8>::NAME, "list/sent");
}

#[test]
fn an_enum_has_the_names_of_its_variants_and_refuses_others() {
    assert_eq!(ClientChanged::NAMES, ["client/created", "client/deleted"]);
    let data = RawValue::from_string(r#"{"plan":"pro"}"#.to_owned()).unwrap();
    let error = ClientChanged::decode("client/renamed", &data).err().unwrap().to_string();
    assert!(error.contains("client/renamed"), "{error}");
}

#[tokio::test]
async fn the_name_of_the_event_selects_the_variant_and_its_filter() {
    let function = || {
        Function::new("record", record)
            .filter("event.data.plan != 'free'")
            .on::<ClientDeleted>()
            .filter("event.data.plan == 'pro'")
    };
    let mut app = TestApp::new().function(function());
    let created = app.send(&ClientCreated { plan: "team".into() }).await;
    assert_eq!((created[0].status(), created[0].output::<String>()), (Status::Completed, "created team".into()));
    assert_eq!(app.send(&ClientDeleted { plan: "pro".into() }).await[0].output::<String>(), "deleted pro");
    assert!(app.send(&ClientCreated { plan: "free".into() }).await.is_empty());
    assert!(
        app.send(&ClientDeleted { plan: "team".into() }).await.is_empty(),
        "its own filter replaces that of all events"
    );
}
