//! The hop as a machine: inputs in, effects out. One test for each rule that a hop keeps, without a
//! store.

mod admitting;
mod documented;
mod ending;
mod failing;
mod pairs;
mod random;
mod replaying;
mod slots;
mod starting;
mod timing;
mod world;
