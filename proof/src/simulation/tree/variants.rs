//! Variants of a tree, with nodes that only some seeds have.

use std::time::Duration;

use super::{BodyBehaviour, FunctionNode, MapCompletion, ONCE, item_prefix};
use crate::dice::SeededDice;

/// Which nodes [`FunctionNode::with_varieties`] may add.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Varieties {
    pub(crate) started: bool,
    pub(crate) maps: bool,
    pub(crate) polls: bool,
}

impl FunctionNode {
    /// Returns this tree with a failing step at its end.
    pub(crate) fn into_failing(self) -> Self {
        Self::Seq(vec![self, Self::Step("doom".into(), BodyBehaviour::Hopeless { caught: false })])
    }

    /// Replaces some steps by steps that start at most once.
    pub(crate) fn with_once_steps(self, dice: &SeededDice) -> Self {
        let all = |nodes: Vec<Self>| nodes.into_iter().map(|node| node.with_once_steps(dice)).collect();
        match self {
            Self::Step(name, BodyBehaviour::Fails { .. }) if dice.one_in(2) => {
                let takes = Duration::from_secs(if dice.one_in(2) { dice.below(50) } else { 0 });
                let times = dice.below(2) as u32;
                Self::Step(format!("{ONCE}{name}"), BodyBehaviour::Once { times, takes })
            }
            Self::Seq(nodes) => Self::Seq(all(nodes)),
            Self::Join(nodes) => Self::Join(all(nodes)),
            Self::TryJoin(nodes) => Self::TryJoin(all(nodes)),
            Self::Race(nodes) => Self::Race(all(nodes)),
            other => other,
        }
    }

    /// Replaces some nodes by started steps, maps and polls. `maps` counts the maps of the tree.
    pub(crate) fn with_varieties(self, dice: &SeededDice, of: Varieties, maps: &mut u32) -> Self {
        let mut all = |nodes: Vec<Self>| -> Vec<Self> {
            nodes.into_iter().map(|node| node.with_varieties(dice, of, maps)).collect()
        };
        let (mut node, is_chosen) = match self {
            Self::Seq(nodes) => (Self::Seq(all(nodes)), of.started),
            Self::Join(nodes) => (Self::Join(all(nodes)), of.maps),
            Self::TryJoin(nodes) => (Self::TryJoin(all(nodes)), of.maps),
            Self::Race(nodes) => (Self::Race(all(nodes)), of.maps),
            Self::Step(name, BodyBehaviour::Fails { .. }) if of.polls && dice.one_in(3) => {
                let (times, wait) = (dice.below(5) as u32, Duration::from_secs(1 + dice.below(30)));
                (Self::Step(format!("poll-{name}"), BodyBehaviour::Polls { times, wait }), false)
            }
            other => (other, false),
        };
        if is_chosen && dice.one_in(2) {
            node = match node {
                Self::Seq(nodes) => Self::Seq(start_first_wait(nodes)),
                other => other.into_map(dice, maps),
            };
        }
        node
    }

    fn into_map(self, dice: &SeededDice, maps: &mut u32) -> Self {
        let (is_race, nodes) = match self {
            Self::Join(nodes) | Self::TryJoin(nodes) => (false, nodes),
            Self::Race(nodes) => (true, nodes),
            other => return other,
        };
        let some = dice.below(nodes.len() as u64) as usize;
        // Only a race may drop items while the function goes on, because nothing meets in it.
        let completion = match (is_race, dice.below(3)) {
            (true, 0) => MapCompletion::First,
            (true, _) => MapCompletion::Successes(1 + some),
            (false, 0) => MapCompletion::All,
            (false, 1) => MapCompletion::Results,
            (false, _) => MapCompletion::Tolerated(some),
        };
        *maps += 1;
        let limit = if dice.one_in(2) { usize::MAX } else { 1 + dice.below(2) as usize };
        Self::Map(format!("map-{maps}"), nodes, limit, completion)
    }

    /// Adds the ids of the waits for a callback.
    pub(crate) fn collect_signals(&self, prefix: &str, ids: &mut Vec<String>) {
        match self {
            Self::Signal(name, _) => ids.push(format!("{prefix}{name}")),
            Self::Started(first, rest) => [first, rest].iter().for_each(|node| node.collect_signals(prefix, ids)),
            Self::Seq(nodes) | Self::Join(nodes) | Self::TryJoin(nodes) | Self::Race(nodes) => {
                nodes.iter().for_each(|node| node.collect_signals(prefix, ids));
            }
            Self::Map(name, nodes, ..) => {
                for (n, node) in nodes.iter().enumerate() {
                    node.collect_signals(&format!("{prefix}{}", item_prefix(name, n)), ids);
                }
            }
            Self::Step(..)
            | Self::Sleep(..)
            | Self::Twice(_)
            | Self::Send(..)
            | Self::Call(..)
            | Self::Trip(_)
            | Self::Listen(..)
            | Self::Meet(_) => {}
        }
    }

    /// Returns whether the node is a step that can be started before it is awaited.
    fn is_startable(&self) -> bool {
        matches!(self, Self::Sleep(..) | Self::Send(..) | Self::Listen(..) | Self::Signal(..) | Self::Call(..))
    }
}

/// Starts the first step that can be started, and awaits it after the rest.
fn start_first_wait(mut nodes: Vec<FunctionNode>) -> Vec<FunctionNode> {
    let Some(at) = nodes.iter().position(FunctionNode::is_startable) else { return nodes };
    let rest = nodes.split_off(at + 1);
    if let (Some(first), false) = (nodes.pop(), rest.is_empty()) {
        nodes.push(FunctionNode::Started(Box::new(first), Box::new(FunctionNode::Seq(rest))));
    }
    nodes
}
