//! Tickets in wait queues. A ticket is stored as two items. The item in the wait queue lets one
//! Query find the first ticket. The item in the partition of the run lets the run find its ticket
//! without reading the queue.
//!
//! Both items are written in one transaction, because the SDK repeats a transaction under the same
//! token and DynamoDB executes it once. If the reply of a plain put was lost, the SDK would also
//! repeat it. The repetition could restore a ticket that another process has deleted in between.
//!
//! The item of the run is deleted first. Then a concurrent enqueue is either seen when the other
//! item is deleted, or it finds no item of the run. A crash between the two deletions leaves a
//! ticket in the queue that no item of a run refers to. When that ticket is promoted, its run is
//! woken and deletes it at the head of the queue.

use stepladder_core::slot::{Holder, Limit, Ticket};
use stepladder_core::{RunId, RunOrStep, Timestamp};
use stepladder_engine::ports::{StoreError, StoreResult};

use crate::Aws;
use crate::item::{Item, ReadItem, new_item, text};
use crate::layout::{self, ItemKey};
use crate::table::TableQuery;

use super::starts::TransactionOutcome;

impl Aws {
    /// Returns the item of the run and the item of the queue, in the order in which they must be
    /// written.
    pub(super) fn ticket_items(&self, queue: &str, ticket: &Ticket, now: Timestamp) -> [Item; 2] {
        let ttl = self.ttl(now);
        let key = ItemKey { pk: layout::wait_queue(queue), sk: layout::ticket_sk(ticket) };
        let mut of_run = new_item(&layout::ticket_of_run(queue, ticket.run, &ticket.of), ttl);
        of_run.insert("line".into(), text(&key.pk));
        of_run.insert("at".into(), text(&key.sk));
        of_run.insert("step".into(), text(ticket.of.as_stored()));
        let mut in_queue = new_item(&key, ttl);
        in_queue.insert("step".into(), text(ticket.of.as_stored()));
        [of_run, in_queue]
    }

    /// Adds a ticket, and returns whether it is new. If the step already has a ticket, it is kept.
    pub(super) async fn add_ticket(&self, queue: &str, ticket: &Ticket) -> StoreResult<bool> {
        let [of_run, in_queue] = self.ticket_items(queue, ticket, self.now());
        let key = layout::ticket_of_run(queue, ticket.run, &ticket.of);
        let mut round = 0;
        loop {
            self.pause_before_round(&mut round, "TransactWriteItems", 2).await?;
            if let TransactionOutcome::Committed =
                self.transact(&of_run, None, std::slice::from_ref(&in_queue), &[]).await?
            {
                return Ok(true);
            }
            let Some(existing) = self.get(&key).await? else { continue };
            let at = existing.text("at")?;
            let again = Item::from_iter([("SK".into(), text(at))]);
            let in_queue = in_queue.clone().into_iter().chain(again).collect::<Item>();
            if let TransactionOutcome::Committed = self.transact(&existing, Some(("at", at)), &[in_queue], &[]).await? {
                return Ok(false);
            }
        }
    }

    /// Deletes the ticket of a step, or all tickets of the run. This includes a ticket at the head
    /// of the queue that no item of the run refers to.
    pub(super) async fn delete_tickets_of(&self, limit: &Limit, run: RunId, of: Option<&RunOrStep>) -> StoreResult<()> {
        let items = match of {
            Some(of) => self.get(&layout::ticket_of_run(&limit.key, run, of)).await?.into_iter().collect(),
            None => self.tickets_of_run(&limit.key, run).await?,
        };
        self.delete_tickets(items).await?;
        for ticket in self.read_first_tickets(&limit.key, limit.slots as usize).await? {
            if ticket.run == run && of.is_none_or(|of| ticket.of == *of) {
                self.delete(&ItemKey { pk: layout::wait_queue(&limit.key), sk: layout::ticket_sk(&ticket) }).await?;
            }
        }
        Ok(())
    }

    /// Deletes the tickets to which these items of a run refer.
    pub(super) async fn delete_tickets(&self, items: Vec<Item>) -> StoreResult<()> {
        for item in items {
            let of_run = ItemKey { pk: item.text("PK")?.into(), sk: item.text("SK")?.into() };
            self.delete_ticket(&key_in_queue(&item)?, &of_run).await?;
        }
        Ok(())
    }

