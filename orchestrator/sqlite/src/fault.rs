//! What can go wrong with a file, as the engine's two kinds of failure.

use rusqlite::ErrorCode;
use stepladder_engine::ports::StoreError;

/// A failure within this crate, before it becomes the port's.
#[derive(Debug)]
pub(crate) enum Fault {
    Sql(rusqlite::Error),
    Unreadable(String),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        Self::Unreadable(error.to_string())
    }
}

impl Fault {
    /// The port's failure, with what a person can do about it.
    pub(crate) fn into_store_error(self) -> StoreError {
        let error = match self {
            Self::Unreadable(what) => return StoreError::Unreadable(what),
            Self::Sql(error) => error,
        };
        let advice = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => "the disk is full; free some space, the work goes on by itself",
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                "the data file cannot be written; give this user the right to write it and its folder"
            }
            Some(ErrorCode::SystemIoFailure) => {
                "the disk cannot be written; check that it works, is not read-only and has room"
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                return StoreError::Unreadable(format!("the data file is damaged ({error}); restore it from a copy"));
            }
            Some(_) | None => return StoreError::Unavailable(error.to_string()),
        };
        StoreError::Unavailable(format!("{advice} ({error})"))
    }
}
