//! The functions, each in its own file. To add one, write a file and add a line to [`all`].

use stepladder::prelude::*;

pub mod welcome;

/// Returns every function, in the order in which they are listed.
#[must_use]
pub fn all() -> Vec<Function> {
    vec![welcome::function()]
}
