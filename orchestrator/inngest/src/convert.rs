//! Converts a registered function to the config that the engine compiles.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use stepladder_core::FunctionConfig;
use stepladder_core::flow::SingletonMode;
use stepladder_core::function::{
    BatchConfig, CancelCondition, CancelOnConfig, ConcurrencyConfig, CronConfig, DebounceConfig, RateConfig,
    RetryConfig, SingletonConfig, TimeoutsConfig, TriggerConfig,
};
use stepladder_core::retry::DEFAULT_RETRIES;

use crate::lambda;
use crate::registration::{
    BatchFields, CancelFields, ConcurrencyFields, DebounceFields, LimitFields, RateLimitFields, RegisteredFunction,
    Registration, RegistrationError, Scope, SingletonFields, SingletonModeField, ThrottleFields, TimeoutsFields,
    TriggerFields,
};
use crate::time_text::parse_duration;

/// The maximum number of retries that Inngest allows.
pub(crate) const MAX_RETRIES: u32 = 20;

impl Registration {
    /// Converts the functions to configs. A call of a function may take as long as
    /// `timeout` returns for its id.
    ///
    /// # Errors
    /// A sentence that names the function and the field that cannot work.
    pub fn configs(&self, timeout: impl Fn(&str) -> Duration) -> Result<Vec<FunctionConfig>, RegistrationError> {
        let address = parse_address(&self.url)
            .map_err(|problem| RegistrationError::new(format!("app `{}`: field `url`: {problem}", self.app)))?;
        let mut ids = BTreeSet::new();
        for function in &self.functions {
            if !ids.insert(&function.id) {
                return Err(RegistrationError::of_field(&function.id, "id", "two functions of the app have it"));
            }
        }
        let config =
            |function: &RegisteredFunction| Converter { function, address: &address }.config(timeout(&function.id));
        self.functions.iter().map(config).collect()
    }
}

/// Parses the address of an app.
///
/// # Errors
/// The end of a sentence.
pub(crate) fn parse_address(text: &str) -> Result<Url, String> {
    match text.parse::<Url>() {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        Ok(url) if url.scheme() == lambda::SCHEME => lambda::parse(&url),
        Ok(url) => Err(format!("`{}` is no address of an app; it begins with http:// or https://", url.scheme())),
        Err(error) => Err(format!("it is no address: {error}")),
    }
}

struct Converter<'a> {
    function: &'a RegisteredFunction,
    address: &'a Url,
}

