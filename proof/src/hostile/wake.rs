//! Decoders of short strings: the body of a wake, ids in paths and queries, a status, timers.

use std::str::FromStr;

use stepladder_core::{EventId, RunId, Status, Timer, Wake};

/// Parses a string as each of these types. A value that is parsed must survive being written and
/// read again.
pub fn wake(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(wake) = serde_json::from_str::<Wake>(text) {
        let written = serde_json::to_string(&wake).expect("a wake can be sent");
        assert_eq!(serde_json::from_str::<Wake>(&written).expect("a sent wake can be read"), wake);
        assert!(
            wake.cause.step().is_none_or(|step| text.contains("Step") || text.contains("Fresh") || step.is_empty())
        );
    }
    if let Ok(timer) = serde_json::from_str::<Timer>(text) {
        let written = serde_json::to_string(&timer).expect("a timer can be set");
        assert_eq!(serde_json::from_str::<Timer>(&written).expect("a set timer can be read"), timer);
        assert!(
            timer.due.since(timer.run.time()).as_millis() <= u128::from(u64::MAX) && !timer.due.to_string().is_empty()
        );
    }
    round_trip::<RunId>(text);
    round_trip::<EventId>(text);
    round_trip::<Status>(text);
    if let Ok(bytes) = <[u8; 16]>::try_from(input) {
        assert_eq!(RunId::from_bytes(bytes).to_bytes(), bytes);
    }
}

fn round_trip<T: FromStr + ToString + PartialEq + std::fmt::Debug>(text: &str)
where
    T::Err: std::fmt::Debug,
{
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string().parse::<T>().expect("what was written can be read"), value);
    }
}
