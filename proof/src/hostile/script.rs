//! An HTTP conversation as bytes: plain requests, separated by a line of `====`.
//!
//! `{event}` and `{run}` stand for the latest ids in the responses, so that a stored input keeps
//! working. With a first line `@guarded`, the server requires a key and a token.

use axum::body::Body;
use axum::http::{Method, Request, Uri};

/// The key of the guarded server.
pub(super) const KEY: &str = "a-key";
/// The token of the guarded server.
pub(super) const TOKEN: &str = "sesame";
/// Maximum number of requests of a conversation. The rest is ignored.
const MOST_REQUESTS: usize = 8;

/// A conversation: the requests, and whether the server is guarded.
pub(super) struct RequestScript<'a> {
    pub(super) guarded: bool,
    pub(super) requests: Vec<&'a [u8]>,
}

impl<'a> RequestScript<'a> {
    pub(super) fn read(input: &'a [u8]) -> Self {
        let (guarded, rest) = match input.strip_prefix(b"@guarded\n") {
            Some(rest) => (true, rest),
            None => (false, input),
        };
        Self { guarded, requests: split(rest, b"\n====\n").take(MOST_REQUESTS).collect() }
    }
}

/// Parses a request: its first line, headers up to an empty line, and the body. Returns `None` for
/// a request that is not valid HTTP, because the server's HTTP parser would refuse it.
pub(super) fn request(bytes: &[u8], ids: &LatestIds) -> Option<Request<Body>> {
    let (head, body) = match split(bytes, b"\n\n").next() {
        Some(head) => (head, bytes.get(head.len() + 2..).unwrap_or_default()),
        None => (bytes, &[][..]),
    };
    let mut lines = split(head, b"\n");
    let (method, path) = std::str::from_utf8(lines.next()?).ok()?.split_once(' ')?;
    let path = path.replace("{event}", &ids.event).replace("{run}", &ids.run);
    let mut request =
        Request::builder().method(Method::from_bytes(method.as_bytes()).ok()?).uri(path.parse::<Uri>().ok()?);
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        request = request.header(&line[..colon], line[colon + 1..].trim_ascii());
    }
    request.body(Body::from(body.to_vec())).ok()
}

/// The latest event id and run id in the responses.
#[derive(Default)]
pub(super) struct LatestIds {
    pub(super) event: String,
    pub(super) run: String,
}

fn split<'a>(bytes: &'a [u8], by: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let bytes = rest?;
        let at = bytes.windows(by.len()).position(|window| window == by);
        rest = at.map(|at| &bytes[at + by.len()..]);
        Some(&bytes[..at.unwrap_or(bytes.len())])
    })
}
