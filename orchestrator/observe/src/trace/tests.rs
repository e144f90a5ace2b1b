//! Tests of headers, documents and the daemon, with a UDP socket as the daemon.

use std::net::UdpSocket;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;

const ROOT: &str = "Root=1-5759e988-bd862e3fe1be46a994272793";

fn header_with(rest: &str) -> TraceHeader {
    TraceHeader::parse(&format!("{ROOT}{rest}")).unwrap()
}

fn sampled_header() -> TraceHeader {
    header_with(";Parent=53995c3f42cd8ad8;Sampled=1")
}

fn hop_subsegment(header: &TraceHeader) -> Subsegment<'_> {
    Subsegment {
        name: "enhance",
        id: SegmentId::new(0x0123_4567_89ab_cdef),
        header,
        start: "2026-01-01T10:20:30.25Z".parse().unwrap(),
        end: "2026-01-01T10:20:31.5Z".parse().unwrap(),
        outcome: SegmentOutcome::Ok,
        namespace: None,
        annotations: &[("run", "01KAVZ9Y3M0000000000000001"), ("function", "enhance"), ("step", "call")],
    }
}

fn parsed_document(subsegment: &Subsegment<'_>) -> Value {
    serde_json::from_str(&subsegment.document().unwrap()).unwrap()
}

#[test]
fn a_parsed_header_is_written_unchanged() {
    for rest in ["", ";Sampled=0", ";Sampled=1", ";Parent=53995c3f42cd8ad8", ";Parent=53995c3f42cd8ad8;Sampled=1"] {
        let text = format!("{ROOT}{rest}");
        assert_eq!(TraceHeader::parse(&text).unwrap().to_string(), text);
    }
}

#[test]
fn unknown_parts_of_a_header_are_ignored() {
    let lambda = header_with(";Parent=53995c3f42cd8ad8;Sampled=1;Lineage=1:a87bd80c:0,25:68fd508a:5");
    assert_eq!(lambda, sampled_header());
    let balancer = "Self=1-67891234-12456789abcdef012345678; Sampled=? ;Root=1-5759e988-bd862e3fe1be46a994272793;x;=;;";
    let read = TraceHeader::parse(balancer).unwrap();
    assert_eq!((read.parent(), read.sampling()), (None, SamplingDecision::Undecided));
    assert_eq!(read.to_string(), ROOT);
    assert_eq!(header_with(";Parent=nonsense;Sampled=yes").to_string(), ROOT);
}

#[test]
fn a_text_without_a_trace_id_is_not_a_header() {
    let garbage = [
        "",
        ";;;",
        "Root=",
        "Root",
        "Parent=53995c3f42cd8ad8;Sampled=1",
        "Root=2-5759e988-bd862e3fe1be46a994272793",
        "Root=1-5759e988-bd862e3fe1be46a99427279",
        "Root=1-5759e988-bd862e3fe1be46a99427279é",
        "Root=1-5759e988-bd862e3fe1be46a994272793-1",
        "root=1-5759e988-bd862e3fe1be46a994272793",
        "Root=1-+759e988-bd862e3fe1be46a994272793",
        "\0\u{1}Root",
    ];
    for text in garbage {
        assert_eq!(TraceHeader::parse(text), None, "{text:?}");
    }
}

#[test]
fn a_new_trace_id_has_the_second_and_96_random_bits() {
    let at = Timestamp::from_second(0x5759_e988).unwrap();
    let new = TraceHeader::new(at, u128::MAX - 1, SamplingDecision::Yes);
    assert_eq!(new.to_string(), "Root=1-5759e988-fffffffffffffffffffffffe;Sampled=1");
    assert_eq!(TraceHeader::parse(&new.to_string()), Some(new));
}

#[test]
fn a_passed_on_header_names_our_subsegment_if_the_trace_is_recorded() {
    let id = SegmentId::new(7);
    assert_eq!(sampled_header().pass_on(id).to_string(), format!("{ROOT};Parent=0000000000000007;Sampled=1"));
    let not = header_with(";Parent=53995c3f42cd8ad8;Sampled=0");
    assert_eq!(not.pass_on(id), not);
}

