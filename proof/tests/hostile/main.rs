//! Runs the fuzz targets on every input of the corpus, and on mutations of these inputs.

mod corpus;
mod kept;
mod mutated;
