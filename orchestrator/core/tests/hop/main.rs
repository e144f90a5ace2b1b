//! The hop as a state machine: inputs in, effects out. One test for each rule of a hop, without a
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
