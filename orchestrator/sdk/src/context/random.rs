//! Randomness that is the same in every replay: a hash of the run's id and of the number of random
//! values drawn before.

use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

use super::{Context, ItemScope};

pub(super) fn uuid(ctx: &Context) -> Uuid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&draw(ctx, b"uuid")[..16]);
    Builder::from_random_bytes(bytes).into_uuid()
}

pub(super) fn draw_number(ctx: &Context) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&draw(ctx, b"number")[..8]);
    u64::from_be_bytes(bytes)
}

fn draw(ctx: &Context, purpose: &[u8]) -> [u8; 32] {
    let (step, number) = ctx.ledger.count_draw(|| ctx.item.as_ref().map(ItemScope::count_draw));
    let mut sha = Sha256::new();
    sha.update(purpose);
    sha.update(ctx.ledger.run().to_bytes());
    sha.update(number.to_be_bytes());
    match (step, &ctx.item) {
        (Some(step), _) => sha.update(step.as_bytes()),
        (None, Some(item)) => {
            // no step has an id with this character
            sha.update(b"\0");
            sha.update(item.prefix().as_bytes());
        }
        (None, None) => {}
    }
    sha.finalize().into()
}
