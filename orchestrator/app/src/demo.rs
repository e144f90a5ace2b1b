//! What a demonstration brings along: stand-ins for services, so that a newcomer without keys sees functions at work.

use serde::Serialize;
use stepladder_core::{NewEvent, json};
use stepladder_sdk::{Error, Function, Result};

/// A prepared demonstration; see [`App::demo`](crate::App::demo).
#[derive(Default)]
pub struct Demo {
    pub(crate) functions: Vec<Function>,
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) notes: Vec<String>,
    pub(crate) events: Vec<NewEvent>,
}

impl Demo {
    /// Without anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// A function that only the demonstration has.
    #[must_use]
    pub fn function(mut self, function: Function) -> Self {
        self.functions.push(function);
        self
    }

    /// A value that [`env`](crate::env) gives instead of the environment's.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// A variable that has two values, if there is one.
    pub(crate) fn repeated(&self) -> Option<&str> {
        let mut names = self.variables.iter().map(|(name, _)| &**name).enumerate();
        let before = |(i, name): &(usize, &str)| self.variables[..*i].iter().any(|(other, _)| other == name);
        names.find(before).map(|(_, name)| name)
    }

    /// A line to print at the start.
    #[must_use]
    pub fn note(mut self, line: impl Into<String>) -> Self {
        self.notes.push(line.into());
        self
    }

    /// An event to send once the server runs, so that there is something to see.
    ///
    /// # Errors
    /// When the event would not be accepted: a name that is reserved, data that are no JSON object.
    pub fn event(mut self, name: &str, data: &impl Serialize) -> Result<Self> {
        let data = json::of(data).map_err(|e| Error::terminal(format!("the data of `{name}`: {e}")))?;
        let event = NewEvent::new(name, data);
        if let Some(fault) = event.fault() {
            return Err(Error::terminal(format!("the demonstration's event `{name}`: {fault}")));
        }
        self.events.push(event);
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_with_two_values_is_found() {
        let demo = Demo::new().variable("A", "1").variable("B", "1");
        assert_eq!(demo.repeated(), None);
        assert_eq!(demo.variable("A", "2").repeated(), Some("A"));
    }
}
