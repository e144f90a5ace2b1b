//! Tests functions from event to end, on a virtual clock, with the real clients and stub servers
//! that count requests.

mod content_brief;
mod create_client_user;
mod generate_queries;
mod world;
