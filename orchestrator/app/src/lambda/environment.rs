//! The settings of a process, from environment variables that `template.yaml` sets.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use stepladder_aws::{DedicatedQueue, QueueAddresses, SecretName};
use stepladder_engine::Pace;

use super::secrets::{StoredSecret, parse_secrets};

/// The role of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LambdaRole {
    /// Executes hops.
    Worker,
    /// Ingests events from the events queue.
    Ingest,
    /// Fires timers.
    Sweep,
    /// Serves HTTP.
    Http,
}

impl fmt::Display for LambdaRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Worker => "worker",
            Self::Ingest => "ingest",
            Self::Sweep => "sweep",
            Self::Http => "http",
        })
    }
}

/// All settings of a process.
#[derive(Clone)]
pub(crate) struct LambdaSettings {
    pub(crate) role: LambdaRole,
    pub(crate) table: String,
    pub(crate) queues: QueueAddresses,
    pub(crate) stack: String,
    pub(crate) pace: Option<Pace>,
    pub(crate) worker_timeout: Duration,
    pub(crate) retention: Duration,
    pub(crate) event_keys: Vec<String>,
    pub(crate) dashboard_token: Option<String>,
    /// Where the signing keys of apps are.
    pub(crate) signing_keys: Option<SecretName>,
    /// Where the secrets of functions are.
    pub(crate) secrets: Vec<StoredSecret>,
    /// The environment variables that functions read, in addition to those of the process.
    pub(crate) variables: Vec<(String, String)>,
}

/// The default of `STEPLADDER_WORKER_TIMEOUT`.
const WORKER_TIMEOUT: Duration = Duration::from_secs(120);
/// The default of `STEPLADDER_RETENTION_DAYS`.
const RETENTION_DAYS: u64 = 30;
const DAY: Duration = Duration::from_secs(86_400);

