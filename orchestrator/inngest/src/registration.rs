//! The registration of an app, as SDKs send it.
//!
//! Every field that is not known is refused, because a misspelt or newer setting would have no
//! effect. The sentences name the function and the field.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use stepladder_core::sentence::shortened;

/// Why a registration is refused, as a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RegistrationError(String);

impl RegistrationError {
    pub(crate) fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }

    /// Creates the error of one field of a function. `problem` follows a colon.
    pub(crate) fn of_field(function: &str, field: &str, problem: impl std::fmt::Display) -> Self {
        Self(format!("function `{}`: field `{}`: {problem}", shortened(function), shortened(field)))
    }
}

/// An app with its functions.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The id of the app.
    pub app: String,
    /// The address to which calls of the app are sent.
    pub url: String,
    /// The framework that serves the app, such as `nextjs`.
    pub framework: Option<String>,
    /// The SDK with its version, if the registration names it.
    pub sdk: Option<String>,
    /// The functions of the app.
    pub functions: Vec<RegisteredFunction>,
}

/// The fields of a registration, without those that only describe the app.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    /// The Python package writes `appname` and `deploy_type`; answers in band have `app_id`.
    #[serde(rename = "appName", alias = "appname", alias = "app_id")]
    app_name: String,
    url: String,
    functions: Vec<Value>,
    #[serde(default, rename = "deployType", alias = "deploy_type")]
    deploy_type: Option<String>,
}

/// The names of fields that describe an app, its SDK or its platform, and have no effect.
const DESCRIPTIONS: [&str; 15] = [
    "featureObservations",
    "sdk",
    "v",
    "framework",
    "platform",
    "capabilities",
    "headers",
    "env",
    "inspection",
    "appVersion",
    "app_version",
    "sdk_author",
    "sdk_language",
    "sdk_version",
    "deployId",
];

