//! Slots as the engine uses them: taking several, waiting in line, and giving back (rules 20 to 22, and 25).

use std::sync::Arc;

use stepladder_core::slot::{ARRIVAL, Holder, Holding, Limit, Place};
use stepladder_core::spec::LazyScope;
use stepladder_core::state::{RunState, StepState};
use stepladder_core::{Cause, StepId, Timestamp, Wake};

use super::Engine;
use crate::ports::{After, Commit, Later, StoreError, Taken};

/// The answer to a step that asked for its slots.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Slots {
    /// It has one of each limit.
    Held,
    /// It waits in line, and has none.
    Parked {
        /// The line's.
        key: Arc<str>,
        /// Whether it asked to join the line just now; it may have been in it.
        joined: bool,
        /// Whether its place in the line is new.
        is_new: bool,
    },
}

/// Who asks for slots.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker<'a> {
    /// In whose name they are held.
    pub(super) holder: &'a Holder,
    /// Until when at the latest.
    pub(super) lease_until: Timestamp,
    /// Whether the step has a wake of its own, and so a place of its own.
    pub(super) by_itself: bool,
}

impl Engine {
    /// Takes a slot of each limit, or of none (rule 25). Refused, joins a line and asks once more (rule 21): a slot may have
    /// been freed between the two, by someone who found the line empty. Who waits at one limit waits at no other: he would
    /// stand in the way of those who could go on there. And he stays where he waits while he is refused there: sent to
    /// another line by each limit that refuses, those who wait would pass each other on without end.
    pub(super) async fn take_slots(
        &self,
        state: &RunState,
        limits: &[Limit],
        asker: Asker<'_>,
    ) -> Result<Slots, StoreError> {
        let mut refused = self.ask(limits, asker).await?;
        let (mut joined, mut is_new) = (false, false);
        let mut places = match limits {
            // joining is all that there is to do
            [_] => vec![None],
            _ if refused.is_empty() => Vec::new(),
            _ => self.places(state, limits, asker).await?,
        };
        loop {
            let waits = refused.iter().find(|(n, _)| places[*n].is_some()).or(refused.first());
            let Some((at, taken)) = waits.cloned() else { return Ok(Slots::Held) };
            let limit = &limits[at];
            if places[at].is_none() && self.is_to_join(state, limit, asker).await? {
                let asked = places.iter().flatten().map(|place| place.asked).min();
                let (place, newly) = self.join(state, limit, asker.holder, asked).await?;
                // one that comes from another line waits on
                is_new |= newly && asked.is_none();
                places[at] = Some(place);
                joined = true;
                refused = self.ask(limits, asker).await?;
                continue;
            }
            let mut has_left = false;
            for (n, place) in places.iter().enumerate().filter(|(n, _)| *n != at) {
                let is_own = |place: &&Place| place.step == asker.holder.step || *place.step == *ARRIVAL;
                let Some(place) = place.as_ref().filter(is_own) else { continue };
                self.leave(&limits[n], place).await?;
                has_left = true;
            }
            // another hop of the step, refused elsewhere, may have left this line at the same time
            if has_left && self.places(state, std::slice::from_ref(limit), asker).await? == [None] {
                places = self.places(state, limits, asker).await?;
                refused = self.ask(limits, asker).await?;
                continue;
            }
            self.wait_at(limit, taken, asker.holder).await?;
            return Ok(Slots::Parked { key: limit.key.clone(), joined, is_new });
        }
    }

    /// The limits that refuse, and what each says.
    async fn ask(&self, limits: &[Limit], asker: Asker<'_>) -> Result<Vec<(usize, Taken)>, StoreError> {
        let Asker { holder, lease_until, .. } = asker;
        let now = self.now();
        if let [limit] = limits {
            let taken = self.backend.take(limit, holder, lease_until, now).await?;
            return Ok(if taken == Taken::Held { Vec::new() } else { vec![(0, taken)] });
        }
        Ok(self.backend.take_all(limits, holder, lease_until, now).await?.err().unwrap_or_default())
    }

    /// Where the asker waits already, at each limit: in its own place, in that of its run's arrival, or, as long as nothing of
    /// the run has started, with a step that is woken together with it.
    async fn places(
        &self,
        state: &RunState,
        limits: &[Limit],
        asker: Asker<'_>,
    ) -> Result<Vec<Option<Place>>, StoreError> {
        let Holder { run, step, .. } = asker.holder;
        let mut places = Vec::with_capacity(limits.len());
        for limit in limits {
            let shares = state.started_at.is_none() && !asker.by_itself;
            let mut place = self.backend.place(limit, *run, Some(step.clone()).filter(|_| !shares)).await?;
            if place.is_none() && state.started_at.is_none() && asker.by_itself {
                place = self.backend.place(limit, *run, Some(ARRIVAL.into())).await?;
            }
            places.push(place);
        }
        Ok(places)
    }

