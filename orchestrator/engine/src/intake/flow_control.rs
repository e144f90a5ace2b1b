//! Flow control decides about each new run: throttle, rate limit, singleton, idempotency.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use stepladder_core::expr::{Expr, ExprError};
use stepladder_core::flow::{Rate, Singleton, SingletonMode};
use stepladder_core::journal::{NewRun, Origin};
use stepladder_core::limits::DEDUPLICATION_MS;
use stepladder_core::spec::LazyScope;
use stepladder_core::state::RunState;
use stepladder_core::{RunId, Spec, Timestamp};

use crate::intake::Intake;
use crate::intake::starts::note_key;
use crate::ports::{FlowStateChange, StoreError};

/// How long the flow state of a singleton's run is kept. The watchdog of that run renews it.
const SINGLE: Duration = Duration::from_secs(7 * 24 * 3_600);

/// The decision about a new run.
pub(crate) enum GateDecision {
    /// The run exists already.
    Known,
    /// The run is in the call twice: the first one decides.
    Twice,
    /// Its event belongs to a run that exists, or that the same call creates.
    Elsewhere(RunId, Basis),
    /// The run is skipped, for this reason.
    Skip(String, Basis),
    /// The run is created, perhaps with a delay, and these flow states change with it.
    Open(Box<NewRun>, Vec<FlowStateChange>),
}

/// The basis of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Basis {
    /// Stored data.
    Stored,
    /// Other runs of the same call, which may still conflict. The decision counts only if none
    /// does.
    SameCall,
}

/// The flow states as one call sees them: each run sees the changes of earlier ones.
#[derive(Default)]
pub(crate) struct ReadState {
    notes: HashMap<Arc<str>, (Option<Arc<str>>, Basis)>,
    beginning: HashSet<RunId>,
}

/// What a new run changes, before the decision is known.
struct PendingChanges<'a> {
    seen: &'a mut ReadState,
    notes: Vec<FlowStateChange>,
    basis: Basis,
}

impl Intake {
    /// Returns the decision of the function's flow control. The checks are ordered to waste least:
    /// an event that belongs to another run uses no rate, and neither does a skipped one.
    pub(crate) async fn gate(
        &self,
        spec: &Spec,
        run: RunId,
        created: &NewRun,
        seen: &mut ReadState,
    ) -> Result<GateDecision, StoreError> {
        if seen.beginning.contains(&run) {
            return Ok(GateDecision::Twice);
        }
        if self.runs.state(run).await?.is_some() {
            return Ok(GateDecision::Known);
        }
        let mut changing = PendingChanges { seen: &mut *seen, notes: Vec::new(), basis: Basis::Stored };
        let gate = self.gate_within(spec, run, created.clone(), &mut changing).await?;
        if let GateDecision::Open(_, notes) = &gate {
            seen.beginning.insert(run);
            for note in notes {
                seen.notes.insert(note.key.clone(), (note.becomes.clone(), Basis::SameCall));
            }
        }
        Ok(gate)
    }

    async fn gate_within(
        &self,
        spec: &Spec,
        run: RunId,
        mut created: NewRun,
        changing: &mut PendingChanges<'_>,
    ) -> Result<GateDecision, StoreError> {
        let (flow, now) = (&spec.flow, self.runtime.now());
        let event = created.event.clone();
        let scope = &mut LazyScope::new(&event);
        if let (Some(key), Origin::Event) = (&flow.idempotency, &created.origin) {
            let value = match key.eval_key(scope.get()) {
                Ok(value) => value,
                Err(bad) => return Ok(GateDecision::Skip(format!("its idempotency key: {bad}"), Basis::Stored)),
            };
            if let Some(first) = self.first_of(spec, run, &value, changing).await? {
                return Ok(GateDecision::Elsewhere(first, changing.basis));
            }
        }
        if let Some(singleton) = &flow.singleton {
            let value = match value_of(singleton.key.as_ref(), scope) {
                Ok(value) => value,
                Err(bad) => return Ok(GateDecision::Skip(format!("the key of its singleton: {bad}"), Basis::Stored)),
            };
            if let Some(live) = self.live_one(spec, run, &value, changing).await? {
                match singleton {
                    Singleton { mode: SingletonMode::Skip, .. } => {
                        let why = format!("run {live} is live, and this function has one at a time");
                        return Ok(GateDecision::Skip(why, changing.basis));
                    }
                    Singleton { mode: SingletonMode::Replace, .. } => created.replaces = Some(live),
                }
            }
        }
        for (kind, rate) in [("rate", &flow.rate_limit), ("throttle", &flow.throttle)] {
            let Some(rate) = rate else { continue };
            let begins_at = match self.book(spec, kind, rate, scope, changing).await? {
                Ok(begins_at) => begins_at,
                Err(bad) => return Ok(GateDecision::Skip(format!("the key of its {kind}: {bad}"), Basis::Stored)),
            };
            match begins_at <= now {
                true => {}
                false if kind == "rate" => {
                    let why = format!("its rate limit ({rate}) has no room before {begins_at}");
                    return Ok(GateDecision::Skip(why, changing.basis));
                }
                false => created.begins_at = Some(begins_at),
            }
        }
        Ok(GateDecision::Open(Box::new(created), std::mem::take(&mut changing.notes)))
    }

