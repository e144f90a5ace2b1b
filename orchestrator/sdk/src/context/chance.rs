//! Chance that repeats: a hash of the run's id and of how many draws came before.

use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

use crate::board::Board;

pub(super) fn uuid(board: &Board) -> Uuid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&draw(board, b"uuid")[..16]);
    Builder::from_random_bytes(bytes).into_uuid()
}

pub(super) fn number(board: &Board) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&draw(board, b"number")[..8]);
    u64::from_be_bytes(bytes)
}

fn draw(board: &Board, purpose: &[u8]) -> [u8; 32] {
    let (step, number) = board.draw();
    let mut sha = Sha256::new();
    sha.update(purpose);
    sha.update(board.run().to_bytes());
    sha.update(number.to_be_bytes());
    sha.update(step.as_deref().unwrap_or_default().as_bytes());
    sha.finalize().into()
}
