//! The standard environment variables of OpenTelemetry. Endpoints, headers, timeouts and batch
//! sizes are read by OpenTelemetry's crates; what those would ignore silently is checked here.

use std::collections::HashMap;

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::trace::Sampler;

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The spans of runs.
    Traces,
    /// The metrics of runs.
    Metrics,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Traces => "TRACES",
            Self::Metrics => "METRICS",
        }
    }
}

/// How a signal is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Protocol buffers over HTTP.
    Http,
    /// gRPC.
    Grpc,
}

/// What is exported, and how.
#[derive(Clone, Debug)]
pub struct OtelSettings {
    traces: Option<Transport>,
    metrics: Option<Transport>,
    pub(crate) sampler: Sampler,
    pub(crate) temporality: Temporality,
    resource: Vec<KeyValue>,
    has_service_name: bool,
    pub(crate) headers: HashMap<String, String>,
}

impl OtelSettings {
    /// Reads the settings from environment variables. An empty variable counts as missing. A signal
    /// is exported if there is an endpoint for it, and its exporter is not `none`.
    ///
    /// # Errors
    /// A sentence that names the variable and says which values are valid.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let get = |name: &str| variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let is_disabled = get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let transport = |signal| if is_disabled { Ok(None) } else { transport(&get, signal) };
        let attributes = get("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        Ok(Self {
            traces: transport(Signal::Traces)?,
            metrics: transport(Signal::Metrics)?,
            sampler: sampler(&get)?,
            temporality: temporality(&get)?,
            resource: Vec::new(),
            headers: HashMap::new(),
            has_service_name: get("OTEL_SERVICE_NAME").is_some() || names_service(&attributes)?,
        })
    }

    /// Adds an attribute of the process to all that is exported. `OTEL_RESOURCE_ATTRIBUTES` has
    /// precedence.
    #[must_use]
    pub fn with_attribute(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.resource.push(KeyValue::new(key, value.into()));
        self
    }

    /// Adds headers to all requests over HTTP, in the syntax of `OTEL_EXPORTER_OTLP_HEADERS`, for a
    /// process that does not have them in its environment.
    ///
    /// # Errors
    /// A sentence, without the text, which is a secret: it is not `key=value,key=value`, or the
    /// requests are not sent over HTTP.
    pub fn with_headers(mut self, text: &str) -> Result<Self, String> {
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some((key, value)) if is_header_name(key.trim()) => {
                    self.headers.insert(key.trim().to_owned(), value.trim().to_owned())
                }
                _ => return Err(format!("{HEADERS} is not written like key1=value1,key2=value2")),
            };
        }
        if [self.traces, self.metrics].contains(&Some(Transport::Grpc)) {
            return Err(format!("{HEADERS} as a secret needs the protocol http/protobuf"));
        }
        Ok(self)
    }

    /// Exports the changes since the last export instead of totals, unless the environment says
    /// otherwise. This suits a process that lives for a short time.
    #[must_use]
    pub fn with_changes(mut self, variable: impl Fn(&str) -> Option<String>) -> Self {
        if variable(TEMPORALITY).is_none_or(|value| value.trim().is_empty()) {
            self.temporality = Temporality::Delta;
        }
        self
    }

    /// Returns whether a signal is exported.
    pub fn exports(&self, signal: Signal) -> bool {
        self.transport(signal).is_some()
    }

    pub(crate) fn transport(&self, signal: Signal) -> Option<Transport> {
        match signal {
            Signal::Traces => self.traces,
            Signal::Metrics => self.metrics,
        }
    }

    pub(crate) fn resource(&self) -> Resource {
        // attributes that are added later override earlier ones
        let own = Resource::builder_empty().with_attributes(self.resource.clone());
        let own = if self.has_service_name { own } else { own.with_service_name("stepladder") };
        let read = Resource::builder().build();
        let unknown = |key: &str| key == "service.name" && !self.has_service_name;
        let read = read.iter().filter(|(key, _)| !unknown(key.as_str()));
        own.with_attributes(read.map(|(key, value)| KeyValue::new(key.clone(), value.clone()))).build()
    }
}

