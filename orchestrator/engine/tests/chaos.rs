//! Random functions under random faults: crashes, lost replies, partial commits, duplicated and
//! repeated wakes, cancellations. Every run must end as expected, with at most one outcome for each
//! step.
//!
//! A failure prints its seed. `CHAOS_SEED=n` runs only that seed, `CHAOS_SEEDS=n` runs `n` seeds.

mod support;

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use stepladder_core::journal::Fact;
use stepladder_core::slot::Limit;
use stepladder_core::{NewEvent, RunId, Status, json};
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::{Queue, SlotOperations};
use stepladder_engine::{Engine, Pace, RunFilter};
use support::chance::{SeededDice, random_graph};
use support::execution_log::ExecutionLog;
use support::faults::FaultyBackend;
use support::script::ScriptedFunction;
use support::{EngineFixture, count_facts};

async fn run_chaos(seed: u64) {
    let dice = SeededDice::new(seed);
    let (main, limit) = random_graph(&dice, 9);
    let helper = ScriptedFunction::new("helper").spec(|spec| spec.triggers.clear()).step("help", &[]);
    let (main_done, helper_done) = (main.executed(), helper.executed());
    let pace = if dice.one_in(2) { Pace::StepPerInvocation } else { Pace::WithinBudget };
    let side_by_side = 1 + dice.below(4) as usize;
    let mut world = EngineFixture::new(vec![main.function(), helper.function()])
        .pace(pace)
        .config(|config| (config.side_by_side, config.cache_bytes) = (side_by_side, 1 << (10 + dice.below(12))));
    world.seed = seed << 8;
    let every = 5 + dice.below(60) as u32;
    let faults_at_most = dice.below(5) as u32;
    let faults = Arc::new(AtomicU32::new(faults_at_most));
    let mut faulty = FaultyBackend::with_random_faults(world.memory.clone(), dice.bits(), every, faults.clone());
    let mut engine = world.engine_on(faulty.clone());
    let onlooker = world.engine();
    let events: Vec<NewEvent> =
        (0..1 + dice.below(4)).map(|n| NewEvent::new("go", json::empty_object()).with_id(format!("e{n}"))).collect();
    let mut ingested = false;
    let begun = world.clock.now();
    for _ in 0..20_000 {
        let life = run_under_chaos(&world, &engine, &dice, &events, &mut ingested);
        let died = tokio::select! {
            biased;
            () = faulty.death.notified() => true,
            () = life => false,
        };
        if died {
            faulty = FaultyBackend::with_random_faults(world.memory.clone(), dice.bits(), every, faults.clone());
            engine = world.engine_on(faulty.clone());
        }
        if ingested && all_ended(&onlooker, events.len()).await {
            // The allowed time is the sum of the sleeps, 700 s for retries, and 310 s per fault,
            // which is the longest time for which a lost wake or slot delays a run. Only a run that
            // waited for its watchdog takes longer: an hour.
            let (took, longest_sleep) = (world.clock.now().since(begun), longest_sleep(&world, &onlooker).await);
            let patience = longest_sleep + Duration::from_secs(700) + 310 * Duration::from_secs(1) * faults_at_most;
            if took >= patience {
                let journals = describe(&world, &onlooker).await;
                panic!("seed {seed}: it took {took:?}, of which {longest_sleep:?} of sleep:\n{journals}");
            }
            assert!(
                limit == 0 || main_done.most_at_once() <= limit,
                "seed {seed}: {} at once",
                main_done.most_at_once()
            );
            assert_eq!((main_done.executed_twice(), helper_done.executed_twice()), (None, None), "seed {seed}");
            return check_runs(&world, &onlooker, seed, (&main_done, &helper_done)).await;
        }
    }
    panic!("seed {seed}: not every run ended:\n{}", describe(&world, &onlooker).await);
}

/// Formats the journals for the message of a failed test.
async fn describe(world: &EngineFixture, onlooker: &Engine) -> String {
    let mut lines = Vec::new();
    for run in onlooker.query().runs(RunFilter::default()).await.unwrap().runs {
        lines.push(format!("{} {}", run.run, run.function));
        for entry in world.journal(onlooker, run.run).await {
            lines.push(format!("  {} {:.160}", entry.at, format!("{:?}", entry.fact)));
        }
    }
    lines.join("\n")
}

