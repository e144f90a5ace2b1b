//! Where in the engine calls of the ports were made, and what befell them there: read off the stack.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Mutex;

use super::wire::Fault;

/// Functions that only hand a call on: the place is where they are called from.
const HANDED_ON: &[&str] = &["append", "carry_out", "read_on", "state", "take_state", "catch_up"];

/// A place in the engine: the function, and the port's method that it calls.
pub(crate) type Site = (String, &'static str);

/// What befell the calls of one place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Befell {
    pub(crate) calls: u64,
    /// The process died before it, within it or after it.
    pub(crate) crashes: u64,
    /// The reply was lost, or the call refused.
    pub(crate) failures: u64,
}

/// What was met so far, by place.
#[derive(Default)]
pub(crate) struct Coverage {
    sites: Mutex<BTreeMap<Site, Befell>>,
    /// The engine's function at an address, where it is one.
    known: Mutex<HashMap<usize, Option<String>>>,
}

impl Coverage {
    /// Notes a call, by who makes it.
    pub(crate) fn note(&self, name: &'static str, fault: Option<Fault>) {
        let Some(function) = self.caller() else { return };
        let mut sites = self.sites.lock().expect("no panic");
        let befell = sites.entry((function, name)).or_default();
        befell.calls += 1;
        match fault {
            None => {}
            Some(Fault::DieBefore | Fault::DieAfter | Fault::Tear(_)) => befell.crashes += 1,
            Some(Fault::LoseReply | Fault::Refuse) => befell.failures += 1,
        }
    }

    /// All that was met.
    pub(crate) fn sites(&self) -> BTreeMap<Site, Befell> {
        self.sites.lock().expect("no panic").clone()
    }

    /// The engine's function that makes this call.
    fn caller(&self) -> Option<String> {
        let mut known = self.known.lock().expect("no panic");
        let mut found = None;
        backtrace::trace(|frame| {
            let address = frame.ip() as usize;
            let function = known.entry(address).or_insert_with(|| {
                let mut functions = Vec::new();
                backtrace::resolve_frame(frame, |symbol| {
                    functions.extend(symbol.name().map(|name| name.to_string()));
                });
                functions.iter().find_map(|name| function_of(name))
            });
            found = function.clone();
            found.is_none()
        });
        found
    }
}

/// `stepladder_engine::engine::slots::<impl …>::take_or_park::{{closure}}` is `take_or_park`.
fn function_of(symbol: &str) -> Option<String> {
    if !symbol.contains("stepladder_engine::engine::") && !symbol.contains("stepladder_engine[") {
        return None;
    }
    let plain = symbol.split("::h").next().unwrap_or(symbol);
    let parts = plain.split("::").filter(|part| !part.contains('{') && !part.is_empty());
    let function = parts.last()?.trim_end_matches('>').to_owned();
    let is_name = function.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    (is_name && !HANDED_ON.contains(&function.as_str())).then_some(function)
}

/// The places that the engine's source has, as its text says.
pub(crate) fn expected(engine: &Path) -> Vec<Site> {
    let mut sites = Vec::new();
    let mut folders = vec![engine.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(source) = std::fs::read_to_string(&path) {
                sites.extend(sites_of(&source));
            }
        }
    }
    sites.sort();
    sites.dedup();
    sites
}

/// The methods of ports, and what calls of functions that hand them on stand for.
const METHODS: &[(&str, &str)] = &[
    (".backend.accept(", "accept"),
    (".backend.event(", "event"),
    (".backend.resolve(", "resolve"),
    (".backend.start(", "start"),
    (".backend.runs(", "runs"),
    (".backend.runs_of(", "runs_of"),
    (".backend.row(", "row"),
    (".backend.read(", "read"),
    (".backend.keep(", "keep"),
    (".backend.take(", "take"),
    (".backend.park(", "park"),
    (".backend.line(", "line"),
    (".backend.holders(", "holders"),
    (".backend.place(", "place"),
    (".backend.position(", "position"),
    (".backend.bucket(", "bucket"),
    (".backend.set(", "set"),
    (".backend.cursor(", "cursor"),
    (".backend.advance(", "advance"),
    (".carry_out(", "commit"),
    (".append(", "commit"),
    (".state(", "read"),
    (".take_state(", "read"),
    (".catch_up(", "read"),
];

fn sites_of(source: &str) -> Vec<Site> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let mut sites = Vec::new();
    for function in code.split("fn ").skip(1) {
        let name: String = function.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if HANDED_ON.contains(&name.as_str()) {
            continue;
        }
        // calls may begin on a line of their own
        let body: String = function.split_whitespace().collect();
        for (call, method) in METHODS {
            if body.contains(call) {
                sites.push((name.clone(), *method));
            }
        }
    }
    sites
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_read_off_symbols() {
        let of = |symbol| function_of(symbol);
        let take =
            "stepladder_engine::engine::slots::<impl stepladder_engine::engine::Engine>::take_or_park::{{closure}}";
        assert_eq!(of(take).as_deref(), Some("take_or_park"));
        assert_eq!(of("stepladder_engine::engine::hop::Hop::append::{{closure}}"), None);
        assert_eq!(of("stepladder_engine::memory::Memory::lock"), None);
    }

    #[test]
    fn places_are_read_off_the_source() {
        let source = "fn one(&self) { self.backend\n    .line(limit, 1) } async fn append() { self.backend.read(run) }";
        assert_eq!(sites_of(source), [("one".to_owned(), "line")]);
        let engine = Path::new(env!("CARGO_MANIFEST_DIR")).join("../orchestrator/engine/src/engine");
        assert!(expected(&engine).len() > 20);
    }
}
