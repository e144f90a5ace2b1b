//! Runs that are chosen one by one, or all of a kind.

use clap::Args;
use stepladder_core::{RunId, Status};

use super::{parse_run_id, parse_status};
use crate::client::wire::{Data, Told};
use crate::client::{Client, ClientError};
use crate::terminal::{Stop, is_watched, remark};

/// Runs of a page: each request ends soon, whatever the number of runs.
const PAGE: &str = "100";

/// Which run, or which runs.
#[derive(Args, Clone, Debug)]
pub(crate) struct ChosenArgs {
    /// The run's id, as `runs` shows it
    #[arg(value_name = "ID", value_parser = parse_run_id, required_unless_present = "all", conflicts_with = "all")]
    pub(crate) id: Option<RunId>,
    /// All runs, or all of a function or a status
    #[arg(long)]
    all: bool,
    /// With --all: only runs of this function
    #[arg(long, value_name = "ID", requires = "all")]
    function: Option<String>,
    /// With --all: only runs of this status
    #[arg(long, value_name = "STATUS", value_parser = parse_status, requires = "all")]
    status: Option<Status>,
}

impl ChosenArgs {
    /// Does something to all of them, page by page, and gives those to which it was done.
    pub(crate) async fn each_page(&self, client: &Client, verb: &str, body: &str) -> Result<Vec<RunId>, Stop> {
        let mut query = vec![("limit", PAGE.to_owned())];
        query.extend(self.status.map(|status| ("status", status.to_string())));
        query.extend(self.function.clone().map(|function| ("function", function)));
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
