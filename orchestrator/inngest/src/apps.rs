//! Registers apps: when they register by themselves, when a person asks for it, and when a local
//! server finds that their functions have changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use stepladder_core::sentence::shortened;
use stepladder_engine::{AppDescription, Config, EngineError, RegisteredApp, StoredFunctions};

use crate::answer::KEYS;
use crate::convert::parse_address;
use crate::executor::AppConnector;
use crate::lambda;
use crate::registration::{Registration, RegistrationError};
use crate::syncs::{AppStatus, Syncs};
use crate::transport::{AppAnswer, SDK, SYNC_KIND, Transport, is_loopback, place};

/// How often a local server asks an app for changes.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// How long an app may take to answer with its functions. A request to Lambda ends after 29 s.
const SYNC_TIMEOUT: Duration = Duration::from_secs(20);

/// The settings of [`Apps`].
#[derive(Clone, Debug)]
pub struct AppsSettings {
    /// The settings of the workers that call the apps. They limit the time of a call.
    pub workers: Config,
    /// Whether an app may register without a signing key. Only a server on loopback may allow this,
    /// because a registered app gets the data of events.
    pub allows_unsigned: bool,
    /// Whether other processes use the same store. Then any of them may receive the registration of
    /// an app that this one asks for it.
    pub shares_store: bool,
}

/// The apps with functions of Inngest's SDKs.
pub struct Apps {
    pub(crate) functions: Arc<StoredFunctions>,
    transport: Arc<Transport>,
    pub(crate) settings: AppsSettings,
    /// How many times apps have registered by themselves at this process.
    registrations: AtomicU64,
    syncs: Syncs,
}

/// An app that was synced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncedApp {
    /// The name of the app; `None` if the app has registered by itself with another address.
    pub name: Option<String>,
    /// The number of its functions; `None` if the app has registered by itself with another
    /// address.
    pub functions: Option<usize>,
    /// Whether the registration has changed anything.
    pub modified: bool,
}

