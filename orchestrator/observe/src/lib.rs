//! What Stepladder tells CloudWatch and X-Ray of what it does: log lines, metrics within them, and traces.
//!
//! Everything is read from the engine's own accounts (tracing events and spans): the engine does not know that anybody
//! listens. No call is made to AWS from here: lines go to a writer, which in Lambda is standard output, and parts of
//! traces go to the X-Ray daemon beside the function, in datagrams.
//!
//! | module | what |
//! | --- | --- |
//! | [`logs`] | one JSON object a line |
//! | [`metrics`] | which lines are metrics too, in the embedded metric format |
//! | [`trace`] | the header that links invocations to one trace, and what each of them adds to it |
//!
//! # Lines
//!
//! A plain line, then a step's outcome, then a sweep. The spans around an event add what they know: here `hop` knew the
//! run, the function and the request.
//!
//! ```json
//! {"timestamp":"2026-01-01T10:20:30.500Z","level":"WARN","target":"stepladder_aws::queue","message":"the deadline is near","run":"01KAVZ9Y3M0000000000000001","function":"enhance","left_ms":1200,"request_id":"c6af9ac6","role":"worker","stack":"prod","code":"42"}
//! {"timestamp":"2026-01-01T10:20:30.500Z","level":"INFO","target":"stepladder::run","message":"step succeeded","run":"01KAVZ9Y3M0000000000000001","function":"enhance","step":"call","attempt":2,"ms":812,"request_id":"c6af9ac6","role":"worker","stack":"prod","code":"42","_aws":{"CloudWatchMetrics":[{"Dimensions":[["Stack"],["Stack","Function"]],"Metrics":[{"Name":"StepsSucceeded","Unit":"Count"},{"Name":"StepDuration","Unit":"Milliseconds"}],"Namespace":"Stepladder"}],"Timestamp":1767262830500},"Stack":"prod","Function":"enhance","StepsSucceeded":1,"StepDuration":812}
//! {"timestamp":"2026-01-01T10:20:30.500Z","level":"INFO","target":"stepladder::sweep","message":"swept","timers":3,"watched":1,"role":"worker","stack":"prod","code":"42","_aws":{"CloudWatchMetrics":[{"Dimensions":[["Stack"]],"Metrics":[{"Name":"SweepTimers","Unit":"Count"},{"Name":"SweepWatched","Unit":"Count"}],"Namespace":"Stepladder"}],"Timestamp":1767262830500},"Stack":"prod","SweepTimers":3,"SweepWatched":1}
//! ```
//!
//! The fields are typed as they were recorded. What the event says goes before what a span says, an inner span before an
//! outer one. A field whose name the line itself uses (`code`, say) becomes `fields.code`. A string ends at 64 KiB with a
//! mark that says how long it was, a line at 256 KiB: fields that found no room are counted in `left_out`.

pub mod logs;
pub mod metrics;
pub mod trace;

pub use logs::{Options, start};
