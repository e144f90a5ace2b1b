//! Apps that registered their functions at run time.

use async_trait::async_trait;
use rusqlite::{Connection, Row};
use stepladder_engine::ports::{Registration, Registrations, StoreResult, StoredRegistrations};

use crate::error::SqliteError;
use crate::writer::{Durability, WriteTransaction};
use crate::{Sqlite, rows};

#[async_trait]
impl Registrations for Sqlite {
    async fn registrations_version(&self) -> StoreResult<u64> {
        self.readers.read(version)
    }

    async fn registrations(&self) -> StoreResult<StoredRegistrations> {
        let query = |db: &Connection| {
            // version and apps are read in one statement, so that they belong together
            let mut query = db.prepare_cached(
                "SELECT version, app, address, functions, about FROM registrations LEFT JOIN apps ON true ORDER BY app",
            )?;
            let mut found = query.query([])?;
            let mut stored = StoredRegistrations::default();
            while let Some(row) = found.next()? {
                stored.version = u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0);
                stored.apps.extend(registration(row)?);
            }
            Ok(stored)
        };
        self.readers.list(query).await
    }

    async fn put_registration(&self, seen: u64, registration: Registration) -> StoreResult<bool> {
        let work = move |db: &WriteTransaction<'_>| {
            if !count_change(db, seen)? {
                return Ok(false);
            }
            let functions = serde_json::to_string(&registration.functions)?;
            db.prepare_cached("INSERT OR REPLACE INTO apps (app, address, functions, about) VALUES (?1, ?2, ?3, ?4)")?
                .execute((&registration.app, &registration.address, functions, &registration.about))?;
            Ok(true)
        };
        self.writer.run(Durability::Synced, work, |_, _| {}).await
    }

    async fn remove_registration(&self, seen: u64, app: &str) -> StoreResult<bool> {
        let app = app.to_owned();
        let work = move |db: &WriteTransaction<'_>| {
            if !count_change(db, seen)? {
                return Ok(false);
            }
            db.prepare_cached("DELETE FROM apps WHERE app = ?1")?.execute([&app])?;
            Ok(true)
        };
        self.writer.run(Durability::Synced, work, |_, _| {}).await
    }
}

fn version(db: &Connection) -> Result<u64, SqliteError> {
    let version: i64 = db.prepare_cached("SELECT version FROM registrations")?.query_row([], |row| row.get(0))?;
    Ok(u64::try_from(version).unwrap_or(0))
}

/// Increments the version if it is the expected one. Returns whether it was.
fn count_change(db: &Connection, seen: u64) -> Result<bool, SqliteError> {
    if version(db)? != seen {
        return Ok(false);
    }
    db.prepare_cached("UPDATE registrations SET version = version + 1")?.execute([])?;
    Ok(true)
}

/// Returns the app in a row; `None` if the row only contains the version.
fn registration(row: &Row<'_>) -> Result<Option<Registration>, SqliteError> {
    let Some(app) = row.get(1)? else { return Ok(None) };
    let (address, functions, about) = (row.get(2)?, rows::from_json(row, 3)?, row.get(4)?);
    Ok(Some(Registration { app, address, about, functions }))
}
