//! Runs that are chosen one by one, or all of a kind.

use std::io::{BufRead, IsTerminal, Read, Write};

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use jiff::Timestamp;
use stepladder_core::{RunId, Status};

use super::{parse_run_id, parse_status};
use crate::client::Client;
use crate::terminal::text::parse_duration;
use crate::terminal::{Stop, is_watched, remark};

/// Runs of a page: each request ends soon, whatever the number of runs.
const PAGE: &str = "100";

/// Which run, or which runs. The filters conflict with an id besides, because clap drops a requirement that conflicts with
/// what is there.
#[derive(Args, Clone, Debug)]
pub(crate) struct ChosenArgs {
    /// The run's id, as `runs` shows it
    #[arg(value_name = "ID", value_parser = parse_run_id, required_unless_present = "all", conflicts_with = "all")]
    pub(crate) id: Option<RunId>,
    /// All runs of a function, a status, a stretch of time; without any of these, every run
    #[arg(long)]
    all: bool,
    /// With --all: only runs of this function
    #[arg(long, value_name = "ID", requires = "all", conflicts_with = "id", value_parser = NonEmptyStringValueParser::new())]
    function: Option<String>,
    /// With --all: only runs of this status
    #[arg(long, value_name = "STATUS", value_parser = parse_status, requires = "all", conflicts_with = "id")]
    status: Option<Status>,
    /// With --all: only runs that were created since then: 2026-11-24T21:00:00Z, or so long ago: 30m, 24h, 7d
    #[arg(long, value_name = "TIME", value_parser = parse_moment, requires = "all", conflicts_with = "id")]
    since: Option<Timestamp>,
    /// With --all: only runs that were created before then
    #[arg(long, value_name = "TIME", value_parser = parse_moment, requires = "all", conflicts_with = "id")]
    until: Option<Timestamp>,
    /// With --all alone: every run is meant, do not ask
    #[arg(long, requires = "all", conflicts_with = "id")]
    yes: bool,
}

/// A stretch of time.
#[derive(Args, Clone, Debug)]
pub(crate) struct SpanArgs {
    /// Only runs that were created since then: 2026-11-24T21:00:00Z, or so long ago: 30m, 24h, 7d
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    since: Option<Timestamp>,
    /// Only runs that were created before then
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    until: Option<Timestamp>,
}

impl SpanArgs {
    /// Its part of a query.
    pub(crate) fn query(&self) -> impl Iterator<Item = (&'static str, String)> {
        let parts = [("since", self.since), ("until", self.until)];
        parts.into_iter().filter_map(|(name, at)| Some((name, at?.to_string())))
    }
}

fn parse_moment(text: &str) -> Result<Timestamp, String> {
    let ago = || Timestamp::now().checked_sub(parse_duration(text).ok()?).ok();
    let moment = text.parse().ok().or_else(ago);
    moment.ok_or_else(|| format!("`{text}` is no time; write it like 2026-11-24T21:00:00Z, or 24h for a day ago"))
}

impl ChosenArgs {
    /// The query that chooses them.
    ///
    /// # Errors
    /// When every run is chosen, and it is not confirmed that every run is meant.
    fn query(&self, question: &str) -> Result<Vec<(&'static str, String)>, Stop> {
        let mut filters = Vec::new();
        filters.extend(self.status.map(|status| ("status", status.to_string())));
        filters.extend(self.function.clone().map(|function| ("function", function)));
        filters.extend(SpanArgs { since: self.since, until: self.until }.query());
        if filters.is_empty() {
            confirm(self.yes, question)?;
            filters.push(("all", "true".to_owned()));
        }
        Ok(filters)
    }

    /// Does something to all of them, page by page, and gives those to which it was done. Where every run is chosen, it
    /// asks first.
    pub(crate) async fn each_page(
        &self,
        client: &Client,
        verb: &str,
        body: &str,
        question: &str,
    ) -> Result<Vec<RunId>, Stop> {
        let mut query = self.query(question)?;
        query.push(("limit", PAGE.to_owned()));
        let (mut done, mut cursor) = (Vec::new(), None::<RunId>);
        loop {
            let mut query = query.clone();
            query.extend(cursor.map(|cursor| ("cursor", cursor.to_string())));
            let page = client.bulk(verb, &query, body).await?;
            done.extend(page.data.iter().map(|run| run.run_id));
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(done);
            }
            if is_watched() {
                remark(format_args!("{} so far…", done.len()))?;
            }
        }
    }
}

/// Asks at a terminal whether every run is meant.
fn confirm(yes: bool, question: &str) -> Result<(), Stop> {
    const ANSWER_BYTES: u64 = 100;
    if yes {
        return Ok(());
    }
    let (stdin, mut stderr) = (std::io::stdin(), std::io::stderr());
    if !stdin.is_terminal() || !stderr.is_terminal() {
        return Err(Stop::problem(
            "--all alone means every run; add --function, --status, --since or --until, or confirm it with --yes",
        ));
    }
    let mut answer = String::new();
    let asked = write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush());
    asked
        .and_then(|()| stdin.lock().take(ANSWER_BYTES).read_line(&mut answer))
        .map_err(|e| Stop::problem(format!("it cannot be asked whether every run is meant: {e}; use --yes")))?;
    if is_yes(&answer) { Ok(()) } else { Err(Stop::problem("not confirmed; nothing was done")) }
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        chosen: ChosenArgs,
    }

    fn query(args: &[&str]) -> Result<Vec<(&'static str, String)>, Stop> {
        Command::try_parse_from([&["x", "--all"], args].concat()).unwrap().chosen.query("Every run?")
    }

    #[test]
    fn every_run_is_chosen_only_where_that_is_confirmed() {
        // the tests have no terminal that answers
        let refused = query(&[]);
        assert!(matches!(refused, Err(Stop::Problem(sentence)) if sentence.contains("--yes")));
        assert_eq!(query(&["--yes"]).unwrap(), [("all", "true".to_owned())]);
        assert_eq!(query(&["--function", "f"]).unwrap(), [("function", "f".to_owned())]);
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
