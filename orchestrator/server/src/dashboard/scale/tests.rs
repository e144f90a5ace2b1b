use super::*;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn scale(kind: ScaleKind, end: i64, busy: &[(i64, i64)]) -> TimeScale {
    let busy: Vec<_> = busy.iter().map(|&(from, to)| (at(from), at(to))).collect();
    TimeScale::new(kind, at(0), (at(0), at(end)), &busy)
}

fn is_close(found: f64, wanted: f64) -> bool {
    (found - wanted).abs() < 0.01
}

/// Six short attempts, with waits of 15 s, 32 s, 1 min, 2 min and 5 min between them.
fn attempts() -> Vec<(i64, i64)> {
    let mut start = 0;
    [48, 15_000, 32_000, 60_000, 120_000, 300_000]
        .map(|wait| {
            start += wait;
            (start, start + 20)
        })
        .into()
}

#[test]
fn the_true_scale_is_linear() {
    let scale = scale(ScaleKind::True, 540_000, &attempts());
    assert!(scale.breaks(false).is_empty());
    for ms in [0, 20, 15_000, 300_000] {
        assert!(is_close(scale.position_of(at(ms)), ms as f64 / 5_400.0));
    }
    assert!(is_close(scale.position_of(at(-9)), 0.0) && is_close(scale.position_of(at(999_999)), 100.0));
    let labels: Vec<String> = scale.ticks().into_iter().map(|tick| tick.label).collect();
    assert_eq!(labels, ["0", "2 m", "4 m", "6 m", "8 m"]);
}

#[test]
fn growing_waits_are_drawn_as_growing_breaks_with_their_lengths() {
    let breaks = scale(ScaleKind::Compressed, 527_068, &attempts()).breaks(false);
    let lengths: Vec<&str> = breaks.iter().map(|each| &each.length[..]).collect();
    assert_eq!(lengths, ["14.9 s", "31.9 s", "59.9 s", "1 m 59 s", "4 m 59 s"]);
    let widths: Vec<f64> = breaks.iter().map(|each| each.width.trim_end_matches('%').parse().unwrap()).collect();
    assert!(widths.is_sorted() && widths[4] > 2.0 * widths[0], "{widths:?}");
    assert!(widths.iter().sum::<f64>() <= 65.1, "{widths:?}");
}

#[test]
fn a_break_that_still_grows_has_no_length() {
    let scale = scale(ScaleKind::Compressed, 60_000, &[(0, 100), (20_000, 20_100)]);
    let lengths = |is_open| scale.breaks(is_open).into_iter().map(|each| each.length).collect::<Vec<_>>();
    assert_eq!(lengths(true), ["19.9 s", "…"]);
    assert_eq!(lengths(false), ["19.9 s", "39.9 s"]);
}

#[test]
fn a_month_of_sleep_leaves_room_for_the_seconds_around_it() {
    const MONTH: i64 = 30 * 86_400_000;
    let scale = scale(ScaleKind::Compressed, MONTH + 2_000, &[(0, 1_000), (MONTH + 1_000, MONTH + 2_000)]);
    assert!(scale.position_of(at(1_000)) > 25.0, "{}", scale.position_of(at(1_000)));
    assert!(is_close(scale.position_of(at(1_000)), 100.0 - scale.position_of(at(MONTH + 1_000))));
    assert_eq!(scale.breaks(false).iter().map(|each| &each.length[..]).collect::<Vec<_>>(), ["30 d"]);
}

#[test]
fn a_run_without_long_waits_has_no_breaks() {
    assert!(scale(ScaleKind::Compressed, 1_000, &[]).breaks(false).is_empty(), "it only waits");
    assert!(scale(ScaleKind::Compressed, 1_000, &[(0, 300), (500, 1_000)]).breaks(false).is_empty());
    let steps: Vec<_> = (0..10_000).map(|n| (n * 10, n * 10 + 7)).collect();
    assert!(scale(ScaleKind::Compressed, 100_000, &steps).breaks(false).is_empty());
    assert!(scale(ScaleKind::Compressed, 0, &[(0, 0)]).position_of(at(0)).is_finite());
    assert!(scale(ScaleKind::Compressed, 100, &[(-500, 900)]).breaks(false).is_empty());
}

#[test]
fn labels_of_ticks_do_not_overlap() {
    for end in [7, 99, 1_234, 61_000, 86_400_000, 9_000_000_000, i64::MAX / 4] {
        for kind in [ScaleKind::True, ScaleKind::Compressed] {
            let ticks = scale(kind, end, &[(0, end / 3), (end / 2, end)]).ticks();
            let xs: Vec<f64> = ticks.iter().map(|tick| tick.x.trim_end_matches('%').parse().unwrap()).collect();
            assert!(xs.windows(2).all(|two| two[1] - two[0] >= TICK_DISTANCE - 0.02), "{end}: {xs:?}");
            assert!(!xs.is_empty() && xs.len() <= 7, "{end}: {xs:?}");
        }
    }
}

#[test]
fn the_axis_of_a_live_run_grows_in_steps() {
    assert_eq!([1, 10, 11, 99, 101, 1_234, 7_000].map(round_up), [1, 10, 12, 100, 120, 1_500, 8_000]);
}