    /// Returns the run of an event with this idempotency key within 24 hours, if there is one.
    async fn first_of(
        &self,
        spec: &Spec,
        run: RunId,
        value: &str,
        changing: &mut PendingChanges<'_>,
    ) -> Result<Option<RunId>, StoreError> {
        let key = note_key("once", &spec.id, value);
        let seen = self.noted(&key, changing).await?;
        if let Some((first, until)) = seen.as_deref().and_then(read_first)
            && first != run
            && self.runtime.now() < until
        {
            return Ok(Some(first));
        }
        let until = self.runtime.now() + Duration::from_millis(DEDUPLICATION_MS.unsigned_abs());
        changing.change(key, seen, format!("{run} {}", until.as_millis()), until);
        Ok(None)
    }

    /// Returns the live run of this singleton value, if there is one. Otherwise, or if it replaces
    /// that one, the new run becomes the live run.
    async fn live_one(
        &self,
        spec: &Spec,
        run: RunId,
        value: &str,
        changing: &mut PendingChanges<'_>,
    ) -> Result<Option<RunId>, StoreError> {
        let key = note_key("single", &spec.id, value);
        let seen = self.noted(&key, changing).await?;
        let known = seen.as_deref().and_then(|text| text.parse::<RunId>().ok());
        changing.change(key, seen, run.to_string(), self.runtime.now() + SINGLE);
        let Some(known) = known.filter(|known| *known != run) else { return Ok(None) };
        let is_beginning = changing.seen.beginning.contains(&known);
        let lives = is_beginning || self.runs.state(known).await?.is_some_and(|state| state.end.is_none());
        Ok(lives.then_some(known))
    }

    /// Renews the flow state of a singleton's run. The watchdog calls this while the run lives.
    pub(crate) async fn keep_single(&self, state: &RunState) -> Result<(), StoreError> {
        let Some(spec) = self.runtime.spec_of(&state.created) else { return Ok(()) };
        let Some(singleton) = &spec.flow.singleton else { return Ok(()) };
        let Ok(value) = value_of(singleton.key.as_ref(), &mut LazyScope::new(&state.created.event)) else {
            return Ok(());
        };
        let run: Arc<str> = state.run.to_string().into();
        let (seen, becomes) = (Some(run.clone()), Some(run));
        let note = FlowStateChange {
            key: note_key("single", &spec.id, &value),
            seen,
            becomes,
            until: self.runtime.now() + SINGLE,
        };
        self.runtime.backend.change_flow_state(vec![note]).await.map(drop)
    }

    async fn book(
        &self,
        spec: &Spec,
        kind: &str,
        rate: &Rate,
        scope: &mut LazyScope<'_>,
        changing: &mut PendingChanges<'_>,
    ) -> Result<Result<Timestamp, ExprError>, StoreError> {
        let value = match value_of(rate.key.as_ref(), scope) {
            Ok(value) => value,
            Err(bad) => return Ok(Err(bad)),
        };
        let key = note_key(kind, &spec.id, &value);
        let seen = self.noted(&key, changing).await?;
        let booking = rate.book(seen.as_deref(), self.runtime.now());
        // two requests may book the same times at once. Without the token, the second event of one
        // request would take the first event of the other for its own, and start before it (rule
        // 31)
        let kept = format!("{} {:x}", booking.kept, self.runtime.entropy.bits());
        changing.change(key, seen, kept, booking.until);
        Ok(Ok(booking.starts_at))
    }

    /// Returns a flow state, which is read once in a call, however many runs need it.
    async fn noted(&self, key: &Arc<str>, changing: &mut PendingChanges<'_>) -> Result<Option<Arc<str>>, StoreError> {
        if let Some((known, basis)) = changing.seen.notes.get(key) {
            if *basis == Basis::SameCall {
                changing.basis = Basis::SameCall;
            }
            return Ok(known.clone());
        }
        let noted = self.runtime.backend.read_flow_state(vec![key.clone()]).await?.pop().flatten();
        changing.seen.notes.insert(key.clone(), (noted.clone(), Basis::Stored));
        Ok(noted)
    }
}

impl PendingChanges<'_> {
    fn change(&mut self, key: Arc<str>, seen: Option<Arc<str>>, becomes: String, until: Timestamp) {
        self.notes.push(FlowStateChange { key, seen, becomes: Some(becomes.into()), until });
    }
}

/// Returns the value of a key. Without a key, all runs have the same value.
pub(crate) fn value_of(key: Option<&Expr>, scope: &mut LazyScope<'_>) -> Result<String, ExprError> {
    key.map_or_else(|| Ok(String::new()), |key| key.eval_key(scope.get()))
}

fn read_first(text: &str) -> Option<(RunId, Timestamp)> {
    let (run, until) = text.split_once(' ')?;
    Some((run.parse().ok()?, Timestamp::from_millis(until.parse().ok()?)))
}
