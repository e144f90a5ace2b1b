//! The secrets of functions: where each is, and a value that is read again after five minutes, so
//! that a changed secret needs no deployment. A value is in memory only.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use stepladder_aws::{Connection, ReadSecretError, SecretName, SecretReader};
use stepladder_core::{ErrorCode, Timestamp};
use stepladder_engine::clock::{Clock, SystemClock};
use stepladder_sdk::Error;
use stepladder_sdk::runtime::{SecretSource, set_secret_source};
use tokio::sync::Mutex;

use super::environment::is_variable_name;

/// How long a process relies on a value that it has read.
pub(super) const SECRETS_REFRESH_AFTER: Duration = Duration::from_secs(300);

/// A secret of the stack's parameter `Secrets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredSecret {
    /// The name by which functions ask for it.
    name: String,
    place: SecretName,
    /// If the text is a JSON object: the key whose value is the secret.
    key: Option<String>,
}

/// Reads `NAME=ssm:PARAMETER,NAME=secretsmanager:SECRET`, where `#KEY` after a secret selects a
/// value of a JSON object.
pub(super) fn parse_secrets(text: &str) -> Result<Vec<StoredSecret>, String> {
    let mut secrets: Vec<StoredSecret> = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        // not the whole part: it may be a secret that was typed here by mistake
        let name = part.split('=').next().unwrap_or_default();
        let place = part.strip_prefix(name).and_then(|place| place.strip_prefix('=')).unwrap_or_default();
        let (place, key) = match place.split_once('#') {
            Some((place, key)) => (place, Some(key.to_owned())),
            None => (place, None),
        };
        let place = match place.split_once(':') {
            Some(("ssm", place)) if !place.is_empty() => SecretName::Parameter(place.to_owned()),
            Some(("secretsmanager", place)) if !place.is_empty() => SecretName::Secret(place.to_owned()),
            _ => {
                return Err(format!("`{name}` has no place; write {name}=ssm:/a/parameter or secretsmanager:a-secret"));
            }
        };
        if !is_variable_name(name) {
            return Err(format!("`{name}` is not a name; use letters, digits and _, as in OPENAI_API_KEY"));
        }
        if secrets.iter().any(|secret| secret.name == name) {
            return Err(format!("`{name}` is there twice; keep one"));
        }
        secrets.push(StoredSecret { name: name.to_owned(), place, key });
    }
    Ok(secrets)
}

/// Makes the secrets available to functions, and starts to read them. A hop does not wait for this;
/// a step waits that asks for a secret.
///
/// # Errors
/// A sentence: no HTTP client can be created.
pub(super) fn start(secrets: &[StoredSecret]) -> Result<(), String> {
    if secrets.is_empty() {
        return Ok(());
    }
    let reader = Arc::new(SecretReader::new(&Connection::from_environment())?);
    let cells = SecretCells::new(secrets, reader, Arc::new(SystemClock));
    for cell in cells.0.values() {
        let cell = cell.clone();
        // an error is not lost: the step that asks for the secret repeats the reading
        tokio::spawn(async move { cell.current().await.map(drop) });
    }
    set_secret_source(Box::new(cells));
    Ok(())
}

/// Reads one of the secrets, before the process does anything else. Returns `None` if it is not
/// listed.
///
/// # Errors
/// A sentence: it cannot be read.
pub(super) async fn read_once(secrets: &[StoredSecret], name: &str) -> Result<Option<String>, String> {
    if !secrets.iter().any(|secret| secret.name == name) {
        return Ok(None);
    }
    let reader = Arc::new(SecretReader::new(&Connection::from_environment())?);
    let cells = SecretCells::new(secrets, reader, Arc::new(SystemClock));
    cells.read(name).await.map(Some).map_err(|error| error.to_string())
}

/// What reads a text from its place.
#[async_trait]
trait ReadSecret: Send + Sync {
    async fn read(&self, place: &SecretName) -> Result<String, ReadSecretError>;
}

#[async_trait]
impl ReadSecret for SecretReader {
    async fn read(&self, place: &SecretName) -> Result<String, ReadSecretError> {
        Self::read(self, place).await
    }
}

/// All secrets, by name.
struct SecretCells(BTreeMap<String, Arc<SecretCell>>);

/// One secret, with its last value.
struct SecretCell {
    secret: StoredSecret,
    reader: Arc<dyn ReadSecret>,
    clock: Arc<dyn Clock>,
    /// Locked while the process reads, so that concurrent steps share one reading.
    last: Mutex<Option<ReadValue>>,
}

struct ReadValue {
    value: String,
    at: Timestamp,
}

impl SecretCells {
    fn new(secrets: &[StoredSecret], reader: Arc<dyn ReadSecret>, clock: Arc<dyn Clock>) -> Self {
        let cell = |secret: &StoredSecret| {
            let (reader, clock, last) = (reader.clone(), clock.clone(), Mutex::default());
            (secret.name.clone(), Arc::new(SecretCell { secret: secret.clone(), reader, clock, last }))
        };
        Self(secrets.iter().map(cell).collect())
    }
}

#[async_trait]
impl SecretSource for SecretCells {
    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    async fn read(&self, name: &str) -> Result<String, Error> {
        match self.0.get(name) {
            Some(cell) => cell.current().await,
            None => Err(Error::terminal(format!("there is no secret {name}"))),
        }
    }
}

