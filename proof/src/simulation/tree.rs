//! Random functions: trees of steps, parallel groups, races, sleeps, events, calls and failures,
//! executed by the SDK's real `Context`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all, select_all, try_join_all};
use serde_json::{Value, json};
use stepladder_engine::clock::Clock;
use stepladder_sdk::prelude::*;
use stepladder_sdk::{Backoff, Error};
use stepladder_testkit::clock::VirtualClock;

use super::account::ExecutionLog;
use super::functions::{AwaitedEvent, HELPER, HearerEvent};
use crate::dice::SeededDice;

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
    /// A wait for a callback, with a timeout.
    Signal(String, Duration),
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
}

impl FunctionNode {
    /// Returns this tree with a failing step at its end.
    pub(crate) fn into_failing(self) -> Self {
        Self::Seq(vec![self, Self::Step("doom".into(), BodyBehaviour::Hopeless { caught: false })])
    }

    /// Replaces some steps by steps that start at most once.
    pub(crate) fn with_once_steps(self, dice: &SeededDice) -> Self {
        let all = |nodes: Vec<Self>| nodes.into_iter().map(|node| node.with_once_steps(dice)).collect();
        match self {
            Self::Step(name, BodyBehaviour::Fails { .. }) if dice.one_in(2) => {
                let takes = Duration::from_secs(if dice.one_in(2) { dice.below(50) } else { 0 });
                let times = dice.below(2) as u32;
                Self::Step(format!("{ONCE}{name}"), BodyBehaviour::Once { times, takes })
            }
            Self::Seq(nodes) => Self::Seq(all(nodes)),
            Self::Join(nodes) => Self::Join(all(nodes)),
            Self::TryJoin(nodes) => Self::TryJoin(all(nodes)),
            Self::Race(nodes) => Self::Race(all(nodes)),
            other => other,
        }
    }

    /// Runs this part of a function.
    pub(crate) fn run<'a>(&'a self, ctx: &'a Context, place: &'a BodyEnvironment) -> BoxFuture<'a, Result<Value>> {
        async move {
            match self {
                Self::Step(name, fate) => run_step(ctx, place, name, fate).await,
                Self::Sleep(name, time) => ctx.sleep(name, *time).await.map(|()| Value::Null),
                Self::Twice(name) => {
                    let both = [name.clone(), format!("{name}:1")]
                        .map(|id| ctx.step(name, async move || Ok(place.account.begin(ctx.run_id(), &id).0)));
                    Ok(json!(join_all(both).await.into_iter().collect::<Result<Vec<_>>>()?))
                }
                Self::Send(name, n) => {
                    let events = (0..*n).map(|n| HearerEvent { n });
                    ctx.send_events(name, events).await.map(|ids| json!(ids.len()))
                }
                Self::Listen(name, k, how, time) => {
                    let wait = ctx.wait_for_event::<AwaitedEvent>(name).timeout(*time);
                    let wait = match how {
                        EventSelection::ByField => wait.matching("k", k),
                        EventSelection::ByExpression => wait.filter(format!("async.data.k == {k}")),
                        EventSelection::Any => wait,
                    };
                    Ok(json!(wait.await?.map(|word| word.data.k)))
                }
                Self::Signal(name, time) => {
                    let signal: Option<u64> = ctx.wait_for_signal(name).timeout(*time).await?;
                    Ok(json!(signal))
                }
                Self::Call(name, bound) => {
                    let call = ctx.invoke(name, HELPER, &json!({"n": 1}));
                    let result: Result<Value> = if *bound { call.cancelled_with_run().await } else { call.await };
                    // The failure of the child becomes part of the result and does not fail the
                    // run.
                    Ok(result.unwrap_or_else(|_| json!("the child failed")))
                }
                Self::Trip(times) if ctx.attempt() <= *times => {
                    ctx.log(format!("trips in attempt {}", ctx.attempt()));
                    Err(Error::new("tripped"))
                }
                Self::Trip(times) => Ok(json!(times)),
                Self::Seq(nodes) => {
                    let mut all = Vec::new();
                    for node in nodes {
                        all.push(node.run(ctx, place).await?);
                        ctx.log(format!("{} done", all.len()));
                    }
                    Ok(json!(all))
                }
                Self::Join(nodes) => {
                    let all = join_all(nodes.iter().map(|node| node.run(ctx, place))).await;
                    Ok(json!(all.into_iter().collect::<Result<Vec<_>>>()?))
                }
                Self::TryJoin(nodes) => Ok(json!(try_join_all(nodes.iter().map(|node| node.run(ctx, place))).await?)),
                Self::Race(nodes) => {
                    let (first, n, _) = select_all(nodes.iter().map(|node| node.run(ctx, place))).await;
                    Ok(json!([n, first?]))
                }
                Self::Meet(name) => meet_event(ctx, place, name).await,
            }
        }
        .boxed()
    }
}

