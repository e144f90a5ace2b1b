//! The services that the functions call: OpenAI, and the tables and accounts of Supabase.
//!
//! By default, the keys are secrets ([`stepladder::secret`]), and environment variables configure
//! the rest. They are read when a step first needs a service, so a missing one fails this step and
//! not the server. Tests pass other clients. This module opens no connection.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use stepladder::prelude::*;

use crate::{auth::AuthClient, openai::OpenAi, supabase::Supabase};

/// The clients of the services. Each client is built when it is first used, and again when its key
/// has changed.
#[derive(Debug, Clone, Default)]
pub struct Services(Arc<ServiceClients>);

#[derive(Debug, Default)]
struct ServiceClients {
    openai: ServiceClient<OpenAi>,
    supabase: ServiceClient<Supabase>,
    auth: ServiceClient<AuthClient>,
}

/// A given client, or one that is built with the current key.
struct ServiceClient<T> {
    given: Option<T>,
    /// The last client that was built, and its key.
    built: Mutex<Option<(String, T)>>,
}

impl<T> ServiceClient<T> {
    fn new(given: Option<T>) -> Self {
        Self { given, built: Mutex::default() }
    }
}

impl<T> Default for ServiceClient<T> {
    fn default() -> Self {
        Self::new(None)
    }
}

impl<T: Clone> ServiceClient<T> {
    // an error is not stored, so that the next attempt reads secrets and variables again
    async fn get_or_build(&self, secret: &str, build: fn(&str) -> Result<T>) -> Result<T> {
        if let Some(client) = &self.given {
            return Ok(client.clone());
        }
        let key = stepladder::secret(secret).await?;
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        match &*built {
            Some((known, client)) if *known == key => Ok(client.clone()),
            Some(_) | None => {
                let client = build(&key)?;
                *built = Some((key, client.clone()));
                Ok(client)
            }
        }
    }
}

// without the key
impl<T: fmt::Debug> fmt::Debug for ServiceClient<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceClient").field("given", &self.given).finish_non_exhaustive()
    }
}

impl Services {
    /// Uses clients that secrets and environment variables configure.
    #[must_use]
    pub fn from_environment() -> Self {
        Self::default()
    }

    /// Uses the given clients. For `None`, secrets and environment variables configure the client.
    #[must_use]
    pub fn new(openai: Option<OpenAi>, supabase: Option<Supabase>) -> Self {
        Self(Arc::new(ServiceClients {
            openai: ServiceClient::new(openai),
            supabase: ServiceClient::new(supabase),
            auth: ServiceClient::default(),
        }))
    }

    /// Sets the client for Supabase's accounts.
    #[must_use]
    pub fn with_auth(self, auth: AuthClient) -> Self {
        let ServiceClients { openai, supabase, .. } = &*self.0;
        Self(Arc::new(ServiceClients {
            openai: ServiceClient::new(openai.given.clone()),
            supabase: ServiceClient::new(supabase.given.clone()),
            auth: ServiceClient::new(Some(auth)),
        }))
    }

    /// Returns the client for OpenAI.
    ///
    /// # Errors
    /// Those of [`stepladder::secret`]; and terminal if a variable is invalid.
    pub async fn openai(&self) -> Result<OpenAi> {
        self.0.openai.get_or_build("OPENAI_API_KEY", OpenAi::with_key).await
    }

    /// Returns the client for Supabase's tables.
    ///
    /// # Errors
    /// Those of [`stepladder::secret`]; and terminal if a variable is missing or invalid.
    pub async fn supabase(&self) -> Result<Supabase> {
        self.0.supabase.get_or_build("SUPABASE_SERVICE_ROLE_KEY", Supabase::with_key).await
    }

    /// Returns the client for Supabase's accounts.
    ///
    /// # Errors
    /// Those of [`stepladder::secret`]; and terminal if a variable is missing or invalid.
    pub async fn auth(&self) -> Result<AuthClient> {
        self.0.auth.get_or_build("SUPABASE_SERVICE_ROLE_KEY", AuthClient::with_key).await
    }
}
