//! What a run costs grows with its steps, not with their square. Random trees of sequences, joins,
//! maps and nested maps are executed, and everything that may grow is counted.
//!
//! Times are not measured, and the limits hold for one process.
//! `orchestrator/engine/tests/budget.rs` and `tests/tests/aws_budget` count the requests of
//! several.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, TryStreamExt};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::TestEngine;
use stepladder_sdk::testing::{Pace, Status, TestApp};

/// What a function does.
#[derive(Clone, Debug)]
enum Tree {
    Step,
    Sleep(u64),
    Sequence(Vec<Tree>),
    Join(Vec<Tree>),
    /// `ctx.map` over this many items, with this limit.
    Map(usize, usize),
    /// `ctx.map_steps` over these items, with this limit.
    MapSteps(usize, Vec<Tree>),
}

impl Tree {
    /// Returns the number of steps and sleeps.
    fn len(&self) -> u64 {
        match self {
            Self::Step | Self::Sleep(_) => 1,
            Self::Map(n, _) => *n as u64,
            Self::Sequence(trees) | Self::Join(trees) | Self::MapSteps(_, trees) => trees.iter().map(Self::len).sum(),
        }
    }

    fn sleeps(&self) -> u64 {
        match self {
            Self::Step | Self::Map(..) => 0,
            Self::Sleep(_) => 1,
            Self::Sequence(trees) | Self::Join(trees) | Self::MapSteps(_, trees) => {
                trees.iter().map(Self::sleeps).sum()
            }
        }
    }

    fn run<'a>(&'a self, ctx: &'a Context, polls: &'a AtomicU64) -> BoxFuture<'a, Result<()>> {
        match self {
            Self::Step => Box::pin(CountedPolls { polls, inner: ctx.step("step", async || Ok(())) }),
            Self::Sleep(seconds) => {
                let duration = Duration::from_secs(*seconds);
                Box::pin(CountedPolls { polls, inner: ctx.sleep("sleep", duration) })
            }
            Self::Sequence(trees) => Box::pin(async move {
                for tree in trees {
                    tree.run(ctx, polls).await?;
                }
                Ok(())
            }),
            Self::Join(trees) => Box::pin(async move {
                let all: FuturesUnordered<_> = trees.iter().map(|tree| tree.run(ctx, polls)).collect();
                all.try_collect().await
            }),
            Self::Map(n, limit) => {
                Box::pin(async move { ctx.map("map", 0..*n, async |_| Ok(())).limit(*limit).await.map(drop) })
            }
            Self::MapSteps(limit, trees) => Box::pin(async move {
                let map = ctx.map_steps("item", trees, async |ctx: Context, tree: &Tree| tree.run(&ctx, polls).await);
                map.limit(*limit).await.map(drop)
            }),
        }
    }
}

struct CountedPolls<'a, F> {
    polls: &'a AtomicU64,
    inner: F,
}

impl<F: Future + Unpin> Future for CountedPolls<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> task::Poll<F::Output> {
        self.polls.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.inner).poll(cx)
    }
}

/// Returns trees of up to a few hundred steps.
fn trees() -> BoxedStrategy<Tree> {
    // an execution is kept for a minute
    let leaf = prop_oneof![4 => Just(Tree::Step), 1 => (1..50_u64).prop_map(Tree::Sleep)];
    leaf.prop_recursive(4, 400, 12, |inner| {
        let many = || prop::collection::vec(inner.clone(), 1..12);
        let wide = prop::collection::vec(Just(Tree::Step), 30..200);
        prop_oneof![
            3 => many().prop_map(Tree::Sequence),
            3 => many().prop_map(Tree::Join),
            1 => wide.prop_map(Tree::Join),
            1 => (1..200_usize, 1..60_usize).prop_map(|(n, limit)| Tree::Map(n, limit)),
            3 => (1..60_usize, many()).prop_map(|(limit, trees)| Tree::MapSteps(limit, trees)),
        ]
        .boxed()
    })
    .boxed()
}

#[derive(Serialize, Deserialize)]
struct GoEvent {}

