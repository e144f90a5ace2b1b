//! The health page with queues that are a separate service, as on AWS.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use stepladder_engine::ports::queues::{
    DeadLetterQueue, QueueContents, QueueDepth, Queues, RedriveBounds, RedriveReport, RedriveResult,
};
use stepladder_engine::ports::{StoreError, StoreResult};
use stepladder_server::ServerOptions;

use crate::world::ServerFixture;

/// A queue service in which a test can set the depths and inject errors.
#[derive(Default)]
struct QueuesStub {
    depths: Mutex<Vec<QueueDepth>>,
    moved: Mutex<Option<RedriveResult>>,
    asked: AtomicUsize,
}

fn queue_error() -> StoreError {
    StoreError::Unavailable("GetQueueAttributes: AccessDenied at arn:secret".into())
}

#[async_trait]
impl Queues for QueuesStub {
    async fn depths(&self) -> StoreResult<Vec<QueueDepth>> {
        let depths = self.depths.lock().unwrap().clone();
        if depths.is_empty() { Err(queue_error()) } else { Ok(depths) }
    }

    async fn redrive(&self, bounds: RedriveBounds) -> StoreResult<RedriveResult> {
        assert!(bounds.most <= 100 && bounds.within.as_secs() <= 3, "{bounds:?}");
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.moved.lock().unwrap().ok_or_else(queue_error)
    }

    async fn redrive_listed(&self, _: DeadLetterQueue, _: usize, _: bool) -> StoreResult<RedriveReport> {
        Err(queue_error())
    }
}

fn fixture_with_queues() -> (ServerFixture, Arc<QueuesStub>) {
    let service = Arc::new(QueuesStub::default());
    (
        ServerFixture::with_options(ServerOptions {
            loopback: true,
            queues: Some(service.clone()),
            ..ServerOptions::default()
        }),
        service,
    )
}

fn queue_depth(queue: &str, holds: QueueContents, visible: u64) -> QueueDepth {
    QueueDepth { queue: queue.into(), contents: holds, visible, in_flight: 11, delayed: 12 }
}

#[tokio::test]
async fn each_queue_is_counted_and_only_dead_letters_are_marked() {
    let (world, service) = fixture_with_queues();
    let waiting = [
        queue_depth("s-steps", QueueContents::Wakes, 7),
        queue_depth("s-own", QueueContents::WakesOf("<b>mine</b>".into()), 8),
        queue_depth("s-events", QueueContents::Events, 9),
    ];
    *service.depths.lock().unwrap() = waiting.to_vec();
    let page = world.get("/health/page").await.text;
    for part in ["<bdi>s-steps</bdi>", "wakes of &#60;b&#62;mine", "<td class=\"num\">7</td>", ">11<", ">12<"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(page.contains("A worker is processing a wake in flight") && page.contains("workers are other processes"));
    assert!(!page.contains("/health/redrive") && !page.contains("local queue"), "there are no dead letters: {page}");
    service.depths.lock().unwrap().push(queue_depth("s-dead", QueueContents::DeadWakes, 3));
    let page = world.get("/health/page").await.text;
    assert!(page.contains("<span class=\"status Failed\">3</span>") && page.contains("action=\"/health/redrive\""));
}

#[tokio::test]
async fn dead_letters_are_moved_back_and_a_sentence_says_how_many() {
    let (world, service) = fixture_with_queues();
    *service.depths.lock().unwrap() = vec![queue_depth("s-dead", QueueContents::DeadEvents, 3)];
    for (moved, says) in [
        (
            RedriveResult { wakes: 1, events: 2, unreadable: 0, cut_short: false },
            "Moved 1 wake and 2 event messages back.<",
        ),
        (
            RedriveResult { wakes: 100, unreadable: 2, cut_short: true, ..RedriveResult::default() },
            "2 are left: they are unreadable. ",
        ),
        (
            RedriveResult { cut_short: true, ..RedriveResult::default() },
            "No dead letter was moved. There may be more: press again.",
        ),
    ] {
        *service.moved.lock().unwrap() = Some(moved);
        let done = world.post_form("/health/redrive", "").await;
        let page = world.follow(&done).await.text;
        assert!(page.contains(says), "{says}: {page}");
    }
    assert_eq!(world.post("/health/redrive", "").await.status, 403, "it may come from anywhere");
    assert_eq!(service.asked.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn queues_that_do_not_answer_take_nothing_else_from_the_page() {
    let (world, _) = fixture_with_queues();
    let page = world.get("/health/page").await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains("cannot be counted now") && page.text.contains("upcoming timers"));
    let done = world.post_form("/health/redrive", "").await;
    assert_eq!(done.status, 503);
    assert!(!done.text.contains("secret") && !page.text.contains("secret"), "{}", done.text);
    assert!(world.log().contains("AccessDenied"), "the log says why");
}

#[tokio::test]
async fn a_local_queue_has_no_dead_letters() {
    let world = ServerFixture::new();
    assert!(world.get("/health/page").await.text.contains("The local queue never drops messages."));
    let done = world.post_form("/health/redrive", "").await;
    assert!(done.status == 404 && done.text.contains("The local queue has no dead letters."), "{}", done.text);
}