impl SecretCell {
    /// Returns the value. Reads it if the last reading is too old or the clock was set back. If
    /// that fails, the last value counts for as long again.
    async fn current(&self) -> Result<String, Error> {
        let mut last = self.last.lock().await;
        let now = self.clock.now();
        let is_fresh = |read: &&ReadValue| now >= read.at && now.since(read.at) < SECRETS_REFRESH_AFTER;
        if let Some(read) = last.as_ref().filter(is_fresh) {
            return Ok(read.value.clone());
        }
        let value = match (self.read().await, last.take()) {
            (Ok(value), _) => value,
            (Err(error), Some(old)) => {
                tracing::error!(%error, "a secret could not be read again; its last value counts");
                old.value
            }
            (Err(error), None) => return Err(error),
        };
        *last = Some(ReadValue { value: value.clone(), at: now });
        Ok(value)
    }

    async fn read(&self) -> Result<String, Error> {
        let StoredSecret { name, place, key } = &self.secret;
        let text = self.reader.read(place).await.map_err(|error| match error.is_missing {
            true => missing(name, &format!("{error}; create it, or correct the stack's parameter Secrets")),
            false => Error::new(format!(
                "the secret {name} cannot be read: {error}; if access is denied, add its ARN to the parameter SecretArns"
            )),
        })?;
        let value = match key {
            None => Some(text),
            Some(key) => {
                let object: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
                object[key.as_str()].as_str().map(str::to_owned)
            }
        };
        let value =
            value.ok_or_else(|| missing(name, &format!("{place} is no JSON object with a text under its key")))?;
        if value.is_empty() {
            return Err(missing(name, &format!("{place} is empty; fill it")));
        }
        Ok(value)
    }
}

fn missing(name: &str, why: &str) -> Error {
    Error::terminal(format!("the secret {name} cannot be read: {why}")).with_code(ErrorCode::MissingVariable)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex as SyncMutex;

    use stepladder_testkit::clock::VirtualClock;

    use super::*;

    /// Returns these texts, one after the other, and then fails.
    struct Script(SyncMutex<VecDeque<&'static str>>);

    #[async_trait]
    impl ReadSecret for Script {
        async fn read(&self, place: &SecretName) -> Result<String, ReadSecretError> {
            let next = self.0.lock().unwrap().pop_front();
            next.map(str::to_owned).ok_or_else(|| ReadSecretError::new(false, format!("{place}: AccessDenied")))
        }
    }

    fn cells(secrets: &str, texts: &[&'static str]) -> (SecretCells, Arc<VirtualClock>) {
        let clock = Arc::new(VirtualClock::new(Timestamp::from_millis(1_700_000_000_000)));
        let script = Arc::new(Script(SyncMutex::new(texts.iter().copied().collect())));
        (SecretCells::new(&parse_secrets(secrets).unwrap(), script, clock.clone()), clock)
    }

    #[test]
    fn places_are_parsed_and_a_bad_one_is_named_without_its_value() {
        let secrets =
            parse_secrets("A=ssm:/app/a, B_2=secretsmanager:arn:aws:secretsmanager:x:1:secret:b#key").unwrap();
        let expected = [
            StoredSecret { name: "A".into(), place: SecretName::Parameter("/app/a".into()), key: None },
            StoredSecret {
                name: "B_2".into(),
                place: SecretName::Secret("arn:aws:secretsmanager:x:1:secret:b".into()),
                key: Some("key".into()),
            },
        ];
        assert_eq!(secrets, expected);
        assert_eq!(parse_secrets(" "), Ok(Vec::new()));
        for (text, problem) in [
            ("A=sk-typed-by-mistake", "`A` has no place"),
            ("A=ssm:", "`A` has no place"),
            ("A-B=ssm:/a", "`A-B` is not a name"),
            ("=ssm:/a", "`` is not a name"),
            ("A=ssm:/a,A=ssm:/b", "`A` is there twice"),
        ] {
            let said = parse_secrets(text).unwrap_err();
            assert!(said.starts_with(problem) && !said.contains("sk-"), "{text}: {said}");
        }
    }

    #[tokio::test]
    async fn a_secret_is_read_again_after_five_minutes_and_its_last_value_outlives_a_failure() {
        let (cells, clock) = cells("A=ssm:/app/a", &["old", "new"]);
        let read = async || cells.read("A").await;
        assert!(cells.has("A") && !cells.has("B"));
        assert_eq!(read().await.unwrap(), "old");
        clock.advance(SECRETS_REFRESH_AFTER - Duration::from_millis(1));
        assert_eq!(read().await.unwrap(), "old", "it is cached");
        clock.advance(Duration::from_millis(1));
        assert_eq!(read().await.unwrap(), "new");
        clock.advance(SECRETS_REFRESH_AFTER);
        assert_eq!(read().await.unwrap(), "new", "the failure changes nothing");
    }

    #[tokio::test]
    async fn concurrent_steps_share_one_reading() {
        let (cells, _) = cells("A=ssm:/app/a", &["only"]);
        let (a, b) = tokio::join!(cells.read("A"), cells.read("A"));
        assert_eq!((a.unwrap(), b.unwrap()), ("only".to_owned(), "only".to_owned()));
    }

    #[tokio::test]
    async fn a_secret_that_cannot_be_read_is_named_with_what_to_do() {
        let text = r#"{"key":"value"}"#;
        assert_eq!(cells("B=secretsmanager:b#key", &[text]).0.read("B").await.unwrap(), "value");
        let error = cells("B=secretsmanager:b#key", &["[]"]).0.read("B").await.unwrap_err();
        assert!(error.is_terminal() && error.to_string().contains("the secret B cannot be read"), "{error}");
        let error = cells("A=ssm:/app/a", &[]).0.read("A").await.unwrap_err();
        assert!(!error.is_terminal(), "permissions need a moment until they count");
        let said = error.to_string();
        assert!(
            said.contains("the secret A cannot be read") && said.contains("add its ARN to the parameter SecretArns"),
            "{said}"
        );
    }
}
