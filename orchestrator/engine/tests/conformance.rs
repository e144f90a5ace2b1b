//! Runs the conformance suite for adapters on the memory adapter.

use std::sync::Arc;

use stepladder_testkit::clock::VirtualClock;
use stepladder_testkit::conformance::{TestedAdapter, start};
use stepladder_testkit::memory::Memory;

async fn memory() -> TestedAdapter {
    let clock = Arc::new(VirtualClock::new(start()));
    let memory = Memory::new(clock.clone());
    memory.set_exclusive();
    TestedAdapter::new(memory, clock)
}

stepladder_testkit::conformance!(memory);
stepladder_testkit::conformance_local!(memory);
