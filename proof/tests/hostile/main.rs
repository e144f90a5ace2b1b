//! Runs the fuzzer's targets on every input of the corpus, and on mutations of them.

mod corpus;
mod kept;
mod mutated;
