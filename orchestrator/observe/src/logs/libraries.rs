//! What libraries may write. Below `info` they write whole requests: event keys in paths, tokens in headers, events in
//! bodies, signatures. So they are silent there, whatever `RUST_LOG` says.

use tracing::{Level, Metadata};

/// Crates through which requests, responses and credentials pass, by the beginning of their targets.
const LIBRARIES: [&str; 17] = [
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
    "postgrest",
    "quinn",
    "quinn_proto",
    "reqwest",
    "rustls",
    "tower",
    "tower_http",
];

/// Whether an event or a span may be written: it is at `info` or above, or of no library that sees secrets.
pub fn may_be_written(of: &Metadata<'_>) -> bool {
    *of.level() <= Level::INFO || !sees_secrets(of.target())
}

fn sees_secrets(target: &str) -> bool {
    let library = target.split("::").next().unwrap_or_default();
    library.starts_with("aws_") || LIBRARIES.contains(&library)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_told_from_the_code_of_users() {
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
