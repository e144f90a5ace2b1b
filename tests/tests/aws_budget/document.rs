//! Checks that `infra/COST.md` contains the computed rows of tables, word for word.

use stepladder_observe::metrics::Metric;
use stepladder_tests::binary;

use crate::price::{
    DURABLE_FUNCTIONS, GB_SECOND, HTTP_API, INVOCATIONS, METRIC, READS, SECRET, SQS, STEP_FUNCTIONS, TRACES, WRITES,
    dollars,
};

fn rows() -> Vec<String> {
    let path = binary::root().join("infra/COST.md");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().filter(|line| line.starts_with('|')).map(without_alignment).collect()
}

/// Removes the spaces with which a row is aligned.
fn without_alignment(row: &str) -> String {
    row.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Panics if a row is missing in the document, and prints the row.
pub(crate) fn assert_has_rows(computed: &[String]) {
    let there = rows();
    let missing: Vec<&String> = computed.iter().filter(|row| !there.contains(&without_alignment(row))).collect();
    assert!(missing.is_empty(), "infra/COST.md lacks, or has otherwise:\n{missing:#?}");
}

#[test]
fn the_document_has_the_list_prices_of_the_code() {
    assert_has_rows(&[
        format!("| DynamoDB on demand, write request units | ${WRITES} a million |"),
        format!("| DynamoDB on demand, read request units | ${READS} a million |"),
        format!("| SQS standard, requests | ${SQS:.2} a million |"),
        format!("| Lambda, requests | ${INVOCATIONS:.2} a million |"),
        format!("| Lambda, arm64 | ${GB_SECOND:.10} a GB-second |"),
        format!("| Step Functions Standard, transitions | ${STEP_FUNCTIONS} a million |"),
        format!("| Lambda durable functions, operations | ${DURABLE_FUNCTIONS} a million |"),
        format!("| API Gateway, HTTP API, requests | ${HTTP_API:.2} a million |"),
        format!("| X-Ray, traces recorded | ${TRACES:.2} a million |"),
        format!("| Secrets Manager, a secret | ${SECRET:.2} a month |"),
        format!("| CloudWatch, a custom metric | ${METRIC:.2} a month |"),
    ]);
}

/// CloudWatch bills a metric once per set of dimensions. There are two sets: the stack alone, and
/// the stack with a function.
#[test]
fn metrics_are_priced_for_the_stack_and_for_each_function() {
    let of_the_stack_alone = |name: &str| name.starts_with("Sweep") || name == "PermanentErrors";
    let names = Metric::ALL.map(Metric::name);
    let by_function = names.iter().filter(|name| !of_the_stack_alone(name)).count();
    let row = |what: &str, n: usize| format!("| {n} custom metrics of {what} | {} |", dollars(n as f64 * METRIC));
    assert_has_rows(&[row("the stack", names.len()), row("each function that runs", by_function)]);
}

#[test]
fn compute_is_priced_by_its_formula() {
    let of = |memory: f64, seconds: f64| memory / 1_024.0 * seconds * GB_SECOND * 1_000_000.0;
    assert_has_rows(&[
        format!("| 256 MB, 20 ms | ${:.3} |", of(256.0, 0.020)),
        format!("| 256 MB, 200 ms | ${:.2} |", of(256.0, 0.2)),
        format!("| a call of 30 s, 128 MB, alone in its invocation | ${:.2} |", of(128.0, 30.0)),
        format!("| a call of 30 s, 256 MB, alone | ${:.2} |", of(256.0, 30.0)),
        format!("| a call of 30 s, 256 MB, one of 5 at the same time | ${:.2} |", of(256.0, 30.0) / 5.0),
        format!("| a call of 30 s, 256 MB, one of 10 at the same time | ${:.2} |", of(256.0, 30.0) / 10.0),
        format!("| a call of 30 s, 1,024 MB, alone | ${:.2} |", of(1_024.0, 30.0)),
        format!("| 256 MB, 2 s | ${:.2} |", of(256.0, 2.0)),
    ]);
}
