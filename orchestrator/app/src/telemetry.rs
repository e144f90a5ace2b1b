//! OpenTelemetry, if this build has it (the feature `otel`) and the environment names a collector.
//! Otherwise nothing is started, and runs are not observed.

use std::sync::Arc;
use std::time::Duration;

use stepladder_engine::{Config, Engine};
use stepladder_observe::logs::ExportedSpans;

/// How often the current load of a local server is read.
#[cfg(feature = "otel")]
const LOAD_EVERY: Duration = Duration::from_secs(5);

/// What this process exports.
#[derive(Debug, Default)]
pub(crate) struct Telemetry {
    #[cfg(feature = "otel")]
    otel: Option<stepladder_otel::Otel>,
}

/// What is exported of the process itself.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "otel"), allow(dead_code, reason = "only the exporters read the fields"))]
pub(crate) struct ProcessInfo<'a> {
    /// The version of the code.
    pub(crate) code: Option<&'a str>,
    /// The role of a process on Lambda; `None` for a local server.
    pub(crate) role: Option<&'a str>,
    /// The headers for the collector, if they are not in the environment.
    pub(crate) headers: Option<&'a str>,
}

impl Telemetry {
    /// Whether this build can export.
    #[cfg_attr(not(feature = "aws"), allow(dead_code, reason = "a local server has its headers in its environment"))]
    pub(crate) const IS_BUILT_IN: bool = cfg!(feature = "otel");
}

#[cfg(feature = "otel")]
impl Telemetry {
    /// Starts the exporters that the environment asks for, within a Tokio runtime.
    ///
    /// # Errors
    /// A sentence that names the variable.
    pub(crate) fn start(process: ProcessInfo<'_>) -> Result<Self, String> {
        let variable = |name: &str| std::env::var(name).ok();
        let mut settings = stepladder_otel::OtelSettings::read(variable)?;
        if let Some(headers) = process.headers {
            settings = settings.with_headers(headers)?;
        }
        if let Some(code) = process.code {
            settings = settings.with_attribute("service.version", code);
        }
        if let Some(role) = process.role {
            settings = settings.with_attribute("stepladder.role", role).with_changes(variable);
            settings = settings.with_attribute("cloud.provider", "aws").with_attribute("cloud.platform", "aws_lambda");
            for (name, key) in [
                ("AWS_REGION", "cloud.region"),
                ("AWS_LAMBDA_FUNCTION_NAME", "faas.name"),
                ("AWS_LAMBDA_FUNCTION_VERSION", "faas.version"),
                ("AWS_LAMBDA_LOG_STREAM_NAME", "faas.instance"),
            ] {
                if let Some(value) = variable(name).filter(|value| !value.is_empty()) {
                    settings = settings.with_attribute(key, value);
                }
            }
        }
        Ok(Self { otel: stepladder_otel::Otel::start(&settings)? })
    }

    /// Makes an engine with this config report its runs.
    pub(crate) fn connect(&self, config: &mut Config) {
        if let Some(otel) = &self.otel {
            otel.connect(config);
        }
    }

    /// Returns the layer that exports spans of user code, and what gives log lines their ids.
    pub(crate) fn spans(&self) -> Option<ExportedSpans> {
        Some(ExportedSpans { layer: self.otel.as_ref()?.layer()?, current: stepladder_otel::current_span })
    }

    /// Starts a task that exports the current load, if metrics are exported.
    pub(crate) fn watch_load(&self, engine: Arc<Engine>) -> Option<tokio::task::JoinHandle<()>> {
        let gauges = self.otel.as_ref()?.gauges()?;
        Some(tokio::spawn(async move {
            let mut ticks = tokio::time::interval(LOAD_EVERY);
            loop {
                ticks.tick().await;
                gauges.set(&engine.query().load());
            }
        }))
    }

    /// Sends what is waiting, at most for this long. What could not be sent is sent later.
    #[cfg_attr(not(feature = "aws"), allow(dead_code, reason = "a local server sends at its own pace"))]
    pub(crate) async fn flush(&self, within: Duration) {
        if let Some(otel) = &self.otel {
            otel.flush(within).await;
        }
    }

    /// Sends what is waiting, at most for this long, and ends the exporters.
    pub(crate) async fn shut_down(&self, within: Duration) {
        if let Some(otel) = &self.otel {
            otel.shut_down(within).await;
        }
    }

    /// Logs what the environment asks for, and this build cannot do.
    pub(crate) fn report_missing() {}
}

#[cfg(not(feature = "otel"))]
impl Telemetry {
    pub(crate) fn start(_: ProcessInfo<'_>) -> Result<Self, String> {
        Ok(Self {})
    }

    pub(crate) fn connect(&self, _: &mut Config) {}

    pub(crate) fn spans(&self) -> Option<ExportedSpans> {
        None
    }

    pub(crate) fn watch_load(&self, _: Arc<Engine>) -> Option<tokio::task::JoinHandle<()>> {
        None
    }

    #[cfg_attr(not(feature = "aws"), allow(dead_code, reason = "a local server sends at its own pace"))]
    pub(crate) async fn flush(&self, _: Duration) {}

    pub(crate) async fn shut_down(&self, _: Duration) {}

    /// Logs that the environment asks for what this build cannot do.
    pub(crate) fn report_missing() {
        let names = [
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
        ];
        let is_set = |name: &&str| std::env::var(name).is_ok_and(|value| !value.trim().is_empty());
        if let Some(name) = names.into_iter().find(is_set) {
            tracing::warn!("{name} is set, but this build exports nothing; build it with the feature `otel`");
        }
    }
}
