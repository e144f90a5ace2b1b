//! Checks that `docs/reference/http.md` lists every route of the server, and no others.

use std::collections::BTreeSet;
use std::fs;

use stepladder_tests::binary::root;

use crate::pages::{self, MarkdownPage};

const PAGE: &str = "docs/reference/http.md";
const METHODS: [&str; 5] = ["get", "post", "delete", "put", "patch"];

/// Returns the routes that a source file defines, such as `.route("/path", get(a).post(b))`.
fn routes_in(source: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for route in source.split(".route(\"").skip(1) {
        let (path, rest) = route.split_once('"').expect("a path ends");
        // the handlers of a route are followed by the next route or by the end of the statement
        let handlers = rest.split_once(';').map_or(rest, |(handlers, _)| handlers);
        let is_used =
            |method: &str| [" ", ".", "\n"].iter().any(|before| handlers.contains(&format!("{before}{method}(")));
        let methods = METHODS.into_iter().filter(|method| is_used(method));
        found.extend(methods.map(|method| format!("{} {path}", method.to_uppercase())));
    }
    found
}

#[test]
fn the_page_has_every_route() {
    let folders = ["orchestrator/server/src", "orchestrator/inngest/src", "orchestrator/app/src/mcp"];
    let sources: Vec<_> = folders.iter().flat_map(|folder| pages::files(&root().join(folder), "rs")).collect();
    let read = |path: &std::path::PathBuf| fs::read_to_string(root().join(path)).expect("a source file");
    let made: BTreeSet<String> = sources.iter().flat_map(|path| routes_in(&read(path))).collect();
    assert!(made.len() > 40, "{made:?}");
    let page = MarkdownPage::read(PAGE);
    let rows = page.rows();
    let listed = rows.filter_map(|cells| {
        let (method, path) = cells[0].strip_prefix('`')?.split_once('`')?.0.split_once(' ')?;
        METHODS.contains(&method.to_lowercase().as_str()).then(|| format!("{method} {path}"))
    });
    assert_eq!(listed.collect::<BTreeSet<String>>(), made);
}

#[test]
fn several_methods_of_a_route_are_found() {
    let source = ".route(\"/login\", get(form).post(log_in))\n.route(\"/a\", get(a));";
    let found: Vec<String> = routes_in(source).into_iter().collect();
    assert_eq!(found, ["GET /a", "GET /login", "POST /login"]);
}
