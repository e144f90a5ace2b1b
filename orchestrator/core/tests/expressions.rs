//! Hostile expressions, and events that make valid expressions fail. Each results in an error of
//! bounded length, and none crashes the process.

use std::thread;
use std::time::{Duration, Instant};

use stepladder_core::expr::{Expr, ExprScope};
use stepladder_core::limits::{EXPR_BYTES, EXPR_EVENT, EXPR_LEVELS, KEY_BYTES};
use stepladder_core::sentence::SENTENCE_BYTES;
use stepladder_core::{EventId, NewEvent, Timestamp};

fn scope(data: &str) -> ExprScope {
    let now = Timestamp::from_millis(1_000);
    let body = format!(r#"{{"name":"a/b","data":{data}}}"#);
    ExprScope::of(&NewEvent::decode_all(body.as_bytes()).unwrap().remove(0).accept(EventId::new(now, 1), now))
}

/// Returns one expression for each way to nest or to grow, with `n` levels.
fn nested_expressions(n: usize) -> Vec<String> {
    let around = |open: &str, inner: &str, close: &str| format!("{}{inner}{}", open.repeat(n), close.repeat(n));
    let after = |first: &str, more: &str| format!("{first}{}", more.repeat(n));
    vec![
        around("(", "true", ")"),
        around("[", "1", "]"),
        around("{'a':", "1", "}"),
        around("size(", "1", ")"),
        around("[1].all(x,", "true", ")"),
        around("[0][", "0", "]"),
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
fn a_deep_expression_is_refused_before_it_overflows_the_stack() {
    let scope = scope("{}");
    for n in [EXPR_LEVELS / 2, EXPR_LEVELS, 40, 96, 200, 1_000] {
        for source in nested_expressions(n) {
            match Expr::compile(&source) {
                Ok(expr) => drop((expr.eval_bool(&scope), expr.eval_key(&scope))),
                Err(bad) => assert!(bad.to_string().len() <= 3 * SENTENCE_BYTES, "{source}"),
            }
        }
    }
}

#[test]
fn depth_and_size_are_bounded_and_the_error_says_so() {
    let deep = |n: usize| format!("1{} > 0", "+1".repeat(n));
    let scope = scope("{}");
    assert_eq!(Expr::compile(&deep(EXPR_LEVELS - 2)).unwrap().eval_bool(&scope), Ok(true));
    let refused = Expr::compile(&deep(EXPR_LEVELS - 1)).unwrap_err().to_string();
    assert!(refused.contains("21 levels deep; at most 20"), "{refused}");

    let long = |n: usize| format!("'{}' == ''", "x".repeat(n - 8));
    assert_eq!(Expr::compile(&long(EXPR_BYTES)).unwrap().eval_bool(&scope), Ok(false));
    let refused = Expr::compile(&long(EXPR_BYTES + 1)).unwrap_err().to_string();
    assert!(refused.contains("4097 bytes; at most 4096"), "{refused}");
}

#[test]
fn the_deepest_expressions_are_evaluated_on_half_a_workers_stack() {
    let deepest = nested_expressions(EXPR_LEVELS / 2).into_iter().chain([format!("1{}", "+1".repeat(EXPR_LEVELS - 1))]);
    let macros = (1..EXPR_LEVELS).map(|n| format!("{}true{}", "[1].all(x,".repeat(n), ")".repeat(n)));
    let compiled: Vec<Expr> = deepest.chain(macros).filter_map(|source| Expr::compile(&source).ok()).collect();
    assert!(compiled.len() > 10);
    let scope = scope("{}");
    thread::scope(|threads| {
        let narrow = thread::Builder::new().stack_size(1024 * 1024);
        let evaluated = narrow.spawn_scoped(threads, || compiled.iter().for_each(|expr| drop(expr.eval_bool(&scope))));
        evaluated.unwrap().join().unwrap();
    });
}

#[test]
fn an_error_does_not_grow_with_the_event() {
    let (list, text) = ("[],".repeat(300_000), r"\u0001".repeat(300_000));
    let scope = scope(&format!(r#"{{"list":[{list}0],"text":"{text}"}}"#));
    for source in ["event.data", "event.data.list", "event.data.text + 1", "event.data.text.missing"] {
        let expr = Expr::compile(source).unwrap();
        for refused in [expr.eval_bool(&scope).map(drop), expr.eval_key(&scope).map(drop)] {
            let sentence = refused.unwrap_err().to_string();
            assert!(sentence.len() <= 2 * SENTENCE_BYTES + 100, "{source}: {} bytes", sentence.len());
        }
    }
}

#[test]
fn a_key_that_an_event_makes_too_long_is_refused() {
    let key = Expr::compile("event.data.client").unwrap();
    let of = |n: usize| key.eval_key(&scope(&format!(r#"{{"client":"{}"}}"#, "x".repeat(n))));
    assert_eq!(of(KEY_BYTES).map(|key| key.len()), Ok(KEY_BYTES));
    let refused = of(KEY_BYTES + 1).unwrap_err().to_string();
    assert!(refused.contains("1025 bytes; a key has at most 1024"), "{refused}");
}

#[test]
fn a_number_too_large_for_a_float_is_exact() {
    let expr = |source: &str| Expr::compile(source).unwrap();
    let scope = scope(r#"{"plan":"pro","x":1e999,"y":10e998}"#);
    assert_eq!(expr("event.data.plan == 'pro' && event.data.x == event.data.y").eval_bool(&scope), Ok(true));
    assert_eq!(expr("event.data.x > 1.5").eval_bool(&scope), Ok(true));
    assert!(
        expr("event.data.x * 2 > 1").eval_bool(&scope).unwrap_err().to_string().contains("larger than a number can be")
    );
    let refused = expr("event.data.plan == 'pro'").eval_bool(&self::scope(r#"{"plan":"pro","x":1e99999999999}"#));
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("`event.data` cannot be read: number out of range"), "{refused}");
}

/// Nests macros, each of which iterates over the whole list.
fn nest_macros(macros: &[&str], inner: &str) -> String {
    let open: String = macros.iter().enumerate().map(|(n, name)| format!("event.data.list.{name}(x{n}, ")).collect();
    format!("{open}{inner}{}", ")".repeat(macros.len()))
}

#[test]
fn macros_that_multiply_are_refused_when_they_are_compiled() {
    for (one, inner) in
        [("all", "true"), ("exists", "false"), ("exists_one", "false"), ("filter", "true"), ("map", "1")]
    {
        assert!(Expr::compile(&nest_macros(&[one], inner)).is_ok(), "{one}");
        for source in [nest_macros(&[one; 3], inner), nest_macros(&["all", "exists", one, "map"], inner)] {
            let refused = Expr::compile(&source).unwrap_err().to_string();
            assert!(refused.contains("may take more than 10000000 steps"), "{source}: {refused}");
        }
    }
    // The first macro enlarges the list that the second one iterates over.
    let growing = "event.data.list.map(a, event.data.list).all(b, b.all(c, c == event.data.list))";
    assert!(Expr::compile(growing).is_err());
    let doubled = |n: usize| format!("[event.data.text]{}.size() > 0", ".map(x, x + x)".repeat(n));
    assert!(Expr::compile(&doubled(2)).is_ok());
}

#[test]
fn a_macro_over_the_parts_of_each_item_is_not_counted_as_a_square() {
    let parts = "event.data.lines.all(line, line.tags.all(tag, tag.size() < 9))";
    let expr = Expr::compile(parts).unwrap();
    let line = r#"{"tags":["a","b","c","d"]},"#.repeat(5_000);
    assert_eq!(expr.eval_bool(&scope(&format!(r#"{{"lines":[{line}{{"tags":[]}}]}}"#))), Ok(true));
}

#[test]
fn an_event_that_is_too_large_for_an_expression_is_refused_and_not_evaluated() {
    let list = |n: usize| scope(&format!(r#"{{"list":[{}0]}}"#, "1,".repeat(n)));
    let pairs = Expr::compile("event.data.list.all(a, event.data.list.exists(b, a == b))").unwrap();
    assert_eq!(pairs.eval_bool(&list(100)), Ok(true));
    let refused = pairs.eval_bool(&list(100_000)).unwrap_err().to_string();
    assert!(refused.contains("may take more than 10000000 steps on an event of this size"), "{refused}");
    // A single iteration over the list stays within the limit.
    let once = Expr::compile("event.data.list.exists(a, a == 0)").unwrap();
    assert_eq!(once.eval_bool(&list(100_000)), Ok(true));
    assert!(
        Expr::compile("event.data.plan == 'pro'").unwrap().eval_bool(&list(300_000)).is_err(),
        "the field does not exist"
    );
}

#[test]
fn an_accepted_expression_is_fast_on_an_event_of_the_documented_size() {
    let list = vec![r#"{"n":1,"tags":["a"]}"#; EXPR_EVENT / 4].join(",");
    let scope = scope(&format!(r#"{{"list":[{list}]}}"#));
    let macros = ["all", "exists", "exists_one", "filter", "map"];
    let mut evaluated = 0;
    for outer in macros {
        for inner in macros {
            for source in [
                nest_macros(&[outer, inner], "x0 == x1"),
                format!("event.data.list.{outer}(x, x.tags.{inner}(y, y == x))"),
            ] {
                let Ok(expr) = Expr::compile(&source) else { continue };
                let started_at = Instant::now();
                drop(expr.eval_bool(&scope));
                assert!(started_at.elapsed() < Duration::from_secs(20), "{source}: {:?}", started_at.elapsed());
                evaluated += 1;
            }
        }
    }
    assert!(evaluated > 20, "{evaluated}");
}
