//! Apps whose functions are registered at run time.

use std::sync::Arc;

use async_trait::async_trait;

use super::StoreResult;

/// Stores registered apps, with a version that counts the changes.
///
/// Every change names the version that its caller has read, and is refused if another change came
/// first. So the caller can check the whole set of apps before it changes one of them. There are
/// few apps, they change rarely, and each process keeps them in memory. The version
/// is read often, so that read must be cheap.
#[async_trait]
pub trait Registrations: Send + Sync {
    /// Returns the version: 0 before the first change. The read is strongly consistent.
    async fn registrations_version(&self) -> StoreResult<u64>;

    /// Returns all apps, in the order of their names. The read is strongly consistent. The apps may
    /// be newer than the version that comes with them, but not older.
    async fn registrations(&self) -> StoreResult<StoredRegistrations>;

    /// Stores an app and replaces its earlier registration, if `seen` still is the version. The
    /// version then is `seen + 1`. Returns `false` and changes nothing if it is another one.
    async fn put_registration(&self, seen: u64, registration: Registration) -> StoreResult<bool>;

    /// Removes an app, if `seen` still is the version. The version then is `seen + 1`, also if
    /// there is no such app. Returns `false` and changes nothing if it is another one.
    async fn remove_registration(&self, seen: u64, app: &str) -> StoreResult<bool>;
}

/// The registered apps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredRegistrations {
    /// How often they have changed.
    pub version: u64,
    /// The apps, in the order of their names.
    pub apps: Vec<Registration>,
}

/// A registered app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Its name.
    pub app: Arc<str>,
    /// Where its functions are executed, as its front end writes it.
    pub address: Arc<str>,
    /// The configs of its functions, each as JSON. All of them together have at most
    /// [`APP_BYTES`](stepladder_core::limits::APP_BYTES).
    pub functions: Vec<Arc<str>>,
}
