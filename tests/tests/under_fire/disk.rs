//! A disk that is full or read-only for a while: under load, and when the server starts.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use stepladder_tests::refusing_disk::RefusingDisk;
use stepladder_tests::wait_for;

use crate::chance::SeededRandom;
use crate::clients::LoadClients;
use crate::kills::{server, settle_and_check};
use crate::trial;
use crate::verdict::JournalTotals;

/// How often the disk starts and stops refusing writes.
const ROUNDS: usize = 2;
/// The maximum time that a sender waits between two requests.
const PAUSE: Duration = Duration::from_millis(40);
/// How many responses of each kind to wait for in each round.
const ANSWERS: usize = 15;

/// The reason why a disk refuses writes.
#[derive(Clone, Copy, Debug)]
enum DiskRefusal {
    Full,
    ReadOnly,
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_full_disk_is_said_and_outlived_without_a_loss", || refused_for_a_while(DiskRefusal::Full)),
        trial("a_read_only_disk_is_said_and_outlived_without_a_loss", || refused_for_a_while(DiskRefusal::ReadOnly)),
        trial("a_server_killed_on_a_full_disk_goes_on_when_there_is_room", killed_on_a_full_disk),
        trial("a_start_on_a_disk_that_refuses_ends_with_a_sentence", starts_that_end),
    ]
}

impl DiskRefusal {
    fn begin_refusal(self, disk: &RefusingDisk) {
        match self {
            Self::Full => disk.fill(),
            Self::ReadOnly => disk.make_read_only(),
        }
    }

    /// Returns the message that the server logs about the refusal.
    fn expected_sentence(self) -> &'static str {
        match self {
            Self::Full => "the disk is full; free some space, then work continues without a restart",
            Self::ReadOnly => "the disk cannot be written; check that it works, is not read-only",
        }
    }
}

async fn refused_for_a_while(refusal: DiskRefusal) {
    let mut chance = SeededRandom::of_this_run();
    let disk = RefusingDisk::new();
    let mut server = disk.attach_to(server("step"));
    server.start().await;
    let clients = LoadClients::start(&server, 3, PAUSE, &mut chance);
    for _ in 0..ROUNDS {
        wait_for_more(&clients, "accepted", LoadClients::accepted_count).await;
        refusal.begin_refusal(&disk);
        wait_for_more(&clients, "refused", LoadClients::refused_count).await;
        disk.accept_writes();
    }
    let relented = Instant::now();
    wait_for_more(&clients, "accepted", LoadClients::accepted_count).await;
    let (answers, sum) = settle_and_check(&mut server, clients).await;
    let log = server.log();
    assert!(log.contains(refusal.expected_sentence()), "{log}");
    assert!(!log.contains("panicked at"), "{log}");
    let JournalTotals { runs, interrupted, .. } = sum;
    println!(
        "{refusal:?}: {} orders accepted, refused {:?}; all {runs} runs had ended {:.1?} after the disk relented for the \
         last time, {interrupted} attempts interrupted",
        answers.accepted.len(),
        answers.refusals,
        relented.elapsed(),
    );
    assert_eq!(answers.unanswered, 0, "a request was left without an answer");
}

async fn killed_on_a_full_disk() {
    let mut chance = SeededRandom::of_this_run();
    let disk = RefusingDisk::new();
    let mut server = disk.attach_to(server("budget"));
    server.start().await;
    let clients = LoadClients::start(&server, 2, PAUSE, &mut chance);
    for _ in 0..ROUNDS {
        wait_for_more(&clients, "accepted", LoadClients::accepted_count).await;
        disk.fill();
        wait_for_more(&clients, "refused", LoadClients::refused_count).await;
        server.kill().await;
        disk.accept_writes();
        server.start().await;
        clients.use_new_server(&server);
    }
    settle_and_check(&mut server, clients).await;
    server.assert_no_error_logged();
}

async fn starts_that_end() {
    let disk = RefusingDisk::new();
    let mut server = disk.attach_to(server("step"));
    for there in [false, true] {
        if there {
            server.start().await;
            server.kill().await;
        }
        for refusal in [DiskRefusal::Full, DiskRefusal::ReadOnly] {
            refusal.begin_refusal(&disk);
            server.launch();
            let status = server.wait_for_exit().await;
            let log = server.log();
            println!("{refusal:?}, the file is {}there:\n{log}", if there { "" } else { "not " });
            assert_eq!(status.code(), Some(1), "{log}");
            let told = log.lines().filter(|line| line.starts_with("error: ")).count();
            assert_eq!((told, log.contains("panicked at")), (1, false), "{log}");
            disk.accept_writes();
        }
    }
    server.start().await;
    server.assert_no_error_logged();
}

/// Waits until `count` has grown by [`ANSWERS`].
async fn wait_for_more(clients: &LoadClients, what: &str, count: impl Fn(&LoadClients) -> usize) {
    let before = count(clients);
    let told = format!("{ANSWERS} more requests to be {what}");
    wait_for(&told, async || (count(clients) >= before + ANSWERS).then_some(())).await;
}
