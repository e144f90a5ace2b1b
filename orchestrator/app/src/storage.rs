//! Opens the store of a process. This is the only place that names the adapters: a new store needs
//! a [`Location`] and an arm of [`open`].
//!
//! The messages of AWS are deliberately not handled here, but by the roles on Lambda (`lambda/`).

#[cfg(feature = "local")]
mod file;
#[cfg(feature = "aws")]
mod table;

#[cfg(feature = "local")]
use std::path::PathBuf;
#[cfg(feature = "cli")]
use std::sync::Arc;

#[cfg(all(feature = "aws", feature = "cli"))]
use stepladder_engine::Config;
#[cfg(feature = "cli")]
use stepladder_engine::ports::{Backend, queues::Queues};

#[cfg(all(feature = "aws", feature = "cli"))]
pub(crate) use table::function_invoker;
#[cfg(feature = "aws")]
pub(crate) use table::open_stack;

/// Where the store of a process is.
#[cfg(feature = "cli")]
#[derive(Clone, Debug)]
pub(crate) enum Location {
    /// A data file, which is created if it is missing.
    #[cfg(feature = "local")]
    File(PathBuf),
    /// A table of DynamoDB that contains the addresses of its queues.
    #[cfg(feature = "aws")]
    Table(String),
}

/// An open store, with its queues.
#[cfg(feature = "cli")]
pub(crate) struct Store {
    /// The store and its queue of wakes.
    pub(crate) backend: Arc<dyn Backend>,
    /// The queues, if they are separate services with known addresses.
    pub(crate) queues: Option<Arc<dyn Queues>>,
    /// The settings of the workers, as far as the store knows them.
    #[cfg(feature = "aws")]
    pub(crate) workers: Config,
}

/// Opens a store.
///
/// # Errors
/// A sentence that says what to do.
#[cfg(feature = "cli")]
pub(crate) async fn open(location: Location) -> Result<Store, String> {
    match location {
        #[cfg(feature = "local")]
        Location::File(path) => file::open(path).await,
        #[cfg(feature = "aws")]
        Location::Table(name) => table::open(&name).await,
    }
}
