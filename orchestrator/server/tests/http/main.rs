//! The HTTP interface over the real engine on the memory adapter: what each route answers, what is refused, and that
//! nothing is stored or logged as an error when it is.

mod access;
mod acting;
mod bad_input;
mod bodies;
mod fitting;
mod live;
mod many;
mod more_pages;
mod pages;
mod pushing_back;
mod queues;
mod reading;
mod repeating;
mod rerunning;
mod script;
mod sending;
mod serving;
mod signals;
mod unknown;
mod world;
