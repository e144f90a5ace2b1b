//! What starts a function: events with filters, and cron schedules.

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use stepladder_core::FunctionConfig;
use stepladder_core::expr::Expr;
use stepladder_core::function::LabelConfig;
use stepladder_core::missed::MissedTicks;

use super::Function;
use crate::{EventData, Tick, ToEvent};

/// A condition for the events that start a function.
pub(super) struct TriggerFilter {
    /// The events to which the condition applies. `None` means all events that have no filter of
    /// their own.
    events: Option<&'static [&'static str]>,
    cel: String,
}

pub(super) fn can_decode_tick<T: EventData>() -> bool {
    let tick = RawValue::from_string(r#"{"at":0}"#.to_owned());
    tick.is_ok_and(|tick| T::decode(Tick::NAME, &tick).is_ok())
}

impl Function {
    /// Selects one of the events that start the function. The [`filter`](Self::filter)s that follow
    /// apply only to this event.
    ///
    /// The handler's type must include this event; otherwise the app does not start.
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// #[derive(Deserialize, Event)]
    /// #[event(name = "client/created")]
    /// struct Created { plan: String }
    ///
    /// #[derive(Deserialize, Event)]
    /// #[event(name = "client/updated")]
    /// struct Updated { fields: Vec<String> }
    ///
    /// #[derive(Deserialize, Event)]
    /// #[serde(untagged)]
    /// enum Changed { Created(Created), Updated(Updated) }
    ///
    /// async fn sync(ctx: Context, event: Event<Changed>) -> Result<()> { Ok(()) }
    ///
    /// let function = Function::new("sync-client", sync)
    ///     .on::<Created>().filter("event.data.plan == 'pro'")
    ///     .on::<Updated>().filter("'email' in event.data.fields");
    /// ```
    #[must_use]
    pub fn on<T: EventData>(mut self) -> Self {
        self.selected = Some(T::NAMES);
        self.selections.push(T::NAMES);
        self
    }

    /// Restricts the events that start the function to those for which this CEL expression is true,
    /// for example `event.data.plan == "pro"`.
    ///
    /// After a call of [`on`](Self::on), the filter applies to the selected event. Before, it
    /// applies to all events that have no filter of their own. If there are several filters, all of
    /// them must be true. If the expression is not CEL or uses an unknown name, the app does not
    /// start.
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// # #[derive(Serialize, Deserialize, Event)]
    /// # #[event(name = "client/created")]
    /// # struct Created { plan: String }
    /// # async fn welcome(ctx: Context, event: Event<Created>) -> Result<()> { Ok(()) }
    /// let function = Function::new("welcome", welcome).filter("event.data.plan == 'pro'");
    /// ```
    #[must_use]
    pub fn filter(mut self, cel: impl Into<String>) -> Self {
        self.filters.push(TriggerFilter { events: self.selected, cel: cel.into() });
        self
    }

    /// Starts the function by a cron schedule. The handler takes an `Event<`[`Tick`]`>`.
    ///
    /// A schedule has five fields (minute, hour, day of the month, month, day of the week), or is
    /// `@hourly`, `@daily`, `@weekly`, `@monthly` or `@yearly`. For example, `0 9 * * MON-FRI` is
    /// nine o'clock on weekdays. The time zone is UTC, or that set by
    /// [`time_zone`](Self::time_zone). If several schedules have a tick in the same minute, they
    /// count as one tick.
    ///
    /// Each tick starts one run, within a second of its minute. A tick that has not started a run a
    /// minute after its time is missed; see [`missed_ticks`](Self::missed_ticks). `docs/cron.md`
    /// explains what happens when the clock changes.
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// # use stepladder::Tick;
    /// # async fn report(ctx: Context, tick: Event<Tick>) -> Result<()> { Ok(()) }
    /// let function = Function::new("daily-report", report)
    ///     .cron("0 9 * * MON-FRI")
    ///     .cron("0 11 * * SAT,SUN")
    ///     .time_zone("Europe/Berlin")
    ///     .jitter(Duration::from_secs(120));
    /// ```
    #[must_use]
    pub fn cron(mut self, schedule: impl Into<String>) -> Self {
        self.config.cron.schedules.push(schedule.into());
        self
    }

    /// Sets the time zone of the cron schedules: an IANA name, for example `Europe/Berlin`. The
    /// default is UTC.
    #[must_use]
    pub fn time_zone(mut self, name: impl Into<String>) -> Self {
        self.calls.record("time_zone");
        self.config.cron.time_zone = Some(name.into());
        self
    }

    /// Delays each tick by a random time up to `max`, which is at most 10 minutes, so that
    /// functions do not all start at the full hour. The same tick always has the same delay. By
    /// default, there is no delay.
    #[must_use]
    pub fn jitter(mut self, max: Duration) -> Self {
        self.calls.record("jitter");
        self.config.cron.jitter = max;
        self
    }

    /// Sets what happens to ticks that did not start a run within a minute of their time, because
    /// the function was paused or no server was running. The default is [`MissedTicks::RunOnce`].
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// # use stepladder::Tick;
    /// # async fn report(ctx: Context, tick: Event<Tick>) -> Result<()> { Ok(()) }
    /// let function = Function::new("daily-report", report).cron("0 9 * * *");
    /// let function = function.missed_ticks(MissedTicks::Skip);
    /// ```
    #[must_use]
    pub fn missed_ticks(mut self, policy: MissedTicks) -> Self {
        self.calls.record("missed_ticks");
        self.config.cron.missed_ticks = Some(policy);
        self
    }

    /// Adds a label to the function's runs, by which people find them: in the dashboard
    /// (`clientId:cust-42`), with `stepladder runs --label clientId=cust-42`, and over REST.
    ///
    /// The value is a CEL expression over the `event`, which is evaluated when a run is created. A
    /// run does not get the label if its value is missing, empty or longer than 256 bytes. A
    /// function has at most 8 labels; each costs one write per run on AWS. If a key is not made of
    /// letters, digits, `_`, `-` and `.`, or is used twice, the app does not start.
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// # #[derive(Serialize, Deserialize, Event)]
    /// # #[event(name = "client/created")]
    /// # struct Created { client_id: String }
    /// # async fn welcome(ctx: Context, event: Event<Created>) -> Result<()> { Ok(()) }
    /// let function = Function::new("welcome", welcome).label("clientId", "event.data.client_id");
    /// ```
    #[must_use]
    pub fn label(mut self, key: impl Into<Arc<str>>, cel: impl Into<String>) -> Self {
        self.config.labels.push(LabelConfig { key: key.into(), value: cel.into() });
        self
    }

    /// Sets an example event for people: the form in the dashboard shows its data. If the event
    /// would not start the function, the app does not start.
    ///
    /// ```
    /// # use stepladder::prelude::*;
    /// # #[derive(Serialize, Deserialize, Event)]
    /// # #[event(name = "test/hello.world")]
    /// # struct Hello { name: String }
    /// # async fn hello(ctx: Context, event: Event<Hello>) -> Result<()> { Ok(()) }
    /// let function = Function::new("hello-world", hello).example(&Hello { name: "Ada".into() });
    /// ```
    #[must_use]
    pub fn example(mut self, event: &impl ToEvent) -> Self {
        self.calls.record("example");
        self.example = Some(event.to_event());
        self
    }
}

/// Checks that each event that was selected by `on` starts the function.
pub(super) fn check_selections(config: &FunctionConfig, selections: &[&[&str]]) -> Result<(), String> {
    let starts = |name: &str| config.triggers.iter().any(|trigger| &*trigger.event == name);
    match selections.iter().copied().flatten().find(|name| !starts(name)) {
        None => Ok(()),
        Some(name) => Err(format!(
            "function `{}` calls `.on` for the event `{name}`, which its handler does not take; take a type that stands \
             for it",
            config.id
        )),
    }
}

/// Adds the filters to the triggers. An event's own filters replace those of all events.
pub(super) fn add_filters(config: &mut FunctionConfig, filters: &[TriggerFilter]) -> Result<(), String> {
    let id = &config.id;
    // here too, since a filter of all events may apply to none
    for TriggerFilter { events, cel } in filters {
        Expr::compile(cel).map_err(|bad| format!("the filter of function `{id}`: {bad}"))?;
        if events.is_none() && config.triggers.is_empty() {
            return Err(format!("function `{id}` has a filter, and no event starts it"));
        }
    }
    for trigger in &mut config.triggers {
        let is_own = |filter: &&TriggerFilter| filter.events.is_some_and(|names| names.contains(&&*trigger.event));
        let mut chosen: Vec<&TriggerFilter> = filters.iter().filter(is_own).collect();
        if chosen.is_empty() {
            chosen = filters.iter().filter(|filter| filter.events.is_none()).collect();
        }
        trigger.conditions = chosen.into_iter().map(|filter| filter.cel.clone()).collect();
    }
    Ok(())
}
