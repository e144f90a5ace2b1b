//! Counts the calls of the store and the injected faults, by the place in the engine that makes the
//! call.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::injected_fault::InjectedFault;
use super::places::{CallSite, CallSites};

/// The counts of one place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PlaceCounts {
    pub(crate) calls: u64,
    /// Calls at which the process died before, during or after the call.
    pub(crate) crashes: u64,
    /// Calls that were refused or late, or lost their reply.
    pub(crate) failures: u64,
}

/// The counts so far, by place.
#[derive(Default)]
pub(crate) struct Coverage(Mutex<BTreeMap<CallSite, PlaceCounts>>);

impl Coverage {
    /// Counts the current call and its fault.
    pub(crate) fn note(&self, name: &'static str, fault: Option<InjectedFault>) {
        let Some(function) = CallSites::all_sites().caller() else { return };
        let mut sites = self.0.lock().expect("no panic");
        let befell = sites.entry((function, name)).or_default();
        befell.calls += 1;
        match fault {
            None => {}
            Some(InjectedFault::DieBefore | InjectedFault::DieAfter | InjectedFault::Tear(_)) => befell.crashes += 1,
            Some(
                InjectedFault::LoseReply
                | InjectedFault::Refuse
                | InjectedFault::Deny
                | InjectedFault::DelayRequest(_)
                | InjectedFault::DelayReply(_),
            ) => befell.failures += 1,
        }
    }

    /// Adds the counts of `other`.
    pub(crate) fn add(&self, other: &Self) {
        let mut sites = self.0.lock().expect("no panic");
        for (site, more) in &*other.0.lock().expect("no panic") {
            let befell = sites.entry(site.clone()).or_default();
            befell.calls += more.calls;
            befell.crashes += more.crashes;
            befell.failures += more.failures;
        }
    }

    /// Returns the counts of all places, including those that no call reached.
    pub(crate) fn sites(&self) -> BTreeMap<CallSite, PlaceCounts> {
        let mut sites = self.0.lock().expect("no panic").clone();
        for site in CallSites::all_sites().sites() {
            sites.entry(site.clone()).or_default();
        }
        sites
    }
}
