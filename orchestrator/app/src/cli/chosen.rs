//! Runs that are chosen one by one, or all of a kind.

use clap::Args;
use jiff::Timestamp;
use stepladder_core::{RunId, Status};

use super::{parse_run_id, parse_status};
use crate::client::wire::{Data, Told};
use crate::client::{Client, ClientError};
use crate::terminal::text::parse_duration;
use crate::terminal::{Stop, is_watched, remark};

/// Runs of a page: each request ends soon, whatever the number of runs.
const PAGE: &str = "100";

/// Which run, or which runs.
#[derive(Args, Clone, Debug)]
pub(crate) struct ChosenArgs {
    /// The run's id, as `runs` shows it
    #[arg(value_name = "ID", value_parser = parse_run_id, required_unless_present = "all", conflicts_with = "all")]
    pub(crate) id: Option<RunId>,
    /// All runs, or all of a function, a status, a stretch of time
    #[arg(long)]
    all: bool,
    /// With --all: only runs of this function
    #[arg(long, value_name = "ID", requires = "all")]
    function: Option<String>,
    /// With --all: only runs of this status
    #[arg(long, value_name = "STATUS", value_parser = parse_status, requires = "all")]
    status: Option<Status>,
    #[command(flatten)]
    span: SpanArgs,
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
    /// Does something to all of them, page by page, and gives those to which it was done.
    pub(crate) async fn each_page(&self, client: &Client, verb: &str, body: &str) -> Result<Vec<RunId>, Stop> {
        let mut query = vec![("limit", PAGE.to_owned())];
        query.extend(self.status.map(|status| ("status", status.to_string())));
        query.extend(self.function.clone().map(|function| ("function", function)));
        query.extend(self.span.query());
        let (mut done, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let mut query = query.clone();
            query.extend(cursor.map(|cursor| ("cursor", cursor)));
            let page: Result<Data<Vec<Told>>, ClientError> = client.bulk(verb, &query, body).await;
            let page = page?;
            done.extend(page.data.iter().map(|told| told.run_id));
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