/// The variable that says whether totals or changes are exported.
const TEMPORALITY: &str = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";

/// The variable with the headers of all requests.
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";

fn is_header_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

type Get<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Returns how a signal is sent; `None` if it is not.
fn transport(get: Get<'_>, signal: Signal) -> Result<Option<Transport>, String> {
    let exporter = format!("OTEL_{}_EXPORTER", signal.name());
    match get(&exporter).as_deref() {
        None | Some("otlp") => {}
        Some("none") => return Ok(None),
        Some(other) => return Err(format!("{exporter} is `{other}`; it must be otlp or none")),
    }
    // the variable of one signal has precedence
    let find = |what: &str| {
        let names = [format!("OTEL_EXPORTER_OTLP_{}_{what}", signal.name()), format!("OTEL_EXPORTER_OTLP_{what}")];
        names.into_iter().find_map(|name| get(&name).map(|value| (name, value)))
    };
    let Some((name, endpoint)) = find("ENDPOINT") else { return Ok(None) };
    if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
        return Err(format!("{name} is `{endpoint}`; it must be an address like http://localhost:4318"));
    }
    if let Some((name, millis)) = find("TIMEOUT")
        && millis.parse::<u64>().is_err()
    {
        return Err(format!("{name} is `{millis}`; it must be a number of milliseconds"));
    }
    if let Some((name, compression)) = find("COMPRESSION")
        && !matches!(&*compression, "gzip" | "none")
    {
        return Err(format!("{name} is `{compression}`; it must be gzip or none"));
    }
    match find("PROTOCOL") {
        None => Ok(Some(Transport::Http)),
        Some((_, protocol)) if protocol == "http/protobuf" => Ok(Some(Transport::Http)),
        Some((_, protocol)) if protocol == "grpc" && cfg!(feature = "grpc") => Ok(Some(Transport::Grpc)),
        Some((name, protocol)) if protocol == "grpc" => {
            Err(format!("{name} is `grpc`, which this build cannot send; use http/protobuf, or build with `otel-grpc`"))
        }
        Some((name, other)) => Err(format!("{name} is `{other}`; it must be http/protobuf or grpc")),
    }
}

fn sampler(get: Get<'_>) -> Result<Sampler, String> {
    const NAME: &str = "OTEL_TRACES_SAMPLER";
    const ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";
    let ratio = || match get(ARGUMENT) {
        None => Ok(1.0),
        Some(text) => match text.parse::<f64>() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
            _ => Err(format!("{ARGUMENT} is `{text}`; it must be a number from 0 to 1")),
        },
    };
    let name = get(NAME).unwrap_or_else(|| "parentbased_always_on".into());
    let (is_parent_based, root) = match name.strip_prefix("parentbased_") {
        Some(root) => (true, root),
        None => (false, &*name),
    };
    let root = match root {
        "always_on" => Sampler::AlwaysOn,
        "always_off" => Sampler::AlwaysOff,
        "traceidratio" => Sampler::TraceIdRatioBased(ratio()?),
        _ => {
            return Err(format!(
                "{NAME} is `{name}`; it must be always_on, always_off or traceidratio, or one of them after parentbased_"
            ));
        }
    };
    Ok(if is_parent_based { Sampler::ParentBased(Box::new(root)) } else { root })
}

fn temporality(get: Get<'_>) -> Result<Temporality, String> {
    match get(TEMPORALITY).map(|value| value.to_ascii_lowercase()).as_deref() {
        None | Some("cumulative") => Ok(Temporality::Cumulative),
        Some("delta") => Ok(Temporality::Delta),
        Some("lowmemory") => Ok(Temporality::LowMemory),
        Some(other) => Err(format!("{TEMPORALITY} is `{other}`; it must be cumulative, delta or lowmemory")),
    }
}

