//! Functions on the real engine, in memory, on a virtual clock.

mod checking;
mod concurrency;
mod failing;
mod logging;
mod mapping;
mod polling;
mod racing;
mod running;
mod undoing;
mod versions;
mod waiting;
