//! The functions of a simulation: two that the same event starts, one that others call, one that
//! events sent by runs start, and one that handles failures.

use std::sync::Arc;
use std::time::Duration;

use stepladder_core::StepId;
use stepladder_core::slot::Limit;
use stepladder_engine::RegisteredFunction;
use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::{SharedData, compile};
use stepladder_sdk::{Backoff, FunctionFailed};

use super::bulk::{BULK, EACH, NumberedEvent};
use super::controls::{self, FlowControlKind};
use super::knobs::SimulationSettings;
use super::listeners;
use super::tree::{AllowedNodes, BodyEnvironment, FunctionNode, Varieties, random_tree};
use crate::dice::SeededDice;

/// The function with the large tree.
pub(crate) const MAIN: &str = "main";
/// The other function that the event of [`MAIN`] starts.
pub(crate) const OTHER: &str = "other";
/// The function that others call.
pub(crate) const HELPER: &str = "helper";
/// The function that is started by events that runs send.
pub(crate) const HEARER: &str = "hearer";

/// The event that starts [`MAIN`] and [`OTHER`].
#[derive(Serialize, Deserialize)]
pub(crate) struct GoEvent {
    /// The key of the concurrency limit.
    pub(crate) k: u64,
}

impl EventData for GoEvent {
    const NAME: &'static str = "sim/go";
}

/// The events that start [`CONTROLLED`](super::controls::CONTROLLED): [`GoEvent`], and the events
/// of a crowd.
#[derive(Serialize, Deserialize)]
pub(crate) struct CrowdEvent {
    pub(crate) k: u64,
}

/// The name of the events of a crowd.
pub(crate) const CROWD: &str = "sim/crowd";

impl EventData for CrowdEvent {
    const NAME: &'static str = GoEvent::NAME;
    const NAMES: &'static [&'static str] = &[GoEvent::NAME, CROWD, BULK];
}

/// The event that starts [`HEARER`].
#[derive(Serialize, Deserialize)]
pub(crate) struct HearerEvent {
    pub(crate) n: u64,
}

impl EventData for HearerEvent {
    const NAME: &'static str = "sim/told";
}

/// The event that runs wait for.
#[derive(Serialize, Deserialize)]
pub(crate) struct AwaitedEvent {
    pub(crate) k: u64,
}

impl EventData for AwaitedEvent {
    const NAME: &'static str = "sim/word";
}

#[derive(Serialize, Deserialize)]
struct HelperInput {
    n: u64,
}

impl EventData for HelperInput {
    const NAME: &'static str = "";
    const NAMES: &'static [&'static str] = &[];
}

