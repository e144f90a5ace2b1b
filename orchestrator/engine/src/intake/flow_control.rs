//! Decides about each new run by the flow control of its function: throttle, rate limit, singleton
//! and idempotency.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use stepladder_core::expr::{Expr, ExprError};
use stepladder_core::flow::{Rate, Singleton, SingletonMode};
use stepladder_core::journal::{NewRun, RunOrigin};
use stepladder_core::limits::DEDUPLICATION_MS;
use stepladder_core::spec::LazyExprScope;
use stepladder_core::state::RunState;
use stepladder_core::{RunId, Spec, Timestamp};

use crate::intake::Intake;
use crate::intake::starts::flow_state_key;
use crate::ports::{FlowStateChange, StoreError};

/// How long the flow state of a singleton is kept. The watchdog of the live run renews it.
const SINGLETON_STATE_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3_600);

/// The decision about creating a run.
pub(crate) enum StartDecision {
    /// The run already exists.
    Exists,
    /// The call contains the same run twice. Only the first occurrence counts.
    Duplicate,
    /// The event has the same idempotency key as this run, which exists or is created by the same
    /// call.
    BelongsTo(RunId, DecisionBasis),
    /// The run is skipped for this reason.
    Skip(String, DecisionBasis),
    /// The run is created, perhaps with a delay, and these flow states are changed in the same
    /// write.
    Create(Box<NewRun>, Vec<FlowStateChange>),
}

/// What a decision is based on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecisionBasis {
    /// Data that is already stored.
    Stored,
    /// Other runs of the same call. If one of them has a conflict, the decision is made again.
    SameCall,
}

/// The flow states as one call sees them. The changes of a run are visible to the runs after it.
#[derive(Default)]
pub(crate) struct SeenFlowStates {
    values: HashMap<Arc<str>, (Option<Arc<str>>, DecisionBasis)>,
    starting: HashSet<RunId>,
}

/// The changes that a new run makes to flow states. They are pending until it is decided whether
/// the run is created.
struct PendingFlowChanges<'a> {
    seen: &'a mut SeenFlowStates,
    changes: Vec<FlowStateChange>,
    basis: DecisionBasis,
}

impl Intake {
    /// Returns the decision of the function's flow control. Idempotency and singleton are checked
    /// first, so that an event that creates no run does not use up a rate.
    pub(crate) async fn decide(
        &self,
        spec: &Spec,
        run: RunId,
        created: &NewRun,
        seen: &mut SeenFlowStates,
    ) -> Result<StartDecision, StoreError> {
        if seen.starting.contains(&run) {
            return Ok(StartDecision::Duplicate);
        }
        if self.runs.state(run).await?.is_some() {
            return Ok(StartDecision::Exists);
        }
        let mut changing = PendingFlowChanges { seen: &mut *seen, changes: Vec::new(), basis: DecisionBasis::Stored };
        let decision = self.apply_flow_control(spec, run, created.clone(), &mut changing).await?;
        if let StartDecision::Create(_, changes) = &decision {
            seen.starting.insert(run);
            for change in changes {
                seen.values.insert(change.key.clone(), (change.becomes.clone(), DecisionBasis::SameCall));
            }
        }
        Ok(decision)
    }

    async fn apply_flow_control(
        &self,
        spec: &Spec,
        run: RunId,
        mut created: NewRun,
        changing: &mut PendingFlowChanges<'_>,
    ) -> Result<StartDecision, StoreError> {
        let (flow, now) = (&spec.flow, self.runtime.now());
        let event = created.event.clone();
        let scope = &mut LazyExprScope::new(&event);
        if let (Some(key), RunOrigin::Event) = (&flow.idempotency, &created.origin) {
            let value = match key.eval_key(scope.get()) {
                Ok(value) => value,
                Err(bad) => {
                    return Ok(StartDecision::Skip(format!("its idempotency key: {bad}"), DecisionBasis::Stored));
                }
            };
            if let Some(first) = self.first_run_with_key(spec, run, &value, changing).await? {
                return Ok(StartDecision::BelongsTo(first, changing.basis));
            }
        }
        if let Some(singleton) = &flow.singleton {
            let value = match evaluate_key(singleton.key.as_ref(), scope) {
                Ok(value) => value,
                Err(bad) => {
                    return Ok(StartDecision::Skip(format!("the key of its singleton: {bad}"), DecisionBasis::Stored));
                }
            };
            if let Some(live) = self.live_singleton(spec, run, &value, changing).await? {
                match singleton {
                    Singleton { mode: SingletonMode::Skip, .. } => {
                        let why = format!("run {live} is live, and this function has one run at a time");
                        return Ok(StartDecision::Skip(why, changing.basis));
                    }
                    Singleton { mode: SingletonMode::Replace, .. } => created.replaces = Some(live),
                }
            }
        }
        for (kind, rate) in [("rate", &flow.rate_limit), ("throttle", &flow.throttle)] {
            let Some(rate) = rate else { continue };
            let begins_at = match self.book_start(spec, kind, rate, scope, changing).await? {
                Ok(begins_at) => begins_at,
                Err(bad) => {
                    return Ok(StartDecision::Skip(format!("the key of its {kind}: {bad}"), DecisionBasis::Stored));
                }
            };
            match begins_at <= now {
                true => {}
                false if kind == "rate" => {
                    let why = format!("its rate limit ({rate}) is reached until {begins_at}");
                    return Ok(StartDecision::Skip(why, changing.basis));
                }
                false => created.begins_at = Some(begins_at),
            }
        }
        Ok(StartDecision::Create(Box::new(created), std::mem::take(&mut changing.changes)))
    }

