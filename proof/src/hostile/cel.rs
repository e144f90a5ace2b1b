//! CEL: any string as an expression, evaluated on any JSON body as its event. An empty line
//! separates the two in the input.

use stepladder_core::expr::{Expr, ExprScope};
use stepladder_core::limits::{EXPR_BYTES, KEY_BYTES};
use stepladder_core::sentence::SENTENCE_BYTES;
use stepladder_core::{EventId, NewEvent, Timestamp};

/// Macros that loop. Nested loops multiply the time; an expression comes from the author of a
/// function, who is trusted to avoid that.
const LOOPS: [&str; 6] = ["all", "exists", "map", "filter", "existsOne", "transform"];
/// Maximum number of loops in an expression. An expression with more loops is not evaluated.
const MOST_LOOPS: usize = 2;

/// A valid event. Each expression is evaluated on this event and on the event of the input.
const EVENT: &str = r#"{"name":"a/b","id":"k","ts":5,"user":{"n":1.5},"data":{"plan":"pro","n":7,"big":18446744073709551615,
    "tags":["a","b",null,true,{"x":-1}],"deep":{"er":{"x":"é"}}}}"#;

/// Compiles and evaluates an expression. The result must be a value, or an error of bounded length.
pub fn cel(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (source, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let expr = match Expr::compile(source) {
        Ok(expr) => expr,
        Err(bad) => return assert!(bad.to_string().len() <= 2 * SENTENCE_BYTES + 100, "{bad}"),
    };
    assert!(source.len() <= EXPR_BYTES);
    assert_eq!(expr.source(), source);
    if LOOPS.iter().map(|word| source.matches(word).count()).sum::<usize>() > MOST_LOOPS {
        return;
    }
    for body in [EVENT, body] {
        let Ok(events) = NewEvent::decode_all(body.as_bytes()) else { continue };
        for event in events.into_iter().take(3) {
            let now = Timestamp::from_millis(1_700_000_000_000);
            let scope = ExprScope::of(&event.accept(EventId::new(now, 7), now));
            if let Err(bad) = expr.eval_bool(&scope) {
                assert!(bad.to_string().len() <= 2 * SENTENCE_BYTES + 100, "{bad}");
            }
            match expr.eval_key(&scope) {
                Ok(key) => assert!(key.len() <= KEY_BYTES, "{} bytes", key.len()),
                Err(bad) => assert!(bad.to_string().len() <= 2 * SENTENCE_BYTES + 100, "{bad}"),
            }
        }
    }
}
