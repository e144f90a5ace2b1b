//! The list of steps: the steps that the filter selects, in groups if asked for, a window of rows
//! at a time.

use std::collections::HashMap;

use stepladder_core::RunId;
use stepladder_engine::view::{RunDetail, StepStatus, StepView};

use super::address::RunAddress;
use super::rows::step_name;
use crate::dashboard::text::{brief, format_duration};
use crate::dashboard::value::PageByteBudget;
use crate::dashboard::waterfall::{Waterfall, WaterfallLane};

/// The maximum number of rows on a page. The script of the page loads others when they are scrolled
/// to.
pub(super) const WINDOW: usize = 100;
/// The number of rows before the selected step.
const BEFORE: usize = 20;
/// The minimum number of steps in a group.
const GROUP_STEPS: usize = 4;
/// The maximum size of a step's name in its row, in bytes.
const NAME_BYTES: usize = 120;
/// The maximum number of steps of a called run that are drawn.
const CHILD_STEPS: usize = 10;

/// A row in the list of steps.
pub(super) struct StepRow {
    /// The id of the row's element.
    pub(super) id: String,
    pub(super) link: String,
    pub(super) name: String,
    /// The kind of the step, or the statuses of a group.
    pub(super) kind: String,
    pub(super) status: &'static str,
    pub(super) took: String,
    pub(super) since: Option<i64>,
    pub(super) lane: WaterfallLane,
    pub(super) is_selected: bool,
    /// Whether the row is a step of a called run.
    pub(super) is_child: bool,
}

/// The window of the list of steps that a page shows.
pub(super) struct StepList {
    pub(super) rows: Vec<StepRow>,
    /// The position of the first row among all rows.
    pub(super) first: usize,
    /// The number of all rows.
    pub(super) total: usize,
    /// Whether steps can be grouped by their names.
    pub(super) has_groups: bool,
    pub(super) fewer: Option<String>,
    pub(super) more: Option<String>,
}

/// An item of the list: a step, or the steps of a group.
enum ListItem {
    Step(usize),
    Group(String, Vec<usize>),
}

/// What the rows of a list share.
pub(super) struct ListContext<'a> {
    pub(super) address: &'a RunAddress,
    pub(super) waterfall: &'a Waterfall,
    pub(super) now: stepladder_core::Timestamp,
    /// The selected step.
    pub(super) selected: Option<usize>,
    /// The number of attempts that a row draws.
    pub(super) attempts: usize,
}

impl StepList {
    pub(super) fn of(run: &RunDetail, context: &ListContext<'_>, budget: &mut PageByteBudget) -> Self {
        let ListContext { address, waterfall, selected, .. } = *context;
        let found: Vec<usize> = (0..run.steps.len()).filter(|n| matches(&run.steps[*n], address, waterfall)).collect();
        let groups = groups_of(run, &found);
        let has_groups = groups.values().any(|steps| steps.len() >= GROUP_STEPS);
        let is_grouped = address.is_grouped && !address.find.contains('*');
        let items =
            if is_grouped { grouped(run, &found, groups) } else { found.into_iter().map(ListItem::Step).collect() };
        let total = items.len();
        let first = match (address.first, selected.filter(|_| address.step.is_some())) {
            (Some(first), _) => first.min(total.saturating_sub(1)),
            (None, Some(step)) => items.iter().position(|item| item.contains(step)).unwrap_or(0).saturating_sub(BEFORE),
            (None, None) => 0,
        };
        let shown = items.iter().skip(first).take(WINDOW);
        let rows: Vec<StepRow> = shown.map(|item| row_of(item, run, context, budget)).collect();
        let page = |first: usize| address.with(|address| address.first = Some(first)).link();
        Self {
            fewer: (first > 0).then(|| page(first.saturating_sub(WINDOW))),
            more: (first + rows.len() < total).then(|| page(first + rows.len())),
            rows,
            first,
            total,
            has_groups,
        }
    }

    /// Inserts the steps of called runs after the steps that called them, if all rows are on the
    /// page.
    pub(super) fn add_children(
        &mut self,
        children: &[(usize, RunDetail)],
        waterfall: &Waterfall,
        budget: &mut PageByteBudget,
    ) {
        if self.total > WINDOW {
            return;
        }
        for (n, child) in children {
            let Some(at) = self.rows.iter().position(|row| row.id == format!("step-{n}")) else { continue };
            let rows: Vec<StepRow> = drawn_steps(child)
                .enumerate()
                .map(|(i, step)| child_row(*n, i, child.summary.run, step, waterfall, budget))
                .collect();
            self.rows.splice(at + 1..=at, rows);
        }
    }
}

impl ListItem {
    fn contains(&self, step: usize) -> bool {
        match self {
            Self::Step(n) => *n == step,
            Self::Group(_, steps) => steps.contains(&step),
        }
    }
}

/// Returns the steps of a called run that are drawn.
pub(super) fn drawn_steps(run: &RunDetail) -> impl Iterator<Item = &StepView> {
    run.steps.iter().take(CHILD_STEPS)
}

fn matches(step: &StepView, address: &RunAddress, waterfall: &Waterfall) -> bool {
    let find = &address.find;
    let is_named = match find.as_str() {
        "" => true,
        pattern if pattern.contains('*') => name_pattern(&step.id) == pattern,
        text => step.id.to_ascii_lowercase().contains(&text.to_ascii_lowercase()),
    };
    is_named && (address.zoom.is_none() || waterfall.shows(step))
}

