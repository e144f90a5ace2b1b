//! Log lines, CloudWatch metrics and X-Ray traces of a Stepladder process on AWS.
//!
//! Everything is read from tracing events and spans, so the engine does not depend on this crate.
//! No call to AWS is made from here: log lines go to a writer, which is standard output in Lambda.
//! Traces go to the X-Ray daemon beside the function, in datagrams.
//!
//! | module | contents |
//! | --- | --- |
//! | [`logs`] | one JSON object per line |
//! | [`metrics`] | the lines that are metrics too, in the embedded metric format |
//! | [`trace`] | the header that links invocations to one trace, and the subsegment of each |
//!
//! # Log lines
//!
//! The examples are a plain line, the outcome of a step, and a sweep. The span `hop` around the
//! first two added `run`, `function` and `request_id`.
//!
//! ```json
//! {"timestamp":"2026-01-01T10:20:30.500Z","level":"WARN","target":"stepladder_aws::queue","message":"the deadline is near","run":"01KAVZ9Y3M0000000000000001","function":"enhance","left_ms":1200,"request_id":"c6af9ac6","role":"worker","stack":"prod","code":"42"}
//! {"timestamp":"2026-01-01T10:20:30.500Z","level":"INFO","target":"stepladder::run","message":"step succeeded","activity":"step_succeeded","run":"01KAVZ9Y3M0000000000000001","function":"enhance","step":"call","attempt":2,"ms":812,"request_id":"c6af9ac6","role":"worker","stack":"prod","code":"42","_aws":{"CloudWatchMetrics":[{"Dimensions":[["Stack"],["Stack","Function"]],"Metrics":[{"Name":"StepsSucceeded","Unit":"Count"},{"Name":"StepDuration","Unit":"Milliseconds"}],"Namespace":"Stepladder"}],"Timestamp":1767262830500},"Stack":"prod","Function":"enhance","StepsSucceeded":1,"StepDuration":812}
//! {"timestamp":"2026-01-01T10:20:30.500Z","level":"INFO","target":"stepladder::sweep","message":"sweep completed","activity":"sweep_completed","timers":3,"watched":1,"role":"worker","stack":"prod","code":"42","_aws":{"CloudWatchMetrics":[{"Dimensions":[["Stack"]],"Metrics":[{"Name":"SweepTimers","Unit":"Count"},{"Name":"SweepWatched","Unit":"Count"}],"Namespace":"Stepladder"}],"Timestamp":1767262830500},"Stack":"prod","SweepTimers":3,"SweepWatched":1}
//! ```
//!
//! - Fields keep the type with which they were recorded.
//! - A field of the event hides that of a span, and a field of an inner span hides that of an outer
//!   one.
//! - A field with a name that the line itself uses (for example `code`) becomes `fields.code`.
//! - A string ends at 64 KiB, with a mark that gives its full length.
//! - A line ends at 256 KiB. `left_out` counts the fields that were left out.

pub mod logs;
pub mod metrics;
pub mod trace;

pub use logs::{LogOptions, start};
