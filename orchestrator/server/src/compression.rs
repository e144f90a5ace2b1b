//! Compressed responses, for clients that accept them.
//!
//! Streams of changes are deliberately not compressed: their events have a few bytes each, and a
//! compressor would hold them back. The pages that the events announce are compressed.

use axum::Router;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};

/// The minimum size of a response that is compressed, in bytes. A smaller one fits into one packet.
const MIN_BYTES: u16 = 1_024;

/// Compresses the responses of a router with gzip, if the client accepts it.
///
/// No page contains a secret beside text of the sender, so sizes of responses reveal none.
pub fn compressed(router: Router) -> Router {
    let worth_it = SizeAbove::new(MIN_BYTES).and(NotForContentType::SSE).and(NotForContentType::IMAGES);
    router.layer(CompressionLayer::new().compress_when(worth_it))
}
