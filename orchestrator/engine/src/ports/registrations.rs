//! Apps that register their functions at run time.

use std::sync::Arc;

use async_trait::async_trait;

use super::StoreResult;

/// Stores registered apps, with a version that counts the changes.
///
/// Every change names the version that its caller has read, and is refused if another change came
/// first. So the caller can check all apps before it changes one of them. There are few apps, they
/// change rarely, and each process caches them. The version is read often, so reading it must be
/// cheap.
#[async_trait]
pub trait Registrations: Send + Sync {
    /// Returns the version, which is 0 before the first change. The read is strongly consistent.
    async fn registrations_version(&self) -> StoreResult<u64>;

    /// Returns all apps, in the order of their names. The read is strongly consistent. The returned
    /// apps may be newer than the returned version, but not older.
    async fn registrations(&self) -> StoreResult<StoredRegistrations>;

    /// Stores an app, and replaces an earlier registration of the same app. This is done only if
    /// the version is still `seen`; then the version becomes `seen + 1`. Otherwise returns `false`
    /// and changes nothing.
    async fn put_registration(&self, seen: u64, registration: Registration) -> StoreResult<bool>;

    /// Removes an app. This is done only if the version is still `seen`; then the version becomes
    /// `seen + 1`, even if the app does not exist. Otherwise returns `false` and changes nothing.
    async fn remove_registration(&self, seen: u64, app: &str) -> StoreResult<bool>;
}

/// The registered apps, with their version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredRegistrations {
    /// How often the registered apps have changed.
    pub version: u64,
    /// The apps, in the order of their names.
    pub apps: Vec<Registration>,
}

/// A registered app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The name of the app.
    pub app: Arc<str>,
    /// Where the functions of the app are executed, as its front end writes it.
    pub address: Arc<str>,
    /// What describes the app, as JSON; `None` if an older version has registered it.
    pub about: Option<Arc<str>>,
    /// The configs of the functions, each as JSON. Their total size is at most
    /// [`APP_BYTES`](stepladder_core::limits::APP_BYTES).
    pub functions: Vec<Arc<str>>,
}
