//! List prices of AWS, us-east-1, November 2026, without taxes, discounts and free tiers; in
//! dollars.

use crate::wire::Tally;

/// DynamoDB on demand: a million write request units.
pub(crate) const WRITES: f64 = 0.625;
/// DynamoDB on demand: a million read request units.
pub(crate) const READS: f64 = 0.125;
/// SQS standard queues: a million requests.
pub(crate) const SQS: f64 = 0.40;
/// Lambda: a million requests.
pub(crate) const INVOCATIONS: f64 = 0.20;
/// Lambda, arm64: a GB-second.
pub(crate) const GB_SECOND: f64 = 0.000_013_333_4;
/// Step Functions, Standard: a million transitions.
pub(crate) const STEP_FUNCTIONS: f64 = 25.0;
/// Lambda durable functions: a million operations.
pub(crate) const DURABLE_FUNCTIONS: f64 = 8.0;
/// API Gateway, HTTP API: a million requests.
pub(crate) const HTTP_API: f64 = 1.0;
/// X-Ray: a million traces recorded.
pub(crate) const TRACES: f64 = 5.0;
/// Secrets Manager: a secret for a month.
pub(crate) const SECRET: f64 = 0.40;
/// CloudWatch: a custom metric for a month, of the first 10,000.
pub(crate) const METRIC: f64 = 0.30;

/// The billed units.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Bill {
    pub(crate) writes: f64,
    pub(crate) reads: f64,
    pub(crate) sqs: f64,
    pub(crate) invocations: f64,
}

impl Bill {
    /// Computes the bill of counted requests. For each invocation, adds the two requests of the
    /// event source mapping, which receives and deletes the message. These are billed, too.
    pub(crate) fn of(tally: &Tally, invocations: u64) -> Self {
        let invocations = invocations as f64;
        Self { writes: tally.writes, reads: tally.reads, sqs: tally.sqs + 2.0 * invocations, invocations }
    }

    pub(crate) fn each(self, n: f64) -> Self {
        let Self { writes, reads, sqs, invocations } = self;
        Self { writes: writes / n, reads: reads / n, sqs: sqs / n, invocations: invocations / n }
    }

    pub(crate) fn less(self, other: Self) -> Self {
        Self {
            writes: self.writes - other.writes,
            reads: self.reads - other.reads,
            sqs: self.sqs - other.sqs,
            invocations: self.invocations - other.invocations,
        }
    }

    /// Returns the price of a million of these, in dollars.
    pub(crate) fn dollars(self) -> f64 {
        self.writes * WRITES + self.reads * READS + self.sqs * SQS + self.invocations * INVOCATIONS
    }

    /// Formats the bill as a row of a table in `infra/COST.md`.
    pub(crate) fn row(self, what: &str) -> String {
        let Self { writes, reads, sqs, invocations } = self;
        let units = [writes, reads, sqs, invocations].map(short).join(" | ");
        format!("| {what} | {units} | {} |", dollars(self.dollars()))
    }
}

/// Formats dollars with cents. Half a cent is rounded up.
pub(crate) fn dollars(n: f64) -> String {
    format!("${:.2}", n + 1e-9)
}

/// Formats a number with at most two decimals.
fn short(n: f64) -> String {
    let text = format!("{n:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
