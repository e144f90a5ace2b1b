//! Tests functions from their event to their end, on a virtual clock, with the real clients and
//! with stub servers that count requests.

mod content_brief;
mod create_client_user;
mod generate_queries;
mod world;