    /// Whether who is refused joins the line. A run that still has the place of its arrival is in line already, with all
    /// its first steps but those that have wakes of their own: a wake of the run is none of theirs.
    async fn is_to_join(&self, state: &RunState, limit: &Limit, asker: Asker<'_>) -> Result<bool, StoreError> {
        if asker.by_itself || state.started_at.is_some() {
            return Ok(true);
        }
        Ok(self.backend.place(limit, state.run, None).await?.is_none())
    }

    /// Joins the line as one who asked at this time: who comes from another line has waited there.
    async fn join(
        &self,
        state: &RunState,
        limit: &Limit,
        holder: &Holder,
        asked: Option<Timestamp>,
    ) -> Result<(Place, bool), StoreError> {
        // the first steps wait since the run's arrival
        let now = if state.started_at.is_none() { state.ready_at() } else { self.now() };
        let asked = asked.unwrap_or_else(|| match self.spec_of(&state.created) {
            Some(spec) => self.asked(spec, &mut LazyScope::new(&state.created.event), now),
            None => now,
        });
        let place = Place { asked, event: state.created.event.id, run: holder.run, step: holder.step.clone() };
        let is_new = self.backend.park(limit, place.clone()).await?;
        Ok((place, is_new))
    }

    /// Gives up a place, and lets those behind it go on.
    pub(super) async fn leave(&self, limit: &Limit, place: &Place) -> Result<(), StoreError> {
        let leave = After::Leave { limit: limit.clone(), run: place.run, step: Some(place.step.clone()) };
        self.carry_out(Commit { after: vec![leave], ..Commit::default() }).await?;
        self.pass_on(std::slice::from_ref(limit)).await
    }

    /// Gives back what runs hold that have ended, and wakes who waits: such a run was of a function that counted its runs,
    /// and did not any more when it ended.
    pub(super) async fn release_ended(&self, limits: &[Limit]) -> Result<(), StoreError> {
        let mut commit = Commit::default();
        for limit in limits {
            for Holding { holder, .. } in self.backend.holders(limit).await? {
                if self.state(holder.run).await?.is_none_or(|state| state.end.is_some()) {
                    commit.after.push(release(limit, &holder));
                }
            }
        }
        if !commit.after.is_empty() {
            self.carry_out(commit).await?;
            self.pass_on(limits).await?;
        }
        Ok(())
    }

    /// Adds the release of slots that this run holds for attempts that the journal gives to nobody (rules 20 and 22):
    /// a crash may have come between an outcome and its release.
    pub(super) async fn release_settled(
        &self,
        state: &RunState,
        limits: &[Limit],
        commit: &mut Commit,
    ) -> Result<(), StoreError> {
        for limit in limits {
            for holding in self.backend.holders(limit).await? {
                let holder = &holding.holder;
                if holder.run == state.run && !is_running(state, &holder.step, holder.attempt) {
                    commit.after.push(release(limit, holder));
                }
            }
        }
        Ok(())
    }
}

/// Whether the journal shows this attempt as running, or it may be about to: a slot is taken before its `StepStarted`.
fn is_running(state: &RunState, step: &StepId, attempt: u32) -> bool {
    if state.end.is_some() {
        // a cancelled run's body may still execute; its own worker gives the slot back
        return matches!(state.steps.get(step), Some(s) if s.attempt == attempt && matches!(s.state, StepState::Running { .. }));
    }
    match state.steps.get(step) {
        None => true,
        Some(s) => match s.state {
            StepState::Running { .. } => attempt >= s.attempt,
            StepState::Wanted | StepState::Waiting { .. } => attempt > s.attempt,
            StepState::Sleeping { .. }
            | StepState::Invoking { .. }
            | StepState::Awaiting { .. }
            | StepState::Done
            | StepState::Abandoned => false,
        },
    }
}

pub(super) fn release(limit: &Limit, holder: &Holder) -> After {
    After::Release { limit: limit.clone(), holder: holder.clone() }
}

impl Engine {
    /// A wake at a time: through the queue while that can delay so long, else through the sweep.
    pub(super) fn later(&self, wake: Wake, due: Timestamp) -> Later {
        use stepladder_core::limits::QUEUE_DELAY_SECONDS;
        use stepladder_core::wake::{Purpose, Timer};
        let longest = std::time::Duration::from_secs(QUEUE_DELAY_SECONDS as u64);
        if due.since(self.now()) <= longest {
            return Later::Wake { wake, due };
        }
        let purpose = match &wake.cause {
            Cause::Deadline => Purpose::Deadline,
            cause => Purpose::Step(cause.step().cloned().unwrap_or_else(|| "".into())),
        };
        Later::Timer(Timer { due, run: wake.run, group: wake.group, purpose })
    }
}