    /// Returns the run that an event with the same idempotency key started in the last 24 hours, if
    /// there is one.
    async fn first_run_with_key(
        &self,
        spec: &Spec,
        run: RunId,
        value: &str,
        changing: &mut PendingFlowChanges<'_>,
    ) -> Result<Option<RunId>, StoreError> {
        let state = self.flow_state("once", spec, value, changing).await?;
        if let Some((first, until)) = state.seen.as_deref().and_then(parse_idempotency_state)
            && first != run
            && self.runtime.now() < until
        {
            return Ok(Some(first));
        }
        let until = self.runtime.now() + Duration::from_millis(DEDUPLICATION_MS.unsigned_abs());
        changing.change(state, format!("{run} {}", until.as_millis()), until);
        Ok(None)
    }

    /// Returns the live run with the same value of the singleton's key, if there is one. Also adds
    /// the change that makes the new run the live run. It is written if the new run is created.
    async fn live_singleton(
        &self,
        spec: &Spec,
        run: RunId,
        value: &str,
        changing: &mut PendingFlowChanges<'_>,
    ) -> Result<Option<RunId>, StoreError> {
        let state = self.flow_state("single", spec, value, changing).await?;
        let known = state.seen.as_deref().and_then(|text| text.parse::<RunId>().ok());
        changing.change(state, run.to_string(), self.runtime.now() + SINGLETON_STATE_LIFETIME);
        let Some(known) = known.filter(|known| *known != run) else { return Ok(None) };
        let is_starting = changing.seen.starting.contains(&known);
        let lives = is_starting || self.runs.state(known).await?.is_some_and(|state| state.end.is_none());
        Ok(lives.then_some(known))
    }

    /// Renews the flow state of a singleton's run. The watchdog calls this while the run is live.
    pub(crate) async fn renew_singleton(&self, state: &RunState) -> Result<(), StoreError> {
        let catalog = self.runtime.snapshot();
        let Some(spec) = catalog.spec(&state.created.function) else { return Ok(()) };
        let Some(singleton) = &spec.flow.singleton else { return Ok(()) };
        let Ok(value) = evaluate_key(singleton.key.as_ref(), &mut LazyExprScope::new(&state.created.event)) else {
            return Ok(());
        };
        let run: Arc<str> = state.run.to_string().into();
        let (seen, becomes) = (Some(run.clone()), Some(run));
        let note = FlowStateChange {
            key: flow_state_key("single", &spec.id, &value),
            seen,
            becomes,
            until: self.runtime.now() + SINGLETON_STATE_LIFETIME,
        };
        self.runtime.backend.change_flow_state(vec![note]).await.map(drop)
    }

    /// Returns the start time that a rate assigns to the next run of the key, and adds the change
    /// that records it.
    async fn book_start(
        &self,
        spec: &Spec,
        kind: &str,
        rate: &Rate,
        scope: &mut LazyExprScope<'_>,
        changing: &mut PendingFlowChanges<'_>,
    ) -> Result<Result<Timestamp, ExprError>, StoreError> {
        let value = match evaluate_key(rate.key.as_ref(), scope) {
            Ok(value) => value,
            Err(bad) => return Ok(Err(bad)),
        };
        let state = self.flow_state(kind, spec, &value, changing).await?;
        let booking = rate.book_start(state.seen.as_deref(), self.runtime.now());
        // Two concurrent requests may compute the same start time and write the same flow state.
        // Then both conditional writes would succeed, and the order would be lost (rule 31). The
        // random token makes the values differ.
        let kept = format!("{} {:x}", booking.kept, self.runtime.entropy.bits());
        changing.change(state, kept, booking.until);
        Ok(Ok(booking.starts_at))
    }

    /// Returns the flow state of a key's value. It is read only once per call, however many runs
    /// need it.
    async fn flow_state(
        &self,
        kind: &str,
        spec: &Spec,
        value: &str,
        changing: &mut PendingFlowChanges<'_>,
    ) -> Result<FlowState, StoreError> {
        let key = flow_state_key(kind, &spec.id, value);
        if let Some((seen, basis)) = changing.seen.values.get(&key) {
            if *basis == DecisionBasis::SameCall {
                changing.basis = DecisionBasis::SameCall;
            }
            return Ok(FlowState { key, seen: seen.clone() });
        }
        let seen = self.runtime.backend.read_flow_state(vec![key.clone()]).await?.pop().flatten();
        changing.seen.values.insert(key.clone(), (seen.clone(), DecisionBasis::Stored));
        Ok(FlowState { key, seen })
    }
}

/// A flow state, with the value that was read.
struct FlowState {
    key: Arc<str>,
    seen: Option<Arc<str>>,
}

impl PendingFlowChanges<'_> {
    fn change(&mut self, FlowState { key, seen }: FlowState, becomes: String, until: Timestamp) {
        self.changes.push(FlowStateChange { key, seen, becomes: Some(becomes.into()), until });
    }
}

/// Evaluates a key for an event. Without a key, all runs have the same value.
pub(crate) fn evaluate_key(key: Option<&Expr>, scope: &mut LazyExprScope<'_>) -> Result<String, ExprError> {
    key.map_or_else(|| Ok(String::new()), |key| key.eval_key(scope.get()))
}

/// Parses the flow state of an idempotency key: the run, and the time until which the key applies.
fn parse_idempotency_state(text: &str) -> Option<(RunId, Timestamp)> {
    let (run, until) = text.split_once(' ')?;
    Some((run.parse().ok()?, Timestamp::from_millis(until.parse().ok()?)))
}
