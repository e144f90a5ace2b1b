//! The role `worker`: each record of the steps queue is a wake, for which the worker executes a
//! hop. The wakes of one invocation are processed concurrently, because most steps wait for the
//! network. Wakes of steps that may have ended a worker come after them, one by one.

use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use stepladder_core::{Timestamp, WakeCause};
use stepladder_engine::clock::{Entropy, SystemEntropy};
use stepladder_engine::ports::{Delivery, StoreError};
use stepladder_observe::trace::{self, SegmentId, SegmentOutcome, Subsegment, TraceHeader, XRayDaemon};
use tracing::Instrument;

use super::{LambdaProcess, records, supervisor};

/// The time that an invocation reserves for its response. The deadline of a hop is earlier by this
/// time.
const RESERVE: Duration = Duration::from_millis(500);

pub(super) async fn serve(process: Arc<LambdaProcess>) -> Result<(), Error> {
    supervisor::start_supervisor(&process);
    let daemon = Arc::new(XRayDaemon::from_env());
    lambda_runtime::run(service_fn(move |event: LambdaEvent<SqsEvent>| invoke(process.clone(), daemon.clone(), event)))
        .await
}

async fn invoke(
    process: Arc<LambdaProcess>,
    daemon: Arc<XRayDaemon>,
    event: LambdaEvent<SqsEvent>,
) -> Result<SqsBatchResponse, Error> {
    let context = event.context;
    let deadline = Timestamp::from_millis(i64::try_from(context.deadline).unwrap_or(i64::MAX)) - RESERVE;
    let header = context.xray_trace_id.as_deref().and_then(TraceHeader::parse).or_else(TraceHeader::from_env);
    let answer = records::process_each(event.payload, may_end_the_process, |record| {
        let span = tracing::info_span!("hop", request_id = context.request_id, run = tracing::field::Empty);
        let trace_target = TraceTarget { daemon: daemon.clone(), header: header.clone() };
        run_hop(process.clone(), record, deadline, trace_target).instrument(span)
    });
    let answer = answer.await;
    process.flush(&context).await;
    Ok(answer)
}

/// Returns whether this wake may end its worker, for example because its step needs too much
/// memory. A takeover executes the interrupted step, and its wake has the cause `Lease` (rule 14),
/// except in a fan-out. A wake that was delivered more than twice may end the worker before any
/// step starts. A second delivery proves nothing, because a throttled delivery counts too.
fn may_end_the_process(record: &SqsMessage) -> bool {
    let wake = stepladder_aws::decode_wake(record.body.as_deref().unwrap_or_default());
    records::receive_count(record) > 2 || wake.is_ok_and(|wake| wake.cause == WakeCause::Lease)
}

/// The trace in which a hop is recorded.
struct TraceTarget {
    daemon: Arc<XRayDaemon>,
    header: Option<TraceHeader>,
}

async fn run_hop(
    process: Arc<LambdaProcess>,
    record: SqsMessage,
    deadline: Timestamp,
    trace_target: TraceTarget,
) -> Result<(), String> {
    let wake = stepladder_aws::decode_wake(record.body.as_deref().unwrap_or_default());
    let wake =
        wake.inspect_err(|error| records::log_failure("read a wake", StoreError::Unreadable(error.as_str().into())))?;
    tracing::Span::current().record("run", tracing::field::display(wake.run));
    let (run, group) = (wake.run.to_string(), wake.group.clone());
    let step = wake.cause.step().cloned();
    let delivery =
        Delivery { wake, receipt: stepladder_aws::invocation_receipt(), receives: records::receive_count(&record) };
    let engine = process.engine.clone();
    let hop = async move { engine.hop_until(delivery, deadline).await.map_err(|e| e.to_string()) };
    let Some(header) = trace_target.header else { return hop.await };
    let id = SegmentId::new(SystemEntropy.bits() as u64);
    let start = jiff::Timestamp::now();
    let result = trace::scope(header.pass_on(id).to_string(), hop).await;
    let mut annotations = vec![("run", run.as_str()), ("group", &*group)];
    annotations.extend(step.as_deref().map(|step| ("step", step)));
    trace_target.daemon.send(&Subsegment {
        name: "hop",
        id,
        header: &header,
        start,
        end: jiff::Timestamp::now(),
        outcome: if result.is_ok() { SegmentOutcome::Ok } else { SegmentOutcome::Fault },
        namespace: None,
        annotations: &annotations,
    });
    result
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stepladder_core::{RunId, Wake};

    use super::*;

    #[test]
    fn a_wake_of_a_takeover_and_one_that_fails_repeatedly_are_processed_alone() {
        let is_alone = |cause: WakeCause, receives: &str| {
            let wake = Wake { run: RunId::new(Timestamp::from_millis(1), 1), cause, group: "f".into() };
            let body = serde_json::to_string(&wake).unwrap();
            let record = json!({"body": body, "attributes": {"ApproximateReceiveCount": receives}});
            may_end_the_process(&serde_json::from_value(record).unwrap())
        };
        let (next, lease) = (WakeCause::Next, WakeCause::Lease);
        assert_eq!([is_alone(next.clone(), "2"), is_alone(next, "3"), is_alone(lease, "1")], [false, true, true]);
    }
}
