//! The connection as the jobs of one transaction use it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::ptr;

use rusqlite::{CachedStatement, Connection, OptionalExtension, Statement};
use stepladder_core::RunId;

use crate::memory::MemoryState;

/// The connection during one transaction. Jobs of the same kind use the same statements, which the
/// transaction keeps. To find a statement in the connection's cache and to return it costs as much
/// as to execute it.
pub(crate) struct WriteTransaction<'c> {
    db: &'c Connection,
    /// The state in memory, which contains all earlier transactions.
    memory: &'c MemoryState,
    kept: RefCell<Vec<KeptStatement<'c>>>,
    /// The ends of the journals that this transaction has extended.
    ends: RefCell<HashMap<RunId, i64>>,
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
    pub(super) fn new(db: &'c Connection, memory: &'c MemoryState) -> Self {
        Self { db, memory, kept: RefCell::default(), ends: RefCell::default() }
    }

    /// Returns the number that follows the last entry of a journal; 0 for a run without a journal.
    pub(crate) fn journal_end(&self, run: RunId) -> rusqlite::Result<i64> {
        if let Some(end) = self.ends.borrow().get(&run) {
            return Ok(*end);
        }
        if let Some(end) = self.memory.journal_ends.get(run) {
            return Ok(i64::try_from(end).unwrap_or(i64::MAX));
        }
        let mut last = self.statement("SELECT next FROM journal WHERE run = ?1 ORDER BY seq DESC LIMIT 1")?;
        Ok(last.query_row([run.to_bytes()], |row| row.get(0)).optional()?.unwrap_or(0))
    }

    /// Returns the state in memory.
    pub(crate) fn memory(&self) -> &'c MemoryState {
        self.memory
    }

    /// Records that this transaction has extended a journal.
    pub(crate) fn set_journal_end(&self, run: RunId, next: i64) {
        self.ends.borrow_mut().insert(run, next);
    }

    /// Returns a compiled statement. `sql` must be a literal: a statement is found by the address
    /// of its text.
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
        let memory = MemoryState::new(Default::default(), Default::default());
        let transaction = WriteTransaction::new(&db, &memory);
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

    #[test]
    fn the_end_of_a_journal_includes_what_this_transaction_has_appended() {
        let db = Connection::open_in_memory().expect("a database");
        db.execute_batch("CREATE TABLE journal (run, seq, next); INSERT INTO journal VALUES (zeroblob(16), 0, 3)")
            .expect("a journal");
        let memory = MemoryState::new(Default::default(), Default::default());
        let run = RunId::from_bytes([0; 16]);
        let transaction = WriteTransaction::new(&db, &memory);
        assert_eq!(transaction.journal_end(run), Ok(3), "from the table");
        memory.journal_ends.record(run, 5);
        assert_eq!(transaction.journal_end(run), Ok(5), "from memory");
        transaction.set_journal_end(run, 7);
        assert_eq!(transaction.journal_end(run), Ok(7), "from this transaction");
        memory.journal_ends.forget(run);
        assert_eq!(WriteTransaction::new(&db, &memory).journal_end(run), Ok(3), "forgotten after it was rolled back");
        assert_eq!(transaction.journal_end(RunId::from_bytes([1; 16])), Ok(0), "of an unknown run");
    }
}
