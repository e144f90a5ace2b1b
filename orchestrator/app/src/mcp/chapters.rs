//! The chapters of the book, which the tool `search_docs` searches. They are those of the folder
//! `docs` of the repository, without the pages for people who change Stepladder itself.

/// The path of each chapter within the book, and its Markdown.
pub(super) const CHAPTERS: &[(&str, &str)] = &[
    ("quick-start.md", include_str!("../../docs/quick-start.md")),
    ("install.md", include_str!("../../docs/install.md")),
    ("new-project.md", include_str!("../../docs/new-project.md")),
    ("functions.md", include_str!("../../docs/functions.md")),
    ("steps.md", include_str!("../../docs/steps.md")),
    ("cron.md", include_str!("../../docs/cron.md")),
    ("ends.md", include_str!("../../docs/ends.md")),
    ("logs-and-costs.md", include_str!("../../docs/logs-and-costs.md")),
    ("changing-code.md", include_str!("../../docs/changing-code.md")),
    ("waiting.md", include_str!("../../docs/waiting.md")),
    ("flow-control.md", include_str!("../../docs/flow-control.md")),
    ("registered-functions.md", include_str!("../../docs/registered-functions.md")),
    ("deploying-on-aws.md", include_str!("../../docs/deploying-on-aws.md")),
    ("recipes.md", include_str!("../../docs/recipes.md")),
    ("operating.md", include_str!("../../docs/operating.md")),
    ("dashboard.md", include_str!("../../docs/dashboard.md")),
    ("reruns.md", include_str!("../../docs/reruns.md")),
    ("observability.md", include_str!("../../docs/observability.md")),
    ("testing.md", include_str!("../../docs/testing.md")),
    ("agents.md", include_str!("../../docs/agents.md")),
    ("inngest-apps.md", include_str!("../../docs/inngest-apps.md")),
    ("migrating-from-inngest.md", include_str!("../../docs/migrating-from-inngest.md")),
    ("comparison.md", include_str!("../../docs/comparison.md")),
    ("security.md", include_str!("../../docs/security.md")),
    ("reference/limits.md", include_str!("../../docs/reference/limits.md")),
    ("reference/cli.md", include_str!("../../docs/reference/cli.md")),
    ("reference/http.md", include_str!("../../docs/reference/http.md")),
    ("reference/environment.md", include_str!("../../docs/reference/environment.md")),
    ("reference/error-codes.md", include_str!("../../docs/reference/error-codes.md")),
];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// For people who change Stepladder.
    const LEFT_OUT: [&str; 3] = ["correctness.md", "hop.md", "features.md"];

    #[test]
    fn the_chapters_are_those_of_the_book_in_its_order() {
        let summary = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/SUMMARY.md");
        let Ok(summary) = std::fs::read_to_string(summary) else { return }; // a package has no such file
        let listed = summary.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(path, _)| path);
        let listed: Vec<&str> = listed.filter(|path| !LEFT_OUT.contains(path)).collect();
        assert_eq!(CHAPTERS.iter().map(|(path, _)| *path).collect::<Vec<_>>(), listed);
    }
}
