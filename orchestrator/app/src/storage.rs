//! Opens the store of a process. This is the one place that names the adapters: a new store is a
//! [`Location`] and an arm of [`open`].
//!
//! What is deliberately not here: the messages of AWS. The roles on Lambda read them (`lambda/`).

#[cfg(feature = "local")]
mod file;
#[cfg(feature = "aws")]
mod table;

#[cfg(feature = "local")]
use std::path::PathBuf;
#[cfg(feature = "cli")]
use std::sync::Arc;

#[cfg(feature = "cli")]
use stepladder_engine::ports::{Backend, queues::Queues};

#[cfg(feature = "aws")]
pub(crate) use table::open_stack;

/// Where a store is.
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

/// An open store.
#[cfg(feature = "cli")]
pub(crate) struct Store {
    /// The store and its queue of wakes.
    pub(crate) backend: Arc<dyn Backend>,
    /// The queues, if they are a service of their own whose addresses are known.
    pub(crate) queues: Option<Arc<dyn Queues>>,
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
