//! Checks that `docs/reference/environment.md` lists every variable that the code reads or
//! `template.yaml` sets, and no others.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use stepladder_tests::binary::root;

use crate::pages::{self, MarkdownPage};

const PAGE: &str = "docs/reference/environment.md";
/// The prefixes of Stepladder's variables, and of the variables for services.
const OURS: [&str; 3] = ["STEPLADDER_", "OPENAI_", "SUPABASE_"];
/// Variables without these prefixes that the code reads.
const OTHERS: [&str; 9] = [
    "RUST_LOG",
    "INNGEST_SIGNING_KEY",
    "INNGEST_SIGNING_KEY_FALLBACK",
    "AWS_REGION",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_XRAY_DAEMON_ADDRESS",
    "_X_AMZN_TRACE_ID",
];
/// Variables that libraries read: the AWS SDK, the library for colours, and OpenTelemetry.
const LIBRARIES: [&str; 4] = ["AWS_PROFILE", "AWS_ENDPOINT_URL", "NO_COLOR", "OTEL_EXPORTER_OTLP_ENDPOINT"];

fn is_name(text: &str) -> bool {
    text.len() > 3 && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// Returns the names of variables in a source file: its string literals that are such names, up to
/// its tests.
fn read_by(source: &str) -> BTreeSet<String> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let literals = code.split('"').filter(|text| is_name(text));
    let named = literals.filter(|name| OTHERS.contains(name) || OURS.iter().any(|ours| name.starts_with(ours)));
    named.map(str::to_owned).collect()
}

/// Returns the names of the variables that the template sets, which are the keys below `Variables`.
fn set_by(template: &str) -> BTreeSet<String> {
    let keys = template.lines().filter_map(|line| line.trim().split_once(": ").or(line.trim().split_once(':')));
    let names =
        keys.map(|(name, _)| name).filter(|name| is_name(name) && OURS.iter().any(|ours| name.starts_with(ours)));
    names.map(str::to_owned).collect()
}

#[test]
fn the_page_has_every_variable() {
    let mut used = BTreeSet::new();
    for folder in ["orchestrator", "functions"] {
        let sources = pages::files(&root().join(folder), "rs");
        let is_shipped = |path: &&std::path::PathBuf| {
            path.components().any(|part| part.as_os_str() == "src") && path.file_stem() != Some("tests".as_ref())
        };
        for path in sources.iter().filter(is_shipped) {
            used.append(&mut read_by(&fs::read_to_string(root().join(path)).expect("a source file")));
        }
    }
    used.append(&mut set_by(&fs::read_to_string(root().join(Path::new("template.yaml"))).expect("the template")));
    used.extend(LIBRARIES.map(str::to_owned));
    assert!(used.len() > 20, "{used:?}");
    let page = MarkdownPage::read(PAGE);
    let listed: BTreeSet<String> = page
        .rows()
        .flat_map(|cells| {
            cells[0].split('`').skip(1).step_by(2).filter(|name| is_name(name)).map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(listed, used);
}
