//! The libraries that must not log below `info`, whatever `RUST_LOG` says. Below `info` they log
//! whole requests: event keys in paths, tokens in headers, events in bodies, signatures.

use tracing::{Level, Metadata};

/// Crates that handle requests, responses and credentials, by the first segment of their targets.
const LIBRARIES: [&str; 16] = [
    "async_openai",
    "axum",
    "axum_core",
    "h2",
    "hyper",
    "hyper_rustls",
    "hyper_util",
    "lambda_http",
    "lambda_runtime",
    "lambda_runtime_api_client",
    "quinn",
    "quinn_proto",
    "reqwest",
    "rustls",
    "tower",
    "tower_http",
];

/// Returns whether an event or a span may be written: its level is `info` or higher, or its library
/// handles no secrets.
pub fn may_be_written(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO || !sees_secrets(metadata.target())
}

fn sees_secrets(target: &str) -> bool {
    let library = target.split("::").next().unwrap_or_default();
    library.starts_with("aws_") || LIBRARIES.contains(&library)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_distinguished_from_user_code() {
        for library in
            ["hyper::proto::h1::io", "aws_smithy_runtime::client", "aws_sigv4", "lambda_runtime::layers", "h2"]
        {
            assert!(sees_secrets(library), "{library}");
        }
        for own in ["stepladder_engine::hop", "stepladder::run", "hyperspace::warp", "functions", "awsome", "my_tower"]
        {
            assert!(!sees_secrets(own), "{own}");
        }
    }
}
