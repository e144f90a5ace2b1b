//! The depths of the queues, and the redrive of dead letters, for the dashboard.
//!
//! SQS has no attribute for the age of the oldest message. The CloudWatch metric
//! `ApproximateAgeOfOldestMessage` contains this age.

use async_trait::async_trait;
use aws_sdk_sqs::types::QueueAttributeName;
use futures::future::try_join_all;
use futures::join;
use stepladder_engine::ports::StoreResult;
use stepladder_engine::ports::queues::{
    DeadLetterQueue, QueueContents, QueueDepth, Queues, RedriveBounds, RedriveReport, RedriveResult,
};

use crate::Aws;
use crate::error::request_error;

#[async_trait]
impl Queues for Aws {
    async fn depths(&self) -> StoreResult<Vec<QueueDepth>> {
        let queues = &self.queues;
        let dedicated =
            queues.dedicated.iter().map(|(function, own)| (QueueContents::WakesOf(function.clone()), &own.queue));
        let others = [
            (QueueContents::Events, &queues.events),
            (QueueContents::DeadWakes, &queues.steps_dead_letters),
            (QueueContents::DeadEvents, &queues.events_dead_letters),
        ];
        let others = others.into_iter().filter_map(|(holds, queue)| Some((holds, queue.as_ref()?)));
        let all = std::iter::once((QueueContents::Wakes, &queues.steps)).chain(dedicated).chain(others);
        try_join_all(all.map(|(holds, queue)| self.queue_depth(holds, queue))).await
    }

    async fn redrive(&self, bounds: RedriveBounds) -> StoreResult<RedriveResult> {
        let redrive = |queue| self.redrive_within(queue, bounds, false);
        // the two redrives are independent, so that a failure of one queue does not interrupt the
        // other
        let (wakes, events) = join!(redrive(DeadLetterQueue::Wakes), redrive(DeadLetterQueue::Events));
        let (wakes, events) = (wakes?, events?);
        Ok(RedriveResult {
            wakes: wakes.report.moved.len(),
            events: events.report.moved.len(),
            unreadable: wakes.report.left.len() + events.report.left.len(),
            cut_short: wakes.is_cut_short || events.is_cut_short,
        })
    }

    async fn redrive_listed(&self, queue: DeadLetterQueue, most: usize, dry_run: bool) -> StoreResult<RedriveReport> {
        self.redrive_visibly(queue, most, dry_run).await
    }
}

impl Aws {
    async fn queue_depth(&self, holds: QueueContents, url: &str) -> StoreResult<QueueDepth> {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
        ];
        let request = self.sqs.get_queue_attributes().queue_url(url).set_attribute_names(Some(names.to_vec()));
        let answer = request.send().await.map_err(|e| request_error("GetQueueAttributes", e))?;
        let [visible, in_flight, delayed] = names.map(|name| {
            let count = answer.attributes().and_then(|all| all.get(&name));
            count.and_then(|count| count.parse().ok()).unwrap_or(0)
        });
        let queue = url.rsplit('/').next().unwrap_or(url).to_owned();
        Ok(QueueDepth { queue, contents: holds, visible, in_flight, delayed })
    }
}
