//! A log of executed bodies. The bodies write it themselves, so it is independent of any journal.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use stepladder_core::{RunId, StepId, Timestamp};

/// A body: the run and the step.
pub(crate) type BodyId = (RunId, StepId);

/// The log, which all bodies share.
#[derive(Clone, Default)]
pub(crate) struct ExecutionLog(Arc<Mutex<ExecutionCounts>>);

#[derive(Default)]
struct ExecutionCounts {
    /// How often each body was started.
    begun: HashMap<BodyId, u32>,
    /// The bodies that returned at least once.
    ended: HashSet<BodyId>,
    /// The bodies that are executing now, each with the request of an app that executes it. A body
    /// that executes twice is listed twice.
    now: Vec<(BodyId, Option<u64>)>,
    /// The request of an app that is being polled; `None` in a worker.
    current: Option<CurrentRequest>,
    /// The requests that apps are working on.
    requests: BTreeMap<u64, AppRequest>,
    /// The number of requests so far.
    last_request: u64,
    /// How often each body was started by a request that the engine had given up.
    in_vain: HashMap<BodyId, u32>,
    /// The runs whose function failed in a call with steps that the app has not reported.
    unreported: HashSet<RunId>,
    /// The outcome that the latest replay of a handler received from a step.
    observed: HashMap<BodyId, String>,
}

#[derive(Clone, Copy)]
struct CurrentRequest {
    id: u64,
    is_over: bool,
}

/// A request that an app is working on.
#[derive(Clone, Debug)]
pub(crate) struct AppRequest {
    pub(crate) run: RunId,
    pub(crate) target: RequestTarget,
    /// When its time-out ends. The engine then gives the request up.
    pub(crate) expires: Timestamp,
}

/// What an app executes.
#[derive(Clone, Debug)]
pub(crate) enum RequestTarget {
    /// The call of a function with this number.
    Call(u32),
    /// An attempt of a step.
    Attempt(StepId, u32),
}

/// The registration of an executing body. Dropping it ends the execution.
pub(crate) struct ExecutionGuard {
    account: ExecutionLog,
    body: BodyId,
    request: Option<u64>,
}

impl ExecutionGuard {
    /// Records that the body returned.
    pub(crate) fn end(&self) {
        self.account.0.lock().expect("no panic").ended.insert(self.body.clone());
    }
}

impl Drop for ExecutionGuard {
    fn drop(&mut self) {
        let now = &mut self.account.0.lock().expect("no panic").now;
        let is_this = |(body, request): &(BodyId, Option<u64>)| *body == self.body && *request == self.request;
        let at = now.iter().position(is_this).expect("begun");
        now.swap_remove(at);
    }
}

impl ExecutionLog {
    /// Records the start of a body. Returns how often the body has started so far, and the
    /// registration of this execution.
    pub(crate) fn begin(&self, run: RunId, step: &str) -> (u32, ExecutionGuard) {
        let body = (run, StepId::from(step));
        let mut entries = self.0.lock().expect("no panic");
        let current = entries.current;
        let request = current.map(|current| current.id);
        entries.now.push((body.clone(), request));
        if current.is_some_and(|current| current.is_over) {
            *entries.in_vain.entry(body.clone()).or_default() += 1;
        }
        let count = entries.begun.entry(body.clone()).or_default();
        *count += 1;
        (*count, ExecutionGuard { account: self.clone(), body, request })
    }

    /// Records what a handler received from a step.
    pub(crate) fn observe(&self, run: RunId, step: &str, outcome: String) {
        self.0.lock().expect("no panic").observed.insert((run, StepId::from(step)), outcome);
    }

    /// Returns what the latest replay of each handler received from its steps.
    pub(crate) fn observed(&self) -> HashMap<BodyId, String> {
        self.0.lock().expect("no panic").observed.clone()
    }

    /// Forgets what handlers received.
    pub(crate) fn forget_observed(&self) {
        self.0.lock().expect("no panic").observed.clear();
    }

    /// Returns how often a body was started.
    pub(crate) fn executions(&self, body: &BodyId) -> u32 {
        self.0.lock().expect("no panic").begun.get(body).copied().unwrap_or(0)
    }

    /// Returns how often a body was started, except by requests that the engine had given up.
    pub(crate) fn expected_executions(&self, body: &BodyId) -> u32 {
        let in_vain = self.0.lock().expect("no panic").in_vain.get(body).copied().unwrap_or(0);
        self.executions(body) - in_vain
    }

