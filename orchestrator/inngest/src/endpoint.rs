//! Durable endpoints: handlers of an app that execute steps within a request of the app's own
//! client. Each such request is a run of a function, which is registered with its first request.
//!
//! A call of such a function repeats the request, with headers that name the run. The body is that
//! of the request, so the app fetches the outcomes of the run.

use std::sync::Arc;

use reqwest::header::{CONTENT_TYPE, HeaderName};
use reqwest::{Method, Url};
use serde::Deserialize;
use stepladder_core::function::RetryConfig;
use stepladder_core::sentence::truncated;
use stepladder_core::{Event, Failure, FunctionConfig, RunId};
use stepladder_engine::{AppDescription, Functions};

use crate::apps::{Apps, SyncError, sdk_name};
use crate::call::CallAttempt;
use crate::convert::{MAX_RETRIES, parse_address};
use crate::registration::RegistrationError;
use crate::transport::{AppAnswer, NoAnswer, SIGNATURE, Transport};

/// The name of the event that describes a request. Nobody else can send an event of this name.
pub(crate) const HTTP_REQUEST: &str = "inngest/http.request";

/// How many endpoints without an id of their own an app may have. A path may contain an id, and
/// then each request has another one: further paths share a function.
const PATHS: usize = 50;
/// The maximum length of the part of a function's id that comes from a path.
const SLUG_BYTES: usize = 100;

const RUN_ID: HeaderName = HeaderName::from_static("x-run-id");
const STEP_ID: HeaderName = HeaderName::from_static("x-inngest-step-id");
const FORCE_STEP_PLAN: HeaderName = HeaderName::from_static("x-inngest-force-step-plan");

/// The data of the event that describes a request.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct WireRequest {
    domain: String,
    method: String,
    path: String,
    #[serde(default)]
    query_params: String,
    #[serde(default)]
    content_type: String,
    #[serde(default)]
    body: Option<String>,
    /// The id that the code gives the endpoint; it may be empty.
    #[serde(default, rename = "fn")]
    function: Option<String>,
}

/// The function of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) app: String,
    pub(crate) function: Arc<str>,
}

/// The request that the calls of a run repeat.
#[derive(Clone, Debug)]
pub(crate) struct RepeatedRequest {
    run: RunId,
    method: Method,
    url: Url,
    content_type: String,
    body: String,
}

impl WireRequest {
    /// Reads the data of an event.
    ///
    /// # Errors
    /// A sentence that names the field.
    pub(crate) fn decode(data: &str) -> Result<Self, String> {
        let request: Self = serde_json::from_str(data).map_err(|error| format!("`event.data`: {error}"))?;
        request.url(&request.address()?)?;
        request.method()?;
        Ok(request)
    }

    /// Returns the address of the app.
    fn address(&self) -> Result<Url, String> {
        let url = parse_address(&self.domain).map_err(|problem| format!("`event.data.domain`: {problem}"))?;
        match url.host_str() {
            Some(_) if matches!(url.scheme(), "http" | "https") && url.path() == "/" => Ok(url),
            _ => Err("`event.data.domain` is a scheme and a host, such as https://shop.example".into()),
        }
    }

    fn method(&self) -> Result<Method, String> {
        self.method.parse().map_err(|_| "`event.data.method` is no method of HTTP".into())
    }

    /// Returns the address of the request, at the app with this address.
    fn url(&self, app: &Url) -> Result<Url, String> {
        if !self.path.starts_with('/') {
            return Err("`event.data.path` begins with `/`".into());
        }
        let mut url = app.clone();
        url.set_path(&self.path);
        url.set_query(Some(&*self.query_params).filter(|query| !query.is_empty()));
        Ok(url)
    }

    /// Returns the id that the code gives the endpoint.
    fn own_id(&self) -> Option<&str> {
        self.function.as_deref().filter(|id| !id.is_empty())
    }
}

