//! Checks for alerts every half minute, and sends them to a webhook in the format of Slack.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Url;
use stepladder_engine::Engine;
use stepladder_server::{AlertBoard, AlertMonitor, AlertSink, DiskSpace};

/// The time between two checks.
const INTERVAL: Duration = Duration::from_secs(30);
/// The time that the webhook has to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The text of the option, which is a secret.
#[derive(Clone)]
pub(super) struct WebhookArg(String);

impl fmt::Debug for WebhookArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a webhook")
    }
}

impl FromStr for WebhookArg {
    /// Clap shows the text of an argument that cannot be parsed, so every text can.
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

/// The address of a webhook. It is a secret, so it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct WebhookUrl(Url);

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a webhook")
    }
}

impl FromStr for WebhookUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        url.map(Self).ok_or_else(|| "it is no address that begins with https://".into())
    }
}

/// A webhook that takes messages in Slack's format: `{"text": "…"}`.
pub(super) struct SlackWebhook {
    url: WebhookUrl,
    http: reqwest::Client,
}

impl SlackWebhook {
    pub(super) fn new(url: WebhookUrl) -> Result<Self, String> {
        let http = crate::client::http_builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).build();
        Ok(Self { url, http: http.map_err(|error| error.without_url().to_string())? })
    }
}

#[async_trait]
impl AlertSink for SlackWebhook {
    async fn send(&self, text: &str) -> Result<(), String> {
        // Slack reads these three characters as markup
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let body = serde_json::json!({ "text": format!("Stepladder: {text}") });
        let sent = self.http.post(self.url.0.clone()).json(&body).send().await;
        let status = sent.map_err(|error| error.without_url().to_string())?.status();
        if status.is_success() { Ok(()) } else { Err(format!("the webhook answered {status}")) }
    }
}

/// Returns the webhook with this address, if there is one. An empty address counts as missing.
///
/// # Errors
/// A sentence that does not contain the address.
pub(super) fn webhook(url: Option<&WebhookArg>) -> Result<Option<SlackWebhook>, String> {
    let url = url.map(|WebhookArg(url)| url.trim());
    let Some(url) = url.filter(|url| !url.is_empty()) else { return Ok(None) };
    let url = url.parse().map_err(|problem| format!("--alert-webhook (STEPLADDER_ALERT_WEBHOOK): {problem}"))?;
    SlackWebhook::new(url).map(Some)
}

/// Checks until the future is dropped.
pub(super) async fn watch(engine: Arc<Engine>, board: Arc<AlertBoard>, sink: Option<SlackWebhook>, db: PathBuf) {
    let sink = sink.map(|sink| Box::new(sink) as Box<dyn AlertSink>);
    let mut monitor = AlertMonitor::new(engine, board, sink, Box::new(move || disk_space(&db)));
    loop {
        tokio::time::sleep(INTERVAL).await;
        if let Err(error) = monitor.check().await {
            tracing::warn!(%error, "alerts could not be checked");
        }
    }
}

/// Measures the disk with the data file.
fn disk_space(db: &std::path::Path) -> Option<DiskSpace> {
    let space = rustix::fs::statvfs(db).ok()?;
    Some(DiskSpace { free: space.f_bavail * space.f_frsize, all: space.f_blocks * space.f_frsize })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::post;

    use super::*;

    /// Starts a stub of a webhook, which answers with this status. Returns its address.
    async fn stub(status: StatusCode, received: Arc<Mutex<Vec<String>>>) -> String {
        let receive = move |body: String| async move {
            received.lock().expect("the stub lives").push(body);
            status
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = Router::new().route("/services/secret", post(receive));
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}/services/secret")
    }

    #[tokio::test]
    async fn a_webhook_gets_the_format_of_slack_and_its_address_is_in_no_error() {
        let received = Arc::default();
        let url = stub(StatusCode::OK, Arc::clone(&received)).await;
        let webhook = SlackWebhook::new(url.parse().expect("an address")).expect("a client");
        webhook.send("Alert: 5 of 6 runs of <b> & c failed").await.expect("sent");
        let body = received.lock().expect("the stub lives")[0].clone();
        assert_eq!(body, r#"{"text":"Stepladder: Alert: 5 of 6 runs of &lt;b&gt; &amp; c failed"}"#);
        let refusing = stub(StatusCode::FORBIDDEN, Arc::default()).await;
        for url in [refusing, "http://127.0.0.1:1/services/secret".to_owned()] {
            let url: WebhookUrl = url.parse().expect("an address");
            assert!(!format!("{url:?}").contains("secret"));
            let error = SlackWebhook::new(url).expect("a client").send("x").await.expect_err("refused");
            assert!(!error.contains("secret") && !error.is_empty(), "{error}");
        }
    }

    #[test]
    fn a_webhook_that_is_no_address_is_refused_without_repeating_it() {
        for bad in ["secret", "ftp://secret.example/x", "https://"] {
            let refused = bad.parse::<WebhookUrl>().expect_err("refused");
            assert!(refused.contains("https://") && !refused.contains("secret"), "{refused}");
        }
    }

    #[test]
    fn the_disk_of_a_folder_is_measured() {
        let space = disk_space(&std::env::temp_dir()).expect("a disk");
        assert!(space.free <= space.all && space.all > 0, "{space:?}");
        assert_eq!(disk_space(std::path::Path::new("/no/such/folder")), None);
    }
}
