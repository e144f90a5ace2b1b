//! The functions from event to end, on a virtual clock, with the real clients against servers that
//! count what they are asked.

mod content_brief;
mod create_client_user;
mod generate_queries;
mod world;