#[test]
fn a_daemon_receives_a_valid_document() {
    let daemon = UdpSocket::bind("127.0.0.1:0").unwrap();
    daemon.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let address = daemon.local_addr().unwrap();
    let mut buffer = vec![0; 65_536];
    for address in [address.to_string(), format!("tcp:127.0.0.1:1 udp:{address}")] {
        let header = sampled_header();
        assert!(XRayDaemon::with_address(&address).send(&hop_subsegment(&header)));
        let length = daemon.recv(&mut buffer).unwrap();
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        let (prefix, document) = text.split_once('\n').unwrap();
        assert_eq!(prefix, r#"{"format": "json", "version": 1}"#);
        assert_eq!(
            serde_json::from_str::<Value>(document).unwrap(),
            json!({
                "name": "enhance",
                "id": "0123456789abcdef",
                "trace_id": "1-5759e988-bd862e3fe1be46a994272793",
                "parent_id": "53995c3f42cd8ad8",
                "type": "subsegment",
                "start_time": 1_767_262_830.25,
                "end_time": 1_767_262_831.5,
                "annotations": {"run": "01KAVZ9Y3M0000000000000001", "function": "enhance", "step": "call"},
            })
        );
    }
}

#[test]
fn nothing_is_sent_for_a_trace_that_is_not_recorded() {
    let daemon = UdpSocket::bind("127.0.0.1:0").unwrap();
    daemon.set_nonblocking(true).unwrap();
    let sender = XRayDaemon::with_address(&daemon.local_addr().unwrap().to_string());
    for rest in [";Parent=53995c3f42cd8ad8;Sampled=0", ";Parent=53995c3f42cd8ad8", ";Sampled=1", ""] {
        assert!(!sender.send(&hop_subsegment(&header_with(rest))), "{rest}");
    }
    assert!(daemon.recv(&mut [0; 16]).is_err());
}

#[test]
fn failures_are_flagged() {
    let header = sampled_header();
    let with = |outcome| parsed_document(&Subsegment { outcome, namespace: Some("aws"), ..hop_subsegment(&header) });
    let (error, fault) = (with(SegmentOutcome::Error), with(SegmentOutcome::Fault));
    assert_eq!((&error["error"], error.get("fault")), (&json!(true), None));
    assert_eq!((&fault["fault"], fault.get("error")), (&json!(true), None));
    assert_eq!(fault["namespace"], "aws");
}

#[test]
fn names_and_annotations_are_changed_to_fit() {
    let header = sampled_header();
    let long = "é".repeat(2_000);
    let keys: Vec<String> = (0..60).map(|n| format!("key-{n}")).collect();
    let many: Vec<_> = keys.iter().map(|key| (key.as_str(), "v")).collect();
    let fitted = parsed_document(&Subsegment { name: "a<b>\n\"c\" %", annotations: &many, ..hop_subsegment(&header) });
    assert_eq!(fitted["name"], "a_b___c_ %");
    assert_eq!(fitted["annotations"].as_object().unwrap().len(), 50);
    assert_eq!(fitted["annotations"]["key_7"], "v");
    let fitted = parsed_document(&Subsegment {
        name: &long,
        annotations: &[("run", &long), ("", "")],
        ..hop_subsegment(&header)
    });
    assert_eq!(fitted["name"].as_str().unwrap().chars().count(), 200);
    assert_eq!(fitted["annotations"]["run"].as_str().unwrap().chars().count(), 1_000);
    assert_eq!(parsed_document(&Subsegment { name: " ", ..hop_subsegment(&header) })["name"], "stepladder");
    let early = parsed_document(&Subsegment { end: Timestamp::UNIX_EPOCH, ..hop_subsegment(&header) });
    assert_eq!(early["end_time"], early["start_time"]);
}

#[test]
fn a_document_that_is_too_large_is_not_sent() {
    let header = sampled_header();
    let long = "😀".repeat(1_000);
    let keys: Vec<String> = (0..50).map(|n| format!("k{n}")).collect();
    let many: Vec<_> = keys.iter().map(|key| (key.as_str(), long.as_str())).collect();
    let daemon = UdpSocket::bind("127.0.0.1:0").unwrap();
    let sender = XRayDaemon::with_address(&daemon.local_addr().unwrap().to_string());
    assert!(!sender.send(&Subsegment { annotations: &many, ..hop_subsegment(&header) }));
    assert!(sender.send(&Subsegment { annotations: &many[..15], ..hop_subsegment(&header) }));
}

#[test]
fn an_invalid_address_sends_nothing() {
    for address in ["", "nonsense", "127.0.0.1", "udp:", "127.0.0.1:99999999"] {
        assert!(!XRayDaemon::with_address(address).send(&hop_subsegment(&sampled_header())), "{address}");
    }
}

#[tokio::test]
async fn a_header_is_current_within_its_scope_only() {
    assert_eq!(current(), None);
    let inner = scope("outer".into(), async {
        assert_eq!(current().as_deref(), Some("outer"));
        tokio::task::yield_now().await;
        scope("inner".into(), async { current() }).await
    });
    let (inner, outside) = tokio::join!(inner, async { current() });
    assert_eq!((inner.as_deref(), outside), (Some("inner"), None));
    assert_eq!(current(), None);
}
