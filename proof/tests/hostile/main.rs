//! Every kept input, and mutations of them, through the functions that the fuzzer calls.

mod corpus;
mod kept;
mod mutated;
