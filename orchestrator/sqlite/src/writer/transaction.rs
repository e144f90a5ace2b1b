//! The connection as the jobs of one transaction use it.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::ptr;

use rusqlite::{CachedStatement, Connection, Statement};

/// The connection during one transaction. Jobs of the same kind use the same statements, which the
/// transaction keeps. To find a statement in the connection's cache and to return it costs as much
/// as to execute it.
pub(crate) struct WriteTransaction<'c> {
    db: &'c Connection,
    kept: RefCell<Vec<KeptStatement<'c>>>,
}

struct KeptStatement<'c> {
    sql: &'static str,
    /// `None` while the statement is in use.
    statement: Option<CachedStatement<'c>>,
}

/// A statement in use. It is returned to its transaction when it is dropped.
pub(crate) struct UsedStatement<'t, 'c> {
    transaction: &'t WriteTransaction<'c>,
    /// The index of the statement.
    at: usize,
    /// `None` only while the statement is being dropped.
    statement: Option<CachedStatement<'c>>,
}

impl<'c> WriteTransaction<'c> {
    pub(super) fn new(db: &'c Connection) -> Self {
        Self { db, kept: RefCell::default() }
    }

    /// Returns a compiled statement. `sql` must be a literal: a statement is found by the address of
    /// its text.
    pub(crate) fn statement(&self, sql: &'static str) -> rusqlite::Result<UsedStatement<'_, 'c>> {
        let mut kept = self.kept.borrow_mut();
        let at = kept.iter().position(|kept| ptr::eq(kept.sql, sql)).unwrap_or_else(|| {
            kept.push(KeptStatement { sql, statement: None });
            kept.len() - 1
        });
        let statement = match kept[at].statement.take() {
            Some(statement) => statement,
            None => self.db.prepare_cached(sql)?,
        };
        Ok(UsedStatement { transaction: self, at, statement: Some(statement) })
    }
}

impl Deref for WriteTransaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.db
    }
}

impl<'c> Deref for UsedStatement<'_, 'c> {
    type Target = Statement<'c>;

    fn deref(&self) -> &Statement<'c> {
        self.statement.as_ref().expect("a statement in use")
    }
}

impl<'c> DerefMut for UsedStatement<'_, 'c> {
    fn deref_mut(&mut self) -> &mut Statement<'c> {
        self.statement.as_mut().expect("a statement in use")
    }
}

impl Drop for UsedStatement<'_, '_> {
    fn drop(&mut self) {
        self.transaction.kept.borrow_mut()[self.at].statement = self.statement.take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: &str = "SELECT count(*) FROM t";

    #[test]
    fn a_statement_is_kept_and_may_be_used_twice_at_once() {
        let db = Connection::open_in_memory().expect("a database");
        db.execute_batch("CREATE TABLE t (n)").expect("a table");
        let transaction = WriteTransaction::new(&db);
        for n in 0..3_i64 {
            transaction.statement("INSERT INTO t (n) VALUES (?1)").expect("a statement").execute([n]).expect("a row");
        }
        let mut outer = transaction.statement(COUNT).expect("a statement");
        let mut inner = transaction.statement(COUNT).expect("a statement");
        let counts = [&mut outer, &mut inner].map(|count| count.query_row([], |row| row.get::<_, i64>(0)));
        assert_eq!(counts.map(|count| count.expect("a count")), [3, 3]);
        drop((outer, inner));
        assert_eq!(transaction.kept.borrow().len(), 2);
        assert!(transaction.kept.borrow().iter().all(|kept| kept.statement.is_some()));
    }
}
