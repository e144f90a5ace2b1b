//! Randomness that is the same in every replay: a hash of the run's id and of the number of random
//! values drawn before.

use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

use crate::ledger::ReplayLedger;

pub(super) fn uuid(ledger: &ReplayLedger) -> Uuid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&draw(ledger, b"uuid")[..16]);
    Builder::from_random_bytes(bytes).into_uuid()
}

pub(super) fn draw_number(ledger: &ReplayLedger) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&draw(ledger, b"number")[..8]);
    u64::from_be_bytes(bytes)
}

fn draw(ledger: &ReplayLedger, purpose: &[u8]) -> [u8; 32] {
    let (step, number) = ledger.count_draw();
    let mut sha = Sha256::new();
    sha.update(purpose);
    sha.update(ledger.run().to_bytes());
    sha.update(number.to_be_bytes());
    sha.update(step.as_deref().unwrap_or_default().as_bytes());
    sha.finalize().into()
}
