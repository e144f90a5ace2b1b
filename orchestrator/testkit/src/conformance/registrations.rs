//! Registered apps: each change is counted, and refused if another one came first.

use std::sync::Arc;

use stepladder_core::limits::{APP_BYTES, CONFIG_BYTES};

use super::TestedAdapter;
use super::fixtures::run_concurrently;
use stepladder_engine::ports::{Backend, Registration, StoredRegistrations};

/// Creates an app with a name and an address of unusual characters.
fn app(name: &str, functions: &[&str]) -> Registration {
    Registration {
        app: format!("shop/ünï \u{1F980} {name}").into(),
        address: format!("http://127.0.0.1:3000/api?app={name}").into(),
        about: (name != "b").then(|| format!(r#"{{"sdk":"ü {name}"}}"#).into()),
        functions: functions.iter().map(|id| format!(r#"{{"id":"{id}","name":"ü"}}"#).into()).collect(),
    }
}

/// Creates an app of nearly the maximum size, with configs that compression shortens little.
fn large_app(seed: u64) -> Registration {
    let mut state = seed;
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b';' + (state >> 58) as u8).to_ascii_lowercase()
    };
    let mut config = |n: usize| -> Arc<str> {
        let noise: String = (0..CONFIG_BYTES - 100).map(|_| letter()).filter(|c| *c != '\\').collect();
        format!(r#"{{"id":"f{n}","idempotency":"{noise}"}}"#).into()
    };
    Registration { functions: (0..APP_BYTES / CONFIG_BYTES).map(&mut config).collect(), ..app("large", &[]) }
}

async fn read_apps(on: &TestedAdapter) -> StoredRegistrations {
    let stored = on.backend.registrations().await.expect("apps");
    assert_eq!(on.backend.registrations_version().await.expect("a version"), stored.version);
    stored
}

async fn put(on: &TestedAdapter, seen: u64, app: Registration) -> bool {
    on.backend.put_registration(seen, app).await.expect("an answer")
}

async fn remove(on: &TestedAdapter, seen: u64, app: &str) -> bool {
    on.backend.remove_registration(seen, app).await.expect("an answer")
}

/// Before the first change, the version is 0.
pub async fn an_empty_store_has_no_apps(on: TestedAdapter) {
    assert_eq!(read_apps(&on).await, StoredRegistrations::default());
}

/// They come in the order of their names, with the functions in their own order.
pub async fn apps_come_back_as_they_were_registered(on: TestedAdapter) {
    let (first, second, third) = (app("b", &["z", "a"]), app("a", &[]), app("c", &["m"]));
    for (seen, app) in (0..).zip([&first, &second, &third]) {
        assert!(put(&on, seen, app.clone()).await);
    }
    assert_eq!(read_apps(&on).await, StoredRegistrations { version: 3, apps: vec![second, first, third] });
}

/// Its functions, their number and its address may change.
pub async fn a_later_registration_replaces_the_earlier_one(on: TestedAdapter) {
    assert!(put(&on, 0, app("a", &["one", "two", "three"])).await);
    let moved = Registration { address: "http://elsewhere".into(), ..app("a", &["two"]) };
    assert!(put(&on, 1, moved.clone()).await);
    assert_eq!(read_apps(&on).await, StoredRegistrations { version: 2, apps: vec![moved] });
}

/// Removing counts as a change, also for an app that does not exist.
pub async fn a_removed_app_is_gone_and_can_be_registered_again(on: TestedAdapter) {
    let (one, other) = (app("a", &["f"]), app("b", &["g"]));
    assert!(put(&on, 0, one.clone()).await && put(&on, 1, other.clone()).await);
    assert!(remove(&on, 2, &one.app).await);
    assert_eq!(read_apps(&on).await, StoredRegistrations { version: 3, apps: vec![other.clone()] });
    assert!(remove(&on, 3, "unknown").await);
    assert!(put(&on, 4, one.clone()).await);
    assert_eq!(read_apps(&on).await, StoredRegistrations { version: 5, apps: vec![one, other] });
}

/// An earlier version and a later one are refused, and nothing changes.
pub async fn a_change_of_another_version_is_refused(on: TestedAdapter) {
    let one = app("a", &["f"]);
    assert!(!put(&on, 1, one.clone()).await);
    assert_eq!(read_apps(&on).await, StoredRegistrations::default());
    assert!(put(&on, 0, one.clone()).await);
    for seen in [0, 2] {
        assert!(!put(&on, seen, app("a", &["g"])).await && !put(&on, seen, app("b", &["g"])).await);
        assert!(!remove(&on, seen, &one.app).await);
    }
    assert_eq!(read_apps(&on).await, StoredRegistrations { version: 1, apps: vec![one] });
}

/// An app of 4 MiB is larger than an item of DynamoDB may be.
pub async fn a_large_app_is_registered_replaced_and_removed(on: TestedAdapter) {
    let [first, second, third] = [1, 2, 3].map(large_app);
    assert!(put(&on, 0, first.clone()).await);
    assert!(read_apps(&on).await.apps == [first]);
    assert!(put(&on, 1, second.clone()).await && !put(&on, 1, third).await);
    assert!(read_apps(&on).await.apps == [second.clone()]);
    assert!(put(&on, 2, app("small", &["f"])).await);
    assert!(remove(&on, 3, &second.app).await);
    assert_eq!(read_apps(&on).await, StoredRegistrations { version: 4, apps: vec![app("small", &["f"])] });
}

/// Of the callers that have read the same version, one registers its app. The others learn that
/// they came too late. No app is lost when they try again.
pub async fn one_of_many_concurrent_registrations_wins(on: TestedAdapter) {
    let first = |i: u64, backend: Arc<dyn Backend>| async move {
        backend.put_registration(0, app(&i.to_string(), &["f"])).await.expect("an answer")
    };
    let answers = run_concurrently(8, first, &on).await;
    assert_eq!(answers.iter().filter(|is_done| **is_done).count(), 1, "{answers:?}");
    let again = |i: u64, backend: Arc<dyn Backend>| async move {
        let name = i.to_string();
        let mut seen = 1;
        while !backend.put_registration(seen, app(&name, &["g"])).await.expect("an answer") {
            let version = backend.registrations_version().await.expect("a version");
            assert!(version > seen, "the version is {version}, and the change of {seen} was refused");
            seen = version;
        }
    };
    run_concurrently(8, again, &on).await;
    let stored = read_apps(&on).await;
    assert_eq!((stored.version, stored.apps.len()), (9, 8));
}
