//! The places in the engine that call the store. The list is read from the engine's source; the
//! place of an actual call is found on the stack.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

/// The files and folders of the engine's services. The other files contain ports, adapters and
/// workers.
const SERVICES: &[&str] =
    &["control", "functions", "hop", "intake", "query", "runs", "runtime", "slots", "subscriptions", "sweep"];

/// Functions that only forward a call. The place of the call is the function that calls them.
const HANDED_ON: &[&str] = &[
    "again",
    "append",
    "append_record",
    "carry_out",
    "read_newer",
    "read_one_flow_state",
    "read_pause",
    "read_since",
    "state",
    "take_state",
];

/// How the source calls the methods of ports, directly or through functions that forward the call.
const METHODS: &[(&str, &str)] = &[
    (".backend.read_flow_state(", "read_flow_state"),
    (".read_one_flow_state(", "read_flow_state"),
    (".read_pause(", "read_flow_state"),
    (".backend.change_flow_state(", "change_flow_state"),
    (".backend.accept(", "accept"),
    (".backend.accept_with_runs(", "accept_with_runs"),
    (".backend.create_runs(", "create_runs"),
    (".backend.read(", "read"),
    (".backend.renew_retention(", "renew_retention"),
    (".backend.acquire(", "acquire"),
    (".backend.release(", "release"),
    (".backend.snapshot(", "snapshot"),
    (".backend.enqueue_paused(", "enqueue_paused"),
    (".backend.bucket(", "bucket"),
    (".backend.oldest(", "oldest"),
    (".backend.set(", "set"),
    (".backend.cursor(", "cursor"),
    (".backend.advance(", "advance"),
    (".backend.event(", "event"),
    (".backend.subscribed_fields(", "subscribed_fields"),
    (".backend.subscriptions(", "subscriptions"),
    (".backend.inbox(", "inbox"),
    (".backend.postpone(", "postpone"),
    (".carry_out(", "commit"),
    ("self.append(", "commit"),
    (".runs.append(", "commit"),
    (".runs.append_record(", "commit"),
    (".state(", "read"),
    (".take_state(", "read"),
    (".read_since(", "read"),
];

/// Further methods: listings, and the operations of which calls about slots consist. A method that
/// is missing here hides its places: no seed is run again to die there.
const MORE_METHODS: &[&str] = &[
    "row",
    "runs",
    "runs_of",
    "events",
    "resolve",
    "put_back",
    "enqueue_without_slots",
    "try_acquire",
    "release_slot",
    "holders",
    "enqueue",
    "dequeue",
    "first_tickets",
    "ticket",
    "count_before",
];

/// A place in the engine: `file: function`, and the port's method that it calls.
pub(crate) type CallSite = (String, &'static str);

/// The places that call the store.
pub(crate) struct CallSites {
    source: EngineSource,
    /// All places that the source contains, sorted.
    sites: Vec<CallSite>,
    /// By code address, the engine's function there; `None` for code outside the engine.
    known: Mutex<HashMap<usize, Option<String>>>,
}

impl CallSites {
    /// Returns the places in this engine. The source is read only once.
    pub(crate) fn all_sites() -> &'static Self {
        static PLACES: OnceLock<CallSites> = OnceLock::new();
        PLACES.get_or_init(|| {
            let engine = Path::new(env!("CARGO_MANIFEST_DIR")).join("../orchestrator/engine/src");
            let source = EngineSource::read(&engine);
            let mut sites = source.expected();
            sites.sort();
            Self { source, sites, known: Mutex::default() }
        })
    }

    /// Returns the place with this name, whether the source contains it or an earlier call reached
    /// it.
    pub(crate) fn site(&self, function: &str, method: &str) -> Option<&'static CallSite> {
        static MORE: Mutex<Vec<&'static CallSite>> = Mutex::new(Vec::new());
        let is_it = |site: &CallSite| site.0 == function && site.1 == method;
        if let Some(site) = Self::all_sites().sites.iter().find(|site| is_it(site)) {
            return Some(site);
        }
        let method = METHODS
            .iter()
            .map(|(_, known)| *known)
            .chain(MORE_METHODS.iter().copied())
            .find(|known| *known == method)?;
        let mut more = MORE.lock().expect("no panic");
        if let Some(site) = more.iter().find(|site| is_it(site)) {
            return Some(site);
        }
        let site: &'static CallSite = Box::leak(Box::new((function.to_owned(), method)));
        more.push(site);
        Some(site)
    }

    /// Returns all places of the source.
    pub(crate) fn sites(&'static self) -> &'static [CallSite] {
        &self.sites
    }

    /// Returns the engine's function that makes the current call.
    pub(crate) fn caller(&self) -> Option<String> {
        let mut known = self.known.lock().expect("no panic");
        let mut found = None;
        backtrace::trace(|frame| {
            let function = known.entry(frame.ip() as usize).or_insert_with(|| {
                let mut function = None;
                backtrace::resolve_frame(frame, |symbol| {
                    if let (None, Some(file), Some(line)) = (&function, symbol.filename(), symbol.lineno()) {
                        function = self.source.function_at(file, line as usize);
                    }
                });
                function
            });
            found = function.clone();
            found.is_none()
        });
        found
    }
}

