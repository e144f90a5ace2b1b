//! A source of functions that are compiled in, and of those of apps that were registered at run
//! time.
//!
//! The apps are in the store, so that every process knows them. Each process keeps a snapshot. When
//! a request comes and the last reading is older than two seconds, the process reads the version of
//! the apps again. So a change is visible to every request that starts two seconds later, and an
//! idle process reads nothing. If a process misses a function, it reads immediately: an old
//! snapshot must not make a run fail or wait.
//!
//! How a front end learns of an app, and how it executes functions, is deliberately not part of
//! this module.

mod about;
mod load;
mod register;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use stepladder_core::{FunctionConfig, Timestamp};

use crate::EngineError;
use crate::clock::Clock;
use crate::config::Config;
use crate::executor::Executor;
use crate::functions::{Catalog, Functions, RegisteredFunction};
use crate::ports::{Backend, StoreResult};
use load::KnownFunctions;

pub use about::AppDescription;
pub use register::RegisteredApp;

/// How long a process relies on the version that it last read.
pub const REFRESH_AFTER: Duration = Duration::from_secs(2);

/// Creates the executors of registered functions, for a front end.
pub trait Connect: Send + Sync {
    /// Returns the executor of a function of an app with this address. This is called once for each
    /// config that a process sees, before the first run of the function, and must do no I/O.
    ///
    /// # Errors
    /// A sentence, if the front end cannot execute functions at this address.
    fn connect(&self, address: &str, function: &FunctionConfig) -> Result<Arc<dyn Executor>, String>;
}

/// A source of compiled-in functions and of the functions of registered apps.
pub struct StoredFunctions {
    backend: Arc<dyn Backend>,
    clock: Arc<dyn Clock>,
    config: Config,
    compiled_in: Vec<RegisteredFunction>,
    connect: Box<dyn Connect>,
    loaded: RwLock<Arc<Loaded>>,
    /// Locked while this process reads, so that concurrent requests share one reading. Also locked
    /// for each change of `loaded`.
    reading: tokio::sync::Mutex<()>,
    /// The number of readings that were started.
    begun: AtomicU64,
}

/// What a process knows about the registered apps.
struct Loaded {
    /// The version of the registered apps; `None` before the first reading.
    version: Option<u64>,
    /// When the version was last read, or could not be read.
    read_at: Option<Timestamp>,
    catalog: Arc<Catalog>,
    apps: Arc<[RegisteredApp]>,
    /// The compiled functions of earlier readings, so that only new ones must be compiled after a
    /// change.
    known: Arc<KnownFunctions>,
}

impl StoredFunctions {
    /// Creates a source with these compiled-in functions. Registered apps are read from the store
    /// when they are needed.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] if the compiled-in functions cannot work together.
    pub fn new(
        backend: Arc<dyn Backend>,
        clock: Arc<dyn Clock>,
        compiled_in: Vec<RegisteredFunction>,
        config: Config,
        connect: Box<dyn Connect>,
    ) -> Result<Self, EngineError> {
        let catalog = Arc::new(Catalog::new(compiled_in.clone(), &config)?);
        let loaded = Loaded { version: None, read_at: None, catalog, apps: Arc::new([]), known: Arc::default() };
        Ok(Self {
            backend,
            clock,
            config,
            compiled_in,
            connect,
            loaded: RwLock::new(Arc::new(loaded)),
            reading: tokio::sync::Mutex::default(),
            begun: AtomicU64::new(0),
        })
    }

    fn loaded(&self) -> Arc<Loaded> {
        self.loaded.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn store(&self, loaded: Loaded) {
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
    }

    /// Returns whether the last reading is too old to rely on. If the clock was set back, the
    /// reading counts as too old.
    fn is_stale(&self, loaded: &Loaded) -> bool {
        let now = self.clock.now();
        loaded.read_at.is_none_or(|read| now.since(read) >= REFRESH_AFTER || now < read)
    }

    /// Reads the version, and also the apps if the version has changed. After an error, the last
    /// snapshot is kept, so that runs of known functions continue.
    async fn read(&self) -> StoreResult<()> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let read_at = Some(self.clock.now());
        let result = self.read_changes(read_at).await;
        if let Err(error) = &result {
            tracing::warn!(%error, "the registered apps could not be read; the last reading counts");
            self.store(Loaded { read_at, ..self.loaded().copy() });
        }
        result
    }

    async fn read_changes(&self, read_at: Option<Timestamp>) -> StoreResult<()> {
        let loaded = self.loaded();
        let version = self.backend.registrations_version().await?;
        // the version is unchanged, or is 0 because no app was ever registered, so there is nothing
        // to read
        if version == loaded.version.unwrap_or(0) {
            self.store(Loaded { read_at, version: Some(version), ..loaded.copy() });
            return Ok(());
        }
        let stored = self.backend.registrations().await?;
        self.store(Loaded { read_at, ..self.load(&stored, &loaded.known) });
        Ok(())
    }
}

impl Loaded {
    fn copy(&self) -> Self {
        let Self { version, read_at, catalog, apps, known } = self;
        Self {
            version: *version,
            read_at: *read_at,
            catalog: catalog.clone(),
            apps: apps.clone(),
            known: known.clone(),
        }
    }
}

#[async_trait]
impl Functions for StoredFunctions {
    fn snapshot(&self) -> Arc<Catalog> {
        self.loaded().catalog.clone()
    }

    fn may_change(&self) -> bool {
        true
    }

    async fn current(&self, is_enough: &(dyn for<'c> Fn(&'c Catalog) -> bool + Sync)) -> Arc<Catalog> {
        let begun = self.begun.load(Ordering::SeqCst);
        if self.is_stale(&self.loaded()) {
            let _reading = self.reading.lock().await;
            if self.is_stale(&self.loaded()) {
                // `read` has already logged the error
                let _ = self.read().await;
            }
        }
        let catalog = self.snapshot();
        if is_enough(&catalog) {
            return catalog;
        }
        let _reading = self.reading.lock().await;
        // another reading that started after this call is just as good
        if self.begun.load(Ordering::SeqCst) == begun {
            let _ = self.read().await;
        }
        self.snapshot()
    }
}
