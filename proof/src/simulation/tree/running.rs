//! Runs a tree as the handler of a function.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use futures::future::{BoxFuture, join_all, select_all, try_join_all};
use futures::{FutureExt, TryFutureExt};
use serde_json::{Value, json};
use stepladder_engine::clock::Clock;
use stepladder_sdk::prelude::*;
use stepladder_sdk::{Backoff, Check, Error, ErrorCode, ItemResult, ItemResults};

use super::{BodyBehaviour, BodyEnvironment, DECLINED, EventSelection, FunctionNode, HEARTBEAT, MapCompletion};
use crate::simulation::callbacks::{NO_HEARTBEAT, POSTED};
use crate::simulation::functions::{AwaitedEvent, HELPER, HearerEvent};

/// Starts a step if `starts` is true, and returns its future.
macro_rules! begun {
    ($step:expr, $starts:expr) => {
        match $starts {
            true => $step.start().left_future(),
            false => $step.right_future(),
        }
    };
}

impl FunctionNode {
    /// Runs this part of a function.
    pub(crate) fn run<'a>(&'a self, ctx: &'a Context, place: &'a BodyEnvironment) -> BoxFuture<'a, Result<Value>> {
        async move {
            match self {
                Self::Step(name, fate) => run_step(ctx, place, name, fate).await,
                Self::Sleep(..) | Self::Send(..) | Self::Listen(..) | Self::Signal(..) | Self::Call(..) => {
                    self.run_startable(ctx, place, false).await
                }
                Self::Started(first, rest) => {
                    let started = first.run_startable(ctx, place, true);
                    let rest = rest.run(ctx, place).await?;
                    Ok(json!([rest, started.await?]))
                }
                Self::Map(name, nodes, limit, completion) => {
                    run_map(ctx, place, (name, nodes), *limit, *completion).await
                }
                Self::Twice(name) => {
                    let both = [name.clone(), format!("{name}:1")]
                        .map(|id| ctx.step(name, async move || Ok(place.begin(ctx.run_id(), &id).0)));
                    Ok(json!(join_all(both).await.into_iter().collect::<Result<Vec<_>>>()?))
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

    /// Creates a sleep, a wait, a call or a send. With `starts`, it also starts it.
    fn run_startable<'a>(
        &'a self,
        ctx: &'a Context,
        place: &'a BodyEnvironment,
        starts: bool,
    ) -> BoxFuture<'a, Result<Value>> {
        let run = ctx.run_id();
        match self {
            Self::Sleep(name, time) => {
                let slept = begun!(ctx.sleep(name, *time), starts);
                slept.map_ok(|()| Value::Null).boxed()
            }
            Self::Send(name, n) => {
                let events = (0..*n).map(|n| HearerEvent { n });
                begun!(ctx.send_events(name, events), starts).map_ok(|ids| json!(ids.len())).boxed()
            }
            Self::Listen(name, k, how, time) => {
                let wait = ctx.wait_for_event::<AwaitedEvent>(name).timeout(*time);
                let wait = match how {
                    EventSelection::ByField => wait.matching("k", k),
                    EventSelection::ByExpression => wait.filter(format!("async.data.k == {k}")),
                    EventSelection::Any => wait,
                };
                begun!(wait, starts).map_ok(|word| json!(word.map(|word| word.data.k))).boxed()
            }
            Self::Signal(name, time) => {
                let mut wait = ctx.wait_for_signal::<u64>(name).timeout(*time);
                if *time > HEARTBEAT {
                    wait = wait.heartbeat(HEARTBEAT);
                }
                let received = begun!(wait, starts);
                async move {
                    // A posted failure and a missed heartbeat become part of the result.
                    let received = match received.await {
                        Ok(data) => json!(data),
                        Err(error) if error.has_code(ErrorCode::HeartbeatTimeout) => json!(NO_HEARTBEAT),
                        Err(error) if error.code() == Some(POSTED) => json!(error.to_string()),
                        Err(error) => return Err(error),
                    };
                    place.observe(run, name, received.to_string());
                    Ok(received)
                }
                .boxed()
            }
            Self::Call(name, bound) => {
                let call = ctx.invoke(name, HELPER, &json!({"n": 1}));
                let call = if *bound { call.cancelled_with_run() } else { call };
                let called = begun!(call, starts);
                // The failure of the child becomes part of the result and does not fail the run.
                called.map(|result: Result<Value>| Ok(result.unwrap_or_else(|_| json!("the child failed")))).boxed()
            }
            other => other.run(ctx, place),
        }
    }
}

