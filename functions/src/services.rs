//! Which OpenAI and which Supabase (its tables, its accounts) the functions talk to.
//!
//! Normally those that the environment names, looked up when a step first needs one: a missing variable fails
//! that step, not the server. Tests hand in their own. Nothing is connected here.

use std::sync::{Arc, OnceLock};

use stepladder::prelude::*;

use crate::{auth::Auth, openai::OpenAi, supabase::Supabase};

/// The clients, each built at its first use and shared from then on, with its connections.
#[derive(Debug, Clone, Default)]
pub struct Services(Arc<Clients>);

#[derive(Debug, Default)]
struct Clients {
    openai: OnceLock<OpenAi>,
    supabase: OnceLock<Supabase>,
    auth: OnceLock<Auth>,
}

impl Services {
    /// What the environment says, read at the first use.
    #[must_use]
    pub fn from_environment() -> Self {
        Self::default()
    }

    /// The clients given; one that is not given comes from the environment.
    #[must_use]
    pub fn new(openai: Option<OpenAi>, supabase: Option<Supabase>) -> Self {
        Self(Arc::new(Clients {
            openai: openai.map(OnceLock::from).unwrap_or_default(),
            supabase: supabase.map(OnceLock::from).unwrap_or_default(),
            auth: OnceLock::new(),
        }))
    }

    /// The same clients, and this one for accounts.
    #[must_use]
    pub fn with_auth(self, auth: Auth) -> Self {
        let Clients { openai, supabase, .. } = &*self.0;
        Self(Arc::new(Clients { openai: openai.clone(), supabase: supabase.clone(), auth: OnceLock::from(auth) }))
    }

    /// # Errors
    /// Terminal, when a variable is missing or cannot be used; see [`OpenAi::from_environment`].
    pub fn openai(&self) -> Result<&OpenAi> {
        first_use(&self.0.openai, OpenAi::from_environment)
    }

    /// # Errors
    /// Terminal, when a variable is missing or cannot be used; see [`Supabase::from_environment`].
    pub fn supabase(&self) -> Result<&Supabase> {
        first_use(&self.0.supabase, Supabase::from_environment)
    }

    /// # Errors
    /// Terminal, when a variable is missing or cannot be used; see [`Auth::from_environment`].
    pub fn auth(&self) -> Result<&Auth> {
        first_use(&self.0.auth, Auth::from_environment)
    }
}

// A failure is not kept, so that a step tried again looks again.
fn first_use<T>(cell: &OnceLock<T>, build: fn() -> Result<T>) -> Result<&T> {
    match cell.get() {
        Some(client) => Ok(client),
        None => build().map(|client| cell.get_or_init(|| client)),
    }
}
