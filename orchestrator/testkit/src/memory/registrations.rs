//! Registered apps in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::Memory;
use stepladder_engine::ports::{Registration, Registrations, StoreResult, StoredRegistrations};

/// The registered apps by name, and how often they have changed.
#[derive(Debug, Default)]
pub(super) struct RegistrationTable {
    version: u64,
    apps: BTreeMap<Arc<str>, Registration>,
}

impl RegistrationTable {
    /// Applies a change if the version is the expected one. Returns whether it is.
    fn change(&mut self, seen: u64, change: impl FnOnce(&mut BTreeMap<Arc<str>, Registration>)) -> bool {
        if self.version != seen {
            return false;
        }
        self.version += 1;
        change(&mut self.apps);
        true
    }
}

#[async_trait]
impl Registrations for Memory {
    async fn registrations_version(&self) -> StoreResult<u64> {
        let mut inner = self.lock();
        inner.counts.registration_reads += 1;
        Ok(inner.registrations.version)
    }

    async fn registrations(&self) -> StoreResult<StoredRegistrations> {
        let mut inner = self.lock();
        inner.counts.registration_reads += 1;
        let RegistrationTable { version, apps } = &inner.registrations;
        Ok(StoredRegistrations { version: *version, apps: apps.values().cloned().collect() })
    }

    async fn put_registration(&self, seen: u64, registration: Registration) -> StoreResult<bool> {
        let put = |apps: &mut BTreeMap<_, _>| drop(apps.insert(registration.app.clone(), registration));
        Ok(self.lock().registrations.change(seen, put))
    }

    async fn remove_registration(&self, seen: u64, app: &str) -> StoreResult<bool> {
        Ok(self.lock().registrations.change(seen, |apps| drop(apps.remove(app))))
    }
}
