//! MCP on standard input and output: one message a line.

use std::io::{BufRead, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{McpServer, SendMessage};
use crate::terminal::{CommandResult, StopReason, check_written};

/// The maximum size of a message: the data of an event with every character escaped, and room for
/// the rest.
const MESSAGE_BYTES: u64 = 16 * 1024 * 1024;
/// The only client of standard input.
const SESSION: &str = "stdio";
/// How long requests may continue after the end of standard input.
const GRACE: Duration = Duration::from_secs(5);
/// The number of messages that wait to be answered or written.
const MAX_WAITING: usize = 64;

/// Answers the messages on standard input until it ends. Requests are answered at the same time, so
/// that a client can cancel a wait.
pub(crate) async fn serve(server: McpServer) -> CommandResult {
    let server = Arc::new(server);
    let (lines, mut incoming) = mpsc::channel(MAX_WAITING);
    // threads, because reading and writing block
    std::thread::spawn(move || read_lines(std::io::stdin().lock(), &lines));
    let (outgoing, written) = std::sync::mpsc::channel::<String>();
    let writer = tokio::task::spawn_blocking(move || {
        written.into_iter().try_for_each(|line| {
            let mut out = std::io::stdout().lock();
            writeln!(out, "{line}").and_then(|()| out.flush())
        })
    });
    let mut answers = JoinSet::new();
    while let Some(line) = incoming.recv().await {
        let line: String = line?;
        let (server, outgoing) = (server.clone(), outgoing.clone());
        answers.spawn(async move {
            // if this fails, the client has closed the pipe
            let send: SendMessage = &|message| _ = outgoing.send(message);
            if let Some(answer) = server.answer(Some(SESSION), &line, send).await {
                send(answer);
            }
        });
        // the results of those that have ended
        while answers.try_join_next().is_some() {}
    }
    // a client that closes its end may still read the answers to what it has sent; a long wait is
    // not worth it
    let _ = tokio::time::timeout(GRACE, async { while answers.join_next().await.is_some() {} }).await;
    answers.shutdown().await;
    drop(outgoing);
    writer.await.map_or(Ok(()), check_written)
}

/// Sends each line that is not blank.
fn read_lines(mut input: impl BufRead, lines: &mpsc::Sender<Result<String, StopReason>>) {
    loop {
        let mut line = String::new();
        let read = match input.by_ref().take(MESSAGE_BYTES + 1).read_line(&mut line) {
            Ok(0) => return,
            Ok(bytes) if bytes as u64 > MESSAGE_BYTES => {
                Err(StopReason::problem(format!("a message has more than {} MiB", MESSAGE_BYTES >> 20)))
            }
            Ok(_) if line.trim().is_empty() => continue,
            Ok(_) => Ok(line),
            Err(e) => Err(StopReason::problem(format!("standard input cannot be read: {e}"))),
        };
        let is_last = read.is_err();
        if lines.blocking_send(read).is_err() || is_last {
            return;
        }
    }
}