async fn run_step(ctx: &Context, place: &BodyEnvironment, name: &str, fate: &BodyBehaviour) -> Result<Value> {
    let run = ctx.run_id();
    match fate {
        BodyBehaviour::Fails { times, turns, wait } => {
            let body = async move || {
                let (n, executing) = place.account.begin(run, name);
                for _ in 0..*turns {
                    tokio::task::yield_now().await;
                }
                executing.end();
                if n <= *times { Err(Error::new("by chance")) } else { Ok(json!(n)) }
            };
            // A failure happens again if a crash loses its entry, so there are more retries than
            // failures.
            ctx.step(name, body).retries(50).backoff(Backoff::Fixed(*wait)).await
        }
        BodyBehaviour::Takes(time) => {
            let body = async move || {
                let (n, executing) = place.account.begin(run, name);
                place.clock.sleep_until(place.clock.now() + *time).await;
                executing.end();
                Ok(json!(n))
            };
            // A frozen worker exceeds the step's timeout, so the step has retries.
            ctx.step(name, body).retries(50).backoff(Backoff::Fixed(Duration::from_secs(5))).await
        }
        BodyBehaviour::Hopeless { caught } => {
            let body = async move || {
                let (_, executing) = place.account.begin(run, name);
                executing.end();
                Err(Error::terminal("hopeless"))
            };
            let result: Result<Value> = ctx.step(name, body).await;
            if *caught { Ok(result.unwrap_or_else(|error| json!(error.to_string()))) } else { result }
        }
        BodyBehaviour::Once { times, takes } => {
            let body = async move || {
                let (n, executing) = place.account.begin(run, name);
                place.clock.sleep_until(place.clock.now() + *takes).await;
                executing.end();
                if n <= *times { Err(Error::new(DECLINED)) } else { Ok(json!(n)) }
            };
            let step = ctx.step(name, body).at_most_once().retries(1).backoff(Backoff::Fixed(Duration::from_secs(9)));
            let result: Result<Value> = step.await;
            Ok(result.unwrap_or_else(|error| json!(error.code())))
        }
        BodyBehaviour::Deadly => {
            let body = async move || {
                let (_, _executing) = place.account.begin(run, name);
                place.dying.store(true, SeqCst);
                futures::future::pending::<Result<Value>>().await
            };
            let result = ctx.step(name, body).await;
            Ok(result.unwrap_or_else(|error| json!(error.code())))
        }
    }
}

async fn meet_event(ctx: &Context, place: &BodyEnvironment, name: &str) -> Result<Value> {
    let run = ctx.run_id();
    let [first, second, third] = ["waits", "first", "then"].map(|part| format!("{name}-{part}"));
    let awaited = third.clone();
    let waits = async {
        let body = async || {
            let (n, executing) = place.account.begin(run, &first);
            while !place.account.has_ended(run, &awaited) {
                place.clock.sleep_until(place.clock.now() + Duration::from_secs(1)).await;
            }
            executing.end();
            Ok(n)
        };
        let backoff = Backoff::Fixed(Duration::from_secs(1));
        ctx.step(&first, body).retries(500).timeout(Duration::from_secs(100)).backoff(backoff).await
    };
    let brief = async |id: &str| {
        let (n, executing) = place.account.begin(run, id);
        executing.end();
        Ok(n)
    };
    let steps = async {
        let one: u32 = ctx.step(&second, async || brief(&second).await).await?;
        let two: u32 = ctx.step(&third, async || brief(&third).await).await?;
        Ok(one + two)
    };
    let (waited, sum): (Result<u32>, Result<u32>) = futures::future::join(waits, steps).await;
    waited?;
    Ok(json!(sum? > 0))
}
