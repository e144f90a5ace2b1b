//! Maps on a data file that is closed and reopened after each hop: items of several steps, waits
//! inside, and results up to the limits of a run.

mod processes;

use std::time::Duration;

use processes::{ActionLog, RequestedEvent, run_at_pace, run_with};
use stepladder_core::Status;
use stepladder_engine::{Engine, Pace};
use stepladder_sdk::prelude::*;

const MIB: usize = 1024 * 1024;
const PACES: [Pace; 2] = [Pace::StepPerInvocation, Pace::WithinBudget];

fn multi_step_maps() -> Vec<Function> {
    async fn maps(ctx: Context, _: Event<RequestedEvent>) -> Result<Vec<usize>> {
        let ledger = ctx.data::<ActionLog>()?;
        let map = ctx.map_steps("item", 0..8, async |ctx: Context, n: usize| {
            let log = async |what: &str| {
                ledger.lock().unwrap().push(format!("{what} {n}"));
                Ok(())
            };
            ctx.step("read", || log("read")).await?;
            ctx.sleep("a while", Duration::from_secs(60 * (8 - n as u64))).await?;
            ctx.step("write", || log("write")).await?;
            if n % 4 == 3 { Err(Error::terminal("refused")) } else { Ok(2 * n) }
        });
        map.named(|n| format!("n{n}")).limit(3).tolerated_failure_percentage(25.0).await
    }
    vec![Function::new("maps", maps)]
}

#[tokio::test]
async fn a_map_of_several_steps_continues_across_processes() {
    let ledger = ActionLog::default();
    let (run, _, processes) = run_with(multi_step_maps, &ledger, async |_, _, _| ()).await;
    assert_eq!(run.summary.output.as_ref().map(|output| output.get()), Some("[0,2,4,8,10,12]"));
    assert!(processes > 24, "{processes}: three hops for each item");
    let done = ledger.lock().unwrap().clone();
    assert_eq!((done.len(), done.iter().collect::<std::collections::HashSet<_>>().len()), (16, 16), "each once");
    assert_eq!(done[0], "read 0");
    assert!(run.steps.iter().any(|step| &*step.id == "item/n7/a while"));
}

#[derive(Serialize, Deserialize)]
struct ApprovedEvent {
    shop: String,
}

impl EventData for ApprovedEvent {
    const NAME: &'static str = "shop/approved";
}

fn maps_of_waits() -> Vec<Function> {
    async fn maps(ctx: Context, _: Event<RequestedEvent>) -> Result<Vec<Option<String>>> {
        let map = ctx.map_steps("shop", ["a", "b", "c"], async |ctx: Context, shop: &str| {
            ctx.step("ask", async || Ok(())).await?;
            let wait = ctx.wait_for_event::<ApprovedEvent>("approval").matching("shop", shop);
            let event = wait.timeout(Duration::from_secs(600)).await?;
            ctx.step("open", async || Ok(event.map(|event| event.data.shop))).await
        });
        map.named(|shop| *shop).await
    }
    vec![Function::new("maps", maps)]
}

#[tokio::test]
async fn a_wait_in_a_map_ends_with_its_event_or_its_timeout_across_processes() {
    for pace in PACES {
        let approve = async |engine: &Engine, _, process: u32| {
            let shop = match process {
                8 => "c",
                10 => "a",
                _ => return,
            };
            let data = stepladder_core::json::to_json(&ApprovedEvent { shop: shop.into() }).expect("JSON");
            let event = stepladder_core::NewEvent::new(ApprovedEvent::NAME, data);
            engine.intake().ingest(vec![event], None).await.expect("accepted");
        };
        let (run, ..) = run_at_pace(pace, (maps_of_waits, &ActionLog::default()), approve).await;
        let output = run.summary.output.as_ref().map(|output| output.get());
        assert_eq!(output, Some(r#"["a",null,"c"]"#), "{pace:?}: {:?}", run.summary.error);
    }
}

/// Returns a value with JSON of this many bytes, or null for each third item.
fn value_of(n: usize, bytes: usize) -> Option<String> {
    (n % 3 != 2).then(|| "x".repeat(bytes - 2))
}

fn maps_past_4_mib() -> Vec<Function> {
    async fn maps(ctx: Context, _: Event<RequestedEvent>) -> Result<Vec<Option<usize>>> {
        let values = ctx.map("value", 0..9, async |n| Ok(value_of(n, MIB))).limit(2).await?;
        let of_steps =
            ctx.map_steps("item", 0..9, async |ctx: Context, n| ctx.step("value", async || Ok(value_of(n, MIB))).await);
        let of_steps = of_steps.limit(2).await?;
        assert_eq!(values, of_steps);
        Ok(values.into_iter().map(|value| value.map(|value| value.len())).collect())
    }
    vec![Function::new("maps", maps)]
}

#[tokio::test]
async fn results_of_more_than_4_mib_with_nulls_are_kept_across_processes() {
    for pace in PACES {
        let ledger = ActionLog::default();
        let (run, ..) = run_at_pace(pace, (maps_past_4_mib, &ledger), async |_, _, _| ()).await;
        let n = MIB - 2;
        let expected = format!("[{n},{n},null,{n},{n},null,{n},{n},null]");
        let output = run.summary.output.as_ref().map(|output| output.get());
        assert_eq!(output, Some(&*expected), "{pace:?}: {:?}", run.summary.error);
    }
}

fn maps_past_32_mib() -> Vec<Function> {
    async fn maps(ctx: Context, _: Event<RequestedEvent>) -> Result<Vec<(usize, Option<String>)>> {
        let map = ctx.map_steps("item", 0..14, async |ctx: Context, n| {
            ctx.step("value", async || Ok(value_of(n, 4 * MIB))).await
        });
        let results = map.limit(1).results().await?;
        let code = |error: &Error| error.code().map(str::to_owned);
        Ok(results.failures().map(|(name, error)| (name.parse().unwrap_or_default(), code(error))).collect())
    }
    vec![Function::new("maps", maps)]
}

#[tokio::test]
async fn items_past_32_mib_fail_by_code_and_the_others_keep_their_results_across_processes() {
    for pace in PACES {
        let ledger = ActionLog::default();
        let (run, ..) = run_at_pace(pace, (maps_past_32_mib, &ledger), async |_, _, _| ()).await;
        assert_eq!(run.summary.status, Status::Completed, "{pace:?}: {:?}", run.summary.error);
        // items 0, 1, 3, 4, 6, 7 and 9 return 4 MiB; with the nulls, item 10 does not fit, but 11
        // does
        let output = run.summary.output.as_ref().map(|output| output.get());
        assert_eq!(output, Some(r#"[[10,"too-large"],[12,"too-large"],[13,"too-large"]]"#), "{pace:?}");
    }
}