impl LambdaSettings {
    /// Reads the settings from environment variables. An empty variable counts as missing.
    ///
    /// # Errors
    /// A sentence that names the variable and says which values are valid.
    pub(crate) fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let optional = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let required = |name: &str| optional(name).ok_or_else(|| format!("{name} is not set; template.yaml sets it"));
        let number = |name: &str| {
            let bad = |text: String| format!("{name} is `{text}`; it must be a whole number of 1 or more");
            let read = |text: String| text.trim().parse::<u64>().ok().filter(|n| *n > 0).ok_or_else(|| bad(text));
            optional(name).map(read).transpose()
        };
        let role = match required("STEPLADDER_ROLE")?.as_str() {
            "worker" => LambdaRole::Worker,
            "ingest" => LambdaRole::Ingest,
            "sweep" => LambdaRole::Sweep,
            "http" => LambdaRole::Http,
            other => return Err(format!("STEPLADDER_ROLE is `{other}`; it must be worker, ingest, sweep or http")),
        };
        let pace = match optional("STEPLADDER_PACE").as_deref() {
            None => None,
            Some("step") => Some(Pace::StepPerInvocation),
            Some("budget") => Some(Pace::WithinBudget),
            Some(other) => return Err(format!("STEPLADDER_PACE is `{other}`; it must be step or budget")),
        };
        let steps = required("STEPLADDER_STEPS_QUEUE_URL")?;
        let dedicated =
            optional("STEPLADDER_DEDICATED").map_or(Ok(BTreeMap::new()), |json| parse_dedicated(&json, &steps))?;
        let secret = optional("STEPLADDER_SIGNING_KEYS_SECRET").map(SecretName::Secret);
        let parameter = optional("STEPLADDER_SIGNING_KEYS_PARAMETER").map(SecretName::Parameter);
        if secret.is_some() && parameter.is_some() {
            return Err(
                "STEPLADDER_SIGNING_KEYS_SECRET and STEPLADDER_SIGNING_KEYS_PARAMETER are both set; keep one".into()
            );
        }
        let worker_timeout = number("STEPLADDER_WORKER_TIMEOUT")?.map_or(WORKER_TIMEOUT, Duration::from_secs);
        let keys = optional("STEPLADDER_EVENT_KEYS").unwrap_or_default();
        let settings = Self {
            role,
            table: required("STEPLADDER_TABLE")?,
            queues: QueueAddresses {
                steps,
                events: optional("STEPLADDER_EVENTS_QUEUE_URL"),
                steps_dead_letters: optional("STEPLADDER_STEPS_DEAD_LETTERS_URL"),
                events_dead_letters: optional("STEPLADDER_EVENTS_DEAD_LETTERS_URL"),
                dedicated,
                worker_timeout: Some(worker_timeout.as_secs()),
            },
            stack: optional("STEPLADDER_STACK").unwrap_or_else(|| "stepladder".into()),
            pace,
            worker_timeout,
            retention: DAY
                * u32::try_from(number("STEPLADDER_RETENTION_DAYS")?.unwrap_or(RETENTION_DAYS).min(36_500))
                    .unwrap_or(30),
            event_keys: keys.split(',').map(str::trim).filter(|key| !key.is_empty()).map(str::to_owned).collect(),
            dashboard_token: optional("STEPLADDER_DASHBOARD_TOKEN"),
            signing_keys: secret.or(parameter),
            secrets: parse_secrets(&optional("STEPLADDER_SECRETS").unwrap_or_default())
                .map_err(|problem| format!("STEPLADDER_SECRETS: {problem}"))?,
            variables: parse_variables(&optional("STEPLADDER_SETTINGS").unwrap_or_default())
                .map_err(|problem| format!("STEPLADDER_SETTINGS: {problem}"))?,
        };
        settings.check()?;
        Ok(settings)
    }

    /// Checks that the public HTTP function has secrets that cannot be guessed.
    fn check(&self) -> Result<(), String> {
        if self.role == LambdaRole::Http && (self.event_keys.is_empty() || self.dashboard_token.is_none()) {
            return Err(
                "this address is public: STEPLADDER_EVENT_KEYS and STEPLADDER_DASHBOARD_TOKEN must be set".into()
            );
        }
        if self.role == LambdaRole::Http
            && let Some(fault) =
                stepladder_server::secrets_fault(&self.event_keys, self.dashboard_token.as_deref(), true)
        {
            return Err(fault);
        }
        Ok(())
    }

    /// Returns the settings for logging that are used if the real settings cannot be read.
    pub(crate) fn unknown() -> Self {
        Self {
            role: LambdaRole::Worker,
            table: String::new(),
            queues: QueueAddresses::default(),
            stack: std::env::var("STEPLADDER_STACK").unwrap_or_default(),
            pace: None,
            worker_timeout: WORKER_TIMEOUT,
            retention: DAY,
            event_keys: Vec::new(),
            dashboard_token: None,
            signing_keys: None,
            secrets: Vec::new(),
            variables: Vec::new(),
        }
    }
}

/// Reads the queue and the timeout of each function with dedicated workers. A queue may be named
/// without its URL, because an environment holds 4 KB; it is then beside the steps queue.
fn parse_dedicated(json: &str, steps: &str) -> Result<BTreeMap<String, DedicatedQueue>, String> {
    let mut dedicated: BTreeMap<String, DedicatedQueue> = serde_json::from_str(json).map_err(|e| {
        format!(
            "STEPLADDER_DEDICATED: {e}; write it like {{\"function-id\":{{\"queue\":\"a-queue\",\"timeout\":300}}}}"
        )
    })?;
    let beside = steps.rsplit_once('/').map_or("", |(beside, _)| beside);
    for own in dedicated.values_mut().filter(|own| !own.queue.contains("://")) {
        own.queue = format!("{beside}/{}", own.queue);
    }
    Ok(dedicated)
}

/// Reads `NAME=VALUE,NAME=VALUE`. A value cannot contain a comma.
fn parse_variables(text: &str) -> Result<Vec<(String, String)>, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let pairs = parts.map(|part| match part.split_once('=') {
        Some((name, value)) if is_variable_name(name) => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("`{part}` is not NAME=VALUE; a value cannot contain a comma")),
    });
    pairs.collect()
}

