//! Detects builder methods that are called twice but may be called only once. Otherwise the second
//! call would silently replace the first.

/// Records which methods of a builder were called.
#[derive(Clone, Debug, Default)]
pub(crate) struct SingleCalls {
    called: Vec<&'static str>,
    repeated: Option<&'static str>,
}

impl SingleCalls {
    pub(crate) fn record(&mut self, method: &'static str) {
        if self.called.contains(&method) {
            self.repeated.get_or_insert(method);
        } else {
            self.called.push(method);
        }
    }

    /// Returns the end of a sentence about a method that was called twice; `None` if there is none.
    pub(crate) fn error(&self) -> Option<String> {
        self.repeated.map(|method| format!("calls `.{method}` twice; call it once"))
    }

    /// Checks that no method was called twice.
    ///
    /// # Errors
    /// A sentence that starts with `subject`.
    pub(crate) fn check(&self, subject: &str) -> Result<(), String> {
        self.error().map_or(Ok(()), |error| Err(format!("{subject} {error}")))
    }
}
