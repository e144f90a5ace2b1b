//! Positions in the source code of functions.

use std::borrow::Cow;
use std::fmt;
use std::panic::Location;

/// A position in the source code of a function, for messages. It is displayed as
/// `file:line:column`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLocation {
    /// The path of the file.
    pub file: Cow<'static, str>,
    /// The number of the line, from 1.
    pub line: u32,
    /// The number of the column, from 1.
    pub column: u32,
}

impl fmt::Display for SourceLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

impl From<&'static Location<'static>> for SourceLocation {
    fn from(at: &'static Location<'static>) -> Self {
        Self { file: Cow::Borrowed(at.file()), line: at.line(), column: at.column() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_shown_as_the_compiler_shows_it() {
        let at = Location::caller();
        assert_eq!(SourceLocation::from(at).to_string(), at.to_string());
    }
}