/// The engine's source: the functions of each file.
struct EngineSource {
    /// The functions of each file, by path below the engine's folder.
    functions: HashMap<PathBuf, Vec<SourceFunction>>,
}

struct SourceFunction {
    line: usize,
    name: String,
    /// The source without white space, because a call may span lines.
    code: String,
}

impl EngineSource {
    fn read(engine: &Path) -> Self {
        let mut functions = HashMap::new();
        let mut folders = vec![engine.to_owned()];
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
                if path.is_dir() {
                    folders.push(path);
                } else if let (Ok(source), Ok(file)) = (std::fs::read_to_string(&path), path.strip_prefix(engine))
                    && SERVICES.iter().any(|service| file.with_extension("").starts_with(service))
                {
                    functions.insert(file.to_owned(), functions_of(&source));
                }
            }
        }
        Self { functions }
    }

    /// Returns the function at a line of a file; `None` if it only forwards calls.
    fn function_at(&self, file: &Path, line: usize) -> Option<String> {
        let text = file.to_str()?;
        let (_, below) = text.split_once("engine/src/")?;
        let functions = self.functions.get(Path::new(below))?;
        let function = functions.iter().rev().find(|function| function.line <= line)?;
        (!HANDED_ON.contains(&function.name.as_str())).then(|| named(Path::new(below), &function.name))
    }

    /// Returns all places in the source that call the store.
    fn expected(&self) -> Vec<CallSite> {
        let mut sites = Vec::new();
        for (file, functions) in &self.functions {
            for function in functions.iter().filter(|function| !HANDED_ON.contains(&function.name.as_str())) {
                let called = METHODS.iter().filter(|(call, _)| function.code.contains(call));
                sites.extend(called.map(|(_, method)| (named(file, &function.name), *method)));
            }
        }
        sites
    }
}

fn named(file: &Path, function: &str) -> String {
    format!("{}: {function}", file.with_extension("").display())
}

fn functions_of(source: &str) -> Vec<SourceFunction> {
    let mut functions: Vec<SourceFunction> = Vec::new();
    for (n, line) in source.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default().trim();
        let private = ["pub(crate) ", "pub(super) ", "pub "]
            .iter()
            .find_map(|visibility| code.strip_prefix(visibility))
            .unwrap_or(code);
        let head = ["fn ", "async fn "].iter().find_map(|head| private.strip_prefix(head));
        if let Some(head) = head {
            let name = head.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            functions.push(SourceFunction { line: n + 1, name, code: String::new() });
        }
        if let Some(function) = functions.last_mut() {
            function.code.extend(code.split_whitespace());
        }
    }
    functions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn call_sites_are_read_from_the_source() {
        let source = "fn one(&self) {\n    self.backend\n        .line(limit, 1)\n}\npub(super) async fn two() {}";
        let functions = functions_of(source);
        assert_eq!(functions.iter().map(|f| (f.line, f.name.as_str())).collect::<Vec<_>>(), [(1, "one"), (5, "two")]);
        assert!(functions[0].code.contains(".backend.line("));
        assert!(CallSites::all_sites().sites().len() > 30);
    }
}
