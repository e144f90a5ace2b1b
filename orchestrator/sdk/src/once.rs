//! Settings that are given once. A second call would replace the first without a word, and its author would not know which
//! one counts.

/// The methods of a builder that have been called.
#[derive(Clone, Debug, Default)]
pub(crate) struct Once {
    called: Vec<&'static str>,
    twice: Option<&'static str>,
}

impl Once {
    /// Notes a call of a method that may be called once.
    pub(crate) fn note(&mut self, method: &'static str) {
        if self.called.contains(&method) {
            self.twice.get_or_insert(method);
        } else {
            self.called.push(method);
        }
    }

    /// The end of a sentence about a method that was called twice; `None` when none was.
    pub(crate) fn fault(&self) -> Option<String> {
        self.twice.map(|method| format!("calls `.{method}` twice; call it once"))
    }

    /// The same as an error, about what is in the place of `what`.
    pub(crate) fn check(&self, what: &str) -> Result<(), String> {
        self.fault().map_or(Ok(()), |fault| Err(format!("{what} {fault}")))
    }
}
