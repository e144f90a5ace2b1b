//! The queues for people who look: how many messages are in each, and dead letters moved back from a page.
//!
//! SQS has no attribute for the age of the oldest message; CloudWatch's `ApproximateAgeOfOldestMessage` has it.

use async_trait::async_trait;
use aws_sdk_sqs::types::QueueAttributeName;
use futures::future::try_join_all;
use futures::join;
use stepladder_engine::ports::StoreResult;
use stepladder_engine::ports::queues::{QueueContents, QueueDepth, Queues, RedriveBounds, RedriveResult};

use super::letters::Letters;
use crate::Aws;
use crate::fault::unavailable;

#[async_trait]
impl Queues for Aws {
    async fn depths(&self) -> StoreResult<Vec<QueueDepth>> {
        let queues = &self.queues;
        let own = queues.dedicated.iter().map(|(function, own)| (QueueContents::WakesOf(function.clone()), &own.queue));
        let others = [
            (QueueContents::Events, &queues.events),
            (QueueContents::DeadWakes, &queues.steps_dead_letters),
            (QueueContents::DeadEvents, &queues.events_dead_letters),
        ];
        let others = others.into_iter().filter_map(|(holds, queue)| Some((holds, queue.as_ref()?)));
        let all = std::iter::once((QueueContents::Wakes, &queues.steps)).chain(own).chain(others);
        try_join_all(all.map(|(holds, queue)| self.depth(holds, queue))).await
    }

    async fn redrive(&self, bounds: RedriveBounds) -> StoreResult<RedriveResult> {
        let of = |letters| self.go_through(letters, bounds, false);
        // each goes on to the end of its batch, whatever becomes of the other
        let (wakes, events) = join!(of(Letters::Wakes), of(Letters::Events));
        let (wakes, events) = (wakes?, events?);
        Ok(RedriveResult {
            wakes: wakes.moved.len(),
            events: events.moved.len(),
            unreadable: wakes.left.len() + events.left.len(),
            cut_short: wakes.cut_short || events.cut_short,
        })
    }
}

impl Aws {
    /// One request.
    async fn depth(&self, holds: QueueContents, url: &str) -> StoreResult<QueueDepth> {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
        ];
        let request = self.sqs.get_queue_attributes().queue_url(url).set_attribute_names(Some(names.to_vec()));
        let answer = request.send().await.map_err(|e| unavailable("GetQueueAttributes", &e))?;
        let [visible, in_flight, delayed] = names.map(|name| {
            let count = answer.attributes().and_then(|all| all.get(&name));
            count.and_then(|count| count.parse().ok()).unwrap_or(0)
        });
        let queue = url.rsplit('/').next().unwrap_or(url).to_owned();
        Ok(QueueDepth { queue, contents: holds, visible, in_flight, delayed })
    }
}
