//! A run's journal as REST shows it, and what must be true of every journal whatever was killed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// The entries, in order: `{"seq", "at", "fact"}` each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Journal(pub Vec<Value>);

impl Journal {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names of the facts, in order, with the step that each is about: `StepStarted call-openai`.
    pub fn story(&self) -> Vec<String> {
        let told = self.facts().map(|(name, fact)| match fact["step"].as_str() {
            Some(step) => format!("{name} {step}"),
            None => name.to_owned(),
        });
        told.collect()
    }

    /// The names of the facts and what they hold.
    pub fn facts(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|entry| {
            let fact = entry["fact"].as_object().and_then(|fact| fact.iter().next());
            let (name, fields) = fact.unwrap_or_else(|| panic!("a fact is an object of one field: {entry}"));
            (name.as_str(), fields)
        })
    }

    /// The steps whose outcome the journal has.
    pub fn succeeded(&self) -> BTreeSet<String> {
        self.steps("StepSucceeded").into_iter().collect()
    }

    /// The steps that the facts of this name are about, in order.
    pub fn steps(&self, name: &str) -> Vec<String> {
        let facts = self.facts().filter(|(found, _)| *found == name);
        facts.filter_map(|(_, fact)| fact["step"].as_str().map(str::to_owned)).collect()
    }

    /// When the first fact of this name was written.
    pub fn first_at(&self, name: &str) -> Option<&str> {
        let place = self.facts().position(|(found, _)| found == name)?;
        self.0[place]["at"].as_str()
    }

    /// Panics unless this journal continues `earlier`: nothing that was read before a crash is gone or changed.
    pub fn assert_continues(&self, earlier: &Journal) {
        assert!(self.len() >= earlier.len(), "entries are gone: {:#?}\nbefore: {:#?}", self.story(), earlier.story());
        assert_eq!(&self.0[..earlier.len()], &earlier.0[..], "entries changed");
    }

    /// Panics unless the entries tell one legal line of events: numbered without a gap, nothing after the end, at most
    /// one outcome a step, no attempt after the outcome, no attempt twice.
    pub fn assert_legal(&self) {
        let story = self.story();
        let mut done = BTreeSet::new();
        let mut attempts = BTreeMap::new();
        let mut over = false;
        for (number, entry) in self.0.iter().enumerate() {
            assert_eq!(entry["seq"], number, "{story:#?}");
        }
        for (name, fact) in self.facts() {
            assert!(!over, "something follows the end: {story:#?}");
            let step = fact["step"].as_str().unwrap_or_default().to_owned();
            match name {
                "StepStarted" => {
                    assert!(!done.contains(&step), "{step} ran again after its outcome: {story:#?}");
                    let attempt = fact["attempt"].as_u64().expect("a number");
                    let before = attempts.insert(step, attempt).unwrap_or(0);
                    assert!(attempt > before, "attempt {attempt} after {before}: {story:#?}");
                }
                "StepSucceeded" => assert!(done.insert(step), "two outcomes: {story:#?}"),
                "RunCreated" => assert_eq!(story[0], "RunCreated", "{story:#?}"),
                _ => over = name.starts_with("Run"),
            }
        }
    }
}