    /// Deletes the ticket with which a holder acquired its slot. This is the older of two tickets:
    /// that of the holder's step, and that of its run from the run's creation.
    pub(super) async fn dequeue_holder(&self, limit: &Limit, holder: &Holder) -> StoreResult<()> {
        let items = self.tickets_of_run(&limit.key, holder.run()).await?;
        let own = holder.run_or_step();
        let is_own = |item: &&Item| item.run_or_step().is_ok_and(|of| of == RunOrStep::Run || of == own);
        match items.iter().filter(is_own).min_by_key(|item| item.text("at").unwrap_or_default()) {
            Some(item) => {
                let of_run = layout::ticket_of_run(&limit.key, holder.run(), &item.run_or_step()?);
                self.delete_ticket(&key_in_queue(item)?, &of_run).await
            }
            None => Ok(()),
        }
    }

    pub(super) async fn delete_ticket(&self, in_queue: &ItemKey, of_run: &ItemKey) -> StoreResult<()> {
        self.delete(of_run).await?;
        self.delete(in_queue).await
    }

    /// Returns the items in a run's partition for its tickets in this queue.
    pub(super) async fn tickets_of_run(&self, queue: &str, run: RunId) -> StoreResult<Vec<Item>> {
        self.query(TableQuery {
            partition: ("PK", layout::run_partition(run)),
            range: Some(("begins_with(SK, :a)", vec![layout::tickets_prefix(queue)])),
            strong: true,
            ..TableQuery::default()
        })
        .await
    }

    /// Returns the ticket of a step, if the step has one in the queue.
    pub(super) async fn ticket_of_step(&self, queue: &str, run: RunId, of: &RunOrStep) -> StoreResult<Option<Ticket>> {
        let Some(of_run) = self.get(&layout::ticket_of_run(queue, run, of)).await? else { return Ok(None) };
        self.get(&key_in_queue(&of_run)?).await?.as_ref().map(parse_ticket).transpose()
    }

    /// Returns the oldest ticket of a run in the queue.
    pub(super) async fn oldest_ticket(&self, queue: &str, run: RunId) -> StoreResult<Option<Ticket>> {
        let mut keys =
            self.tickets_of_run(queue, run).await?.iter().map(key_in_queue).collect::<StoreResult<Vec<_>>>()?;
        keys.sort_by(|a, b| a.sk.cmp(&b.sk));
        for key in keys {
            if let Some(item) = self.get(&key).await? {
                return parse_ticket(&item).map(Some);
            }
        }
        Ok(None)
    }

    /// Returns the first `n` tickets of the queue.
    pub(super) async fn read_first_tickets(&self, queue: &str, n: usize) -> StoreResult<Vec<Ticket>> {
        if n == 0 {
            return Ok(Vec::new());
        }
        let query = TableQuery {
            partition: ("PK", layout::wait_queue(queue)),
            strong: true,
            limit: Some(n),
            ..TableQuery::default()
        };
        self.query(query).await?.iter().map(parse_ticket).collect()
    }

    pub(super) async fn count_tickets_before(&self, queue: &str, ticket: &Ticket) -> StoreResult<usize> {
        let range = Some(("SK < :a", vec![layout::ticket_sk(ticket)]));
        self.count(TableQuery { partition: ("PK", layout::wait_queue(queue)), range, ..TableQuery::default() }).await
    }
}

/// Returns the key of a ticket's item in the queue. `of_run` is the item of the run for the same
/// ticket.
fn key_in_queue(of_run: &Item) -> StoreResult<ItemKey> {
    Ok(ItemKey { pk: of_run.text("line")?.into(), sk: of_run.text("at")?.into() })
}

/// Reads a ticket from its item in the queue. The sort key is `queued_at#event#run#hash`; an
/// attribute contains the step.
fn parse_ticket(item: &Item) -> StoreResult<Ticket> {
    let broken = || StoreError::Unreadable("a ticket of a wait queue is not valid".into());
    let mut fields = item.text("SK")?.split('#');
    let mut field = || fields.next().ok_or_else(broken);
    Ok(Ticket {
        queued_at: Timestamp::from_millis(field()?.parse().map_err(|_| broken())?),
        event: field()?.parse().map_err(|_| broken())?,
        run: field()?.parse().map_err(|_| broken())?,
        of: item.run_or_step()?,
    })
}
