//! Watches the requests between the adapter and AWS: counts them, checks limits of AWS that
//! emulators do not enforce, and injects faults according to a plan.

#![allow(dead_code, reason = "each test uses its own part")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::Value;
use stepladder_core::Timestamp;
use stepladder_engine::clock::Clock;
use stepladder_testkit::clock::VirtualClock;
use stepladder_tests::aws_faults::{AwsFault, AwsFaultProxy, AwsRequest};

use crate::units;

/// The requests by operation, and the units that AWS bills.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RequestTally {
    pub(crate) requests: BTreeMap<String, u64>,
    /// The number of write request units.
    pub(crate) writes: f64,
    /// The number of read request units.
    pub(crate) reads: f64,
    /// The number of requests to SQS that are billed: one per 64 KB.
    pub(crate) sqs: f64,
    /// The number of puts that were refused because their condition was false.
    pub(crate) conflicts: u64,
}

impl RequestTally {
    pub(crate) fn requests_of(&self, operation: &str) -> u64 {
        self.requests.get(operation).copied().unwrap_or(0)
    }
}

/// The parts of a request by which a plan of faults picks a fault.
#[derive(Debug)]
pub(crate) struct AwsCall<'a> {
    pub(crate) operation: &'a str,
    pub(crate) body: &'a Value,
    /// The number of earlier requests for the same operation, since the plan was set.
    pub(crate) n: usize,
}

impl AwsCall<'_> {
    /// Returns whether the request writes something or reads a run's journal. Other reads, such as
    /// those of a sweep, are left out.
    pub(crate) fn is_of_a_run(&self) -> bool {
        match self.operation {
            "Query" => {
                self.body["ExpressionAttributeValues"][":p"]["S"].as_str().is_some_and(|pk| pk.starts_with("R#"))
            }
            "GetItem" | "BatchGetItem" => false,
            _ => true,
        }
    }
}

