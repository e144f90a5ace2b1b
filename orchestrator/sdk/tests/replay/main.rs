//! Tests of replays: a handler gets the recorded outcomes of a journal, and must want the right
//! steps or return the right result.

mod bodies;
mod changes;
mod composition;
mod driver;
mod functions;
mod misuse;
mod order;
mod values;
