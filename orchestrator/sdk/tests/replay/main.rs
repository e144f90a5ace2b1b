//! Journal in, outcome out: how a handler replays recorded outcomes.

mod bodies;
mod changes;
mod composition;
mod driver;
mod functions;
mod misuse;
mod order;
mod values;
