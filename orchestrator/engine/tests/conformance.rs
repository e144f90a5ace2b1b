//! The memory adapter, under the suite that every adapter passes.

use std::sync::Arc;

use stepladder_engine::clock::VirtualClock;
use stepladder_engine::conformance::{Subject, start};
use stepladder_engine::memory::Memory;

async fn memory() -> Subject {
    let clock = Arc::new(VirtualClock::new(start()));
    Subject::new(Memory::new(clock.clone()), clock)
}

stepladder_engine::conformance!(memory);
stepladder_engine::conformance_local!(memory);