impl Apps {
    /// Registers the function of an endpoint, unless it is registered.
    ///
    /// # Errors
    /// [`SyncError`], with a sentence that names the field.
    pub(crate) async fn register_endpoint(
        &self,
        request: &WireRequest,
        retries: u32,
        sdk: Option<&str>,
    ) -> Result<Endpoint, SyncError> {
        let refuse = |why: String| SyncError::Refused(RegistrationError::new(why));
        if retries > MAX_RETRIES {
            return Err(refuse(format!("`retries` is {retries}; at most {MAX_RETRIES} are allowed")));
        }
        let address = request.address().map_err(refuse)?;
        let place = format!("{}{}", address.host_str().unwrap_or_default(), port_of(&address));
        let app = slug(&place);
        let title = format!("{} {}", request.method, request.path);
        let (mut id, mut name) = match request.own_id() {
            Some(own) => (format!("{app}-{own}"), own.to_owned()),
            None => (format!("{app}-{}", slug(&title)), truncated(&title, SLUG_BYTES)),
        };
        if request.own_id().is_none() && self.functions.snapshot().newest(&id).is_none() {
            let apps = self.functions.list().await?;
            let known = apps.iter().find(|known| *known.name == *app).map_or(0, |known| known.functions.len());
            if known >= PATHS {
                (id, name) = (format!("{app}-other"), "other endpoints".into());
            }
        }
        let config = FunctionConfig {
            name: Some(name.into()),
            retry: RetryConfig { retries, ..RetryConfig::default() },
            timeout: self.settings.workers.longest_step(&id),
            ..FunctionConfig::new(&*id)
        };
        config.compile().map_err(|error| refuse(error.to_string()))?;
        let about = AppDescription {
            sdk: sdk.map(|sdk| sdk_name(sdk).into()),
            framework: None,
            synced_at: Some(self.transport().now()),
        };
        self.functions.register_function(&app, address.as_str(), &config, &about).await?;
        Ok(Endpoint { app, function: config.id })
    }
}

impl RepeatedRequest {
    /// Returns the request of a run at the app with this address; `None` for a run of another
    /// function.
    ///
    /// # Errors
    /// A failure that names the field.
    pub(crate) fn of(run: RunId, event: &Event, app: &Url) -> Result<Option<Self>, Failure> {
        if *event.name != *HTTP_REQUEST {
            return Ok(None);
        }
        let request = WireRequest::decode(event.data.get()).map_err(Failure::new)?;
        Ok(Some(Self {
            run,
            method: request.method().map_err(Failure::new)?,
            url: request.url(app).map_err(Failure::new)?,
            content_type: request.content_type,
            body: request.body.unwrap_or_default(),
        }))
    }

    /// Sends the request again. `step` is a hash, or [`WHOLE`](crate::call::WHOLE).
    pub(crate) async fn send(
        &self,
        transport: &Transport,
        step: &str,
        attempt: CallAttempt,
        ids: &[(HeaderName, &str)],
    ) -> Result<AppAnswer, NoAnswer> {
        let run = self.run.to_string();
        let plans = if attempt.executes { "false" } else { "true" };
        // without a signature, the SDK takes the request for one of the app's clients
        let mut headers = vec![(RUN_ID, &*run), (STEP_ID, step), (FORCE_STEP_PLAN, plans), (SIGNATURE, "")];
        headers.extend(ids.iter().map(|(name, value)| (name.clone(), *value)));
        headers.extend((!self.content_type.is_empty()).then_some((CONTENT_TYPE, &*self.content_type)));
        // a request of these methods has no body
        let is_bodiless = matches!(self.method, Method::GET | Method::HEAD);
        let body = if is_bodiless { Vec::new() } else { self.body.clone().into_bytes() };
        transport.send(self.method.clone(), &self.url, &headers, body).await
    }
}

fn port_of(url: &Url) -> String {
    url.port().map(|port| format!("-{port}")).unwrap_or_default()
}

/// Returns a text as a part of an id: lower case, with a dash for each other character.
fn slug(text: &str) -> String {
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_alphanumeric() && c != '.').filter(|word| !word.is_empty());
    let mut slug = words.collect::<Vec<_>>().join("-");
    slug.truncate(SLUG_BYTES);
    slug
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn data() -> Value {
        json!({"domain": "http://localhost:3000", "method": "POST", "path": "/api/orders", "query_params": "a=1",
               "content_type": "application/json", "body": "{}", "ip": "", "fn": ""})
    }

    #[test]
    fn a_request_is_repeated_at_the_address_of_its_app() {
        let request = WireRequest::decode(&data().to_string()).unwrap();
        let app: Url = "http://localhost:3000/".parse().unwrap();
        assert_eq!(request.address().unwrap(), app);
        assert_eq!(request.url(&app).unwrap().as_str(), "http://localhost:3000/api/orders?a=1");
        assert_eq!((request.own_id(), request.method().unwrap()), (None, Method::POST));
        assert_eq!(slug("POST /api/orders/{id}"), "post-api-orders-id");
    }

    #[test]
    fn a_request_that_cannot_be_repeated_is_refused_by_field() {
        for (field, value, says) in [
            ("domain", json!("lambda:arn:aws:lambda:eu-west-1:123456789012:function:shop"), "`event.data.domain`"),
            ("domain", json!("http://localhost:3000/api"), "a scheme and a host"),
            ("path", json!("api"), "`event.data.path`"),
            ("method", json!("NOT A METHOD"), "`event.data.method`"),
            ("method", json!(1), "invalid type"),
        ] {
            let mut data = data();
            data[field] = value;
            let problem = WireRequest::decode(&data.to_string()).unwrap_err();
            assert!(problem.contains(says), "{problem}");
        }
    }
}
