//! What a process remembers of the syncs of apps, for people.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use reqwest::Url;
use stepladder_core::Timestamp;
use stepladder_engine::RegisteredApp;

use crate::apps::{is_same, sdk_name};
use crate::convert::parse_address;

/// The maximum number of addresses that are remembered.
const ADDRESSES: usize = 1_000;

/// An app, with what this process knows of its last sync.
#[derive(Clone, Debug, PartialEq)]
pub struct AppStatus {
    /// The registered app; `None` if it has never been registered.
    pub app: Option<RegisteredApp>,
    /// The address of the app.
    pub url: String,
    /// The SDK, such as `inngest-js 4.24.0`.
    pub sdk: Option<String>,
    /// The framework that serves the app.
    pub framework: Option<String>,
    /// When the app was last synced. A process knows its own syncs exactly, also those that failed.
    /// Of those of other processes, the time may be an hour too early.
    pub synced_at: Option<Timestamp>,
    /// What is wrong with the app, as a sentence.
    pub problem: Option<String>,
}

/// The last sync of each address.
#[derive(Debug, Default)]
pub(crate) struct Syncs(Mutex<BTreeMap<String, LastSync>>);

#[derive(Clone, Debug)]
struct LastSync {
    at: Timestamp,
    sdk: Option<String>,
    problem: Option<String>,
}

impl Syncs {
    /// Remembers a sync. `sdk` is the header of the app; `None` keeps the one that is known.
    pub(crate) fn record(&self, url: &Url, at: Timestamp, sdk: Option<&str>, problem: Option<String>) {
        let mut syncs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if syncs.len() >= ADDRESSES && !syncs.contains_key(url.as_str()) {
            return;
        }
        let known = syncs.get(url.as_str()).and_then(|sync| sync.sdk.clone());
        syncs.insert(url.to_string(), LastSync { at, sdk: sdk.map(sdk_name).or(known), problem });
    }

    /// Forgets the syncs of an address.
    pub(crate) fn forget(&self, address: &str) {
        let Ok(url) = parse_address(address) else { return };
        let mut syncs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        syncs.retain(|known, _| parse_address(known).is_ok_and(|known| !is_same(&known, &url)));
    }

    /// Joins the registered apps with their last syncs. Addresses without a registered app follow.
    pub(crate) fn join(&self, apps: &[RegisteredApp]) -> Vec<AppStatus> {
        let mut syncs = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut all = Vec::new();
        for app in apps {
            let url = parse_address(&app.address).ok();
            let of_app = |known: &str| {
                parse_address(known).ok().zip(url.as_ref()).is_some_and(|(known, url)| is_same(&known, url))
            };
            let keys: Vec<String> = syncs.keys().filter(|known| of_app(known)).cloned().collect();
            let last = keys.iter().filter_map(|key| syncs.remove(key)).max_by_key(|sync| sync.at);
            let problem = app.problem.clone().or_else(|| last.as_ref()?.problem.clone());
            all.push(AppStatus {
                app: Some(app.clone()),
                url: app.address.to_string(),
                sdk: last
                    .as_ref()
                    .and_then(|last| last.sdk.clone())
                    .or_else(|| app.about.sdk.as_deref().map(str::to_owned)),
                framework: app.about.framework.as_deref().map(str::to_owned),
                synced_at: last.map(|last| last.at).max(app.about.synced_at),
                problem,
            });
        }
        all.extend(syncs.into_iter().filter(|(_, sync)| sync.problem.is_some()).map(|(url, sync)| {
            let LastSync { at, sdk, problem } = sync;
            AppStatus { app: None, url, sdk, framework: None, synced_at: Some(at), problem }
        }));
        all
    }
}

#[cfg(test)]
mod tests {
    use stepladder_engine::AppDescription;

    use super::*;

    #[test]
    fn an_app_has_its_last_sync_whatever_the_name_of_the_machine() {
        let syncs = Syncs::default();
        let at = |text: &str| text.parse::<Url>().unwrap();
        let time = Timestamp::from_millis;
        syncs.record(&at("http://127.0.0.1:3000/api/inngest"), time(1), Some("inngest-js:v4.24.0"), None);
        syncs.record(&at("http://localhost:3000/api/inngest"), time(2), Some("inngest-js:v4.24.0"), None);
        syncs.record(&at("http://localhost:3000/api/inngest"), time(3), None, Some("it does not answer".into()));
        syncs.record(&at("http://localhost:3001/api/inngest"), time(4), None, Some("no app".into()));
        let address = "http://localhost:3000/api/inngest".into();
        let about = AppDescription {
            sdk: Some("inngest-js 4.20.0".into()),
            framework: Some("nextjs".into()),
            synced_at: Some(time(2)),
        };
        let app = RegisteredApp { name: "shop".into(), address, about, functions: Vec::new(), problem: None };
        let all = syncs.join(std::slice::from_ref(&app));
        assert_eq!((all[0].sdk.as_deref(), all[0].synced_at), (Some("inngest-js 4.24.0"), Some(time(3))));
        assert_eq!(all[0].problem.as_deref(), Some("it does not answer"));
        assert_eq!((all[1].app.is_none(), all.len()), (true, 2));
        let stored = &Syncs::default().join(&[app])[0];
        let described = (stored.sdk.as_deref(), stored.framework.as_deref(), stored.synced_at);
        assert_eq!(described, (Some("inngest-js 4.20.0"), Some("nextjs"), Some(time(2))), "after a restart");
        syncs.forget("http://127.0.0.1:3001/api/inngest");
        assert_eq!(syncs.join(&[]).len(), 1);
    }
}
