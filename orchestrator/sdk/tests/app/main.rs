//! Tests of functions on the real engine, in memory, with a virtual clock.

mod at_most_once;
mod bounds;
mod checking;
mod concurrency;
mod crashing;
mod deriving;
mod extreme;
mod failing;
mod heartbeats;
mod labelling;
mod listening;
mod logging;
mod mapping;
mod mapping_steps;
mod mapping_values;
mod polling;
mod racing;
mod rerunning;
mod running;
mod sending;
mod starting;
mod twice;
mod undoing;
mod versions;
mod waiting;
