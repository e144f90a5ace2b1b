//! The functions that are measured. The outcome of a plain step has 200 bytes.

use futures::future::try_join_all;
use stepladder::prelude::*;

#[derive(Serialize, Deserialize)]
pub(crate) struct GoEvent {
    n: u32,
}

impl EventData for GoEvent {
    const NAME: &'static str = "shop/go";
}

#[derive(Serialize, Deserialize)]
pub(crate) struct CalledEvent {
    n: u32,
}

impl EventData for CalledEvent {
    const NAME: &'static str = "shop/called";
    const NAMES: &'static [&'static str] = &[];
}

/// A function with sequential steps, as many as the event says.
pub(crate) fn plain_function() -> Function {
    Function::new("plain", handler_with_steps)
}

/// A function with sequential steps under a limit that has free slots.
pub(crate) fn limited_function() -> Function {
    Function::new("limited", handler_with_steps).concurrency(Concurrency::limit(10))
}

/// A function with sequential steps under a limit of one slot.
pub(crate) fn queued_function() -> Function {
    Function::new("queued", handler_with_steps).concurrency(Concurrency::limit(1))
}

/// A function with sequential steps under a throttle that is not reached.
pub(crate) fn throttled_function() -> Function {
    Function::new("throttled", handler_with_steps).throttle(Rate::new(1_000, Duration::from_secs(60)))
}

/// A function with sequential steps under a rate limit that is not reached.
pub(crate) fn rate_limited_function() -> Function {
    Function::new("rated", handler_with_steps).rate_limit(Rate::new(1_000, Duration::from_secs(60)))
}

async fn handler_with_steps(ctx: Context, event: Event<GoEvent>) -> Result<()> {
    for _ in 0..event.data.n {
        ctx.step("work", step_outcome).await?;
    }
    Ok(())
}

/// A function with a step, a sleep of as many seconds as the event says, and another step.
pub(crate) fn sleeping_function() -> Function {
    Function::new("sleeping", async |ctx: Context, event: Event<GoEvent>| {
        ctx.step("before", step_outcome).await?;
        ctx.sleep("wait", Duration::from_secs(event.data.n.into())).await?;
        ctx.step("after", step_outcome).await
    })
}

/// A function with as many labels as the event says, and a step.
pub(crate) fn labelling_function() -> Function {
    Function::new("labelling", async |ctx: Context, event: Event<GoEvent>| {
        for n in 0..event.data.n {
            ctx.label(format!("k{n}"), n)?;
        }
        ctx.step("work", step_outcome).await
    })
}

/// A function with a step that fails at its first attempt.
pub(crate) fn failing_function() -> Function {
    Function::new("failing", async |ctx: Context, _: Event<GoEvent>| ctx.step("work", fails_once).await)
        .backoff(Backoff::Fixed(Duration::from_millis(15_300)))
}

/// A function with parallel steps, as many as the event says.
pub(crate) fn joining_function() -> Function {
    Function::new("joining", async |ctx: Context, event: Event<GoEvent>| {
        try_join_all((0..event.data.n).map(|_| ctx.step("work", step_outcome))).await
    })
}

/// A function that calls a run of `called_function`.
pub(crate) fn calling_function() -> Function {
    Function::new("calling", async |ctx: Context, event: Event<GoEvent>| {
        ctx.invoke::<String>("call", "called", &event.data).await
    })
}

/// A function with a plain step that no event starts.
pub(crate) fn called_function() -> Function {
    Function::new("called", async |ctx: Context, _: Event<CalledEvent>| ctx.step("work", step_outcome).await)
}

async fn step_outcome() -> Result<String> {
    Ok("x".repeat(198))
}

async fn fails_once() -> Result<String> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static TRIES: AtomicU32 = AtomicU32::new(0);
    if TRIES.fetch_add(1, Ordering::SeqCst) == 0 { Err(Error::new("refused")) } else { step_outcome().await }
}
