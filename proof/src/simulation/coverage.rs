//! What befell the calls of the storage, by the place in the engine that makes them.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::places::{Places, Site};
use super::wire::Fault;

/// What befell the calls of one place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Befell {
    pub(crate) calls: u64,
    /// The process died before it, within it or after it.
    pub(crate) crashes: u64,
    /// The reply was lost, or the call refused, or one of both late.
    pub(crate) failures: u64,
}

/// What was met so far, by place.
#[derive(Default)]
pub(crate) struct Coverage(Mutex<BTreeMap<Site, Befell>>);

impl Coverage {
    /// Notes the call that is being made.
    pub(crate) fn note(&self, name: &'static str, fault: Option<Fault>) {
        let Some(function) = Places::all().caller() else { return };
        let mut sites = self.0.lock().expect("no panic");
        let befell = sites.entry((function, name)).or_default();
        befell.calls += 1;
        match fault {
            None => {}
            Some(Fault::DieBefore | Fault::DieAfter | Fault::Tear(_)) => befell.crashes += 1,
            Some(Fault::LoseReply | Fault::Refuse | Fault::Deny | Fault::DelayRequest(_) | Fault::DelayReply(_)) => {
                befell.failures += 1
            }
        }
    }

    /// Adds what befell the places of another one.
    pub(crate) fn add(&self, other: &Self) {
        let mut sites = self.0.lock().expect("no panic");
        for (site, more) in &*other.0.lock().expect("no panic") {
            let befell = sites.entry(site.clone()).or_default();
            befell.calls += more.calls;
            befell.crashes += more.crashes;
            befell.failures += more.failures;
        }
    }

    /// All that was met, and the places that were not.
    pub(crate) fn sites(&self) -> BTreeMap<Site, Befell> {
        let mut sites = self.0.lock().expect("no panic").clone();
        for site in Places::all().sites() {
            sites.entry(site.clone()).or_default();
        }
        sites
    }
}
