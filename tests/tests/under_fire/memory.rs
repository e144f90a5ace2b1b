//! Decides from samples whether memory is steady under a constant load.
//!
//! The time is divided into parts. If each run leaks memory, the memory grows in every part. If a
//! table doubles or the allocator adds a region, the memory grows in one part only. So the median
//! growth of a part is limited, over the last two thirds of the time, when caches are full. Single
//! jumps have another limit.

/// The number of parts into which the time is divided.
const PARTS: u64 = 30;

/// The number of runs that had ended, and the memory at that time in bytes.
pub(crate) type MemorySample = (u64, u64);

/// Returns what is wrong with the memory during the last two thirds of the runs; `None` if the
/// memory is steady.
pub(crate) fn describe_growth(samples: &[MemorySample], runs: u64) -> Option<String> {
    let level = |part: u64| {
        let within = |ended: u64| (runs * part / PARTS..=runs * (part + 1) / PARTS).contains(&ended);
        median(samples.iter().filter(|(ended, _)| within(*ended)).map(|(_, bytes)| *bytes as i64))
    };
    let levels: Vec<i64> = (PARTS / 3..PARTS).filter_map(level).collect();
    let (second, last) = levels.split_at(levels.len() / 2);
    let (second, last) = (median(second.iter().copied())?, median(last.iter().copied())?);
    let each = median(levels.windows(2).map(|pair| pair[1] - pair[0]))?;
    let steady = each * (PARTS / 3) as i64;
    if steady > second / 10 {
        return Some(format!("of {second} bytes in the second third, it grows by {steady} in the next, evenly"));
    }
    if last > second * 3 / 2 {
        return Some(format!("{second} bytes in the second third, {last} in the last"));
    }
    None
}

fn median(values: impl Iterator<Item = i64>) -> Option<i64> {
    let mut values: Vec<i64> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

/// Tests `unsteady` itself, with computed samples.
pub(crate) fn what_each_run_leaves_is_told_from_a_step() {
    const RUNS: u64 = 36_000;
    let samples = |bytes: fn(u64) -> u64| (0..=RUNS).step_by(100).map(|n| (n, bytes(n))).collect::<Vec<_>>();
    let judge = |bytes| describe_growth(&samples(bytes), RUNS);
    assert_eq!(judge(|n| 37_000_000 + n.min(10_000) * 3_000), None, "caches that are filled");
    assert_eq!(judge(|n| 66_000_000 + u64::from(n > 28_000) * 10_000_000 + n % 700 * 1_000), None, "one step");
    assert!(judge(|n| 66_000_000 + n * 1_000).is_some(), "a kilobyte a run");
    assert!(judge(|n| 66_000_000 + u64::from(n > 28_000) * 40_000_000).is_some(), "a step that is too large");
}
