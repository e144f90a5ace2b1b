//! The options that select runs: one run by its id, or many by filters.

use std::io::{BufRead, IsTerminal, Read, Write};

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use jiff::Timestamp;
use stepladder_core::{Label, RunId, Status};

use super::{parse_run_id, parse_status};
use crate::client::Client;
use crate::terminal::text::parse_duration;
use crate::terminal::{StopReason, is_watched, print_remark};

/// The number of runs in one request. A small number keeps each request short, even if many runs
/// are selected.
const PAGE: &str = "100";

/// Options that select one run or many. The filters are declared to conflict with an id, because
/// clap drops a requirement that conflicts with a given argument.
#[derive(Args, Clone, Debug)]
pub(crate) struct RunSelectionArgs {
    /// The run's id, as `runs` shows it
    #[arg(value_name = "ID", value_parser = parse_run_id, required_unless_present = "all", conflicts_with = "all")]
    pub(crate) id: Option<RunId>,
    /// All runs that match the filters; without a filter, every run
    #[arg(long)]
    all: bool,
    /// With --all: only runs of this function
    #[arg(long, value_name = "ID", requires = "all", conflicts_with = "id", value_parser = NonEmptyStringValueParser::new())]
    function: Option<String>,
    /// With --all: only runs of this status
    #[arg(long, value_name = "STATUS", value_parser = parse_status, requires = "all", conflicts_with = "id")]
    status: Option<Status>,
    /// With --all: only runs with this label, such as clientId=cust-42
    #[arg(long, value_name = "K=V", value_parser = parse_label, requires = "all", conflicts_with = "id")]
    label: Option<Label>,
    /// With --all: only runs that were created since this time (2026-11-24T21:00:00Z) or within
    /// this time span (24h)
    #[arg(long, value_name = "TIME", value_parser = parse_time, requires = "all", conflicts_with = "id")]
    since: Option<Timestamp>,
    /// With --all: only runs that were created before this time
    #[arg(long, value_name = "TIME", value_parser = parse_time, requires = "all", conflicts_with = "id")]
    until: Option<Timestamp>,
    /// With --all alone: do not ask for confirmation
    #[arg(long, requires = "all", conflicts_with = "id")]
    yes: bool,
}

/// Options that select runs by the time of their creation.
#[derive(Args, Clone, Debug)]
pub(crate) struct TimeSpanArgs {
    /// Only runs that were created since this time (2026-11-24T21:00:00Z) or within this time span
    /// (24h)
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<Timestamp>,
    /// Only runs that were created before this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<Timestamp>,
}

impl TimeSpanArgs {
    /// Returns the query parameters of these options.
    pub(crate) fn query(&self) -> impl Iterator<Item = (&'static str, String)> {
        let parts = [("since", self.since), ("until", self.until)];
        parts.into_iter().filter_map(|(name, at)| Some((name, at?.to_string())))
    }
}

/// Parses a time, or a time span before now.
pub(crate) fn parse_time(text: &str) -> Result<Timestamp, String> {
    let ago = || Timestamp::now().checked_sub(parse_duration(text).ok()?).ok();
    let time = text.parse().ok().or_else(ago);
    time.ok_or_else(|| format!("`{text}` is not a time; write it like 2026-11-24T21:00:00Z, or 24h for a day ago"))
}

pub(crate) fn parse_label(text: &str) -> Result<Label, String> {
    text.parse()
}

impl RunSelectionArgs {
    /// Returns the query parameters of the filters.
    ///
    /// # Errors
    /// Every run is selected, and the user did not confirm this.
    fn query(&self, question: &str) -> Result<Vec<(&'static str, String)>, StopReason> {
        let mut filters = Vec::new();
        filters.extend(self.status.map(|status| ("status", status.to_string())));
        filters.extend(self.function.clone().map(|function| ("function", function)));
        filters.extend(self.label.as_ref().map(|label| ("label", label.to_string())));
        filters.extend(TimeSpanArgs { since: self.since, until: self.until }.query());
        if filters.is_empty() {
            confirm(self.yes, question)?;
            filters.push(("all", "true".to_owned()));
        }
        Ok(filters)
    }

    /// Applies `verb` to all selected runs, page by page, and returns the runs that were changed.
    /// If every run is selected, asks the user for confirmation first.
    pub(crate) async fn each_page(
        &self,
        client: &Client,
        verb: &str,
        body: &str,
        question: &str,
    ) -> Result<Vec<RunId>, StopReason> {
        let mut query = self.query(question)?;
        query.push(("limit", PAGE.to_owned()));
        let (mut done, mut cursor) = (Vec::new(), None::<RunId>);
        loop {
            let mut query = query.clone();
            query.extend(cursor.map(|cursor| ("cursor", cursor.to_string())));
            let page = client.change_in_bulk(verb, &query, body).await?;
            done.extend(page.data.iter().map(|run| run.run_id));
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(done);
            }
            if is_watched() {
                print_remark(format_args!("{} so far…", done.len()))?;
            }
        }
    }
}

/// Asks the user on the terminal to confirm that every run is selected.
fn confirm(yes: bool, question: &str) -> Result<(), StopReason> {
    const ANSWER_BYTES: u64 = 100;
    if yes {
        return Ok(());
    }
    let (stdin, mut stderr) = (std::io::stdin(), std::io::stderr());
    if !stdin.is_terminal() || !stderr.is_terminal() {
        return Err(StopReason::problem(
            "--all without a filter selects every run; add --function, --status, --label, --since or --until, or confirm it with --yes",
        ));
    }
    let mut answer = String::new();
    let asked = write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush());
    asked
        .and_then(|()| stdin.lock().take(ANSWER_BYTES).read_line(&mut answer))
        .map_err(|e| StopReason::problem(format!("the confirmation cannot be read: {e}; use --yes")))?;
    if is_yes(&answer) { Ok(()) } else { Err(StopReason::problem("not confirmed; nothing was done")) }
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct TestCommand {
        #[command(flatten)]
        selection: RunSelectionArgs,
    }

    fn query(args: &[&str]) -> Result<Vec<(&'static str, String)>, StopReason> {
        TestCommand::try_parse_from([&["x", "--all"], args].concat()).unwrap().selection.query("Every run?")
    }

    #[test]
    fn every_run_is_selected_only_with_a_confirmation() {
        // tests have no terminal on which the command could ask
        let refused = query(&[]);
        assert!(matches!(refused, Err(StopReason::Problem(sentence)) if sentence.contains("--yes")));
        assert_eq!(query(&["--yes"]).unwrap(), [("all", "true".to_owned())]);
        assert_eq!(query(&["--function", "f"]).unwrap(), [("function", "f".to_owned())]);
        assert_eq!(query(&["--label", "a=b"]).unwrap(), [("label", "a=b".to_owned())]);
        let since = ["--since", "2026-11-24T21:00:00Z", "--yes"];
        assert_eq!(query(&since).unwrap(), [("since", "2026-11-24T21:00:00Z".to_owned())]);
    }

    #[test]
    fn only_yes_is_yes() {
        assert!(is_yes("y\n") && is_yes(" YES \r\n"));
        for no in ["", "\n", "n", "no", "yess", "y y"] {
            assert!(!is_yes(no), "{no:?}");
        }
    }
}
