//! `dev --demo`: starts stand-ins for OpenAI and Supabase on loopback. With them, the functions
//! complete without a key and show how they retry.
//!
//! Every answer and every log line says that it comes from a stand-in. Tests use other stubs, which
//! check what they receive.

mod onboarding;
mod openai;
mod supabase;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use axum::Router;
use stepladder::{DevSetup, Result};
use tokio::net::TcpListener;

use crate::{enhance_client::EnhanceRequested, hello_world::HelloEvent};

/// The label in every answer and log line of a stand-in.
pub const LABEL: &str = "stand-in";
/// The key for both stand-ins, which accept any key.
pub const KEY: &str = "no-key-is-needed";

/// The delay before every retry, which is long enough to be seen.
const RETRY_DELAY: Duration = Duration::from_secs(2);

/// How the stand-ins behave.
#[derive(Debug, Clone, Copy)]
pub struct StandInBehaviour {
    /// How long the AI takes to answer.
    pub thinking: Duration,
    /// The number of requests that the database refuses before it accepts any.
    pub failures: u32,
}

impl Default for StandInBehaviour {
    fn default() -> Self {
        Self { thinking: Duration::from_secs(1), failures: 2 }
    }
}

/// The addresses of the stand-ins. They listen until the process ends.
#[derive(Debug, Clone, Copy)]
pub struct StandInAddresses {
    /// The address of the stand-in for OpenAI.
    pub openai: SocketAddr,
    /// The address of the stand-in for Supabase.
    pub supabase: SocketAddr,
}

impl StandInAddresses {
    /// Starts both stand-ins on free ports of the loopback address.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(behaviour: StandInBehaviour) -> io::Result<Self> {
        Ok(Self {
            openai: serve(openai::router(behaviour.thinking)).await?,
            supabase: serve(supabase::router(behaviour.failures)).await?,
        })
    }

    /// Returns the environment variables that direct the functions to the stand-ins.
    #[must_use]
    pub fn variables(&self) -> Vec<(String, String)> {
        let pairs = [
            ("OPENAI_API_KEY", KEY.to_owned()),
            ("OPENAI_BASE_URL", format!("http://{}/v1", self.openai)),
            ("OPENAI_MODEL", LABEL.to_owned()),
            ("SUPABASE_URL", format!("http://{}", self.supabase)),
            ("SUPABASE_SERVICE_ROLE_KEY", KEY.to_owned()),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// Prepares `dev --demo`: both stand-ins, the variables with their addresses, a function that calls
/// other functions, and example events for two functions.
///
/// # Errors
/// No port is free.
pub async fn start() -> Result<DevSetup> {
    let stand_ins = StandInAddresses::start(StandInBehaviour::default()).await?;
    for (name, value) in stand_ins.variables() {
        stepladder::override_env(name, value);
    }
    DevSetup::new()
        .function(onboarding::function())
        .retry_delay(RETRY_DELAY)
        .note(format!("OpenAI is a {LABEL} at http://{}: no model is called, nothing is paid", stand_ins.openai))
        .note(format!("Supabase is a {LABEL} at http://{}: it refuses its first two requests", stand_ins.supabase))
        .event(&EnhanceRequested::example())?
        .event(&HelloEvent::example())
}

async fn serve(router: Router) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::warn!(target: "stepladder::demo", "a {LABEL} stopped: {error}");
        }
    });
    Ok(address)
}
