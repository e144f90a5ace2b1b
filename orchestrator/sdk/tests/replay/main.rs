//! Journal in, outcome out: what a handler does with what was recorded.

mod bodies;
mod changes;
mod composition;
mod driver;
mod functions;
mod misuse;
mod order;
mod values;