/// Returns whether the attributes name the service.
fn names_service(attributes: &str) -> Result<bool, String> {
    let mut found = false;
    for pair in attributes.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let Some((key, _)) = pair.split_once('=') else {
            return Err(format!("OTEL_RESOURCE_ATTRIBUTES has `{pair}`; write it like key1=value1,key2=value2"));
        };
        found |= key.trim() == "service.name";
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");

    fn read(variables: &[(&str, &str)]) -> Result<OtelSettings, String> {
        let found = |name: &str| variables.iter().rev().find(|(known, _)| *known == name);
        OtelSettings::read(|name| found(name).map(|(_, value)| (*value).to_owned()))
    }

    fn exported(variables: &[(&str, &str)]) -> (bool, bool) {
        let settings = read(variables).unwrap();
        (settings.exports(Signal::Traces), settings.exports(Signal::Metrics))
    }

    #[test]
    fn a_signal_is_exported_if_it_has_an_endpoint() {
        assert_eq!(exported(&[]), (false, false));
        assert_eq!(exported(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]), (false, false));
        assert_eq!(exported(&[ENDPOINT]), (true, true));
        assert_eq!(exported(&[ENDPOINT, ("OTEL_METRICS_EXPORTER", "none")]), (true, false));
        assert_eq!(exported(&[ENDPOINT, ("OTEL_SDK_DISABLED", "true")]), (false, false));
        assert_eq!(exported(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://localhost:4318/t")]), (true, false));
    }

    #[test]
    fn without_an_endpoint_nothing_is_started() {
        let others = [("OTEL_SERVICE_NAME", "shop"), ("OTEL_EXPORTER_OTLP_HEADERS", "x-test=1")];
        let started = |variables: &[(&str, &str)]| crate::Otel::start(&read(variables).unwrap()).unwrap().is_some();
        assert!(!started(&others));
        assert!(!started(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]));
    }

    #[test]
    fn a_bad_variable_is_named() {
        for (name, value, says) in [
            ("OTEL_TRACES_EXPORTER", "zipkin", "otlp or none"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "localhost:4318", "an address like"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "http/protobuf or grpc"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1s", "a number of milliseconds"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "gzip or none"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote", "always_on"),
            (TEMPORALITY, "sometimes", "cumulative, delta"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a=1,b", "`b`"),
        ] {
            let refused = read(&[ENDPOINT, (name, value)]).unwrap_err();
            assert!(refused.starts_with(name) && refused.contains(says), "{refused}");
        }
        let ratio = [("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")];
        assert!(read(&ratio).unwrap_err().starts_with("OTEL_TRACES_SAMPLER_ARG is `2`"));
    }

    #[cfg(not(feature = "grpc"))]
    #[test]
    fn a_build_without_grpc_says_so() {
        let refused = read(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).unwrap_err();
        assert!(refused.contains("this build cannot send"), "{refused}");
    }

    #[test]
    fn samplers_have_the_standard_names() {
        let sampler = |variables: &[(&str, &str)]| format!("{:?}", read(variables).unwrap().sampler);
        assert_eq!(sampler(&[]), "ParentBased(AlwaysOn)");
        assert_eq!(sampler(&[("OTEL_TRACES_SAMPLER", "always_off")]), "AlwaysOff");
        let ratio = [("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0.25")];
        assert_eq!(sampler(&ratio), "ParentBased(TraceIdRatioBased(0.25))");
    }

    #[test]
    fn the_service_has_a_name() {
        let name =
            |settings: OtelSettings| settings.resource().get(&"service.name".into()).map(|name| name.to_string());
        assert_eq!(name(read(&[]).unwrap()).as_deref(), Some("stepladder"));
        let own = read(&[]).unwrap().with_attribute("service.version", "7").resource();
        assert_eq!(own.get(&"service.version".into()).map(|version| version.to_string()).as_deref(), Some("7"));
    }

    #[test]
    fn headers_that_are_a_secret_are_read_and_never_shown() {
        let settings = || read(&[ENDPOINT]).unwrap();
        let headers = settings().with_headers("authorization=Bearer a=b, x-team = shop,").unwrap().headers;
        let expected = [("authorization", "Bearer a=b"), ("x-team", "shop")];
        assert_eq!(headers, expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
        for bad in ["Bearer-hidden", "a b=hidden", "=hidden"] {
            let refused = settings().with_headers(bad).unwrap_err();
            assert!(refused.starts_with(HEADERS) && !refused.contains("hidden"), "{refused}");
        }
    }
}
