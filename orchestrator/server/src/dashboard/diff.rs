//! The differences of two texts, line by line.

use super::text::truncate;

/// The maximum number of lines between which the longest common subsequence is searched. Beyond it,
/// all lines count as different.
const MOST: usize = 1_500;
/// The number of equal lines that are shown around a difference.
const CONTEXT: usize = 2;
/// The maximum size of a line, in bytes.
const LINE_BYTES: usize = 500;

/// A line of a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DiffLine {
    /// `-` for a line of the old text only, `+` for one of the new text only, a space for both, and
    /// `…` where equal lines are left out.
    pub(super) sign: char,
    pub(super) text: String,
}

/// Returns the lines that differ, with the equal lines around them. No lines if the texts are
/// equal.
pub(super) fn diff_lines(old: &str, new: &str) -> Vec<DiffLine> {
    if old == new {
        return Vec::new();
    }
    let [old, new] = [old, new].map(|text| text.lines().collect::<Vec<&str>>());
    let start = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let end = old[start..].iter().rev().zip(new[start..].iter().rev()).take_while(|(a, b)| a == b).count();
    let mut lines: Vec<(char, &str)> = old[..start].iter().map(|line| (' ', *line)).collect();
    push_changes(&mut lines, &old[start..old.len() - end], &new[start..new.len() - end]);
    lines.extend(old[old.len() - end..].iter().map(|line| (' ', *line)));
    with_context(&lines)
}

/// Appends the changes from `old` to `new`, by their longest common subsequence.
fn push_changes<'a>(lines: &mut Vec<(char, &'a str)>, old: &[&'a str], new: &[&'a str]) {
    let (mut i, mut j) = (0, 0);
    if old.len() <= MOST && new.len() <= MOST {
        let width = new.len() + 1;
        let mut longest = vec![0_u16; (old.len() + 1) * width];
        for a in (0..old.len()).rev() {
            for b in (0..new.len()).rev() {
                longest[a * width + b] = if old[a] == new[b] {
                    longest[(a + 1) * width + b + 1] + 1
                } else {
                    longest[(a + 1) * width + b].max(longest[a * width + b + 1])
                };
            }
        }
        while i < old.len() && j < new.len() {
            if old[i] == new[j] {
                lines.push((' ', old[i]));
                (i, j) = (i + 1, j + 1);
            } else if longest[(i + 1) * width + j] >= longest[i * width + j + 1] {
                lines.push(('-', old[i]));
                i += 1;
            } else {
                lines.push(('+', new[j]));
                j += 1;
            }
        }
    }
    lines.extend(old[i..].iter().map(|line| ('-', *line)));
    lines.extend(new[j..].iter().map(|line| ('+', *line)));
}

/// Leaves out equal lines that are far from a difference.
fn with_context(lines: &[(char, &str)]) -> Vec<DiffLine> {
    let mut near = vec![false; lines.len()];
    for (i, _) in lines.iter().enumerate().filter(|(_, (sign, _))| *sign != ' ') {
        let to = (i + CONTEXT + 1).min(lines.len());
        near[i.saturating_sub(CONTEXT)..to].fill(true);
    }
    let mut shown: Vec<DiffLine> = Vec::new();
    for ((sign, text), near) in lines.iter().zip(near) {
        if near {
            shown.push(DiffLine { sign: *sign, text: truncate(text, LINE_BYTES).to_owned() });
        } else if shown.last().is_none_or(|line| line.sign != '…') {
            shown.push(DiffLine { sign: '…', text: String::new() });
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diff(old: &str, new: &str) -> Vec<String> {
        diff_lines(old, new).iter().map(|line| format!("{}{}", line.sign, line.text)).collect()
    }

    #[test]
    fn changed_lines_are_shown_with_the_lines_around_them() {
        assert!(diff("a\nb", "a\nb").is_empty());
        assert_eq!(diff("a\nb\nc", "a\nx\nc"), [" a", "-b", "+x", " c"]);
        assert_eq!(diff("1\n2\n3\n4\n5", "1\n2\n3\n4\n5\n6"), ["…", " 4", " 5", "+6"]);
        assert_eq!(diff("a\nb\nc\nd", "b\nd\ne"), ["-a", " b", "-c", " d", "+e"]);
        assert_eq!(diff("", "x"), ["+x"]);
    }

    #[test]
    fn long_texts_are_compared_too() {
        let long: String = (0..4_000).map(|n| format!("{n}\n")).collect();
        let other = long.replace("\n2000\n", "\nchanged\n");
        assert_eq!(diff(&long, &other), ["…", " 1998", " 1999", "-2000", "+changed", " 2001", " 2002", "…"]);
    }
}
