//! What describes a registered app, for people. It has no effect on runs.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stepladder_core::{Timestamp, json};

use crate::ports::Registration;

/// How old the stored time of a sync may become while an app is synced again and again. Each change
/// of it is a write, and makes all processes read the apps.
const SYNC_AGE: Duration = Duration::from_secs(3_600);

/// What describes a registered app.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppDescription {
    /// The SDK with its version, such as `inngest-js 4.24.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sdk: Option<Arc<str>>,
    /// The framework that serves the app, such as `nextjs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub framework: Option<Arc<str>>,
    /// When the app was last synced. It may be an hour too early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synced_at: Option<Timestamp>,
}

impl AppDescription {
    /// Reads a stored description. One that cannot be read is empty, because nothing depends on it.
    pub(super) fn decode(stored: Option<&str>) -> Self {
        stored.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    pub(super) fn encode(&self) -> Option<Arc<str>> {
        let text = (*self != Self::default()).then(|| json::to_json(self).ok()).flatten()?;
        Some(text.get().into())
    }

    /// Returns the description of an app that was registered as `known` before.
    fn after(self, known: Self) -> Self {
        Self {
            sdk: self.sdk.or(known.sdk),
            framework: self.framework.or(known.framework),
            synced_at: self.synced_at.or(known.synced_at),
        }
    }
}

/// What a new registration of an app changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RegistrationChange {
    /// Nothing that is worth a write.
    Nothing,
    /// Only the description.
    Description,
    /// The address or the functions.
    Functions,
}

/// Completes the description of a registration, and returns what the registration changes.
pub(super) fn compare(known: Option<&Registration>, new: &mut Registration) -> RegistrationChange {
    let Some(known) = known else { return RegistrationChange::Functions };
    let before = AppDescription::decode(known.about.as_deref());
    let after = AppDescription::decode(new.about.as_deref()).after(before.clone());
    new.about = after.encode();
    if (&known.address, &known.functions) != (&new.address, &new.functions) {
        return RegistrationChange::Functions;
    }
    let is_old = match (before.synced_at, after.synced_at) {
        (Some(before), Some(after)) => after.since(before) >= SYNC_AGE,
        (before, after) => before != after,
    };
    match is_old || (&before.sdk, &before.framework) != (&after.sdk, &after.framework) {
        true => RegistrationChange::Description,
        false => RegistrationChange::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration(sdk: Option<&str>, seconds: i64) -> Registration {
        let synced_at = Some(Timestamp::from_millis(seconds * 1_000));
        let about = AppDescription { sdk: sdk.map(Into::into), framework: None, synced_at }.encode();
        Registration { app: "shop".into(), address: "http://a".into(), about, functions: Vec::new() }
    }

    #[test]
    fn a_sync_that_changes_nothing_is_stored_once_an_hour() {
        let known = registration(Some("inngest-js 4.24.0"), 0);
        let change =
            |mut new: Registration| (compare(Some(&known), &mut new), AppDescription::decode(new.about.as_deref()).sdk);
        assert_eq!(change(registration(Some("inngest-js 4.24.0"), 3_599)).0, RegistrationChange::Nothing);
        assert_eq!(change(registration(Some("inngest-js 4.24.0"), 3_600)).0, RegistrationChange::Description);
        assert_eq!(change(registration(Some("inngest-js 4.25.0"), 1)).0, RegistrationChange::Description);
        let (unchanged, sdk) = change(registration(None, 1));
        assert_eq!((unchanged, sdk.as_deref()), (RegistrationChange::Nothing, Some("inngest-js 4.24.0")), "it is kept");
        let moved = Registration { address: "http://b".into(), ..registration(None, 1) };
        assert_eq!(change(moved).0, RegistrationChange::Functions);
    }

    #[test]
    fn a_registration_of_an_older_version_has_no_description() {
        for stored in [None, Some("{}"), Some("[]"), Some(r#"{"newer":1}"#)] {
            assert_eq!(AppDescription::decode(stored), AppDescription::default());
        }
        let older = Registration { about: None, ..registration(None, 0) };
        let mut new = registration(None, 1);
        assert_eq!(compare(Some(&older), &mut new), RegistrationChange::Description);
    }
}
