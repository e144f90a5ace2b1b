//! The services that the functions call: OpenAI, and Supabase's tables and accounts.
//!
//! By default, environment variables configure them. They are read when a step first needs a
//! service, so a missing variable fails that step and not the server. Tests pass other clients.
//! Nothing connects here.

use std::sync::{Arc, OnceLock};

use stepladder::prelude::*;

use crate::{auth::Auth, openai::OpenAi, supabase::Supabase};

/// The clients. Each is built at its first use, and then shared with its connections.
#[derive(Debug, Clone, Default)]
pub struct Services(Arc<Clients>);

#[derive(Debug, Default)]
struct Clients {
    openai: OnceLock<OpenAi>,
    supabase: OnceLock<Supabase>,
    auth: OnceLock<Auth>,
}

impl Services {
    /// Uses the clients that the environment configures.
    #[must_use]
    pub fn from_environment() -> Self {
        Self::default()
    }

    /// Uses these clients; the environment configures a client that is `None`.
    #[must_use]
    pub fn new(openai: Option<OpenAi>, supabase: Option<Supabase>) -> Self {
        Self(Arc::new(Clients {
            openai: openai.map(OnceLock::from).unwrap_or_default(),
            supabase: supabase.map(OnceLock::from).unwrap_or_default(),
            auth: OnceLock::new(),
        }))
    }

    /// Sets the client for accounts.
    #[must_use]
    pub fn with_auth(self, auth: Auth) -> Self {
        let Clients { openai, supabase, .. } = &*self.0;
        Self(Arc::new(Clients { openai: openai.clone(), supabase: supabase.clone(), auth: OnceLock::from(auth) }))
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
    /// [`Auth::from_environment`].
    pub fn auth(&self) -> Result<&Auth> {
        get_or_build(&self.0.auth, Auth::from_environment)
    }
}

// a failure is not kept, so that the next attempt reads the environment again
fn get_or_build<T>(cell: &OnceLock<T>, build: fn() -> Result<T>) -> Result<&T> {
    match cell.get() {
        Some(client) => Ok(client),
        None => build().map(|client| cell.get_or_init(|| client)),
    }
}
