//! HTTP responses for Lambda, which limits the JSON of a response to 6 MB.
//!
//! A text body is sent as a JSON string, in which each quote and line break takes two bytes. If
//! that would be too long, the text is sent in base64, which always takes a third more.

use std::pin::Pin;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use lambda_http::{Body, IntoResponse};

/// The maximum size of the result of a synchronous invocation, which is a quota of Lambda.
const LAMBDA_BYTES: usize = 6 * 1024 * 1024;
/// The size of a body that always fits: in base64, with 24 KB for headers.
pub(super) const ANSWER_BYTES: usize = 4_700_000;
/// The number of bytes in the JSON around the body and the headers.
const ENVELOPE_BYTES: usize = 512;

/// A complete HTTP response.
pub(super) struct CompleteResponse {
    parts: axum::http::response::Parts,
    body: Bytes,
}

impl CompleteResponse {
    pub(super) fn new(parts: axum::http::response::Parts, body: Bytes) -> Self {
        Self { parts, body }
    }

    /// Encodes the response for Lambda.
    fn encode(mut self) -> Response<Body> {
        let room = LAMBDA_BYTES.saturating_sub(ENVELOPE_BYTES + header_bytes(&self.parts.headers));
        let body = match (as_text(&self.parts.headers, &self.body), &self.body) {
            (Some(text), _) if string_bytes(text) <= room => Body::Text(text.to_owned()),
            (_, body) if base64_bytes(body.len()) <= room => Body::Binary(body.to_vec()),
            (_, body) => {
                let sentence = format!(
                    "the answer has {} bytes, and at most {ANSWER_BYTES} pass Lambda; request a part of it, or use the \
                     command line with --table",
                    body.len()
                );
                tracing::warn!(bytes = body.len(), "an answer does not pass Lambda");
                self.parts.status = StatusCode::PAYLOAD_TOO_LARGE;
                self.parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                self.parts.headers.remove(header::CONTENT_DISPOSITION);
                Body::Text(serde_json::json!({ "error": sentence }).to_string())
            }
        };
        // the header is removed, because the encoded body may have another length; Lambda adds the
        // header
        self.parts.headers.remove(header::CONTENT_LENGTH);
        Response::from_parts(self.parts, body)
    }
}

impl IntoResponse for CompleteResponse {
    fn into_response(self) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> {
        Box::pin(std::future::ready(self.encode()))
    }
}

/// Returns the body as a string if its content type is text.
fn as_text<'a>(headers: &HeaderMap, body: &'a [u8]) -> Option<&'a str> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("text/plain");
    let is_text = kind.starts_with("text/") || kind.starts_with("application/json");
    std::str::from_utf8(body).ok().filter(|_| is_text && !headers.contains_key(header::CONTENT_ENCODING))
}

/// Returns the number of bytes of a string as JSON.
fn string_bytes(text: &str) -> usize {
    let of = |byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..=0x1f => 6,
        _ => 1,
    };
    2 + text.bytes().map(of).sum::<usize>()
}

fn base64_bytes(bytes: usize) -> usize {
    2 + bytes.div_ceil(3) * 4
}

/// Returns the maximum number of bytes of the headers as JSON.
fn header_bytes(headers: &HeaderMap) -> usize {
    // each byte of a value may need an escape, so it counts twice
    headers.iter().map(|(name, value)| name.as_str().len() + 2 * value.len() + 8).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Encodes a response body, and returns the number of bytes of its JSON.
    fn encode_body(kind: &str, body: &[u8]) -> (usize, Response<Body>) {
        let parts = Response::builder().header("content-type", kind).body(()).unwrap().into_parts().0;
        let response = CompleteResponse::new(parts, Bytes::copy_from_slice(body)).encode();
        let whole = match response.body() {
            Body::Text(text) => serde_json::json!({"body": text, "isBase64Encoded": false}),
            body => serde_json::json!({"body": body, "isBase64Encoded": true}),
        };
        (whole.to_string().len(), response)
    }

    #[test]
    fn the_size_of_a_text_is_that_of_its_json() {
        for text in ["", "plain", "\"\\\n\r\t\u{8}\u{c}", "\0\u{1}\u{1f}\u{7f}", "é…😀\u{2028}"] {
            assert_eq!(string_bytes(text), serde_json::to_string(text).unwrap().len(), "{text:?}");
        }
    }

    #[test]
    fn a_text_with_many_escapes_is_sent_in_base64() {
        let small = encode_body("application/json", "\"".repeat(1_000_000).as_bytes()).1;
        assert!(matches!(small.body(), Body::Text(_)));
        let quotes = "\"".repeat(ANSWER_BYTES);
        let (bytes, large) = encode_body("application/json", quotes.as_bytes());
        assert_eq!(large.status(), StatusCode::OK);
        assert!(bytes < LAMBDA_BYTES, "{bytes}");
        assert_eq!(large.body().as_ref(), quotes.as_bytes());
        // a string without escapes is sent without base64, so it may be longer
        let (bytes, plain) = encode_body("text/html; charset=utf-8", "x".repeat(6_200_000).as_bytes());
        assert!(matches!(plain.body(), Body::Text(_)) && bytes < LAMBDA_BYTES);
    }

    #[test]
    fn an_answer_that_is_too_large_becomes_413() {
        for body in ["\"".repeat(5_000_000), "x".repeat(7_000_000)] {
            let (_, refused) = encode_body("application/json", body.as_bytes());
            assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
            let Body::Text(text) = refused.body() else { panic!("a sentence") };
            assert!(text.contains("at most 4700000 pass Lambda"), "{text}");
        }
    }

    #[test]
    fn a_body_that_is_no_text_is_sent_as_bytes() {
        let (_, image) = encode_body("image/png", &[0xFF, 0x00]);
        assert_eq!(image.body(), &Body::Binary(vec![0xFF, 0x00]));
        let (_, broken) = encode_body("application/json", &[0xFF]);
        assert_eq!(broken.body(), &Body::Binary(vec![0xFF]));
    }
}
