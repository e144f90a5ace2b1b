//! Faults between the engine and AWS: requests and replies lost at every call of a run, throttling,
//! stalled connections, batches carried out in part, duplicated and reordered messages, large
//! values, and expired items.

#[path = "../aws/queues.rs"]
mod queues;
#[path = "../aws/stage.rs"]
mod stage;
#[path = "../aws/table.rs"]
mod table;
#[path = "../aws/units.rs"]
mod units;
#[path = "../aws/wire.rs"]
mod wire;

mod at_most_once;
mod bad_days;
mod batches;
mod each_call;
mod encrypted;
mod ending;
mod flow;
mod functions;
mod large;
mod lasting;
mod messages;
mod requests;
mod retention;
mod slots;
mod starts;
mod steps;
mod times;
mod waits;
