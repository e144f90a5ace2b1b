//! Tests of `derive(Event)`.

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use stepladder::prelude::*;
use stepladder::testing::{Status, TestApp};

#[derive(Serialize, Deserialize, Event)]
#[event(name = "client/created")]
struct Created {
    plan: String,
}

#[derive(Serialize, Deserialize, Event)]
#[event(name = "client/deleted")]
struct Deleted {
    plan: String,
}

#[derive(Deserialize, Event)]
#[serde(untagged)]
enum Changed {
    Created(Created),
    Deleted(Deleted),
}

#[derive(Serialize, Deserialize, Event)]
#[event(name = "list/sent")]
#[serde(bound = "")]
struct Sent<T>
where
    T: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    items: Vec<T>,
}

async fn record(_: Context, event: Event<Changed>) -> Result<String> {
    Ok(match event.data {
        Changed::Created(Created { plan }) => format!("created {plan}"),
        Changed::Deleted(Deleted { plan }) => format!("deleted {plan}"),
    })
}

#[test]
fn a_struct_has_the_name_of_its_attribute() {
    assert_eq!((Created::NAME, Created::NAMES), ("client/created", &["client/created"][..]));
    assert_eq!(Sent::<u8>::NAME, "list/sent");
}

#[test]
fn an_enum_has_the_names_of_its_variants_and_refuses_others() {
    assert_eq!(Changed::NAMES, ["client/created", "client/deleted"]);
    let data = RawValue::from_string(r#"{"plan":"pro"}"#.to_owned()).unwrap();
    let error = Changed::decode("client/renamed", &data).err().unwrap().to_string();
    assert!(error.contains("client/renamed"), "{error}");
}

#[tokio::test]
async fn the_name_of_the_event_selects_the_variant_and_its_filter() {
    let function = || {
        Function::new("record", record)
            .filter("event.data.plan != 'free'")
            .on::<Deleted>()
            .filter("event.data.plan == 'pro'")
    };
    let mut app = TestApp::new().function(function());
    let created = app.send(&Created { plan: "team".into() }).await;
    assert_eq!((created[0].status(), created[0].output::<String>()), (Status::Completed, "created team".into()));
    assert_eq!(app.send(&Deleted { plan: "pro".into() }).await[0].output::<String>(), "deleted pro");
    assert!(app.send(&Created { plan: "free".into() }).await.is_empty());
    assert!(app.send(&Deleted { plan: "team".into() }).await.is_empty(), "its own filter replaces that of all events");
}