impl Converter<'_> {
    fn refuse(&self, field: &str, problem: impl std::fmt::Display) -> RegistrationError {
        RegistrationError::of_field(&self.function.id, field, problem)
    }

    fn config(&self, timeout: Duration) -> Result<FunctionConfig, RegistrationError> {
        let function = self.function;
        self.check_runtime()?;
        let (triggers, cron) = self.triggers()?;
        let config = FunctionConfig {
            name: function.name.as_deref().filter(|name| !name.is_empty()).map(Arc::from),
            triggers,
            cron,
            retry: RetryConfig { retries: self.retries()?, ..RetryConfig::default() },
            timeout,
            concurrency: self.concurrency(),
            throttle: function.throttle.as_ref().map(|fields| self.throttle(fields)).transpose()?,
            rate_limit: function.rate_limit.as_ref().map(|fields| self.rate_limit(fields)).transpose()?,
            debounce: function.debounce.as_ref().map(|fields| self.debounce(fields)).transpose()?,
            batch: function.batch_events.as_ref().map(|fields| self.batch(fields)).transpose()?,
            singleton: function.singleton.as_ref().map(singleton),
            idempotency: function.idempotency.clone(),
            priority: function.priority.as_ref().and_then(|fields| fields.run.clone()),
            cancel_on: self.cancel_on()?,
            timeouts: function.timeouts.as_ref().map(|fields| self.timeouts(fields)).transpose()?.unwrap_or_default(),
            ..FunctionConfig::new(&*function.id)
        };
        // the engine's sentence names the function and its own name of the field
        config.compile().map_err(|error| RegistrationError::new(error.to_string()))?;
        Ok(config)
    }

    /// Checks that calls of the function go to the address of the app.
    fn check_runtime(&self) -> Result<(), RegistrationError> {
        let runtime = &self.function.steps.step.runtime;
        match &*runtime.kind {
            "http" => {}
            "ws" => {
                let problem = "`ws` (connect) is not supported; serve the app over HTTP";
                return Err(self.refuse("steps.step.runtime.type", problem));
            }
            other => {
                return Err(self.refuse("steps.step.runtime.type", format!("`{other}` is not supported; use `http`")));
            }
        }
        let field = "steps.step.runtime.url";
        let url = parse_address(&runtime.url).map_err(|problem| self.refuse(field, problem))?;
        // an app that is invoked does not know its address
        if self.address.scheme() == lambda::SCHEME {
            return Ok(());
        }
        let place = |url: &Url| (url.origin(), url.path().to_owned());
        match place(&url) == place(self.address) {
            true => Ok(()),
            false => Err(self.refuse(field, format!("it is not at the app's `url`, {}", self.address))),
        }
    }

    fn retries(&self) -> Result<u32, RegistrationError> {
        let attempts = self.function.steps.step.retries.as_ref().and_then(|retries| retries.attempts);
        match attempts.unwrap_or(DEFAULT_RETRIES) {
            retries if retries > MAX_RETRIES => {
                Err(self.refuse("steps.step.retries.attempts", format!("{retries}; at most {MAX_RETRIES} are allowed")))
            }
            retries => Ok(retries),
        }
    }

    fn triggers(&self) -> Result<(Vec<TriggerConfig>, CronConfig), RegistrationError> {
        let (mut events, mut cron) = (Vec::new(), CronConfig::default());
        // the list is empty if the function starts only when another one invokes it
        let mut zones = BTreeSet::new();
        let mut jitters = BTreeSet::new();
        for (at, trigger) in self.function.triggers.iter().enumerate() {
            let field = |name: &str| format!("triggers[{at}].{name}");
            match trigger {
                TriggerFields { event: Some(event), expression, cron: None, jitter: None } => {
                    if event.contains('*') {
                        let problem = "wildcards are not supported; list each event";
                        return Err(self.refuse(&field("event"), problem));
                    }
                    let conditions = expression.iter().filter(|cel| !cel.is_empty()).cloned().collect();
                    events.push(TriggerConfig { conditions, ..TriggerConfig::new(&**event) });
                }
                TriggerFields { event: None, expression: None, cron: Some(schedule), jitter } => {
                    let (zone, schedule) = split_zone(schedule);
                    cron.schedules.push(schedule.to_owned());
                    zones.insert(zone.unwrap_or("UTC").to_owned());
                    jitters.insert(match jitter {
                        Some(jitter) => self.duration(&field("jitter"), jitter)?,
                        None => Duration::ZERO,
                    });
                }
                TriggerFields { expression: Some(_), cron: Some(_), .. } => {
                    return Err(self.refuse(&field("expression"), "a cron schedule has no expression"));
                }
                TriggerFields { jitter: Some(_), cron: None, .. } => {
                    return Err(self.refuse(&field("jitter"), "only a cron schedule has a jitter"));
                }
                _ => return Err(self.refuse(&format!("triggers[{at}]"), "set either `event` or `cron`")),
            }
        }
        if zones.len() > 1 || jitters.len() > 1 {
            let problem = "its cron schedules have several time zones or jitters, which is not supported; use one";
            return Err(self.refuse("triggers", problem));
        }
        cron.time_zone = zones.pop_first();
        cron.jitter = jitters.pop_first().unwrap_or_default();
        Ok((events, cron))
    }

    fn concurrency(&self) -> Vec<ConcurrencyConfig> {
        let limits = match &self.function.concurrency {
            None => Vec::new(),
            Some(ConcurrencyFields::Limit(limit)) => vec![LimitFields { limit: *limit, key: None, scope: None }],
            Some(ConcurrencyFields::One(one)) => vec![one.clone()],
            Some(ConcurrencyFields::Several(several)) => several.clone(),
        };
        // a limit of 0 is no limit
        limits.into_iter().filter(|fields| fields.limit > 0).map(limit).collect()
    }

    fn throttle(&self, fields: &ThrottleFields) -> Result<RateConfig, RegistrationError> {
        let ThrottleFields { limit, period, burst, key } = fields;
        let period = self.duration("throttle.period", period)?;
        // a burst of 0 means the default
        Ok(RateConfig { limit: *limit, period, burst: burst.filter(|burst| *burst > 0), key: key.clone() })
    }

    fn rate_limit(&self, fields: &RateLimitFields) -> Result<RateConfig, RegistrationError> {
        let RateLimitFields { limit, period, key } = fields;
        Ok(RateConfig {
            limit: *limit,
            period: self.duration("rateLimit.period", period)?,
            burst: None,
            key: key.clone(),
        })
    }

    fn debounce(&self, fields: &DebounceFields) -> Result<DebounceConfig, RegistrationError> {
        let DebounceFields { period, timeout, key } = fields;
        Ok(DebounceConfig {
            period: self.duration("debounce.period", period)?,
            max_wait: timeout.as_ref().map(|timeout| self.duration("debounce.timeout", timeout)).transpose()?,
            key: key.clone(),
        })
    }

    fn batch(&self, fields: &BatchFields) -> Result<BatchConfig, RegistrationError> {
        let BatchFields { max_size, timeout, key } = fields;
        Ok(BatchConfig { size: *max_size, timeout: self.duration("batchEvents.timeout", timeout)?, key: key.clone() })
    }

    fn timeouts(&self, fields: &TimeoutsFields) -> Result<TimeoutsConfig, RegistrationError> {
        let TimeoutsFields { start, finish } = fields;
        let duration = |field: &str, text: &Option<String>| text.as_ref().map(|text| self.duration(field, text));
        Ok(TimeoutsConfig {
            start: duration("timeouts.start", start).transpose()?,
            finish: duration("timeouts.finish", finish).transpose()?,
        })
    }

    fn cancel_on(&self) -> Result<Vec<CancelOnConfig>, RegistrationError> {
        let all = self.function.cancel.iter().flatten().enumerate();
        let cancel = |(at, fields): (usize, &CancelFields)| {
            let CancelFields { event, condition, timeout } = fields;
            let conditions = condition.iter().filter(|cel| !cel.is_empty());
            Ok(CancelOnConfig {
                event: (**event).into(),
                conditions: conditions.cloned().map(CancelCondition::Cel).collect(),
                timeout: timeout
                    .as_ref()
                    .map(|timeout| self.duration(&format!("cancel[{at}].timeout"), timeout))
                    .transpose()?,
            })
        };
        all.map(cancel).collect()
    }

    fn duration(&self, field: &str, text: &str) -> Result<Duration, RegistrationError> {
        let problem = || format!("`{text}` is no duration; use numbers with units, such as 10s or 1h30m");
        parse_duration(text).ok_or_else(|| self.refuse(field, problem()))
    }
}

