//! Random functions: trees of steps, parallel groups, races, sleeps, events, calls and failures,
//! executed by the SDK's real `Context`.

mod running;
mod variants;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use stepladder_core::RunId;
use stepladder_testkit::clock::VirtualClock;

use super::account::{ExecutionGuard, ExecutionLog};
use crate::dice::SeededDice;
pub(crate) use variants::Varieties;

/// How often a wait for a callback asks for heartbeats.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(40);

/// The beginning of the names of steps that start at most once.
pub(crate) const ONCE: &str = "once-";
/// The error of a body that starts at most once. After this error it may start again.
pub(crate) const DECLINED: &str = "declined";

/// A part of a function.
#[derive(Clone, Debug)]
pub(crate) enum FunctionNode {
    Step(String, BodyBehaviour),
    Sleep(String, Duration),
    /// Two steps with the same name, which are numbered.
    Twice(String),
    Send(String, u64),
    /// A call of the helper. The flag says whether the helper is cancelled with its caller.
    Call(String, bool),
    /// The handler itself fails in its first attempts, this many times.
    Trip(u32),
    Seq(Vec<FunctionNode>),
    Join(Vec<FunctionNode>),
    /// All parts in parallel, until the first one fails, which drops the others.
    TryJoin(Vec<FunctionNode>),
    Race(Vec<FunctionNode>),
    /// A wait for an event with this key, with a timeout.
    Listen(String, u64, EventSelection, Duration),
    /// A wait for a callback, with a timeout. It asks for heartbeats if the timeout is not short.
    Signal(String, Duration),
    /// A sleep, a wait or a call that is started before the rest, and awaited after it.
    Started(Box<FunctionNode>, Box<FunctionNode>),
    /// One item for each part. The number is the limit of items at the same time.
    Map(String, Vec<FunctionNode>, usize, MapCompletion),
    /// Two bodies that wait for each other: the first body ends only after the step that follows
    /// the second one. The handler must be polled after each outcome.
    Meet(String),
}

/// The behaviour of a step's body.
#[derive(Clone, Debug)]
pub(crate) enum BodyBehaviour {
    /// The body fails `times` times, and yields `turns` times in each attempt.
    Fails { times: u32, turns: u64, wait: Duration },
    /// The body takes this long.
    Takes(Duration),
    /// The body fails for good. If `caught`, the handler continues, otherwise it fails too.
    Hopeless { caught: bool },
    /// The body kills its invocation in every attempt.
    Deadly,
    /// The body starts at most once, takes this long, and fails `times` times.
    Once { times: u32, takes: Duration },
    /// The body is a check that has its value after `times` checks without one, and fails in
    /// between.
    Polls { times: u32, wait: Duration },
}

/// When a map of several steps is complete.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MapCompletion {
    /// Every item must succeed.
    All,
    /// Every item is tried.
    Results,
    /// With this many successes.
    Successes(usize),
    /// With one failure more than this.
    Tolerated(usize),
    /// With the first success.
    First,
}

/// How the awaited event is selected.
#[derive(Clone, Copy, Debug)]
pub(crate) enum EventSelection {
    ByField,
    ByExpression,
    Any,
}

/// The nodes that a tree may contain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AllowedNodes {
    /// The approximate maximum number of leaves.
    pub(crate) leaves: u64,
    pub(crate) calls: bool,
    pub(crate) meets: bool,
    pub(crate) deadly: bool,
    pub(crate) waits: bool,
}

/// Creates a random tree.
pub(crate) fn random_tree(dice: &SeededDice, allowed: AllowedNodes) -> FunctionNode {
    let mut leaves = 1 + dice.below(allowed.leaves);
    let mut count = 0;
    let mut all = Vec::new();
    while leaves > 0 {
        all.push(random_branch(dice, allowed, &mut leaves, &mut count, 0));
    }
    if allowed.deadly {
        all.push(FunctionNode::Step("deadly".into(), BodyBehaviour::Deadly));
    }
    FunctionNode::Seq(all)
}

