//! Tests of the hop as a state machine: inputs in, effects out. There is one test for each rule of
//! a hop, and no store.

mod admitting;
mod announcing;
mod at_most_once;
mod call_beside_attempts;
mod calling;
mod checkpoints;
mod dead_process;
mod deadlines;
mod documented;
mod ending;
mod executed;
mod failing;
mod handing_over;
mod heartbeats;
mod immediate;
mod inbox;
mod keeping;
mod own_calls;
mod pairs;
mod polling;
mod random;
mod registering;
mod replaying;
mod slots;
mod starting;
mod suspended;
mod suspending;
mod timing;
mod unreachable;
mod versions;
mod world;