/// Returns whether a text can be the name of an environment variable.
pub(super) fn is_variable_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(more: &[(&str, &str)]) -> Result<LambdaSettings, String> {
        let required = [
            ("STEPLADDER_ROLE", "worker"),
            ("STEPLADDER_TABLE", "runs"),
            ("STEPLADDER_STEPS_QUEUE_URL", "https://sqs.test/steps"),
        ];
        // a later value overrides an earlier one
        let all: Vec<_> = required.iter().chain(more).collect();
        LambdaSettings::read(|name| {
            all.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn refused(more: &[(&str, &str)]) -> String {
        read(more).err().expect("refused")
    }

    #[test]
    fn optional_variables_have_defaults() {
        let settings = read(&[]).unwrap();
        assert_eq!((settings.role, settings.worker_timeout, settings.pace), (LambdaRole::Worker, WORKER_TIMEOUT, None));
        assert_eq!((settings.retention, &*settings.stack), (DAY * 30, "stepladder"));
    }

    #[test]
    fn a_bad_variable_is_named() {
        assert!(refused(&[("STEPLADDER_TABLE", " ")]).starts_with("STEPLADDER_TABLE is not set"));
        assert!(refused(&[("STEPLADDER_ROLE", "boss")]).contains("must be worker, ingest, sweep or http"));
        assert!(refused(&[("STEPLADDER_PACE", "fast")]).contains("must be step or budget"));
        assert!(refused(&[("STEPLADDER_WORKER_TIMEOUT", "2m")]).contains("a whole number"));
        assert!(refused(&[("STEPLADDER_RETENTION_DAYS", "0")]).contains("a whole number of 1 or more"));
        assert!(refused(&[("STEPLADDER_DEDICATED", "[]")]).starts_with("STEPLADDER_DEDICATED: "));
    }

    #[test]
    fn an_http_function_without_keys_or_token_is_refused() {
        let http = ("STEPLADDER_ROLE", "http");
        let (keys, token) =
            (("STEPLADDER_EVENT_KEYS", "first-key, second-key"), ("STEPLADDER_DASHBOARD_TOKEN", "long-enough"));
        assert!(refused(&[http]).contains("must be set"));
        assert!(refused(&[http, keys]).contains("must be set"));
        assert!(refused(&[http, token]).contains("must be set"));
        assert_eq!(read(&[http, keys, token]).unwrap().event_keys, ["first-key", "second-key"]);
        assert!(refused(&[http, ("STEPLADDER_EVENT_KEYS", "first-key,k"), token]).contains("an event key"));
        assert!(refused(&[http, keys, ("STEPLADDER_DASHBOARD_TOKEN", "t")]).contains("the dashboard token"));
    }

    #[test]
    fn signing_keys_are_in_one_place() {
        let (secret, parameter) =
            (("STEPLADDER_SIGNING_KEYS_SECRET", "keys"), ("STEPLADDER_SIGNING_KEYS_PARAMETER", "/keys"));
        assert_eq!(read(&[]).unwrap().signing_keys, None);
        assert_eq!(read(&[secret]).unwrap().signing_keys, Some(SecretName::Secret("keys".into())));
        assert_eq!(read(&[parameter]).unwrap().signing_keys, Some(SecretName::Parameter("/keys".into())));
        assert!(refused(&[secret, parameter]).contains("are both set; keep one"));
    }

    #[test]
    fn settings_of_functions_are_read_and_a_bad_one_is_named() {
        let settings = read(&[("STEPLADDER_SETTINGS", "MODEL=small, URL=https://a.test/?b=c,EMPTY=")]).unwrap();
        let expected = [("MODEL", "small"), ("URL", "https://a.test/?b=c"), ("EMPTY", "")];
        assert_eq!(settings.variables, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(refused(&[("STEPLADDER_SETTINGS", "A=1,2")]).starts_with("STEPLADDER_SETTINGS: `2` is not NAME=VALUE"));
        assert!(refused(&[("STEPLADDER_SECRETS", "KEY=plain")]).starts_with("STEPLADDER_SECRETS: `KEY`"));
    }

    #[test]
    fn functions_with_their_own_queues_are_read() {
        let json =
            r#"{"report":{"queue":"https://sqs.test/report","timeout":300},"mail":{"queue":"mail","timeout":90}}"#;
        let dedicated = read(&[("STEPLADDER_DEDICATED", json)]).unwrap().queues.dedicated;
        assert_eq!(dedicated["report"].worker_timeout(), Duration::from_secs(300));
        assert_eq!(
            [&*dedicated["report"].queue, &*dedicated["mail"].queue],
            ["https://sqs.test/report", "https://sqs.test/mail"]
        );
    }
}