impl EventData for GoEvent {
    const NAME: &'static str = "test/go";
}

/// How often something happened while a run was executed.
#[derive(Clone, Copy, Debug)]
struct Counts {
    entries_read: u64,
    reads: u64,
    appends: u64,
    conflicts: u64,
    wakes: u64,
    polls: u64,
}

async fn count(tree: &Tree, pace: Pace, side_by_side: usize) -> Counts {
    let polls: Arc<AtomicU64> = Arc::default();
    let (counted, run) = (polls.clone(), Arc::new(tree.clone()));
    let handler = move |ctx: Context, _: Event<GoEvent>| {
        let (polls, tree) = (counted.clone(), run.clone());
        async move { tree.run(&ctx, &polls).await }
    };
    let mut app = TestApp::new().function(Function::new("f", handler)).pace(pace).config(|config| {
        // as in a server: executions are kept between hops
        (config.suspended_bytes, config.side_by_side) = (64 * 1024 * 1024, side_by_side);
        config.worker_timeout = Duration::from_secs(3_600);
    });
    let ended = app.send(&GoEvent {}).await.remove(0);
    assert_eq!(ended.status(), Status::Completed, "{:?}", ended.error());
    let memory = app.memory();
    let (all, entries) = (memory.counts(), memory.entries_read());
    // `send` inspects the run at its end, as this does
    app.runs().await;
    let inspected = memory.counts();
    Counts {
        entries_read: 2 * entries - memory.entries_read(),
        reads: 2 * all.reads - inspected.reads,
        appends: all.appends,
        conflicts: all.conflicts,
        wakes: all.sends,
        polls: polls.load(Ordering::Relaxed),
    }
}

/// Executes random trees, and checks what they cost. `of_pace` returns the maximum of reads,
/// appends and wakes for this many steps and sleeps.
fn assert_linear(pace: Pace, side_by_side: usize, of_pace: impl Fn(u64, u64) -> [u64; 3]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
    // the same trees in each run of the test
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let largest = Cell::new(0);
    let check = |tree: Tree| {
        let (n, sleeps) = (tree.len(), tree.sleeps());
        let counts = runtime.block_on(count(&tree, pace, side_by_side));
        let [reads, appends, wakes] = of_pace(n - sleeps, sleeps);
        let is_within = counts.reads <= reads && counts.appends <= appends && counts.wakes <= wakes;
        // rarely, two hops of a run write at the same time; then one reads what it has missed
        let is_calm = counts.conflicts <= 2 + n / 50;
        // A hop that finds no kept state reads the journal once for its whole group of steps. Two
        // states of a run are kept, because parallel steps have hops at the same time. After a
        // conflict, a hop may read the journal from its beginning.
        let is_read_once = counts.entries_read <= 10 * n + 100 + n * n / side_by_side as u64;
        // until a run has 16 outcomes, each hop replays it
        let is_polled = counts.polls <= 6 * n + 400;
        prop_assert!(
            is_within && is_calm && is_read_once && is_polled,
            "{n} steps, {sleeps} of them sleeps: {counts:?}"
        );
        largest.set(n.max(largest.get()));
        Ok(())
    };
    TestRunner::new_with_rng(config, random).run(&trees(), check).unwrap_or_else(|error| panic!("{error}"));
    assert!(largest.get() > 300, "the trees have at most {} steps", largest.get());
}

#[test]
fn with_one_step_an_invocation_the_cost_of_a_run_grows_with_its_steps() {
    for side_by_side in [16, 100_000] {
        assert_linear(Pace::StepPerInvocation, side_by_side, |steps, sleeps| {
            let hops = steps + sleeps + 4;
            [hops, 2 * hops, hops]
        });
    }
}

#[test]
fn within_budget_the_cost_of_a_run_grows_with_its_steps() {
    for side_by_side in [16, 100_000] {
        // a hop for each group of parallel steps, and for each sleep
        assert_linear(Pace::WithinBudget, side_by_side, |steps, sleeps| {
            let hops = steps / 10 + sleeps + 4;
            [hops, steps + 2 * sleeps + 8, hops]
        });
    }
}
