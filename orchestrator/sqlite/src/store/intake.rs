//! Stores new events, creates their runs and looks up the runs that wait for them, in a single job
//! and so in a single commit.

use std::sync::Arc;

use async_trait::async_trait;
use stepladder_core::waiting::SubscribedFields;
use stepladder_core::{Event, Timestamp};
use stepladder_engine::ports::{
    AcceptedEvents, AppliedWrites, Decide, EarlyWrite, EventWrites, Intake, StartResult, StoreResult,
};

use super::commits::{OutgoingWake, deliver_in_memory, insert_wake};
use super::events::NewEvents;
use super::starts::{insert_run, start_in_memory};
use super::subscriptions;
use super::timers::set_timer;
use crate::Sqlite;
use crate::error::SqliteError;
use crate::memory::MemoryState;
use crate::rows::TimerRow;
use crate::writer::{Durability, WriteTransaction};

/// The result of a job: the JSON of repeated events, and what was written if there were none.
struct IntakeResult {
    repeated: Vec<Option<String>>,
    applied: Option<(Vec<StartResult>, Vec<SubscribedFields>)>,
}

#[async_trait]
impl Intake for Sqlite {
    async fn accept_with_runs(
        &self,
        events: Vec<Event>,
        now: Timestamp,
        decide: Decide<'_>,
    ) -> StoreResult<AcceptedEvents> {
        let rows = NewEvents::new(&events, now).map_err(SqliteError::into_store_error)?;
        let EventWrites { before, starts } = decide(&events);
        let mut names: Vec<Arc<str>> = events.iter().map(|event| event.name.clone()).collect();
        names.sort_unstable();
        names.dedup();
        let (mut timers, mut indexed, mut sent) = (Vec::new(), Vec::new(), Vec::new());
        let prepared: Result<Vec<_>, SqliteError> = (|| {
            for early in before {
                match early {
                    EarlyWrite::Wake { wake, due } => sent.push(self.outgoing_wake(wake, due)?),
                    EarlyWrite::Timer(timer) => timers.push(TimerRow::new(&timer)?),
                    EarlyWrite::Subscribe(_)
                    | EarlyWrite::PutInInbox { .. }
                    | EarlyWrite::LinkEvent { .. }
                    | EarlyWrite::NoteDelivery { .. }
                    | EarlyWrite::AddLabel { .. } => {
                        indexed.push(early);
                    }
                }
            }
            starts.into_iter().map(|start| self.prepare(start)).collect()
        })();
        let (starts, in_memory): (Vec<_>, Vec<_>) =
            prepared.map_err(SqliteError::into_store_error)?.into_iter().unzip();
        let numbers: Vec<(i64, i64, String)> = sent.iter_mut().map(OutgoingWake::take_row).collect();
        let asked = names.clone();
        let work = move |db: &WriteTransaction<'_>| {
            let repeated = rows.store(db)?;
            if repeated.iter().any(Option::is_some) {
                return Ok(IntakeResult { repeated, applied: None });
            }
            timers.iter().try_for_each(|timer| set_timer(db, timer))?;
            indexed.iter().try_for_each(|early| subscriptions::apply(db, early))?;
            numbers.iter().try_for_each(|(n, due, text)| insert_wake(db, *n, *due, text))?;
            let results = starts.iter().map(|start| insert_run(db, start)).collect::<Result<_, _>>()?;
            let subscribed =
                asked.iter().map(|name| subscriptions::subscribed_fields(db, name)).collect::<Result<_, _>>()?;
            Ok(IntakeResult { repeated, applied: Some((results, subscribed)) })
        };
        let after = move |found: &IntakeResult, memory: &MemoryState| {
            if let Some((results, _)) = &found.applied {
                deliver_in_memory(sent, &[], memory);
                start_in_memory(in_memory, results, memory);
            }
        };
        let IntakeResult { repeated, applied } = self.writer.run(Durability::Synced, work, after).await?;
        let applied = applied.map(|(starts, subscribed)| AppliedWrites {
            starts,
            subscribed: names.into_iter().zip(subscribed).collect(),
        });
        Ok(AcceptedEvents { events: NewEvents::stored(events, repeated)?, applied })
    }
}
