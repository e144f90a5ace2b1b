//! The process's environment, with values of our own before it: what a demonstration starts must reach the functions,
//! and the real environment cannot be changed safely while threads run.

use std::collections::HashMap;
use std::env::VarError;
use std::sync::{PoisonError, RwLock};

use crate::{Error, Result};

static OVERRIDES: RwLock<Option<HashMap<String, String>>> = RwLock::new(None);

/// An environment variable. Read it inside the step that needs it: then only that step fails without it.
///
/// # Errors
/// Terminal, naming the variable, when it is not set, empty or not Unicode. Code `missing-variable`.
pub fn env(name: &str) -> Result<String> {
    let missing = |why: &str| {
        Error::terminal(format!("the environment variable {name} {why}; set it and run this again"))
            .with_code("missing-variable")
    };
    match variable(name) {
        Ok(value) if value.is_empty() => Err(missing("is empty")),
        Ok(value) => Ok(value),
        Err(VarError::NotPresent) => Err(missing("is not set")),
        Err(VarError::NotUnicode(_)) => Err(missing("is not Unicode")),
    }
}

/// From now on [`env()`] gives this value, whatever the environment has. For the whole process: meant for a
/// program's start, not for tests that run side by side.
pub fn override_env(name: impl Into<String>, value: impl Into<String>) {
    let mut overrides = OVERRIDES.write().unwrap_or_else(PoisonError::into_inner);
    overrides.get_or_insert_default().insert(name.into(), value.into());
}

fn variable(name: &str) -> Result<String, VarError> {
    let overrides = OVERRIDES.read().unwrap_or_else(PoisonError::into_inner);
    match overrides.as_ref().and_then(|values| values.get(name)) {
        Some(value) => Ok(value.clone()),
        None => std::env::var(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_variable_is_terminal_and_named() {
        let error = env("STEPLADDER_SURELY_NOT_SET").unwrap_err();
        assert!(error.is_terminal());
        assert!(error.to_string().contains("STEPLADDER_SURELY_NOT_SET is not set"));
        let plain: Error = std::env::var("STEPLADDER_SURELY_NOT_SET").unwrap_err().into();
        assert!(plain.is_terminal());
    }

    #[test]
    fn an_empty_variable_is_a_missing_one() {
        override_env("STEPLADDER_TEST_EMPTY", "");
        assert!(env("STEPLADDER_TEST_EMPTY").unwrap_err().to_string().contains("STEPLADDER_TEST_EMPTY is empty"));
    }

    #[test]
    fn an_override_goes_before_the_environment() {
        assert!(std::env::var("PATH").is_ok() && variable("PATH") == std::env::var("PATH"));
        assert_eq!(variable("STEPLADDER_TEST_OVERRIDE"), Err(VarError::NotPresent));
        override_env("STEPLADDER_TEST_OVERRIDE", "1");
        assert_eq!(variable("STEPLADDER_TEST_OVERRIDE").as_deref(), Ok("1"));
    }
}
