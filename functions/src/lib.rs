//! The functions of this project, one file each, and the files behind which the services they use live.
//!
//! [`all`] is what the binary registers. A new function is a new file here and one more line there. What a
//! function is made of (steps, retries, limits) comes from the `stepladder` crate, not from here.

use stepladder::prelude::*;

#[cfg(feature = "local")]
pub mod demo;
pub mod enhance_client;
pub mod hello_world;
pub mod openai;
pub mod secret;
pub mod services;
pub mod supabase;

/// Every function, in the order in which listings show them.
#[must_use]
pub fn all() -> Vec<Function> {
    vec![hello_world::function(), enhance_client::function()]
}