/// The functions of a simulation.
pub(crate) struct SimulatedFunctions {
    pub(crate) registered: Vec<RegisteredFunction>,
    /// An older version of the controlled function, which has no limit on the number of its runs.
    pub(crate) older: Option<RegisteredFunction>,
    /// All concurrency limits.
    pub(crate) limits: Vec<Limit>,
    /// The flow control of [`CONTROLLED`](super::controls::CONTROLLED); `None` if the simulation
    /// does not have that function.
    pub(crate) control: Option<FlowControlKind>,
    /// The ids of the waits for callbacks of each function.
    pub(crate) signals: Vec<(&'static str, Vec<StepId>)>,
    /// A description of the functions, for the story.
    pub(crate) told: String,
}

/// Creates random functions.
pub(crate) fn functions(
    [dice, once, varieties]: [SeededDice; 3],
    place: &BodyEnvironment,
    knobs: SimulationSettings,
) -> SimulatedFunctions {
    let (dice, once) = (&dice, &once);
    let SimulationSettings { leaves, deadly, words, bulk, listens, immediate, .. } = knobs;
    let (deadly, waits) = (deadly > 0, words > 0);
    let mut limits = Vec::new();
    let mut limit = |id: &str| -> Option<Concurrency> {
        let slots = dice.below(4) as u32;
        if slots == 0 || slots == 3 {
            return None;
        }
        let keyed = dice.one_in(3);
        let keys = if keyed { vec!["/0", "/1"] } else { vec![""] };
        limits.extend(keys.into_iter().map(|key| Limit { key: format!("{id}/0{key}").into(), slots }));
        let limit = Concurrency::limit(slots);
        Some(if keyed { limit.key("string(event.data.k)") } else { limit })
    };
    let (main_limit, helper_limit) = (limit(MAIN), dice.one_in(3));
    // A second limit, shared by all keys of the first one.
    let second = (main_limit.is_some() && dice.one_in(3)).then(|| 1 + dice.below(2) as u32);
    limits.extend(second.map(|slots| Limit { key: format!("{MAIN}/1").into(), slots }));
    let allowed = AllowedNodes {
        leaves,
        calls: true,
        // Two bodies of one call cannot wait for a step that follows in the next call.
        meets: main_limit.is_none() && immediate == 0,
        deadly: deadly && main_limit.is_none(),
        waits,
    };
    let trees = [
        (MAIN, random_tree(dice, allowed)),
        (
            OTHER,
            random_tree(dice, AllowedNodes { leaves: 2, calls: dice.one_in(2), meets: false, deadly: false, waits }),
        ),
        (HELPER, random_tree(dice, AllowedNodes { leaves: 3, calls: false, meets: false, deadly: false, waits })),
    ];
    let trees = trees.map(|(id, tree)| (id, if id == HELPER && dice.one_in(4) { tree.into_failing() } else { tree }));
    // A call must not execute such a step, so a function whose executor executes while it is polled
    // has none.
    let has_once = immediate == 0 && once.one_in(3);
    let trees = trees.map(|(id, tree)| (id, if has_once { tree.with_once_steps(once) } else { tree }));
    // An executor that executes while it is polled makes no polls of its own.
    let of = Varieties {
        started: varieties.one_in(3),
        maps: varieties.one_in(3),
        polls: varieties.one_in(3) && immediate == 0,
    };
    let trees = trees.map(|(id, tree)| (id, tree.with_varieties(&varieties, of, &mut 0)));
    let signals = trees.iter().map(|(id, tree)| {
        let mut ids = Vec::new();
        tree.collect_signals("", &mut ids);
        (*id, ids.into_iter().map(StepId::from).collect())
    });
    let signals = signals.collect();
    let control = FlowControlKind::random_kind(dice);
    let control = knobs.wanted_control(dice).or(control);
    let told = format!("{trees:?}, limits: {main_limit:?}, {second:?}, {helper_limit}, {control:?}");
    let [main, other, helper] = trees.map(|(_, tree)| Arc::new(tree));
    let mut main =
        with_many_retries(function::<GoEvent>(MAIN, main, place)).on_failure(hearing_handler::<FunctionFailed>(place));
    if let Some(limit) = main_limit {
        main = main.concurrency(limit);
    }
    if let Some(slots) = second {
        main = main.concurrency(Concurrency::limit(slots));
    }
    let mut helper = with_many_retries(function::<HelperInput>(HELPER, helper, place));
    if helper_limit {
        limits.push(Limit { key: format!("{HELPER}/0").into(), slots: 1 });
        helper = helper.concurrency(Concurrency::limit(1));
    }
    let hearer = Function::new(HEARER, hearing_handler::<HearerEvent>(place));
    let all = [main, with_many_retries(function::<GoEvent>(OTHER, other, place)), helper, with_many_retries(hearer)];
    let listener = (listens > 0).then(|| with_many_retries(listeners::listener(place, listens > 1)));
    let each = (bulk > 0).then(|| with_many_retries(Function::new(EACH, hearing_handler::<NumberedEvent>(place))));
    let all = all.into_iter().chain(each).chain(listener);
    // With a singleton, the sleep is long, so that a watchdog finds its run alive.
    let is_single =
        matches!(control, Some(FlowControlKind::Skip | FlowControlKind::Replace | FlowControlKind::StopOne));
    let pause = if is_single && dice.one_in(3) { controls::LONG } else { controls::PAUSE };
    let all = all.chain(control.map(|control| with_many_retries(control.function(place, pause))));
    let older = control
        .filter(|control| *control == FlowControlKind::Runs)
        .map(|_| with_many_retries(controls::function_without_control(place)));
    let data = SharedData::default();
    let made = |f: Function| compile(f, &data).expect("functions that can work");
    let (registered, older) = (all.flat_map(made).collect(), older.and_then(|older| made(older).pop()));
    SimulatedFunctions { registered, older, limits, control, signals, told }
}

/// Sets more retries than the injected faults can use up, so that these alone fail no run.
fn with_many_retries(function: Function) -> Function {
    function.retries(20).backoff(Backoff::Fixed(Duration::from_secs(2)))
}

fn function<T: EventData>(id: &'static str, tree: Arc<FunctionNode>, place: &BodyEnvironment) -> Function {
    let place = place.clone();
    Function::new(id, move |ctx: Context, _: Event<T>| {
        let (tree, place) = (tree.clone(), place.clone());
        async move { tree.run(&ctx, &place).await }
    })
}

type HearerFuture = std::pin::Pin<Box<dyn Future<Output = Result<u32>> + Send>>;

/// Creates a handler that has one step.
fn hearing_handler<T: EventData>(
    place: &BodyEnvironment,
) -> impl Fn(Context, Event<T>) -> HearerFuture + Send + Sync + 'static {
    let place = place.clone();
    move |ctx, _| {
        let account = place.account.clone();
        Box::pin(async move {
            let run = ctx.run_id();
            ctx.step("hear", async || {
                let (n, executing) = account.begin(run, "hear");
                executing.end();
                Ok(n)
            })
            .await
        })
    }
}