fn singleton(fields: &SingletonFields) -> SingletonConfig {
    let mode = match fields.mode {
        SingletonModeField::Skip => SingletonMode::Skip,
        SingletonModeField::Cancel => SingletonMode::Replace,
    };
    SingletonConfig { mode, key: fields.key.clone() }
}

/// Converts a limit. A limit of the environment or the account is shared by all functions that
/// have one with the same key.
fn limit(fields: LimitFields) -> ConcurrencyConfig {
    let LimitFields { limit, key, scope } = fields;
    let shared = match scope {
        None | Some(Scope::Fn) => None,
        Some(Scope::Env) => Some("inngest-env"),
        Some(Scope::Account) => Some("inngest-account"),
    };
    let named = |scope| match &key {
        Some(key) => format!("{scope} {key}").into(),
        None => Arc::from(scope),
    };
    ConcurrencyConfig { limit, of: Default::default(), shared: shared.map(named), key }
}

/// Splits `TZ=Europe/Berlin 0 9 * * *` into the time zone and the schedule.
fn split_zone(schedule: &str) -> (Option<&str>, &str) {
    let schedule = schedule.trim();
    let zoned = schedule.strip_prefix("TZ=").or_else(|| schedule.strip_prefix("CRON_TZ="));
    match zoned.and_then(|rest| rest.split_once(' ')) {
        Some((zone, rest)) => (Some(zone), rest.trim_start()),
        None => (None, schedule),
    }
}

#[cfg(test)]
mod tests;
