//! Time on a line of a hundred percent. Stretches in which nothing executes and that are long are squeezed: a month of
//! sleep would otherwise leave no room for the seconds around it. A squeezed stretch is marked, with its length.

use std::time::Duration;

use stepladder_core::Timestamp;

use super::text::duration;

/// What a stretch of waiting may take up beside all that executes, shared among such stretches.
const IDLE_SHARE: f64 = 0.8;
/// A stretch is squeezed when it is so many times longer than its share.
const SQUEEZE: f64 = 2.0;

/// A line of time, from a run's beginning to its end or now.
pub(super) struct Scale {
    pieces: Vec<Piece>,
}

/// A stretch that is drawn evenly.
struct Piece {
    from: i64,
    to: i64,
    x: f64,
    width: f64,
    squeezed: bool,
}

/// A squeezed stretch, for the axis.
pub(super) struct Squeezed {
    /// Its middle, in percent.
    pub(super) x: String,
    pub(super) from: String,
    pub(super) width: String,
    /// How long it is.
    pub(super) length: String,
}

/// A moment, in milliseconds, within what can be subtracted: a damaged journal may hold any.
fn millis(at: Timestamp) -> i64 {
    let most = Timestamp::MAX.as_millis();
    at.as_millis().clamp(-most, most)
}

impl Scale {
    /// From `begin` to `end`; in the stretches of `busy` something executes.
    pub(super) fn new(begin: Timestamp, end: Timestamp, busy: Vec<(Timestamp, Timestamp)>) -> Self {
        let (begin, end) = (millis(begin), millis(end).max(millis(begin) + 1));
        let mut pieces = stretches(begin, end, busy);
        let of = |idle: bool| pieces.iter().filter(move |piece| piece.squeezed == idle);
        let executing: i64 = of(false).map(|piece| piece.to - piece.from).sum();
        let share = (executing as f64).max(1.0) * IDLE_SHARE / of(true).count().max(1) as f64;
        let any = executing > 0;
        let mut whole = 0.0;
        for piece in &mut pieces {
            let length = (piece.to - piece.from) as f64;
            piece.squeezed &= any && length > share * SQUEEZE;
            piece.width = if piece.squeezed { share } else { length };
            whole += piece.width;
        }
        let mut x = 0.0;
        for piece in &mut pieces {
            piece.width *= 100.0 / whole;
            piece.x = x;
            x += piece.width;
        }
        Self { pieces }
    }

    /// Where a moment is, in percent. What lies outside is at its end of the line.
    pub(super) fn x(&self, at: Timestamp) -> f64 {
        let at = millis(at);
        let Some(piece) = self.pieces.iter().find(|piece| at < piece.to).or(self.pieces.last()) else { return 0.0 };
        let part = (at - piece.from) as f64 / (piece.to - piece.from) as f64;
        piece.x + part.clamp(0.0, 1.0) * piece.width
    }

    /// The stretches that are drawn shorter than they are.
    pub(super) fn squeezed(&self) -> Vec<Squeezed> {
        let of = |piece: &Piece| Squeezed {
            x: percent(piece.x + piece.width / 2.0),
            from: percent(piece.x),
            width: percent(piece.width),
            length: duration(Duration::from_millis((piece.to - piece.from).unsigned_abs())),
        };
        self.pieces.iter().filter(|piece| piece.squeezed).map(of).collect()
    }
}

/// The line in stretches in which something executes and others; the others are marked as such.
fn stretches(begin: i64, end: i64, busy: Vec<(Timestamp, Timestamp)>) -> Vec<Piece> {
    let piece = |from, to, idle| Piece { from, to, x: 0.0, width: 0.0, squeezed: idle };
    let mut busy: Vec<(i64, i64)> =
        busy.iter().map(|&(from, to)| (millis(from).max(begin), millis(to).min(end))).collect();
    busy.sort_unstable();
    let (mut pieces, mut at) = (Vec::new(), begin);
    for (from, to) in busy {
        let from = from.max(at);
        if to <= from {
            continue;
        }
        if from > at {
            pieces.push(piece(at, from, true));
        }
        pieces.push(piece(from, to, false));
        at = to;
    }
    if at < end {
        pieces.push(piece(at, end, true));
    }
    pieces
}

/// A percentage for an attribute.
pub(super) fn percent(x: f64) -> String {
    format!("{x:.3}%")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn close(found: f64, wanted: f64) -> bool {
        (found - wanted).abs() < 0.01
    }

    #[test]
    fn what_executes_all_the_time_is_drawn_evenly() {
        let scale = Scale::new(at(100), at(300), vec![(at(100), at(300))]);
        assert!(close(scale.x(at(100)), 0.0) && close(scale.x(at(150)), 25.0) && close(scale.x(at(300)), 100.0));
        assert!(close(scale.x(at(0)), 0.0) && close(scale.x(at(9_999)), 100.0), "outside is at the ends");
        assert!(scale.squeezed().is_empty());
    }

    #[test]
    fn a_month_of_sleep_leaves_room_for_the_seconds_around_it() {
        const MONTH: i64 = 30 * 86_400_000;
        let scale =
            Scale::new(at(0), at(MONTH + 2_000), vec![(at(0), at(1_000)), (at(MONTH + 1_000), at(MONTH + 2_000))]);
        assert!(scale.x(at(1_000)) > 25.0, "{}", scale.x(at(1_000)));
        assert!(close(scale.x(at(1_000)), 100.0 - scale.x(at(MONTH + 1_000))));
        assert_eq!(scale.squeezed().iter().map(|s| &s.length[..]).collect::<Vec<_>>(), ["30 d"]);
    }

    #[test]
    fn a_run_that_only_waits_is_drawn_evenly() {
        let scale = Scale::new(at(0), at(1_000), Vec::new());
        assert!(close(scale.x(at(500)), 50.0) && scale.squeezed().is_empty());
        let nothing = Scale::new(at(5), at(5), vec![(at(5), at(5))]);
        assert!(nothing.x(at(5)).is_finite());
    }

    #[test]
    fn steps_beside_each_other_count_once() {
        let scale = Scale::new(at(0), at(100), vec![(at(0), at(60)), (at(40), at(100)), (at(10), at(20))]);
        assert!(close(scale.x(at(50)), 50.0));
    }
}
