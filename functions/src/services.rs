//! The services that the functions call: OpenAI, and the tables and accounts of Supabase.
//!
//! By default, environment variables configure the services. The variables are read when a step
//! first needs a service, so a missing variable fails this step and not the server. Tests pass
//! other clients. This module opens no connection.

use std::sync::{Arc, OnceLock};

use stepladder::prelude::*;

use crate::{auth::AuthClient, openai::OpenAi, supabase::Supabase};

/// The clients of the services. Each client is built when it is first used, and is shared from then
/// on.
#[derive(Debug, Clone, Default)]
pub struct Services(Arc<ServiceClients>);

#[derive(Debug, Default)]
struct ServiceClients {
    openai: OnceLock<OpenAi>,
    supabase: OnceLock<Supabase>,
    auth: OnceLock<AuthClient>,
}

impl Services {
    /// Uses clients that environment variables configure.
    #[must_use]
    pub fn from_environment() -> Self {
        Self::default()
    }

    /// Uses the given clients. For `None`, environment variables configure the client.
    #[must_use]
    pub fn new(openai: Option<OpenAi>, supabase: Option<Supabase>) -> Self {
        Self(Arc::new(ServiceClients {
            openai: openai.map(OnceLock::from).unwrap_or_default(),
            supabase: supabase.map(OnceLock::from).unwrap_or_default(),
            auth: OnceLock::new(),
        }))
    }

    /// Sets the client for Supabase's accounts.
    #[must_use]
    pub fn with_auth(self, auth: AuthClient) -> Self {
        let ServiceClients { openai, supabase, .. } = &*self.0;
        Self(Arc::new(ServiceClients {
            openai: openai.clone(),
            supabase: supabase.clone(),
            auth: OnceLock::from(auth),
        }))
    }

    /// Returns the client for OpenAI.
    ///
    /// # Errors
    /// Returns a terminal error if a variable is missing or invalid; see
    /// [`OpenAi::from_environment`].
    pub fn openai(&self) -> Result<&OpenAi> {
        get_or_build(&self.0.openai, OpenAi::from_environment)
    }

    /// Returns the client for Supabase's tables.
    ///
    /// # Errors
    /// Returns a terminal error if a variable is missing or invalid; see
    /// [`Supabase::from_environment`].
    pub fn supabase(&self) -> Result<&Supabase> {
        get_or_build(&self.0.supabase, Supabase::from_environment)
    }

    /// Returns the client for Supabase's accounts.
    ///
    /// # Errors
    /// Returns a terminal error if a variable is missing or invalid; see
    /// [`AuthClient::from_environment`].
    pub fn auth(&self) -> Result<&AuthClient> {
        get_or_build(&self.0.auth, AuthClient::from_environment)
    }
}

// an error is not stored, so that the next attempt reads the environment again
fn get_or_build<T>(cell: &OnceLock<T>, build: fn() -> Result<T>) -> Result<&T> {
    match cell.get() {
        Some(client) => Ok(client),
        None => build().map(|client| cell.get_or_init(|| client)),
    }
}
