//! Secrets, by the names that functions use. On one machine they are environment variables; on AWS
//! the process reads them from Secrets Manager or Systems Manager.
//!
//! How AWS is asked is deliberately not known here.

use std::sync::OnceLock;

use async_trait::async_trait;

use crate::environment::{self, env};
use crate::{Error, Result};

static SOURCE: OnceLock<Box<dyn SecretSource>> = OnceLock::new();

/// A place outside of the process that has secrets.
#[async_trait]
pub trait SecretSource: Send + Sync {
    /// Returns whether this place has a secret with this name.
    fn has(&self, name: &str) -> bool;

    /// Returns the current value of a secret.
    ///
    /// # Errors
    /// Names the secret and says what to do. Terminal if no repetition can help.
    async fn read(&self, name: &str) -> Result<String>;
}

/// Returns a secret, such as the key of a service.
///
/// On AWS, the parameter `Secrets` of the stack says where each secret is. The worker reads it when
/// it starts, and again after five minutes, so a changed secret needs no deployment. A name that
/// `Secrets` does not have, and every name on one machine, is an environment variable.
///
/// Call this inside the step that needs the secret, each time: a returned value does not change.
///
/// ```
/// # use stepladder::prelude::*;
/// # async fn example(ctx: Context) -> Result<()> {
/// ctx.step("charge", async || {
///     let key = stepladder::secret("PAYMENTS_KEY").await?;
///     // …
///     # drop(key);
///     Ok(())
/// })
/// .await
/// # }
/// ```
///
/// # Errors
/// - Terminal, with the code `missing-variable`: there is no such secret. The message contains its
///   name and what to do.
/// - Retryable: AWS could not be asked, or refuses access.
pub async fn secret(name: &str) -> Result<String> {
    match SOURCE.get() {
        Some(source) if source.has(name) && !environment::is_overridden(name) => source.read(name).await,
        Some(_) => env(name).map_err(|error| {
            let text = format!("there is no secret {name}; name it in the stack's parameter Secrets ({error})");
            Error::terminal(text).with_code(stepladder_core::ErrorCode::MissingVariable)
        }),
        None => env(name),
    }
}

/// Sets where [`secret`] looks first, for the whole process. Only the first call has an effect.
pub fn set_secret_source(source: Box<dyn SecretSource>) {
    let _ = SOURCE.set(source);
}

#[cfg(test)]
mod tests {
    use super::*;

    struct OneSecret;

    #[async_trait]
    impl SecretSource for OneSecret {
        fn has(&self, name: &str) -> bool {
            name == "STEPLADDER_TEST_STORED"
        }

        async fn read(&self, name: &str) -> Result<String> {
            Ok(format!("the value of {name}"))
        }
    }

    #[tokio::test]
    async fn a_secret_is_that_of_the_source_or_an_environment_variable() {
        let error = secret("STEPLADDER_TEST_NOWHERE").await.unwrap_err();
        assert!(error.is_terminal() && error.to_string().contains("STEPLADDER_TEST_NOWHERE is not set"), "{error}");
        set_secret_source(Box::new(OneSecret));
        assert_eq!(secret("STEPLADDER_TEST_STORED").await.unwrap(), "the value of STEPLADDER_TEST_STORED");
        let error = secret("STEPLADDER_TEST_NOWHERE").await.unwrap_err();
        assert!(error.is_terminal() && error.to_string().contains("no secret STEPLADDER_TEST_NOWHERE"), "{error}");
        environment::override_env("STEPLADDER_TEST_NOWHERE", "a variable");
        assert_eq!(secret("STEPLADDER_TEST_NOWHERE").await.unwrap(), "a variable");
        // a program that starts a service for a test sets its key as well
        environment::override_env("STEPLADDER_TEST_STORED", "overridden");
        assert_eq!(secret("STEPLADDER_TEST_STORED").await.unwrap(), "overridden");
    }
}
