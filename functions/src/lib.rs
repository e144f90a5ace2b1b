//! The functions of this project, each in its own file, and the clients of the services that they
//! call, each in its own file.
//!
//! The binary registers the functions that [`all`] returns. To add a function, write a file and add
//! a line to [`all`].

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
pub mod text;

/// Returns every function, in the order in which they are listed.
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
