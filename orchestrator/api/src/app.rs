//! Registered apps.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Time;

/// An app that has registered its functions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// The name of the app.
    pub name: Arc<str>,
    /// The address to which calls of the app are sent.
    pub url: Arc<str>,
    /// The SDK with its version, such as `inngest-js 4.24.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sdk: Option<String>,
    /// The framework that serves the app, such as `nextjs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub framework: Option<String>,
    /// When the app was last synced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synced_at: Option<Time>,
    /// The ids of the functions of the app.
    pub functions: Vec<Arc<str>>,
    /// What is wrong with the app, as a sentence; `None` if nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// The request to sync an app: the server asks the app for its functions and registers them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncAppRequest {
    /// The address of the app, such as `http://localhost:3000/api/inngest`.
    pub url: String,
}

/// The result of syncing an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppSynced {
    /// The name of the app.
    pub name: Arc<str>,
    /// The number of its functions; `None` if the app has registered by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub functions: Option<usize>,
    /// Whether the registration has changed anything.
    pub modified: bool,
}

/// The result of removing an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppRemoved {
    /// The name of the app.
    pub name: Arc<str>,
}
