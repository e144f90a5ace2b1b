//! Places in waiting lines: one item in the line, where the head is one Query away, and one beside the run, so that a
//! run's own place is found without a walk through the line.
//!
//! Both are written in one transaction, for the SDK repeats that under its token, and DynamoDB then carries it out once: a
//! plain put whose reply was lost would be repeated, and bring a place back that somebody has given up in between. The
//! run's item is removed first: who joins at that moment either is seen by the removal of the line's item, or finds the
//! run's gone. A crash between the two leaves a place in the line that no run's item leads to. When its turn comes its run
//! is woken, gives it up, and it is found at the head of the line.

use stepladder_core::slot::{ARRIVAL, Holder, Limit, Ticket};
use stepladder_core::{RunId, StepId, Timestamp};
use stepladder_engine::ports::{StoreError, StoreResult};

use crate::Aws;
use crate::item::{Item, Read, item, text};
use crate::layout::{self, Key};
use crate::table::Ask;

use super::starts::Transacted;

impl Aws {
    /// The run's item and the line's, in the order in which they are written.
    pub(super) fn place_items(&self, limit: &Limit, place: &Ticket, now: Timestamp) -> [Item; 2] {
        let ttl = self.ttl(now);
        let key = Key { pk: layout::line(limit), sk: layout::place_sk(place) };
        let mut of_run = item(&layout::place_of(limit, place.run, &place.step), ttl);
        of_run.insert("line".into(), text(&key.pk));
        of_run.insert("at".into(), text(&key.sk));
        of_run.insert("step".into(), text(&*place.step));
        let mut of_line = item(&key, ttl);
        of_line.insert("step".into(), text(&*place.step));
        [of_run, of_line]
    }

    /// Joins the line, and returns whether the place is new; a step that is in it keeps its place.
    pub(super) async fn join(&self, limit: &Limit, place: &Ticket) -> StoreResult<bool> {
        let [of_run, of_line] = self.place_items(limit, place, self.now());
        let key = layout::place_of(limit, place.run, &place.step);
        let mut round = 0;
        loop {
            self.pause(&mut round, "TransactWriteItems", 2).await?;
            if let Transacted::Done = self.transact(&of_run, None, std::slice::from_ref(&of_line), &[]).await? {
                return Ok(true);
            }
            let Some(there) = self.get(&key).await? else { continue };
            let at = there.text("at")?;
            let again = Item::from_iter([("SK".into(), text(at))]);
            let of_line = of_line.clone().into_iter().chain(again).collect::<Item>();
            if let Transacted::Done = self.transact(&there, Some(("at", at)), &[of_line], &[]).await? {
                return Ok(false);
            }
        }
    }

    /// Gives up the place of a step, or all of the run's; also one at the head of the line that no run's item leads to.
    pub(super) async fn leave(&self, limit: &Limit, run: RunId, step: Option<&str>) -> StoreResult<()> {
        let places = match step {
            Some(step) => self.get(&layout::place_of(limit, run, step)).await?.into_iter().collect(),
            None => self.places_of(limit, run).await?,
        };
        for place in places {
            self.remove_place(&key_of(&place)?, &Key { pk: place.text("PK")?.into(), sk: place.text("SK")?.into() })
                .await?;
        }
        for place in self.first_in_line(limit, limit.slots as usize).await? {
            if place.run == run && step.is_none_or(|step| *place.step == *step) {
                self.delete(&Key { pk: layout::line(limit), sk: layout::place_sk(&place) }).await?;
            }
        }
        Ok(())
    }

    /// Gives up the place from which a holder took: its step's own or that of the run's arrival, whichever came first.
    pub(super) async fn leave_as(&self, limit: &Limit, holder: &Holder) -> StoreResult<()> {
        let places = self.places_of(limit, holder.run).await?;
        let is_own = |place: &&Item| place.text("step").is_ok_and(|step| *step == *holder.step || *step == *ARRIVAL);
        match places.iter().filter(is_own).min_by_key(|place| place.text("at").unwrap_or_default()) {
            Some(place) => {
                self.remove_place(&key_of(place)?, &layout::place_of(limit, holder.run, place.text("step")?)).await
            }
            None => Ok(()),
        }
    }

    pub(super) async fn remove_place(&self, of_line: &Key, of_run: &Key) -> StoreResult<()> {
        self.delete(of_run).await?;
        self.delete(of_line).await
    }

    /// The run's items of its places in this line.
    pub(super) async fn places_of(&self, limit: &Limit, run: RunId) -> StoreResult<Vec<Item>> {
        self.query(Ask {
            partition: ("PK", layout::run(run)),
            range: Some(("begins_with(SK, :a)", vec![layout::places_of(limit)])),
            strong: true,
            ..Ask::default()
        })
        .await
    }

    /// A step's place, if it is in the line.
    pub(super) async fn place_of(&self, limit: &Limit, run: RunId, step: &StepId) -> StoreResult<Option<Ticket>> {
        let Some(of_run) = self.get(&layout::place_of(limit, run, step)).await? else { return Ok(None) };
        self.get(&key_of(&of_run)?).await?.as_ref().map(place).transpose()
    }

    /// The first of a run's places that is in the line.
    pub(super) async fn first_place(&self, limit: &Limit, run: RunId) -> StoreResult<Option<Ticket>> {
        let mut keys = self.places_of(limit, run).await?.iter().map(key_of).collect::<StoreResult<Vec<_>>>()?;
        keys.sort_by(|a, b| a.sk.cmp(&b.sk));
        for key in keys {
            if let Some(item) = self.get(&key).await? {
                return place(&item).map(Some);
            }
        }
        Ok(None)
    }

    /// The first `n` of the line.
    pub(super) async fn first_in_line(&self, limit: &Limit, n: usize) -> StoreResult<Vec<Ticket>> {
        if n == 0 {
            return Ok(Vec::new());
        }
        let ask = Ask { partition: ("PK", layout::line(limit)), strong: true, limit: Some(n), ..Ask::default() };
        self.query(ask).await?.iter().map(place).collect()
    }

    /// How many stand before a place.
    pub(super) async fn ahead_of(&self, limit: &Limit, place: &Ticket) -> StoreResult<usize> {
        let range = Some(("SK < :a", vec![layout::place_sk(place)]));
        self.count(Ask { partition: ("PK", layout::line(limit)), range, ..Ask::default() }).await
    }
}

/// The key in the line, from the run's item.
fn key_of(of_run: &Item) -> StoreResult<Key> {
    Ok(Key { pk: of_run.text("line")?.into(), sk: of_run.text("at")?.into() })
}

/// A place, from its item in the line: `asked#event#run#hash` and the step.
fn place(item: &Item) -> StoreResult<Ticket> {
    let broken = || StoreError::Unreadable("a place in a line is not as it was written".into());
    let mut fields = item.text("SK")?.split('#');
    let mut field = || fields.next().ok_or_else(broken);
    Ok(Ticket {
        queued_at: Timestamp::from_millis(field()?.parse().map_err(|_| broken())?),
        event: field()?.parse().map_err(|_| broken())?,
        run: field()?.parse().map_err(|_| broken())?,
        step: item.text("step")?.into(),
    })
}