/// A function of an app.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RegisteredFunction {
    pub(crate) id: String,
    pub(crate) name: Option<String>,
    pub(crate) triggers: Vec<TriggerFields>,
    pub(crate) steps: StepsFields,
    pub(crate) concurrency: Option<ConcurrencyFields>,
    pub(crate) throttle: Option<ThrottleFields>,
    pub(crate) rate_limit: Option<RateLimitFields>,
    pub(crate) debounce: Option<DebounceFields>,
    pub(crate) priority: Option<PriorityFields>,
    pub(crate) batch_events: Option<BatchFields>,
    pub(crate) idempotency: Option<String>,
    pub(crate) singleton: Option<SingletonFields>,
    pub(crate) timeouts: Option<TimeoutsFields>,
    pub(crate) cancel: Option<Vec<CancelFields>>,
    /// How the app would record steps while a call goes on. Each call turns this off.
    #[serde(rename = "checkpoint")]
    pub(crate) _checkpoint: Option<Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TriggerFields {
    pub(crate) event: Option<String>,
    pub(crate) expression: Option<String>,
    pub(crate) cron: Option<String>,
    pub(crate) jitter: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StepsFields {
    pub(crate) step: StepFields,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StepFields {
    #[serde(rename = "id")]
    pub(crate) _id: String,
    #[serde(rename = "name")]
    pub(crate) _name: Option<String>,
    pub(crate) runtime: RuntimeFields,
    pub(crate) retries: Option<RetriesFields>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuntimeFields {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) url: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetriesFields {
    pub(crate) attempts: Option<u32>,
}

/// One limit as a number, one limit, or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum ConcurrencyFields {
    Limit(u32),
    One(LimitFields),
    Several(Vec<LimitFields>),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitFields {
    pub(crate) limit: u32,
    pub(crate) key: Option<String>,
    pub(crate) scope: Option<Scope>,
}

/// The functions that share a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scope {
    Fn,
    Env,
    Account,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ThrottleFields {
    pub(crate) limit: u32,
    pub(crate) period: String,
    pub(crate) burst: Option<u32>,
    pub(crate) key: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RateLimitFields {
    pub(crate) limit: u32,
    pub(crate) period: String,
    pub(crate) key: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DebounceFields {
    pub(crate) period: String,
    pub(crate) timeout: Option<String>,
    pub(crate) key: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PriorityFields {
    pub(crate) run: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct BatchFields {
    pub(crate) max_size: u32,
    pub(crate) timeout: String,
    pub(crate) key: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SingletonFields {
    pub(crate) mode: SingletonModeField,
    pub(crate) key: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SingletonModeField {
    Skip,
    Cancel,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TimeoutsFields {
    pub(crate) start: Option<String>,
    pub(crate) finish: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CancelFields {
    pub(crate) event: String,
    #[serde(rename = "if")]
    pub(crate) condition: Option<String>,
    pub(crate) timeout: Option<String>,
}

impl Registration {
    /// Decodes a registration: the body of `POST /fn/register`, or the answer of an app that was
    /// asked to register in band.
    ///
    /// # Errors
    /// A sentence that names the function and the field.
    pub fn decode(body: &[u8]) -> Result<Self, RegistrationError> {
        let refuse = |sentence: String| Err(RegistrationError(sentence));
        let mut fields = match serde_json::from_slice::<Value>(body) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) => return refuse("a registration is a JSON object".into()),
            Err(error) => return refuse(format!("the registration is not JSON: {error}")),
        };
        let text = |name: &str| fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(shortened);
        let framework = text("framework");
        let sdk = match (text("sdk_language"), text("sdk_version")) {
            (Some(language), Some(version)) => Some(format!("{language}:v{version}")),
            _ => text("sdk"),
        };
        for description in DESCRIPTIONS {
            fields.remove(description);
        }
        let Fields { app_name, url, functions, deploy_type } = decode_at("the registration", fields.into())?;
        if app_name.is_empty() {
            return refuse("the registration has an empty `appName`".into());
        }
        if let Some(other) = deploy_type.filter(|deploy_type| deploy_type != "ping") {
            let other = shortened(&other);
            return refuse(format!("app `{app_name}` has the `deployType` `{other}`; only `ping` is supported"));
        }
        let functions = functions.into_iter().enumerate().map(|(at, function)| {
            let subject = match function.get("id").and_then(Value::as_str) {
                Some(id) => format!("function `{}`", shortened(id)),
                None => format!("function number {} of app `{app_name}`", at + 1),
            };
            decode_at(&subject, function)
        });
        let functions = functions.collect::<Result<_, _>>()?;
        Ok(Self { app: app_name, url, framework, sdk, functions })
    }
}

/// Decodes a value. The error names the subject and the field.
fn decode_at<T: DeserializeOwned>(subject: &str, value: Value) -> Result<T, RegistrationError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let place = if path == "." { String::new() } else { format!(" field `{}`:", shortened(&path)) };
        RegistrationError(format!("{subject}:{place} {}", shortened(error.into_inner().to_string())))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn function() -> Value {
        let url = "http://localhost:3000/api/inngest?fnId=shop-hello&stepId=step";
        json!({
            "id": "shop-hello", "name": "hello", "triggers": [{"event": "test/hello"}],
            "steps": {"step": {"id": "step", "name": "step", "runtime": {"type": "http", "url": url}}},
        })
    }

    fn registration(function: &Value) -> Vec<u8> {
        let url = "http://localhost:3000/api/inngest";
        json!({"appName": "shop", "url": url, "deployType": "ping", "sdk": "js:v4", "v": "0.1", "functions": [function]})
            .to_string()
            .into_bytes()
    }

    #[test]
    fn an_unknown_field_is_refused_with_the_function_and_the_field() {
        let mut misspelt = function();
        misspelt["rateLimits"] = json!({});
        let mut nested = function();
        nested["throttle"] = json!({"limit": 1, "period": "1s", "bursts": 2});
        let mut wrong = function();
        wrong["steps"]["step"]["retries"] = json!({"attempts": "three"});
        for (function, says) in [
            (misspelt, ["`shop-hello`", "unknown field `rateLimits`"]),
            (nested, ["`throttle.bursts`", "unknown field `bursts`"]),
            (wrong, ["`steps.step.retries.attempts`", "invalid type: string"]),
            (json!({"name": "x"}), ["number 1 of app `shop`", "missing field `id`"]),
        ] {
            let sentence = Registration::decode(&registration(&function)).unwrap_err().to_string();
            assert!(says.iter().all(|says| sentence.contains(says)), "{sentence}");
        }
    }

    #[test]
    fn what_is_no_registration_is_refused() {
        for (body, says) in [
            ("", "is not JSON"),
            ("[]", "is a JSON object"),
            (r#"{"appName":"","url":"http://x","functions":[]}"#, "an empty `appName`"),
            (r#"{"appName":"a","url":"http://x","functions":[],"deployType":"x"}"#, "only `ping`"),
            (r#"{"appName":"a","url":"http://x","functions":[],"extra":1}"#, "unknown field `extra`"),
            (r#"{"url":"http://x","functions":[]}"#, "missing field `appName`"),
        ] {
            let sentence = Registration::decode(body.as_bytes()).unwrap_err().to_string();
            assert!(sentence.contains(says), "{sentence}");
        }
        let decoded = Registration::decode(&registration(&function())).unwrap();
        assert_eq!((&*decoded.app, decoded.functions.len()), ("shop", 1));
        assert_eq!((decoded.sdk.as_deref(), decoded.framework), (Some("js:v4"), None));
    }
}
