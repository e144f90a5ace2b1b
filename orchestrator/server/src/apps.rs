//! What the dashboard knows of apps: functions in other processes, which a front end registers.
//!
//! How an app is reached is deliberately not known here, but by the front end.

use async_trait::async_trait;
use stepladder_core::Timestamp;
use stepladder_engine::EngineError;

/// An app, as the dashboard shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppListing {
    /// The name of the app; `None` if it has never been registered.
    pub name: Option<String>,
    /// The address of the app.
    pub url: String,
    /// The SDK with its version, if it is known.
    pub sdk: Option<String>,
    /// The framework that serves the app, if it is known.
    pub framework: Option<String>,
    /// The ids of its functions.
    pub functions: Vec<String>,
    /// When the app was last synced, as far as this process knows.
    pub synced_at: Option<Timestamp>,
    /// What is wrong with the app, as a sentence.
    pub problem: Option<String>,
}

/// The apps of a front end.
#[async_trait]
pub trait AppDirectory: Send + Sync {
    /// Returns all apps, including those that could not be registered.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    async fn apps(&self) -> Result<Vec<AppListing>, EngineError>;

    /// Asks the app at an address for its functions, and registers them.
    ///
    /// # Errors
    /// A sentence that says what to do.
    async fn sync(&self, url: &str) -> Result<(), String>;

    /// Returns whether an `Authorization` header is that of an app. Then the request may follow and
    /// cancel a run whose id it knows.
    async fn is_app(&self, authorization: &str) -> bool;

    /// Removes the app with this name.
    ///
    /// # Errors
    /// [`EngineError::NotFound`]; [`EngineError::Store`].
    async fn remove(&self, name: &str) -> Result<(), EngineError>;
}
