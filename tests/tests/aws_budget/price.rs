//! AWS's list prices in dollars: us-east-1, November 2026, without taxes, discounts and free tiers.

use crate::wire::RequestTally;

/// The price of a million write request units: DynamoDB, on demand.
pub(crate) const WRITES: f64 = 0.625;
/// The price of a million read request units: DynamoDB, on demand.
pub(crate) const READS: f64 = 0.125;
/// The price of a million requests to standard queues: SQS.
pub(crate) const SQS: f64 = 0.40;
/// The price of a million requests: Lambda.
pub(crate) const INVOCATIONS: f64 = 0.20;
/// The price of a GB-second: Lambda, arm64.
pub(crate) const GB_SECOND: f64 = 0.000_013_333_4;
/// The price of a million state transitions: Step Functions, Standard.
pub(crate) const STEP_FUNCTIONS: f64 = 25.0;
/// The price of a million operations: Lambda durable functions.
pub(crate) const DURABLE_FUNCTIONS: f64 = 8.0;
/// The price of a million requests: API Gateway, HTTP API.
pub(crate) const HTTP_API: f64 = 1.0;
/// The price of a million recorded traces: X-Ray.
pub(crate) const TRACES: f64 = 5.0;
/// The price of a secret per month: Secrets Manager.
pub(crate) const SECRET: f64 = 0.40;
/// The price of one of the first 10,000 custom metrics per month: CloudWatch.
pub(crate) const METRIC: f64 = 0.30;

/// The units that AWS bills.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct BilledUnits {
    pub(crate) writes: f64,
    pub(crate) reads: f64,
    pub(crate) sqs: f64,
    pub(crate) invocations: f64,
}

impl BilledUnits {
    /// Computes the billed units of requests. Each invocation adds two requests to SQS, because the
    /// event source mapping receives and deletes the message.
    pub(crate) fn from_tally(tally: &RequestTally, invocations: u64) -> Self {
        let invocations = invocations as f64;
        Self { writes: tally.writes, reads: tally.reads, sqs: tally.sqs + 2.0 * invocations, invocations }
    }

    pub(crate) fn divided_by(self, n: f64) -> Self {
        let Self { writes, reads, sqs, invocations } = self;
        Self { writes: writes / n, reads: reads / n, sqs: sqs / n, invocations: invocations / n }
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Self {
            writes: self.writes - other.writes,
            reads: self.reads - other.reads,
            sqs: self.sqs - other.sqs,
            invocations: self.invocations - other.invocations,
        }
    }

    /// Returns the price of a million such bills, in dollars.
    pub(crate) fn dollars(self) -> f64 {
        self.writes * WRITES + self.reads * READS + self.sqs * SQS + self.invocations * INVOCATIONS
    }

    /// Formats the bill as a row of a table in `infra/COST.md`.
    pub(crate) fn table_row(self, what: &str) -> String {
        let Self { writes, reads, sqs, invocations } = self;
        let units = [writes, reads, sqs, invocations].map(format_short).join(" | ");
        format!("| {what} | {units} | {} |", dollars(self.dollars()))
    }
}

/// Formats dollars with two decimals. Half a cent is rounded up.
pub(crate) fn dollars(n: f64) -> String {
    format!("${:.2}", n + 1e-9)
}

/// Formats a number with at most two decimals.
fn format_short(n: f64) -> String {
    let text = format!("{n:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
