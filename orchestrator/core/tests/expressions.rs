//! Expressions that nobody writes in good faith, and events that make good ones fail: an error each, of bounded length,
//! and never the end of the process.

use std::thread;

use stepladder_core::expr::{Expr, Scope};
use stepladder_core::limits::{EXPR_BYTES, EXPR_LEVELS, KEY_BYTES};
use stepladder_core::sentence::SENTENCE_BYTES;
use stepladder_core::{EventId, NewEvent, Timestamp};

fn scope(data: &str) -> Scope {
    let now = Timestamp::from_millis(1_000);
    let body = format!(r#"{{"name":"a/b","data":{data}}}"#);
    Scope::of(&NewEvent::decode_all(body.as_bytes()).unwrap().remove(0).accept(EventId::new(now, 1), now))
}

/// Every way in which an expression nests or grows, `n` levels of it.
fn grown(n: usize) -> Vec<String> {
    let around = |open: &str, inner: &str, close: &str| format!("{}{inner}{}", open.repeat(n), close.repeat(n));
    let after = |first: &str, more: &str| format!("{first}{}", more.repeat(n));
    vec![
        around("(", "true", ")"),
        around("[", "1", "]"),
        around("{'a':", "1", "}"),
        around("size(", "1", ")"),
        around("[1].all(x,", "true", ")"),
        around("a[", "0", "]"),
        around("!(", "true", ")"),
        around("-", "1", ""),
        around("(", "", ""),
        around("[", "", ""),
        around("true ? true : ", "true", ""),
        after("1", "+1"),
        after("1", "<1"),
        after("true", "&&true"),
        after("event", ".data"),
        after("event", "['data']"),
        after("event", ".size()"),
        after("a", " b"),
        after("'", "\\"),
    ]
}

#[test]
fn whatever_nests_is_refused_before_it_takes_the_stack() {
    let scope = scope("{}");
    for n in [EXPR_LEVELS / 2, EXPR_LEVELS, 40, 96, 200, 1_000] {
        for source in grown(n) {
            match Expr::compile(&source) {
                Ok(expr) => drop((expr.is_true(&scope), expr.text(&scope))),
                Err(bad) => assert!(bad.to_string().len() <= 3 * SENTENCE_BYTES, "{source}"),
            }
        }
    }
}

#[test]
fn depth_and_size_are_bounded_and_the_error_says_so() {
    let deep = |n: usize| format!("1{} > 0", "+1".repeat(n));
    let scope = scope("{}");
    assert_eq!(Expr::compile(&deep(EXPR_LEVELS - 2)).unwrap().is_true(&scope), Ok(true));
    let refused = Expr::compile(&deep(EXPR_LEVELS - 1)).unwrap_err().to_string();
    assert!(refused.contains("21 levels deep; at most 20"), "{refused}");

    let long = |n: usize| format!("'{}' == ''", "x".repeat(n - 8));
    assert_eq!(Expr::compile(&long(EXPR_BYTES)).unwrap().is_true(&scope), Ok(false));
    let refused = Expr::compile(&long(EXPR_BYTES + 1)).unwrap_err().to_string();
    assert!(refused.contains("4097 bytes; at most 4096"), "{refused}");
}

#[test]
fn what_compiles_is_evaluated_on_half_a_workers_stack() {
    let deepest = grown(EXPR_LEVELS / 2).into_iter().chain([format!("1{}", "+1".repeat(EXPR_LEVELS - 1))]);
    let macros = (1..EXPR_LEVELS).map(|n| format!("{}true{}", "[1].all(x,".repeat(n), ")".repeat(n)));
    let compiled: Vec<Expr> = deepest.chain(macros).filter_map(|source| Expr::compile(&source).ok()).collect();
    assert!(compiled.len() > 10);
    let scope = scope("{}");
    thread::scope(|threads| {
        let narrow = thread::Builder::new().stack_size(1024 * 1024);
        let evaluated = narrow.spawn_scoped(threads, || compiled.iter().for_each(|expr| drop(expr.is_true(&scope))));
        evaluated.unwrap().join().unwrap();
    });
}

#[test]
fn an_error_does_not_grow_with_the_event() {
    let (list, text) = ("[],".repeat(300_000), r"\u0001".repeat(300_000));
    let scope = scope(&format!(r#"{{"list":[{list}0],"text":"{text}"}}"#));
    for source in ["event.data", "event.data.list", "event.data.text + 1", "event.data.text.missing"] {
        let expr = Expr::compile(source).unwrap();
        for refused in [expr.is_true(&scope).map(drop), expr.text(&scope).map(drop)] {
            let sentence = refused.unwrap_err().to_string();
            assert!(sentence.len() <= 2 * SENTENCE_BYTES + 100, "{source}: {} bytes", sentence.len());
        }
    }
}

#[test]
fn a_key_that_an_event_makes_too_long_is_refused() {
    let key = Expr::compile("event.data.client").unwrap();
    let of = |n: usize| key.text(&scope(&format!(r#"{{"client":"{}"}}"#, "x".repeat(n))));
    assert_eq!(of(KEY_BYTES).map(|key| key.len()), Ok(KEY_BYTES));
    let refused = of(KEY_BYTES + 1).unwrap_err().to_string();
    assert!(refused.contains("1025 bytes; a key has at most 1024"), "{refused}");
}

#[test]
fn an_event_that_no_number_can_hold_is_told_as_what_it_is() {
    let expr = Expr::compile("event.data.plan == 'pro'").unwrap();
    let refused = expr.is_true(&scope(r#"{"plan":"pro","x":1e999}"#)).unwrap_err().to_string();
    assert!(refused.contains("`event.data` cannot be read: number out of range"), "{refused}");
}
