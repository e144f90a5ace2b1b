//! A run's journal as the REST interface returns it. Its checks apply to every journal, whatever
//! crashes there were.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// The entries, in order. Each is `{"seq", "at", "fact"}`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JsonJournal(pub Vec<Value>);

impl JsonJournal {
    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the names of the facts in order, each followed by its step, such as `StepStarted
    /// call-openai`.
    pub fn story(&self) -> Vec<String> {
        let told = self.facts().map(|(name, fact)| match fact["step"].as_str() {
            Some(step) => format!("{name} {step}"),
            None => name.to_owned(),
        });
        told.collect()
    }

    /// Returns the name and the content of each fact. A fact without fields is its name.
    pub fn facts(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|entry| {
            if let Some(name) = entry["fact"].as_str() {
                return (name, &Value::Null);
            }
            let fact = entry["fact"].as_object().and_then(|fact| fact.iter().next());
            let (name, fields) = fact.unwrap_or_else(|| panic!("a fact is an object of one field: {entry}"));
            (name.as_str(), fields)
        })
    }

    /// Returns the steps that have an outcome.
    pub fn succeeded_steps(&self) -> BTreeSet<String> {
        self.steps_with_fact("StepSucceeded").into_iter().collect()
    }

    /// Returns the steps of the facts with this name, in order.
    pub fn steps_with_fact(&self, name: &str) -> Vec<String> {
        let facts = self.facts().filter(|(found, _)| *found == name);
        facts.filter_map(|(_, fact)| fact["step"].as_str().map(str::to_owned)).collect()
    }

    /// Returns the time of the first fact with this name.
    pub fn first_at(&self, name: &str) -> Option<&str> {
        let place = self.facts().position(|(found, _)| found == name)?;
        self.0[place]["at"].as_str()
    }

    /// Panics unless this journal continues `earlier`: every entry that was read before a crash
    /// must still be there, unchanged.
    pub fn assert_continues(&self, earlier: &JsonJournal) {
        assert!(self.len() >= earlier.len(), "entries are gone: {:#?}\nbefore: {:#?}", self.story(), earlier.story());
        assert_eq!(&self.0[..earlier.len()], &earlier.0[..], "entries changed");
    }

    /// Panics if the journal has a [`JsonJournal::violation`].
    pub fn assert_legal(&self) {
        assert_eq!(self.violation(), None, "{:#?}", self.story());
    }

    /// Returns the first violation of these rules. The entries are numbered without a gap. The
    /// first entry creates the run, and nothing follows the end. Each step has at most one outcome,
    /// no attempt after the outcome, and no two attempts with the same number.
    pub fn violation(&self) -> Option<String> {
        let mut done = BTreeSet::new();
        let mut attempts = BTreeMap::new();
        let mut over = false;
        for (number, (name, fact)) in self.facts().enumerate() {
            let step = fact["step"].as_str().unwrap_or_default().to_owned();
            if self.0[number]["seq"] != number {
                return Some(format!("entry {number} has another number"));
            }
            if over {
                return Some(format!("{name} follows the end"));
            }
            if (name == "RunCreated") != (number == 0) {
                return Some(format!("{name} is entry {number}"));
            }
            match name {
                "StepStarted" if done.contains(&step) => return Some(format!("{step} ran again after its outcome")),
                "StepStarted" => {
                    let attempt = fact["attempt"].as_u64().unwrap_or_default();
                    let before = attempts.insert(step, attempt).unwrap_or_default();
                    if attempt <= before {
                        return Some(format!("attempt {attempt} follows attempt {before}"));
                    }
                }
                "StepSucceeded" if !done.insert(step.clone()) => return Some(format!("{step} has two outcomes")),
                "RunCompleted" | "RunFailed" | "RunCancelled" | "RunSkipped" => over = true,
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn journal(facts: &[Value]) -> JsonJournal {
        JsonJournal(facts.iter().enumerate().map(|(seq, fact)| json!({"seq": seq, "at": "", "fact": fact})).collect())
    }

    fn started(attempt: u64) -> Value {
        json!({"StepStarted": {"step": "a", "attempt": attempt}})
    }

    fn violation(facts: &[Value]) -> Option<String> {
        journal(&[&[json!({"RunCreated": {}})], facts].concat()).violation()
    }

    #[test]
    fn one_line_of_events_is_legal() {
        let interrupted = json!({"AttemptInterrupted": {"step": "a", "attempt": 1}});
        let succeeded = json!({"StepSucceeded": {"step": "a", "attempt": 2}});
        let story = [started(1), interrupted, started(2), succeeded, json!({"RunCompleted": {}})];
        assert_eq!(violation(&story), None);
    }

    #[test]
    fn what_must_never_happen_is_found() {
        let (succeeded, end) = (json!({"StepSucceeded": {"step": "a"}}), json!({"RunCompleted": {}}));
        let found = |facts: &[Value]| violation(facts).expect("a violation");
        assert!(found(&[started(1), succeeded.clone(), started(2)]).contains("ran again"));
        assert!(found(&[started(1), succeeded.clone(), succeeded.clone()]).contains("two outcomes"));
        assert!(found(&[started(1), started(1)]).contains("follows attempt"));
        assert!(found(&[end.clone(), end]).contains("follows the end"));
        assert!(found(&[json!({"RunCreated": {}})]).contains("is entry 1"));
        assert!(JsonJournal(vec![json!({"seq": 1, "fact": {"RunCreated": {}}})]).violation().is_some());
    }
}