    /// Records that a function failed in a call with steps that the app has not reported.
    pub(crate) fn note_unreported(&self, run: RunId) {
        self.0.lock().expect("no panic").unreported.insert(run);
    }

    /// Returns whether a function failed in a call with steps that the app has not reported.
    pub(crate) fn has_unreported(&self, run: RunId) -> bool {
        self.0.lock().expect("no panic").unreported.contains(&run)
    }

    /// Registers a request to an app. Returns its number.
    pub(crate) fn open_request(&self, request: AppRequest) -> u64 {
        let mut entries = self.0.lock().expect("no panic");
        entries.last_request += 1;
        let id = entries.last_request;
        entries.requests.insert(id, request);
        id
    }

    /// Records that the engine expects nothing more of a request.
    pub(crate) fn give_up(&self, id: u64) {
        if let Some(request) = self.0.lock().expect("no panic").requests.get_mut(&id) {
            request.expires = Timestamp::from_millis(0);
        }
    }

    /// Records that the engine expects nothing more of an attempt.
    pub(crate) fn give_up_attempt(&self, run: RunId, step: &StepId, attempt: Option<u32>) {
        let is_of = |target: &RequestTarget| match target {
            RequestTarget::Attempt(of, number) => of == step && attempt.is_none_or(|attempt| attempt == *number),
            RequestTarget::Call(_) => false,
        };
        for request in self.0.lock().expect("no panic").requests.values_mut() {
            if request.run == run && is_of(&request.target) {
                request.expires = Timestamp::from_millis(0);
            }
        }
    }

    /// Records that the app does not work on a request any more.
    pub(crate) fn close_request(&self, id: u64) {
        self.0.lock().expect("no panic").requests.remove(&id);
    }

    /// Says that the bodies that begin now belong to this request of an app.
    pub(crate) fn enter_request(&self, id: Option<u64>, now: Timestamp) {
        let mut entries = self.0.lock().expect("no panic");
        let is_over = |id: &u64| entries.requests.get(id).is_none_or(|request| request.expires <= now);
        let current = id.map(|id| CurrentRequest { id, is_over: is_over(&id) });
        entries.current = current;
    }

    /// Returns the calls of functions that apps are working on and that were not given up.
    pub(crate) fn live_calls(&self, now: Timestamp) -> Vec<RunId> {
        let entries = self.0.lock().expect("no panic");
        let is_live = |request: &&AppRequest| matches!(request.target, RequestTarget::Call(_)) && now < request.expires;
        entries.requests.values().filter(is_live).map(|request| request.run).collect()
    }

    /// Returns whether a body returned at least once.
    pub(crate) fn has_ended(&self, run: RunId, step: &str) -> bool {
        self.0.lock().expect("no panic").ended.contains(&(run, StepId::from(step)))
    }

    /// Returns the bodies of a run, and how often each was started.
    pub(crate) fn of_run(&self, run: RunId) -> Vec<(StepId, u32)> {
        let entries = self.0.lock().expect("no panic");
        let of_run = entries.begun.iter().filter(|((of, _), _)| *of == run);
        of_run.map(|((_, step), count)| (step.clone(), *count)).collect()
    }

    /// Returns the bodies that are executing now.
    pub(crate) fn executing(&self) -> Vec<BodyId> {
        self.0.lock().expect("no panic").now.iter().map(|(body, _)| body.clone()).collect()
    }

    /// Returns whether a body is executing now.
    pub(crate) fn executes(&self, run: RunId, step: &StepId) -> bool {
        self.0.lock().expect("no panic").now.iter().any(|((of, body), _)| *of == run && body == step)
    }

    /// Returns the bodies that are executing more than once now, each with the requests of an app
    /// that execute it. Requests that the engine has given up do not count.
    pub(crate) fn executing_twice(&self, now: Timestamp) -> Vec<(BodyId, Vec<RequestTarget>)> {
        let entries = self.0.lock().expect("no panic");
        let mut executing: BTreeMap<&BodyId, Vec<Option<&AppRequest>>> = BTreeMap::new();
        for (body, request) in &entries.now {
            let request = request.map(|id| entries.requests.get(&id));
            match request {
                Some(Some(request)) if request.expires <= now => {}
                Some(None) => {}
                other => executing.entry(body).or_default().push(other.flatten()),
            }
        }
        let twice = executing.into_iter().filter(|(_, requests)| requests.len() > 1);
        let targets =
            |requests: Vec<Option<&AppRequest>>| requests.into_iter().flatten().map(|r| r.target.clone()).collect();
        twice.map(|(body, requests)| (body.clone(), targets(requests))).collect()
    }
}
