//! The errors of this crate, and their conversion to the errors of the engine's ports.

use rusqlite::ErrorCode;
use stepladder_engine::ports::StoreError;

/// An error within this crate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SqliteError {
    /// SQLite failed.
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    /// A value cannot be read or written as JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// A column that should contain text does not.
    #[error(transparent)]
    Column(#[from] rusqlite::types::FromSqlError),
    /// A stored value cannot be read.
    #[error("{0}")]
    Unreadable(String),
}

impl SqliteError {
    /// Converts this error to the error of a port. The message says what an operator can do.
    pub(crate) fn into_store_error(self) -> StoreError {
        let error = match self {
            Self::Unreadable(reason) => return StoreError::Unreadable(reason.into()),
            Self::Json(error) => return StoreError::unreadable(error),
            Self::Column(error) => return StoreError::unreadable(error),
            Self::Sql(error) => error,
        };
        let unavailable = |advice: &str| StoreError::Unavailable(format!("{advice} ({error})").into());
        let failure = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => {
                unavailable("the disk is full; free some space, then work continues without a restart")
            }
            Some(ErrorCode::CannotOpen) => {
                unavailable("the data file or its log cannot be opened; check the rights of the file and its folder")
            }
            Some(ErrorCode::SystemIoFailure) => {
                unavailable("the disk cannot be written; check that it works, is not read-only and has free space")
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::Unreadable(format!("the data file is damaged ({error}); restore it from a copy").into())
            }
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                let advice = "the data file cannot be written; give this user the right to write it and its folder";
                StoreError::Refused(format!("{advice} ({error})").into())
            }
            Some(code) if is_permanent(code) => {
                let advice = "is the data file of this version, and of this program?";
                StoreError::Refused(format!("{error}; {advice}").into())
            }
            Some(_) | None => StoreError::Unavailable(error.to_string().into()),
        };
        failure.because(error)
    }
}

/// Returns whether the same statement on the same file would fail again. This is true for example
/// if a table or column is missing, if a value has the wrong type or size, or if a constraint is
/// violated.
fn is_permanent(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::Unknown
            | ErrorCode::ConstraintViolation
            | ErrorCode::TypeMismatch
            | ErrorCode::TooBig
            | ErrorCode::ApiMisuse
            | ErrorCode::ParameterOutOfRange
            | ErrorCode::NoLargeFileSupport
            | ErrorCode::AuthorizationForStatementDenied
    )
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;
    use rusqlite::ffi;

    use super::*;

    fn store_error(code: i32) -> StoreError {
        SqliteError::Sql(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)).into_store_error()
    }

    #[test]
    fn transient_and_permanent_errors_are_distinguished() {
        for transient in [ffi::SQLITE_BUSY, ffi::SQLITE_LOCKED, ffi::SQLITE_FULL, ffi::SQLITE_IOERR, ffi::SQLITE_NOMEM]
        {
            let error = store_error(transient);
            assert!(!error.is_permanent(), "{transient}: {error}");
        }
        for permanent in [ffi::SQLITE_READONLY, ffi::SQLITE_PERM, ffi::SQLITE_CORRUPT, ffi::SQLITE_NOTADB] {
            let error = store_error(permanent);
            assert!(error.is_permanent(), "{permanent}: {error}");
        }
    }

    #[test]
    fn a_missing_table_is_a_permanent_error() {
        let error = Connection::open_in_memory().unwrap().prepare("SELECT 1 FROM absent").unwrap_err();
        let error = SqliteError::from(error).into_store_error();
        assert!(error.is_permanent() && error.reason().contains("no such table: absent"), "{error}");
        assert!(std::error::Error::source(&error).is_some_and(|source| source.is::<rusqlite::Error>()));
    }
}