type CallFaultPlan = Box<dyn FnMut(&AwsCall<'_>) -> AwsFault + Send>;

pub(crate) struct CountingWire {
    clock: Arc<VirtualClock>,
    state: Mutex<WireState>,
}

struct WireState {
    tally: RequestTally,
    plan: CallFaultPlan,
    seen: BTreeMap<String, usize>,
    /// The due times of delayed messages and timers.
    dues: BTreeSet<Timestamp>,
    timers: BTreeSet<Timestamp>,
    /// The requests that exceeded a limit of AWS.
    breaches: Vec<String>,
}

impl CountingWire {
    /// Watches the requests that pass through the two proxies.
    pub(crate) fn new(clock: Arc<VirtualClock>, proxies: [&AwsFaultProxy; 2]) -> Arc<Self> {
        let state = WireState {
            tally: RequestTally::default(),
            plan: Box::new(|_| AwsFault::Pass),
            seen: BTreeMap::new(),
            dues: BTreeSet::new(),
            timers: BTreeSet::new(),
            breaches: Vec::new(),
        };
        let wire = Arc::new(Self { clock, state: Mutex::new(state) });
        for proxy in proxies {
            let (meeting, told) = (wire.clone(), wire.clone());
            proxy.set_plan(move |request| meeting.decide_fault(request));
            proxy.observe_responses(move |request, answer| told.count_answer(request, answer));
        }
        wire
    }

    /// Sets the plan that decides which fault is injected into each request from now on.
    pub(crate) fn plan(&self, plan: impl FnMut(&AwsCall<'_>) -> AwsFault + Send + 'static) {
        let mut state = self.lock();
        state.plan = Box::new(plan);
        state.seen.clear();
    }

    /// Stops injecting faults.
    pub(crate) fn clear(&self) {
        self.plan(|_| AwsFault::Pass);
    }

    /// Returns the counts since the previous call of this function, and resets them.
    pub(crate) fn take_tally(&self) -> RequestTally {
        std::mem::take(&mut self.lock().tally)
    }

    /// Returns the earliest due time of a delayed message or a timer.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        let (state, now) = (self.lock(), self.clock.now());
        let later = |all: &BTreeSet<Timestamp>| all.iter().copied().find(|due| *due > now);
        later(&state.dues).into_iter().chain(later(&state.timers)).min()
    }

    /// Returns whether a sweep is needed, because a timer is due within this time. Removes all such
    /// timers.
    pub(crate) fn take_timers(&self, within: Duration) -> bool {
        let (mut state, soon) = (self.lock(), self.clock.now() + within);
        let later = state.timers.split_off(&(soon + Duration::from_millis(1)));
        !std::mem::replace(&mut state.timers, later).is_empty()
    }

    /// Adds the due time of a message that the queue will deliver again. No request contains that
    /// time.
    pub(crate) fn expect_timer(&self, due: Timestamp) {
        self.lock().dues.insert(due);
    }

    /// Returns descriptions of the requests that exceeded a limit of AWS.
    pub(crate) fn exceeded_limits(&self) -> Vec<String> {
        self.lock().breaches.clone()
    }

    fn lock(&self) -> MutexGuard<'_, WireState> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn decide_fault(&self, request: &AwsRequest) -> AwsFault {
        let (operation, body) = (request.operation.as_str(), &request.body);
        let now = self.clock.now();
        let mut guard = self.lock();
        let state = &mut *guard;
        *state.tally.requests.entry(operation.to_owned()).or_default() += 1;
        if body.get("QueueUrl").is_some() {
            state.tally.sqs += units::sqs_requests(body);
        }
        for (item, factor) in units::written_items(operation, body) {
            state.tally.writes += units::to_write(item) * factor + units::index_entries(item);
            if units::item_bytes(item) > units::ITEM_BYTES {
                state.breaches.push(format!("{operation}: {} is too large", units::item_key(item)));
            }
            let (pk, sk) = (item["PK"]["S"].as_str().unwrap_or(""), item["SK"]["S"].as_str().unwrap_or(""));
            if pk.starts_with("T#") && !sk.contains("#watchdog") {
                let due = item["due"]["N"].as_str().and_then(|ms| ms.parse().ok()).expect("a timer has a time");
                state.timers.insert(Timestamp::from_millis(due));
            }
        }
        for message in units::messages(operation, body) {
            let delay = message["DelaySeconds"].as_i64().unwrap_or(0);
            let group = message["MessageGroupId"].as_str().unwrap_or("");
            if !(0..=900).contains(&delay) {
                state.breaches.push(format!("{operation}: a delay of {delay} s"));
            }
            if group.is_empty() || group.len() > 128 || !group.bytes().all(|byte| byte.is_ascii_graphic()) {
                state.breaches.push(format!("{operation}: the group {group:?}"));
            }
            if delay > 0 {
                state.dues.insert(now + Duration::from_secs(delay.unsigned_abs()));
            }
        }
        let seen = state.seen.entry(operation.to_owned()).or_default();
        let call = AwsCall { operation, body, n: *seen };
        *seen += 1;
        (state.plan)(&call)
    }

    fn count_answer(&self, request: &AwsRequest, answer: &Value) {
        let strong = request.body["ConsistentRead"] == true;
        let found = match request.operation.as_str() {
            "Query" => answer["Items"].as_array().cloned().unwrap_or_default(),
            "GetItem" => answer.get("Item").cloned().into_iter().collect(),
            _ => return self.count_reported_writes(request, answer),
        };
        let (units, counted) = (units::to_read(&found, strong), answer["ConsumedCapacity"]["CapacityUnits"].as_f64());
        let mut state = self.lock();
        state.tally.reads += units;
        // not compared if nothing was found: then DynamoDB Local reports no units, although AWS
        // bills one
        if counted != Some(units) && !found.is_empty() {
            state.breaches.push(format!("{units} read units are counted as {counted:?}: {}", request.body));
        }
    }

    /// Counts the units of updates and deletions as the service reports them: the request does not
    /// contain the size of the item. For a `PutItem`, compares the reported units with the computed
    /// ones.
    fn count_reported_writes(&self, request: &AwsRequest, answer: &Value) {
        if request.operation == "PutItem" {
            let counted = answer["ConsumedCapacity"]["CapacityUnits"].as_f64();
            let item = &request.body["Item"];
            let units = units::to_write(item) + units::index_entries(item);
            if counted.is_some_and(|counted| counted != units) {
                self.lock().breaches.push(format!("{units} write units are counted as {counted:?}: {}", request.body));
            }
            // a put whose condition is false is billed, but it does not reach the index
            if answer["__type"].as_str().is_some_and(|error| error.contains("ConditionalCheckFailed")) {
                let tally = &mut self.lock().tally;
                tally.writes -= units::index_entries(item);
                tally.conflicts += 1;
            }
        }
        if matches!(request.operation.as_str(), "UpdateItem" | "DeleteItem") {
            // without reported units, the condition failed, which is billed as one unit
            let counted = answer["ConsumedCapacity"]["CapacityUnits"].as_f64().unwrap_or(1.0);
            self.lock().tally.writes += counted;
        }
    }
}
