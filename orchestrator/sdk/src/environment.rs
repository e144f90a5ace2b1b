//! The process's environment, with values of our own before it: what a demonstration starts must reach the functions,
//! and the real environment cannot be changed safely while threads run.

use std::collections::HashMap;
use std::env::VarError;
use std::sync::{PoisonError, RwLock};

static OVERRIDES: RwLock<Option<HashMap<String, String>>> = RwLock::new(None);

/// From now on [`env`](crate::env) gives this value, whatever the environment has. For the whole process: meant for a
/// program's start, not for tests that run side by side.
pub fn override_env(name: impl Into<String>, value: impl Into<String>) {
    let mut overrides = OVERRIDES.write().unwrap_or_else(PoisonError::into_inner);
    overrides.get_or_insert_default().insert(name.into(), value.into());
}

/// A variable as functions see it.
pub(crate) fn variable(name: &str) -> Result<String, VarError> {
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
    fn an_override_goes_before_the_environment() {
        assert!(std::env::var("PATH").is_ok() && variable("PATH") == std::env::var("PATH"));
        assert_eq!(variable("STEPLADDER_TEST_OVERRIDE"), Err(VarError::NotPresent));
        override_env("STEPLADDER_TEST_OVERRIDE", "1");
        assert_eq!(variable("STEPLADDER_TEST_OVERRIDE").as_deref(), Ok("1"));
    }
}