/// Lets a process act for a moment: it sends the events until they are accepted, repeats deliveries
/// and cancels runs at random, and then handles due wakes or moves the clock.
async fn run_under_chaos(
    world: &EngineFixture,
    engine: &Arc<Engine>,
    dice: &SeededDice,
    events: &[NewEvent],
    ingested: &mut bool,
) {
    if !*ingested {
        *ingested = engine.intake().ingest(events.to_vec(), None).await.is_ok();
    }
    if dice.one_in(20) {
        world.memory.redeliver();
    }
    if dice.one_in(150)
        && let Ok(page) = engine.query().runs(RunFilter::default()).await
        && !page.runs.is_empty()
    {
        let run = page.runs[dice.below(page.runs.len() as u64) as usize].run;
        engine.control().cancel(run, "by chance").await.ok();
    }
    let now = world.clock.now();
    match world.memory.next_due() {
        Some(due) if due <= now => {
            let max = 1 + dice.below(3) as usize;
            let mut deliveries = world.memory.receive(max, engine.config().visibility()).await.unwrap();
            if dice.one_in(10) {
                deliveries.extend(deliveries.clone()); // the same wake twice, in parallel
            }
            let hops = deliveries.into_iter().map(|delivery| match dice.one_in(3) {
                // the invocation has up to two minutes left
                true => engine.hop_until(delivery, now + Duration::from_secs(dice.below(120))).left_future(),
                false => engine.hop(delivery).right_future(),
            });
            join_all(hops.collect::<Vec<_>>()).await;
        }
        due => {
            let minute = now + Duration::from_secs(60);
            world.clock.set(due.unwrap_or(minute).min(minute));
            engine.sweep().await.ok();
        }
    }
}

/// Returns the longest time that any run slept, in total.
async fn longest_sleep(world: &EngineFixture, onlooker: &Engine) -> Duration {
    let mut longest = Duration::ZERO;
    for run in onlooker.query().runs(RunFilter::default()).await.unwrap().runs {
        let journal = world.journal(onlooker, run.run).await;
        let sleeps = journal.iter().filter_map(|entry| match entry.fact {
            Fact::SleepStarted { until, .. } => Some(until.since(entry.at)),
            _ => None,
        });
        longest = longest.max(sleeps.sum());
    }
    longest
}

async fn all_ended(onlooker: &Engine, events: usize) -> bool {
    let runs = onlooker.query().runs(RunFilter::default()).await.unwrap().runs;
    runs.len() >= events && runs.iter().all(|run| run.status.is_end())
}

async fn check_runs(
    world: &EngineFixture,
    onlooker: &Arc<Engine>,
    seed: u64,
    executed: (&ExecutionLog, &ExecutionLog),
) {
    for run in onlooker.query().runs(RunFilter::default()).await.unwrap().runs {
        let done = if &*run.function == "main" { executed.0 } else { executed.1 };
        let called = cancelled_call(onlooker, run.run).await;
        assert!(
            run.status == Status::Completed || run.status == Status::Cancelled || called,
            "seed {seed}: {:#?}",
            onlooker.query().run(run.run).await.unwrap()
        );
        let journal = world.journal(onlooker, run.run).await;
        for entry in &journal {
            let Some(step) = entry.fact.step() else { continue };
            let outcomes = count_facts(
                &journal,
                |f| matches!(f, Fact::StepSucceeded { step: s, .. } | Fact::StepFailed { step: s, retry_at: None, .. } if s == step),
            );
            assert!(outcomes <= 1, "seed {seed}: {step} has {outcomes} outcomes: {journal:#?}");
            assert!(done.count_of(step) < 1_000, "seed {seed}: {step} was executed without end");
        }
    }
    // once the leases of dead workers have expired, no ticket may be left
    world.clock.advance(Duration::from_secs(7_200));
    onlooker.sweep().await.unwrap();
    while world.memory.next_due().is_some_and(|due| due <= world.clock.now()) {
        world.hop_once(onlooker).await;
    }
    let limit = Limit { key: "main/0".into(), slots: 1 };
    let left = world.memory.first_tickets(&limit.key, 9).await.unwrap();
    assert!(left.is_empty(), "seed {seed}: {left:?} wait for ever");
}

/// Returns whether the run failed because a run that it called was cancelled.
async fn cancelled_call(onlooker: &Engine, run: RunId) -> bool {
    let error = onlooker.query().run(run).await.unwrap().summary.error;
    error.is_some_and(|error| error.code() == Some("cancelled"))
}

#[tokio::test]
async fn every_run_ends_as_expected_under_random_faults() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("CHAOS_SEED") {
        return run_chaos(seed).await;
    }
    for seed in 0..number("CHAOS_SEEDS").unwrap_or(300) {
        run_chaos(seed).await;
    }
}
