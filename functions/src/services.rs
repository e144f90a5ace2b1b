//! Which OpenAI and which Supabase the functions talk to.
//!
//! Normally those that the environment names, looked up when a step first needs one: a missing variable fails
//! that step, not the server. Tests hand in their own. Nothing is connected here.

use std::sync::{Arc, OnceLock};

use stepladder::prelude::*;

use crate::{openai::OpenAi, supabase::Supabase};

/// The two clients, each built at its first use and shared from then on, with its connections.
#[derive(Debug, Clone, Default)]
pub struct Services(Arc<Clients>);

#[derive(Debug, Default)]
struct Clients {
    openai: OnceLock<OpenAi>,
    supabase: OnceLock<Supabase>,
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
        }))
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
}

// A failure is not kept, so that a step tried again looks again.
fn first_use<T>(cell: &OnceLock<T>, build: fn() -> Result<T>) -> Result<&T> {
    match cell.get() {
        Some(client) => Ok(client),
        None => build().map(|client| cell.get_or_init(|| client)),
    }
}
