//! Follows runs until they end. On a terminal, shows a live list of steps; in a pipe, prints plain
//! lines.

mod board;
pub(crate) mod changes;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use board::ProgressBoard;
use changes::ReportedChanges;
use owo_colors::OwoColorize;
use stepladder_api::RunDetail;
use stepladder_core::{RunId, Status};

use crate::client::{Client, ClientError};
use crate::terminal::text::{one_line, pretty_json};
use crate::terminal::{self, CommandResult, StopReason, is_watched, print, status};

/// The first interval between two polls. It is short, so that the end of a short run is reported
/// immediately.
pub(crate) const MIN_INTERVAL: Duration = Duration::from_millis(40);
/// The maximum interval between two polls.
pub(crate) const MAX_INTERVAL: Duration = Duration::from_millis(250);
/// How long the server may be unreachable, for example while it restarts.
const MAX_ABSENCE: Duration = Duration::from_secs(60);

/// Follows runs until all have ended, and prints their outputs. With `json`, prints only the JSON
/// of the server.
///
/// # Errors
/// [`StopReason::Failed`] if a run did not complete; [`StopReason::Problem`] if the server is
/// unreachable for a minute.
pub(crate) async fn follow_to_the_end(client: &Client, runs: &[RunId], json: bool) -> CommandResult {
    let mut follower =
        RunFollower { client, board: (!json && is_watched()).then(ProgressBoard::new), away: None, json };
    let mut live: Vec<(RunId, ReportedChanges)> = runs.iter().map(|run| (*run, ReportedChanges::default())).collect();
    let mut ended: Vec<(RunDetail, String)> = Vec::new();
    let mut wait = MIN_INTERVAL;
    loop {
        let mut moved = false;
        let mut still = Vec::new();
        for (id, mut changes) in std::mem::take(&mut live) {
            let Some((run, text)) = follower.read_run(id).await? else {
                still.push((id, changes));
                continue;
            };
            moved |= follower.report_changes(&run, &mut changes)?;
            if run.status.is_end() { ended.push((run, text)) } else { still.push((id, changes)) }
        }
        live = still;
        if live.is_empty() {
            break;
        }
        wait = if moved { MIN_INTERVAL } else { (wait * 3 / 2).min(MAX_INTERVAL) };
        tokio::time::sleep(wait).await;
    }
    drop(follower);
    ended.iter().try_for_each(|(run, text)| if json { print(text) } else { command_result(run) })?;
    let failed: HashSet<Status> = ended.iter().map(|(run, _)| run.status).filter(|s| *s != Status::Completed).collect();
    if failed.is_empty() { Ok(()) } else { Err(StopReason::Failed) }
}

struct RunFollower<'a> {
    client: &'a Client,
    board: Option<ProgressBoard>,
    /// When the server became unreachable; `None` if it is reachable.
    away: Option<Instant>,
    json: bool,
}

impl RunFollower<'_> {
    /// Reads a run; returns `None` while the server is unreachable.
    async fn read_run(&mut self, id: RunId) -> Result<Option<(RunDetail, String)>, StopReason> {
        match self.client.run(id).await {
            Ok(run) => {
                self.away = None;
                Ok(Some(run))
            }
            Err(unreachable @ ClientError::Unreachable(_)) => {
                let since = match self.away {
                    Some(since) => since,
                    None => {
                        self.print(
                            "the server does not answer; its runs continue when it is back".yellow().to_string(),
                        )?;
                        *self.away.insert(Instant::now())
                    }
                };
                if since.elapsed() > MAX_ABSENCE { Err(unreachable.into()) } else { Ok(None) }
            }
            Err(
                e @ (ClientError::Refused { .. }
                | ClientError::PushedBack { .. }
                | ClientError::NoPath(_)
                | ClientError::Foreign { .. }),
            ) => Err(e.into()),
        }
    }

    /// Prints the changes of a run since the last call, and returns whether there were any.
    fn report_changes(&mut self, run: &RunDetail, changes: &mut ReportedChanges) -> Result<bool, StopReason> {
        let lines = changes.new_lines(run);
        let moved = !lines.is_empty();
        for line in lines {
            self.print(line)?;
        }
        if let Some(board) = &mut self.board {
            board.show_run(run);
        }
        Ok(moved)
    }

    fn print(&self, line: String) -> CommandResult {
        match &self.board {
            _ if self.json => Ok(()),
            Some(board) => {
                board.print_above(&line);
                Ok(())
            }
            None => terminal::print(line),
        }
    }
}

fn command_result(run: &RunDetail) -> CommandResult {
    if let Some(output) = &run.output {
        print(pretty_json(output.get()))?;
    }
    match (&run.error, run.status) {
        (_, Status::Completed) => Ok(()),
        (Some(error), _) => {
            print(format_args!("{} {}: {}", run.run_id, status(run.status), one_line(&error.headline(), usize::MAX)))
        }
        (None, _) => print(format_args!("{} {}", run.run_id, status(run.status))),
    }
}
