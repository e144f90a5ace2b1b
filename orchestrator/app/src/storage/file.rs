//! Opens a data file of SQLite as the store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use stepladder_sqlite::{Sqlite, SqliteOptions};

use super::Store;

pub(super) async fn open(path: PathBuf) -> Result<Store, String> {
    // on a separate thread, so that Ctrl-C works even if the disk does not respond
    let opened = tokio::task::spawn_blocking(move || open_blocking(&path)).await;
    let sqlite = opened.map_err(|error| error.to_string())??;
    Ok(Store {
        backend: Arc::new(sqlite),
        queues: None,
        #[cfg(feature = "aws")]
        workers: stepladder_engine::Config::default(),
    })
}

fn open_blocking(path: &Path) -> Result<Sqlite, String> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        private_folder().recursive(true).create(folder).map_err(|e| {
            format!("the folder `{}` cannot be created: {e}; name another file with --db", folder.display())
        })?;
    }
    Sqlite::open(path, SqliteOptions::default()).map_err(|error| error.to_string())
}

/// Returns a builder of folders that only their owner can read, because data files contain the data
/// of events and steps.
fn private_folder() -> std::fs::DirBuilder {
    let mut folder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut folder, 0o700);
    folder
}
