//! Reading journals, as a whole and in parts.

use stepladder_core::{AttemptReport, Fact, Record, json};

use super::TestedAdapter;
use super::fixtures::{START, append, record, record_texts, run};

/// The journal of an unknown run is empty.
pub async fn an_unknown_run_has_no_records(on: TestedAdapter) {
    on.commit(append(run(1), record(0, 1, 1))).await;
    assert!(on.backend.read(run(2), 0).await.expect("a read").is_empty());
}

/// Records are read in order, with the exact token, code and entries that were written.
pub async fn records_come_back_as_they_were_written(on: TestedAdapter) {
    let output = json::to_json(&serde_json::json!({"b": 1.0, "a": ["ü", "\u{1F980}", "\\\"", null]})).expect("JSON");
    let fact = Fact::StepSucceeded { step: "größe:1".into(), attempt: 7, output, report: AttemptReport::default() };
    let special = Record { seq: 2, token: u128::MAX, code: "v1.2-ß".into(), entries: vec![fact.into_entry(START)] };
    let records = [record(0, 0, 2), special, record(3, 9, 1)];
    for record in &records {
        on.commit(append(run(1), record.clone())).await;
    }
    on.commit(append(run(2), record(0, 5, 1))).await;
    assert_eq!(record_texts(&on.backend.read(run(1), 0).await.expect("a read")), record_texts(&records));
}

/// Reading from a number on returns only the records that start at that number or later.
pub async fn records_are_read_from_a_number_on(on: TestedAdapter) {
    let records = [record(0, 1, 2), record(2, 2, 3), record(5, 3, 1)];
    for record in &records {
        on.commit(append(run(1), record.clone())).await;
    }
    for (from, left) in [(0, 3), (1, 2), (2, 2), (3, 1), (5, 1), (6, 0), (u64::MAX, 0)] {
        let read = on.backend.read(run(1), from).await.expect("a read");
        assert_eq!(record_texts(&read), record_texts(&records[3 - left..]), "from {from}");
    }
}

/// An outcome of 4 MiB, which is the maximum size, is read back unchanged.
pub async fn a_large_value_is_stored(on: TestedAdapter) {
    let value = "x".repeat(stepladder_core::limits::OUTCOME_BYTES);
    let fact = Fact::StepSucceeded {
        step: "draft".into(),
        attempt: 1,
        output: json::to_json(&value).expect("JSON"),
        report: AttemptReport::default(),
    };
    let large = Record { entries: vec![fact.into_entry(START)], ..record(0, 1, 0) };
    on.commit(append(run(1), large.clone())).await;
    on.commit(append(run(1), record(1, 2, 1))).await;
    assert_eq!(
        record_texts(&on.backend.read(run(1), 0).await.expect("a read")),
        record_texts(&[large, record(1, 2, 1)])
    );
}
