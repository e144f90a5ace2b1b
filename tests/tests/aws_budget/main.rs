//! Counts the requests and billed units of runs between the adapter and AWS. Checks the prices in
//! `infra/COST.md`, which are computed from these counts.

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

mod apps;
mod batches;
mod document;
mod functions;
mod measure;
mod notes;
mod price;
mod siblings;
mod starts;
mod steps;
mod surcharges;