fn random_branch(
    dice: &SeededDice,
    allowed: AllowedNodes,
    leaves: &mut u64,
    count: &mut u32,
    depth: u32,
) -> FunctionNode {
    let several_of = |allowed: AllowedNodes, leaves: &mut u64, count: &mut u32| {
        let n = 2 + dice.below(3);
        (0..n).map(|_| random_branch(dice, allowed, leaves, count, depth + 1)).collect::<Vec<_>>()
    };
    let several = |leaves: &mut u64, count: &mut u32| several_of(allowed, leaves, count);
    // No meetings inside races with waits: if another hop records the winner, the loser's body
    // would wait for a step that never starts.
    let racing = AllowedNodes { meets: false, ..allowed };
    match dice.below(10) {
        0 if depth < 3 && *leaves > 2 => FunctionNode::Seq(several(leaves, count)),
        1 | 2 if depth < 3 && *leaves > 1 => FunctionNode::Join(several(leaves, count)),
        3 if depth < 3 && *leaves > 1 => FunctionNode::Race(several_of(racing, leaves, count)),
        4 if depth < 3 && *leaves > 1 => FunctionNode::TryJoin(several(leaves, count)),
        _ => {
            *leaves = leaves.saturating_sub(1);
            *count += 1;
            random_leaf(dice, allowed, *count)
        }
    }
}

fn random_leaf(dice: &SeededDice, allowed: AllowedNodes, n: u32) -> FunctionNode {
    let seconds = |most: u64| Duration::from_secs(dice.below(most));
    if allowed.waits && dice.one_in(3) {
        let time = seconds(if dice.one_in(2) { 100 } else { 3_000 });
        return match dice.below(4) {
            0 => FunctionNode::Signal(format!("signal-{n}"), time),
            1 => FunctionNode::Listen(format!("listen-{n}"), dice.below(2), EventSelection::ByField, time),
            2 => FunctionNode::Listen(format!("listen-{n}"), dice.below(2), EventSelection::ByExpression, time),
            _ => FunctionNode::Listen(format!("listen-{n}"), 0, EventSelection::Any, time),
        };
    }
    match dice.below(16) {
        0 | 1 => FunctionNode::Sleep(format!("sleep-{n}"), seconds(if dice.one_in(2) { 60 } else { 3_000 })),
        2 => FunctionNode::Send(format!("send-{n}"), 1 + dice.below(2)),
        3 | 4 if allowed.calls => FunctionNode::Call(format!("call-{n}"), dice.one_in(2)),
        5 => FunctionNode::Trip(1 + dice.below(2) as u32),
        6 => FunctionNode::Twice(format!("twice-{n}")),
        7 if allowed.meets => FunctionNode::Meet(format!("meet-{n}")),
        8 => FunctionNode::Step(format!("slow-{n}"), BodyBehaviour::Takes(seconds(55))),
        9 => FunctionNode::Step(format!("hopeless-{n}"), BodyBehaviour::Hopeless { caught: !dice.one_in(4) }),
        _ => {
            let (times, turns) = (dice.below(3) as u32, dice.below(4));
            FunctionNode::Step(format!("step-{n}"), BodyBehaviour::Fails { times, turns, wait: seconds(30) })
        }
    }
}

/// What the bodies use of the simulation.
#[derive(Clone)]
pub(crate) struct BodyEnvironment {
    pub(crate) account: ExecutionLog,
    pub(crate) clock: Arc<VirtualClock>,
    /// Set by a body to kill the invocation that is being polled.
    pub(crate) dying: Arc<AtomicBool>,
    /// The beginning of the ids of all steps: empty, or that of an item of a map.
    pub(crate) prefix: String,
}

impl BodyEnvironment {
    pub(crate) fn new(account: ExecutionLog, clock: Arc<VirtualClock>, dying: Arc<AtomicBool>) -> Self {
        Self { account, clock, dying, prefix: String::new() }
    }

    /// Returns the environment of an item of a map.
    fn of_item(&self, map: &str, item: usize) -> Self {
        Self { prefix: format!("{}{}", self.prefix, item_prefix(map, item)), ..self.clone() }
    }

    fn begin(&self, run: RunId, name: &str) -> (u32, ExecutionGuard) {
        self.account.begin(run, &format!("{}{name}", self.prefix))
    }

    /// Records what the handler received from a step.
    fn observe(&self, run: RunId, name: &str, outcome: String) {
        self.account.observe(run, &format!("{}{name}", self.prefix), outcome);
    }
}

/// Returns the beginning of the ids of an item's steps.
fn item_prefix(map: &str, item: usize) -> String {
    format!("{map}/item-{item}/")
}

/// Returns a step's name without the prefix of the item that it belongs to.
pub(crate) fn own_name(step: &str) -> &str {
    step.rsplit('/').next().unwrap_or(step)
}
