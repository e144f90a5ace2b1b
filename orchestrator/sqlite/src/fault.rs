//! What can go wrong with a file, as the engine's kinds of failure.

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
            Some(ErrorCode::CannotOpen) => {
                "the data file or its log cannot be opened; check the rights of the file and its folder"
            }
            Some(ErrorCode::SystemIoFailure) => {
                "the disk cannot be written; check that it works, is not read-only and has room"
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                return StoreError::Unreadable(format!("the data file is damaged ({error}); restore it from a copy"));
            }
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                let advice = "the data file cannot be written; give this user the right to write it and its folder";
                return StoreError::Refused(format!("{advice} ({error})"));
            }
            Some(code) if lasts(code) => {
                return StoreError::Refused(format!("{error}; is the data file of this version, and of this program?"));
            }
            Some(_) | None => return StoreError::Unavailable(error.to_string()),
        };
        StoreError::Unavailable(format!("{advice} ({error})"))
    }
}

/// Whether the same statement on the same file fails again, whenever it is repeated: a table or a column is missing, a
/// value is of another type or too big, a constraint is violated.
fn lasts(code: ErrorCode) -> bool {
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

    fn of(code: i32) -> StoreError {
        Fault::Sql(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)).into_store_error()
    }

    #[test]
    fn errors_that_pass_are_told_from_those_that_last() {
        for passing in [ffi::SQLITE_BUSY, ffi::SQLITE_LOCKED, ffi::SQLITE_FULL, ffi::SQLITE_IOERR, ffi::SQLITE_NOMEM] {
            assert!(!of(passing).is_permanent(), "{passing}: {}", of(passing));
        }
        for lasting in [ffi::SQLITE_READONLY, ffi::SQLITE_PERM, ffi::SQLITE_CORRUPT, ffi::SQLITE_NOTADB] {
            assert!(of(lasting).is_permanent(), "{lasting}: {}", of(lasting));
        }
    }

    #[test]
    fn a_table_that_is_missing_stays_missing() {
        let error = Connection::open_in_memory().unwrap().prepare("SELECT 1 FROM absent").unwrap_err();
        let error = Fault::from(error).into_store_error();
        assert!(error.is_permanent() && error.reason().contains("no such table: absent"), "{error}");
    }
}
