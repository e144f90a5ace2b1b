//! Following runs to their end: a live list of steps for a person, plain lines for a pipe.

mod board;
mod news;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use board::Board;
use news::News;
use owo_colors::OwoColorize;
use stepladder_api::RunDetail;
use stepladder_core::{RunId, Status};

use crate::client::{Client, ClientError};
use crate::terminal::text::{one_line, pretty_json};
use crate::terminal::{Done, Stop, is_watched, print, status};

/// Asked first after this long; a run of no time at all is seen to end at once.
const SOON: Duration = Duration::from_millis(40);
/// Asked at least this often.
const SELDOM: Duration = Duration::from_millis(250);
/// A server that restarts takes up its runs again: so long it is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Follows runs until all have ended, and prints what they returned; with `json`, only that, as the server tells it.
///
/// # Errors
/// [`Stop::Failed`] when one did not complete. When the server stays away for a minute.
pub(crate) async fn to_the_end(client: &Client, runs: &[RunId], json: bool) -> Done {
    let mut follower = Follower { client, board: (!json && is_watched()).then(Board::new), away: None, json };
    let mut live: Vec<(RunId, News)> = runs.iter().map(|run| (*run, News::default())).collect();
    let mut ended: Vec<(RunDetail, String)> = Vec::new();
    let mut wait = SOON;
    loop {
        let mut moved = false;
        let mut still = Vec::new();
        for (id, mut news) in std::mem::take(&mut live) {
            let Some((run, text)) = follower.ask(id).await? else {
                still.push((id, news));
                continue;
            };
            moved |= follower.tell(&run, &mut news)?;
            if run.status.is_end() { ended.push((run, text)) } else { still.push((id, news)) }
        }
        live = still;
        if live.is_empty() {
            break;
        }
        wait = if moved { SOON } else { (wait * 3 / 2).min(SELDOM) };
        tokio::time::sleep(wait).await;
    }
    drop(follower);
    ended.iter().try_for_each(|(run, text)| if json { print(text) } else { outcome(run) })?;
    let failed: HashSet<Status> = ended.iter().map(|(run, _)| run.status).filter(|s| *s != Status::Completed).collect();
    if failed.is_empty() { Ok(()) } else { Err(Stop::Failed) }
}

struct Follower<'a> {
    client: &'a Client,
    board: Option<Board>,
    /// Since when the server does not answer.
    away: Option<Instant>,
    json: bool,
}

impl Follower<'_> {
    /// The run as it is now; `None` while the server is away.
    async fn ask(&mut self, id: RunId) -> Result<Option<(RunDetail, String)>, Stop> {
        match self.client.run(id).await {
            Ok(run) => {
                self.away = None;
                Ok(Some(run))
            }
            Err(unreachable @ ClientError::Unreachable(_)) => {
                let since = match self.away {
                    Some(since) => since,
                    None => {
                        self.say("the server does not answer; its runs go on when it is back".yellow().to_string())?;
                        *self.away.insert(Instant::now())
                    }
                };
                if since.elapsed() > PATIENCE { Err(unreachable.into()) } else { Ok(None) }
            }
            Err(
                e @ (ClientError::Refused { .. }
                | ClientError::PushedBack { .. }
                | ClientError::NoPath(_)
                | ClientError::Foreign { .. }),
            ) => Err(e.into()),
        }
    }

    /// Says what is new; whether anything was.
    fn tell(&mut self, run: &RunDetail, news: &mut News) -> Result<bool, Stop> {
        let lines = news.of(run);
        let moved = !lines.is_empty();
        for line in lines {
            self.say(line)?;
        }
        if let Some(board) = &mut self.board {
            board.show(run);
        }
        Ok(moved)
    }

    fn say(&self, line: String) -> Done {
        match &self.board {
            _ if self.json => Ok(()),
            Some(board) => {
                board.above(&line);
                Ok(())
            }
            None => print(line),
        }
    }
}

fn outcome(run: &RunDetail) -> Done {
    if let Some(output) = &run.output {
        print(pretty_json(output.get()))?;
    }
    match (&run.error, run.status) {
        (_, Status::Completed) => Ok(()),
        (Some(error), _) => {
            print(format_args!("{} {}: {}", run.run_id, status(run.status), one_line(&error.message, usize::MAX)))
        }
        (None, _) => print(format_args!("{} {}", run.run_id, status(run.status))),
    }
}
