# The commands for daily work; `just` alone lists them.

_:
    @just --list --unsorted

# the local server with every function, on http://localhost:8288
dev *ARGS:
    cargo run -- dev {{ ARGS }}

# the local server with stand-ins for OpenAI and Supabase: a run retries and completes without keys
demo *ARGS:
    cargo run -- dev --demo {{ ARGS }}

# every test that needs no AWS account
test:
    ./test

# stress tests: 200 kills under load, full and read-only disks, 36,000 events; takes minutes
fire *ARGS:
    STEPLADDER_KILLS=200 STEPLADDER_SOAK=36000 cargo test -p stepladder-tests --test under_fire -- {{ ARGS }}

# simulation: 20 million actions, a death at every storage call (--actions N, --seed N, --places)
proof *ARGS:
    cargo run --profile proof -p stepladder-proof --no-default-features --example proof -- {{ ARGS }}

# mutations: breaks each rule in a copy, and checks that a test notices (--quick, NAME); an hour
planted *ARGS:
    proof/mutate {{ ARGS }}

# coverage of a hop's machine by its own tests; once: cargo install cargo-llvm-cov; rustup component add llvm-tools
coverage *ARGS:
    cargo llvm-cov -p stepladder-core --test hop --ignore-filename-regex 'core/src/[a-gi-z]' {{ ARGS }}

# pictures of every page of the dashboard, in target/screenshots; renews those that the documents have
screenshots:
    STEPLADDER_SCREENSHOTS=target/screenshots cargo test -p stepladder-tests --features full --test dashboard
    for picture in docs/screenshots/*.png; do cp "target/screenshots/${picture##*/}" "$picture"; done

# formatting, lints, and the rules for dependencies
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --features stepladder-tests/full -- -D warnings
    PATH="$PWD/.test/python/bin:$PATH" cargo deny check bans licenses sources

# formats everything
fmt:
    cargo fmt --all

# known advisories about the dependencies (fetches their database)
audit:
    PATH="$PWD/.test/python/bin:$PATH" cargo deny check advisories

# builds the documentation of every crate
doc *ARGS:
    cargo doc --no-deps --workspace {{ ARGS }}

# builds the book of docs/ in target/book/html, with llms.txt; needs mdbook: cargo install mdbook --locked
book:
    PATH="$PWD/.test/tools/bin:$PATH" mdbook build

# checks links and the reference tables of the documents, and renews docs/reference/cli.md
reference:
    STEPLADDER_RENEW_REFERENCE=1 cargo test --workspace --test reference

# benchmark: gaps between steps, runs per second, CPU, memory; also of Restate and of an app (--quick, --alone, --growth, --apps, --counts)
bench *ARGS:
    cargo bench -p stepladder-tests --bench engine -- {{ ARGS }}

# overloads a server for three minutes or SECONDS: accepted, refused, memory, recovery
load *SECONDS:
    cargo bench -p stepladder-tests --bench engine -- --load {{ SECONDS }}

# benchmark of the dashboard with 100,000 runs, and with a run of 10,000 steps: time and size of each page
bench-pages:
    cargo test --release -p stepladder-server --test budget -- --nocapture --test-threads=1

# benchmark of the deployed binary: its size, and the time until its first answer
bench-lambda:
    cargo bench -p stepladder-tests --bench lambda

# fuzzes one of event, journal, cel, cron, http, wake for SECONDS; fetches cargo-fuzz
fuzz TARGET SECONDS="60":
    proof/fuzz/run {{ TARGET }} {{ SECONDS }}

# runs all checks that must pass before a change lands
ci:
    .ci/run