/// Replaces each number in a name: `process-row-17` becomes `process-row-*`.
fn name_pattern(name: &str) -> String {
    let mut pattern = String::with_capacity(name.len());
    for letter in name.chars() {
        if !letter.is_ascii_digit() {
            pattern.push(letter);
        } else if !pattern.ends_with('*') {
            pattern.push('*');
        }
    }
    pattern
}

fn groups_of(run: &RunDetail, found: &[usize]) -> HashMap<String, Vec<usize>> {
    let mut groups: HashMap<String, Vec<usize>> = HashMap::new();
    for n in found {
        let pattern = name_pattern(&run.steps[*n].id);
        if pattern.contains('*') {
            groups.entry(pattern).or_default().push(*n);
        }
    }
    groups
}

/// Replaces the steps of each group by the group, at the position of its first step.
fn grouped(run: &RunDetail, found: &[usize], mut groups: HashMap<String, Vec<usize>>) -> Vec<ListItem> {
    groups.retain(|_, steps| steps.len() >= GROUP_STEPS);
    let mut shown = std::collections::HashSet::new();
    let mut items = Vec::new();
    for n in found {
        let pattern = name_pattern(&run.steps[*n].id);
        match groups.remove(&pattern) {
            Some(steps) => {
                shown.extend(steps.iter().copied());
                items.push(ListItem::Group(pattern, steps));
            }
            None if shown.contains(n) => {}
            None => items.push(ListItem::Step(*n)),
        }
    }
    items
}

fn row_of(item: &ListItem, run: &RunDetail, context: &ListContext<'_>, budget: &mut PageByteBudget) -> StepRow {
    let ListContext { address, waterfall, now, selected, attempts } = *context;
    match item {
        ListItem::Step(n) => {
            let step = &run.steps[*n];
            let (name, kind) = step_name(step);
            StepRow {
                id: format!("step-{n}"),
                link: format!("{}#step", address.of_step(*n)),
                name: budget.show_words(&name, NAME_BYTES),
                kind: kind.into(),
                status: step.status.as_str(),
                took: format_duration(step.ended_at.unwrap_or(now).since(step.started_at)),
                since: step.ended_at.is_none().then(|| step.started_at.as_millis()),
                lane: waterfall.lane(step, attempts),
                is_selected: selected == Some(*n),
                is_child: false,
            }
        }
        ListItem::Group(pattern, steps) => {
            let steps: Vec<&StepView> = steps.iter().map(|n| &run.steps[*n]).collect();
            let from = steps.iter().map(|step| step.started_at).min().unwrap_or(now);
            let to = steps.iter().map(|step| step.ended_at.unwrap_or(now)).max().unwrap_or(now);
            let link = address.with(|address| {
                (address.find, address.first, address.step) = (pattern.clone(), None, None);
            });
            StepRow {
                id: format!(
                    "group-{}",
                    pattern.bytes().fold(0_u64, |hash, byte| hash.wrapping_mul(31) + u64::from(byte))
                ),
                link: link.link(),
                name: budget.show_words(pattern, NAME_BYTES),
                kind: group_text(&steps),
                status: worst_status(&steps).as_str(),
                took: format_duration(to.since(from)),
                since: None,
                lane: waterfall.lane_of_group(&steps),
                is_selected: false,
                is_child: false,
            }
        }
    }
}

fn child_row(
    parent: usize,
    n: usize,
    run: RunId,
    step: &StepView,
    waterfall: &Waterfall,
    budget: &mut PageByteBudget,
) -> StepRow {
    let (name, kind) = step_name(step);
    StepRow {
        id: format!("child-{parent}-{n}"),
        link: format!("/runs/{run}?step={n}#step"),
        name: budget.show_words(&name, NAME_BYTES),
        kind: kind.into(),
        status: step.status.as_str(),
        took: step.ended_at.map(|end| format_duration(end.since(step.started_at))).unwrap_or_default(),
        since: None,
        lane: waterfall.lane_of_child(step),
        is_selected: false,
        is_child: true,
    }
}

/// Describes the steps of a group, such as `998 Completed, 2 Failed`.
fn group_text(steps: &[&StepView]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for step in steps {
        let status = step.status.as_str();
        match counts.iter_mut().find(|(known, _)| *known == status) {
            Some((_, count)) => *count += 1,
            None => counts.push((status, 1)),
        }
    }
    let texts: Vec<String> = counts.iter().map(|(status, count)| format!("{count} {status}")).collect();
    brief(&texts.join(", "), NAME_BYTES)
}

/// Returns the status that says most about a group: a failure, then whatever is not over.
fn worst_status(steps: &[&StepView]) -> StepStatus {
    let has = |status: StepStatus| steps.iter().any(|step| step.status == status);
    let order = [
        StepStatus::Failed,
        StepStatus::Retrying,
        StepStatus::Running,
        StepStatus::Scheduled,
        StepStatus::Awaiting,
        StepStatus::Invoking,
        StepStatus::Sleeping,
        StepStatus::Abandoned,
    ];
    order.into_iter().find(|status| has(*status)).unwrap_or(StepStatus::Completed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_make_a_pattern() {
        assert_eq!(name_pattern("process-row-17"), "process-row-*");
        assert_eq!(name_pattern("client-4/part-22/sum"), "client-*/part-*/sum");
        assert_eq!(name_pattern("say"), "say");
    }
}
