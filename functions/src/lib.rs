//! The functions of this project, one file each, and the files behind which the services they use live.
//!
//! [`all`] is what the binary registers. A new function is a new file here and one more line there. What a
//! function is made of (steps, retries, limits) comes from the `stepladder` crate, not from here.

use stepladder::prelude::*;

pub mod auth;
pub mod content_brief;
pub mod create_client_user;
#[cfg(feature = "local")]
pub mod demo;
pub mod enhance_client;
pub mod generate_queries;
pub mod hello_world;
pub mod http;
pub mod openai;
pub mod secret;
pub mod services;
pub mod supabase;
pub mod words;

/// Every function, in the order in which listings show them.
#[must_use]
pub fn all() -> Vec<Function> {
    vec![
        hello_world::function(),
        enhance_client::function(),
        generate_queries::function(),
        content_brief::function(),
        create_client_user::function(),
    ]
}
