//! Environment variables, which a program can override.
//!
//! A program may start a service after its threads have started, and must then tell its functions
//! the address. The real environment cannot be changed safely while threads are running.

use std::collections::HashMap;
use std::env::VarError;
use std::sync::{PoisonError, RwLock};

use crate::error::ErrorCode;
use crate::{Error, Result};

static OVERRIDES: RwLock<Option<HashMap<String, String>>> = RwLock::new(None);

/// Returns an environment variable. Read it inside the step that needs it, so that only this step
/// fails if the variable is missing.
///
/// ```
/// # use stepladder::prelude::*;
/// # async fn example(ctx: Context) -> Result<()> {
/// ctx.step("charge", async || {
///     let key = stepladder::env("PAYMENTS_KEY")?;
///     // …
///     # drop(key);
///     Ok(())
/// })
/// .await
/// # }
/// ```
///
/// # Errors
/// Terminal with the code `missing-variable` if the variable is not set, is empty or is not
/// Unicode. The message contains the variable's name.
pub fn env(name: &str) -> Result<String> {
    let missing = |why: &str| {
        Error::terminal(format!("the environment variable {name} {why}; set it and run this again"))
            .with_code(ErrorCode::MissingVariable)
    };
    match variable(name) {
        Ok(value) if value.is_empty() => Err(missing("is empty")),
        Ok(value) => Ok(value),
        Err(VarError::NotPresent) => Err(missing("is not set")),
        Err(VarError::NotUnicode(_)) => Err(missing("is not Unicode")),
    }
}

/// Makes [`env()`] return this value from now on, whatever the environment contains.
///
/// The setting applies to the whole process. So call this when a program starts, but not in tests
/// that run at the same time as others.
pub fn override_env(name: impl Into<String>, value: impl Into<String>) {
    let mut overrides = OVERRIDES.write().unwrap_or_else(PoisonError::into_inner);
    overrides.get_or_insert_default().insert(name.into(), value.into());
}

/// Returns whether [`override_env`] has set this variable.
pub(crate) fn is_overridden(name: &str) -> bool {
    let overrides = OVERRIDES.read().unwrap_or_else(PoisonError::into_inner);
    overrides.as_ref().is_some_and(|values| values.contains_key(name))
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
    fn a_missing_variable_is_a_terminal_error_that_names_it() {
        let error = env("STEPLADDER_SURELY_NOT_SET").unwrap_err();
        assert!(error.is_terminal());
        assert!(error.to_string().contains("STEPLADDER_SURELY_NOT_SET is not set"));
        let plain: Error = std::env::var("STEPLADDER_SURELY_NOT_SET").unwrap_err().into();
        assert!(plain.is_terminal());
    }

    #[test]
    fn an_empty_variable_counts_as_missing() {
        override_env("STEPLADDER_TEST_EMPTY", "");
        assert!(env("STEPLADDER_TEST_EMPTY").unwrap_err().to_string().contains("STEPLADDER_TEST_EMPTY is empty"));
    }

    #[test]
    fn an_override_replaces_the_environment() {
        assert!(std::env::var("PATH").is_ok() && variable("PATH") == std::env::var("PATH"));
        assert_eq!(variable("STEPLADDER_TEST_OVERRIDE"), Err(VarError::NotPresent));
        override_env("STEPLADDER_TEST_OVERRIDE", "1");
        assert_eq!(variable("STEPLADDER_TEST_OVERRIDE").as_deref(), Ok("1"));
    }
}