/// Executes the parts as items of a map.
async fn run_map(
    ctx: &Context,
    place: &BodyEnvironment,
    (name, nodes): (&str, &[FunctionNode]),
    limit: usize,
    completion: MapCompletion,
) -> Result<Value> {
    let map = ctx.map_steps(name, nodes.iter().enumerate(), |ctx: Context, (n, node)| {
        let place = place.of_item(name, n);
        async move { node.run(&ctx, &place).await }
    });
    let map = map.named(|(n, _)| format!("item-{n}")).limit(limit);
    match completion {
        MapCompletion::All => Ok(json!(map.await?)),
        MapCompletion::Tolerated(n) => Ok(json!(map.tolerated_failures(n).await?)),
        MapCompletion::First => map.first_success().await,
        MapCompletion::Results => Ok(item_results(map.results().await?)),
        MapCompletion::Successes(n) => Ok(item_results(map.min_successful(n).results().await?)),
    }
}

/// Returns how each item ended. A failure becomes part of the result and does not fail the run.
fn item_results(results: ItemResults<Value>) -> Value {
    let each = results.into_iter().map(|item| match item.result {
        ItemResult::Succeeded(value) => value,
        ItemResult::Failed(error) => json!(error.to_string()),
        ItemResult::Abandoned => json!("abandoned"),
        ItemResult::NotStarted => json!("not started"),
    });
    each.collect()
}

async fn run_step(ctx: &Context, place: &BodyEnvironment, name: &str, fate: &BodyBehaviour) -> Result<Value> {
    let run = ctx.run_id();
    match fate {
        BodyBehaviour::Fails { times, turns, wait } => {
            let body = async move || {
                let (n, executing) = place.begin(run, name);
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
                let (n, executing) = place.begin(run, name);
                place.clock.sleep_until(place.clock.now() + *time).await;
                executing.end();
                Ok(json!(n))
            };
            // A frozen worker exceeds the step's timeout, so the step has retries.
            ctx.step(name, body).retries(50).backoff(Backoff::Fixed(Duration::from_secs(5))).await
        }
        BodyBehaviour::Hopeless { caught } => {
            let body = async move || {
                let (_, executing) = place.begin(run, name);
                executing.end();
                Err(Error::terminal("hopeless"))
            };
            let result: Result<Value> = ctx.step(name, body).await;
            if *caught { Ok(result.unwrap_or_else(|error| json!(error.to_string()))) } else { result }
        }
        BodyBehaviour::Once { times, takes } => {
            let body = async move || {
                let (n, executing) = place.begin(run, name);
                place.clock.sleep_until(place.clock.now() + *takes).await;
                executing.end();
                if n <= *times { Err(Error::new(DECLINED)) } else { Ok(json!(n)) }
            };
            let step = ctx.step(name, body).at_most_once().retries(1).backoff(Backoff::Fixed(Duration::from_secs(9)));
            let result: Result<Value> = step.await;
            Ok(result.unwrap_or_else(|error| json!(error.code())))
        }
        BodyBehaviour::Polls { times, wait } => {
            let check = async move |checks: u32| {
                let (n, executing) = place.begin(run, name);
                executing.end();
                match n % 3 {
                    0 => Err(Error::new("by chance")),
                    _ if checks < *times => Ok(Check::NotYet(checks + 1)),
                    _ => Ok(Check::Ready(checks)),
                }
            };
            let polled = ctx.poll_with_state(name, 0, check).every(*wait).timeout(*wait * 1_000).retries(50);
            let checks: u32 = polled.await?;
            place.observe(run, name, checks.to_string());
            Ok(json!(checks))
        }
        BodyBehaviour::Deadly => {
            let body = async move || {
                let (_, _executing) = place.begin(run, name);
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
            let (n, executing) = place.begin(run, &first);
            while !place.account.has_ended(run, &format!("{}{awaited}", place.prefix)) {
                place.clock.sleep_until(place.clock.now() + Duration::from_secs(1)).await;
            }
            executing.end();
            Ok(n)
        };
        let backoff = Backoff::Fixed(Duration::from_secs(1));
        ctx.step(&first, body).retries(500).timeout(Duration::from_secs(100)).backoff(backoff).await
    };
    let brief = async |id: &str| {
        let (n, executing) = place.begin(run, id);
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
