//! The functions under test, and a record of the executions of their bodies.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::future::{join_all, try_join_all};
use stepladder::prelude::*;
use stepladder_core::{NewEvent, json};

#[derive(Serialize, Deserialize)]
pub(crate) struct GoEvent {
    pub(crate) n: u32,
}

impl EventData for GoEvent {
    const NAME: &'static str = "shop/go";
}

#[derive(Serialize, Deserialize)]
pub(crate) struct ShopEvent {
    n: u32,
}

impl EventData for ShopEvent {
    const NAME: &'static str = "shop/told";
}

/// Returns the event that starts run number `n`.
pub(crate) fn go_event(n: u32) -> NewEvent {
    let data = json::to_json(&GoEvent { n }).expect("JSON");
    NewEvent::new(GoEvent::NAME, data).with_id(format!("go-{n}"))
}

/// A record of body executions: how often each body was executed, and how many were executing at
/// the same time.
#[derive(Clone, Default)]
pub(crate) struct ExecutionLog(Arc<Mutex<ExecutionCounts>>);

#[derive(Default)]
struct ExecutionCounts {
    of: BTreeMap<(u32, String), u32>,
    now: usize,
    most: usize,
    order: Vec<u32>,
}

impl ExecutionLog {
    fn begin(&self, n: u32, step: &str) -> u32 {
        let mut bodies = self.0.lock().expect("no panic");
        bodies.now += 1;
        bodies.most = bodies.most.max(bodies.now);
        bodies.order.push(n);
        let count = bodies.of.entry((n, step.to_owned())).or_default();
        *count += 1;
        *count
    }

    fn end(&self) {
        self.0.lock().expect("no panic").now -= 1;
    }

    /// Executes a body that yields 20 times, so that other bodies can start. Returns the number of
    /// this execution.
    pub(crate) async fn body(&self, n: u32, step: &str) -> u32 {
        let count = self.begin(n, step);
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        self.end();
        count
    }

    /// Returns how often each body of run number `n` was executed, by step.
    pub(crate) fn counts_of_run(&self, n: u32) -> BTreeMap<String, u32> {
        let bodies = self.0.lock().expect("no panic");
        bodies.of.iter().filter(|((of, _), _)| *of == n).map(|((_, step), count)| (step.clone(), *count)).collect()
    }

    /// Returns the highest number of bodies that executed at the same time.
    pub(crate) fn most_at_once(&self) -> usize {
        self.0.lock().expect("no panic").most
    }

    /// Returns the numbers of the runs, in the order in which their first bodies started.
    pub(crate) fn start_order(&self) -> Vec<u32> {
        let mut order = self.0.lock().expect("no panic").order.clone();
        let mut seen = std::collections::HashSet::new();
        order.retain(|n| seen.insert(*n));
        order
    }
}

/// Returns functions with parallel steps, a sleep, a failure and an event, so that all kinds of
/// writes occur.
pub(crate) fn functions_with_every_step(account: &ExecutionLog) -> Vec<Function> {
    let (mine, theirs) = (account.clone(), account.clone());
    let main = Function::new("everything", move |ctx: Context, event: Event<GoEvent>| {
        let account = mine.clone();
        async move {
            let (n, account) = (event.data.n, &account);
            ctx.step("first", async || Ok(account.body(n, "first").await)).await?;
            ctx.sleep("a minute", Duration::from_secs(60)).await?;
            let both = ["left", "right"].map(|name| ctx.step(name, async move || Ok(account.body(n, name).await)));
            try_join_all(both).await?;
            let fails = async || match account.body(n, "fails").await {
                1 => Err(Error::new("refused")),
                _ => Ok(()),
            };
            ctx.step("fails", fails).await?;
            ctx.send_event("tell", ShopEvent { n }).await?;
            Ok("done")
        }
    });
    let told = Function::new("told", move |ctx: Context, event: Event<ShopEvent>| {
        let account = theirs.clone();
        async move { ctx.step("told", async || Ok(account.body(event.data.n, "told").await)).await }
    });
    vec![main.backoff(Backoff::Fixed(Duration::from_millis(15_300))), told]
}

/// Returns the number of executions of each body of [`everything`] in one run.
pub(crate) fn everything_once() -> BTreeMap<String, u32> {
    [("first", 1), ("left", 1), ("right", 1), ("fails", 2), ("told", 1)].map(|(name, n)| (name.to_owned(), n)).into()
}

/// Returns a function with two parallel sleeps. The sweep sends their timers. The second ends a
/// minute after the first.
pub(crate) fn retrying_function(account: &ExecutionLog, wait: Duration) -> Function {
    let account = account.clone();
    Function::new("patient", move |ctx: Context, event: Event<GoEvent>| {
        let account = account.clone();
        async move {
            let sleeps =
                [("one", wait), ("two", wait + Duration::from_secs(60))].map(|(name, wait)| ctx.sleep(name, wait));
            join_all(sleeps).await.into_iter().collect::<Result<Vec<()>>>()?;
            ctx.step("after", async || Ok(account.body(event.data.n, "after").await)).await
        }
    })
}

/// Returns a function with parallel steps, each of which has its own wake.
pub(crate) fn parallel_function(account: &ExecutionLog, width: u32) -> Function {
    let account = account.clone();
    Function::new("wide", move |ctx: Context, event: Event<GoEvent>| {
        let account = account.clone();
        async move {
            let n = event.data.n;
            let steps = (0..width).map(|i| {
                let account = account.clone();
                ctx.step("part", async move || Ok(account.body(n, &format!("part {i}")).await))
            });
            try_join_all(steps).await
        }
    })
}

/// Returns a function with two steps and a limit of two slots.
pub(crate) fn limited_function(account: &ExecutionLog) -> Function {
    let account = account.clone();
    Function::new("narrow", move |ctx: Context, event: Event<GoEvent>| {
        let account = account.clone();
        async move {
            let (n, account) = (event.data.n, &account);
            ctx.step("one", async || Ok(account.body(n, "one").await)).await?;
            ctx.step("two", async || Ok(account.body(n, "two").await)).await
        }
    })
    .concurrency(Concurrency::limit(2))
}

/// Returns a function with two steps. The outcome of the first has 3 MB and compresses badly; the
/// second reads it.
pub(crate) fn large_outcome_function() -> Function {
    Function::new("large", async |ctx: Context, _: Event<GoEvent>| {
        let text: String = ctx.step("much", async || Ok(random_letters(3_000_000))).await?;
        ctx.step("after", async || Ok(text == random_letters(3_000_000))).await
    })
}

fn random_letters(n: usize) -> String {
    let mut seed = 7_u64;
    let mut letter = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'0' + (seed >> 58) as u8)
    };
    (0..n).map(|_| letter()).collect()
}