/// Why an app was not synced.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The app does not answer, or something else answers at its address.
    #[error("{0}")]
    NoApp(String),
    /// The registration is refused.
    #[error(transparent)]
    Refused(#[from] RegistrationError),
    /// The engine refuses the registration, or the storage failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl Apps {
    /// Creates the apps of these functions, whose source has this connector.
    pub fn new(functions: Arc<StoredFunctions>, connector: &AppConnector, settings: AppsSettings) -> Self {
        Self {
            functions,
            transport: connector.transport().clone(),
            settings,
            registrations: AtomicU64::new(0),
            syncs: Syncs::default(),
        }
    }

    /// Registers an app that sends its registration. `sdk` is the header that names its SDK.
    /// Returns whether anything has changed.
    ///
    /// # Errors
    /// [`SyncError::Refused`] with a sentence that names the function and the field;
    /// [`SyncError::Engine`].
    pub async fn register(&self, body: &[u8], sdk: Option<&str>) -> Result<bool, SyncError> {
        let registration = Registration::decode(body)?;
        let modified = self.register_decoded(&registration, sdk).await?;
        self.registrations.fetch_add(1, Ordering::Relaxed);
        if let Ok(url) = parse_address(&registration.url) {
            self.syncs.record(&url, self.transport.now(), sdk, None);
        }
        Ok(modified)
    }

    async fn register_decoded(&self, registration: &Registration, sdk: Option<&str>) -> Result<bool, SyncError> {
        if parse_address(&registration.url).is_ok_and(|url| url.host_str() == Some(lambda::HOST)) {
            let why = "the package of the app cannot answer with its functions, so an app that is a Lambda function needs a newer one";
            return Err(SyncError::NoApp(why.into()));
        }
        let configs = registration.configs(|function| self.settings.workers.longest_step(function))?;
        let about = AppDescription {
            sdk: sdk.or(registration.sdk.as_deref()).map(|sdk| sdk_name(sdk).into()),
            framework: registration.framework.as_deref().map(Into::into),
            synced_at: Some(self.transport.now()),
        };
        Ok(self.functions.register_described(&registration.app, &registration.url, &configs, &about).await?)
    }

    /// Asks the app at an address for its functions, and registers them. An app that cannot answer
    /// with its functions registers by itself, at the server for which it is configured.
    ///
    /// # Errors
    /// [`SyncError`].
    pub async fn sync(&self, address: &str) -> Result<SyncedApp, SyncError> {
        let no_app = |why: String| SyncError::NoApp(why);
        let url = parse_address(address).map_err(|problem| no_app(format!("the address of an app: {problem}")))?;
        let mut sdk = None;
        let synced = match tokio::time::timeout(SYNC_TIMEOUT, self.sync_at(&url, &mut sdk)).await {
            Ok(synced) => synced,
            Err(_) => {
                let (place, seconds) = (place(&url), SYNC_TIMEOUT.as_secs());
                Err(no_app(format!("the app at {place} has not answered within {seconds} s")))
            }
        };
        let problem = synced.as_ref().err().map(ToString::to_string);
        self.syncs.record(&url, self.transport.now(), sdk.as_deref(), problem);
        synced
    }

    /// Syncs the app at an address, and returns its SDK in `sdk`.
    async fn sync_at(&self, url: &Url, sdk: &mut Option<String>) -> Result<SyncedApp, SyncError> {
        let no_app = |why: String| SyncError::NoApp(why);
        if !self.settings.allows_unsigned {
            self.transport.refresh_keys().await.map_err(no_app)?;
            if self.transport.keys().is_none() {
                let why =
                    "there is no signing key, so no app can be called; set INNGEST_SIGNING_KEY to the key of the app";
                return Err(no_app(why.into()));
            }
        }
        let body = serde_json::json!({ "url": url.as_str() }).to_string().into_bytes();
        let registrations = self.registrations.load(Ordering::Relaxed);
        let answer = self.transport.send(Method::PUT, url, &[(SYNC_KIND, "in_band")], body).await;
        let answer = answer.map_err(|none| no_app(none.into_sentence()))?;
        let place = place(url);
        *sdk = answer.header(&SDK).map(str::to_owned);
        if !answer.is_of_sdk() && answer.status == StatusCode::UNAUTHORIZED {
            return Err(no_app(format!("{place} answers {}; {KEYS}", answer.status)));
        }
        if !answer.is_of_sdk() {
            let status = answer.status;
            return Err(no_app(format!("{place} answers {status}, and not as an app of Inngest; check the address")));
        }
        if answer.status != StatusCode::OK {
            return Err(no_app(format!("the app at {place} refuses to sync: {}", message_of(&answer))));
        }
        if answer.header(&SYNC_KIND) == Some("in_band") {
            let registration = Registration { url: url.to_string(), ..Registration::decode(&answer.body)? };
            let modified = self.register_decoded(&registration, sdk.as_deref()).await?;
            let functions = Some(registration.functions.len());
            return Ok(SyncedApp { name: Some(registration.app), functions, modified });
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Synced {
            modified: bool,
            error: Option<String>,
        }
        let Synced { modified, error } = serde_json::from_slice(&answer.body).unwrap_or_default();
        // the Python package answers with the status 200 when its registration is refused
        if let Some(error) = error {
            return Err(no_app(format!("the app at {place} is refused: {}", shortened(&error))));
        }
        let apps = self.functions.list().await?;
        let app = apps.iter().find(|app| parse_address(&app.address).is_ok_and(|address| is_same(&address, url)));
        let is_here = self.registrations.load(Ordering::Relaxed) != registrations;
        if !(is_here || (self.settings.shares_store && app.is_some())) {
            let variable = if self.settings.shares_store { "INNGEST_BASE_URL" } else { "INNGEST_DEV" };
            return Err(no_app(format!(
                "the app at {place} has registered at another server; set {variable} of the app to the address of this \
                 server, and restart the app"
            )));
        }
        let (name, functions) = app.map(|app| (app.name.to_string(), app.functions.len())).unzip();
        Ok(SyncedApp { name, functions, modified })
    }

    /// Removes the app with this name. Its runs wait until it is registered again.
    ///
    /// # Errors
    /// [`EngineError::NotFound`]; [`EngineError::Store`].
    pub async fn remove(&self, app: &str) -> Result<(), EngineError> {
        let known = self.functions.list().await?.iter().find(|known| &*known.name == app).cloned();
        self.functions.remove(app).await?;
        if let Some(known) = known {
            self.syncs.forget(&known.address);
        }
        Ok(())
    }

    /// Returns the apps with what this process knows of their last syncs, also those that could not
    /// be registered.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub async fn statuses(&self) -> Result<Vec<AppStatus>, EngineError> {
        Ok(self.syncs.join(&self.functions.list().await?))
    }

    /// Removes all apps at this address. Returns how many there were.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub async fn remove_at(&self, url: &str) -> Result<usize, EngineError> {
        let apps = self.functions.list().await?;
        let found: Vec<_> = apps.iter().filter(|app| &*app.address == url).collect();
        for app in &found {
            self.functions.remove(&app.name).await?;
        }
        Ok(found.len())
    }

    /// Returns the registered apps, in the order of their names.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub async fn list(&self) -> Result<Arc<[RegisteredApp]>, EngineError> {
        self.functions.list().await
    }

    /// Syncs the app at this address every few seconds, until the returned future is dropped. Logs
    /// changes and new problems.
    pub async fn poll(&self, address: &str, mut last_problem: Option<String>) {
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            last_problem = self.sync_and_log(address, last_problem).await;
        }
    }

    /// Syncs the app at this address. Logs changes and new problems. Returns the problem.
    pub(crate) async fn sync_and_log(&self, address: &str, last_problem: Option<String>) -> Option<String> {
        let problem = match self.sync(address).await {
            Ok(synced) => {
                if synced.modified || last_problem.is_some() {
                    let (app, functions) = (synced.name.unwrap_or_default(), synced.functions);
                    tracing::info!(app, functions, "the app is registered");
                }
                None
            }
            Err(error) => Some(error.to_string()),
        };
        if let Some(problem) = problem.as_ref().filter(|problem| last_problem.as_ref() != Some(*problem)) {
            tracing::warn!(%problem, "an app is not synced");
        }
        problem
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Returns whether a request with this `Authorization` header may register an app.
    /// Returns whether an `Authorization` header has a signing key of this server, or the token of
    /// one. Without keys, no header has it.
    pub async fn has_key(&self, authorization: &str) -> bool {
        if let Err(problem) = self.transport.refresh_keys().await {
            tracing::error!(problem, "a request with a key is refused");
            return false;
        }
        self.transport.keys().is_some_and(|keys| keys.accepts_key(authorization))
    }

    pub(crate) fn may_register(&self, authorization: Option<&str>) -> bool {
        match self.transport.keys() {
            Some(keys) => authorization.is_some_and(|header| keys.accepts_bearer(header)),
            None => self.settings.allows_unsigned,
        }
    }
}

/// Returns the name of an SDK for people. Its header is `inngest-js:v4.24.0`.
pub(crate) fn sdk_name(header: &str) -> String {
    shortened(header.replace(":v", " "))
}

/// Returns whether two addresses lead to the same app. A machine has several names for itself.
pub(crate) fn is_same(a: &Url, b: &Url) -> bool {
    let hosts = a.host_str() == b.host_str() || (is_loopback(a) && is_loopback(b));
    hosts && a.port_or_known_default() == b.port_or_known_default() && a.path() == b.path()
}

/// Returns what the app says about its refusal.
fn message_of(answer: &AppAnswer) -> String {
    #[derive(Deserialize)]
    struct Message {
        #[serde(alias = "error")]
        message: String,
    }
    let message = serde_json::from_slice::<Message>(&answer.body);
    shortened(message.map_or_else(|_| format!("it answers {}", answer.status), |message| message.message))
}
