//! List prices of AWS in us-east-1, without free tiers, discounts and taxes. Each price has its
//! source and its date.

/// A list price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// The price of one unit, in trillionths of a US dollar.
    pub picodollars: u64,
    /// The name of the unit.
    pub unit: &'static str,
    /// The AWS page that lists the price.
    pub source: &'static str,
    /// The month in which the price was listed.
    pub date: &'static str,
}

impl Price {
    const fn new(picodollars: u64, unit: &'static str, source: &'static str) -> Self {
        Self { picodollars, unit, source, date: "November 2026" }
    }

    /// Returns the price of `units`, in billionths of a dollar, rounded down.
    pub fn nanodollars(self, units: u64) -> u64 {
        u64::try_from(u128::from(units) * u128::from(self.picodollars) / 1_000).unwrap_or(u64::MAX)
    }

    /// Returns the price of a million units, in dollars.
    pub fn dollars_a_million(self) -> f64 {
        self.picodollars as f64 / 1e6
    }
}

/// The price of a DynamoDB write request unit (up to 1 KB of an item) with on-demand capacity.
pub const WRITE_UNIT: Price =
    Price::new(625_000, "write request unit", "https://aws.amazon.com/dynamodb/pricing/on-demand/");
/// The price of a DynamoDB read request unit (up to 4 KB, strongly consistent) with on-demand
/// capacity.
pub const READ_UNIT: Price =
    Price::new(125_000, "read request unit", "https://aws.amazon.com/dynamodb/pricing/on-demand/");
/// The price of a request to a standard SQS queue.
pub const SQS_REQUEST: Price = Price::new(400_000, "request", "https://aws.amazon.com/sqs/pricing/");
/// The price of a Lambda invocation.
pub const INVOCATION: Price = Price::new(200_000, "request", "https://aws.amazon.com/lambda/pricing/");
/// The price of one second of Lambda on arm64 with 1 GB of memory.
pub const GB_SECOND: Price = Price::new(13_333_400, "GB-second", "https://aws.amazon.com/lambda/pricing/");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_price_is_a_row_of_the_cost_page() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../infra/COST.md");
        let page = std::fs::read_to_string(page).unwrap();
        for (row, price) in [
            ("| DynamoDB on demand, write request units | $0.625 a million |", WRITE_UNIT),
            ("| DynamoDB on demand, read request units | $0.125 a million |", READ_UNIT),
            ("| SQS standard, requests | $0.40 a million |", SQS_REQUEST),
            ("| Lambda, requests | $0.20 a million |", INVOCATION),
        ] {
            assert!(page.contains(row), "{row}");
            let dollars: f64 = row.split('$').nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
            assert_eq!(price.dollars_a_million(), dollars, "{row}");
            assert!(page.contains(price.source) && page.contains(price.date), "{row}");
        }
        assert!(page.contains("| Lambda, arm64 | $0.0000133334 a GB-second |"));
        assert_eq!(GB_SECOND.picodollars, 13_333_400);
    }
}
