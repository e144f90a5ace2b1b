# The words for what is done here every day; `just` alone lists them.

_:
    @just --list --unsorted

# the local server with every function, on http://localhost:8288
dev *ARGS:
    cargo run -- dev {{ ARGS }}

# the local server with stand-ins for OpenAI and Supabase: watch a run retry and finish, without a key
demo *ARGS:
    cargo run -- dev --demo {{ ARGS }}

# every test that needs no AWS account
test:
    ./test

# the real server killed 200 times under load, full and read-only disks, 36,000 events: minutes
fire *ARGS:
    STEPLADDER_KILLS=200 STEPLADDER_SOAK=36000 cargo test -p stepladder-tests --test under_fire -- {{ ARGS }}

# twenty million actions of the simulation, and a death at every place (--actions N, --seed N, --places): minutes
proof *ARGS:
    cargo run --profile proof -p stepladder-proof --no-default-features --example proof -- {{ ARGS }}

# breaks each rule on purpose in a copy of the tree, and checks that the simulation or a test notices (--quick, NAME): an hour
planted *ARGS:
    proof/mutate {{ ARGS }}

# pictures of every page of the dashboard, in docs/screenshots
screenshots:
    STEPLADDER_SCREENSHOTS=docs/screenshots cargo test -p stepladder-tests --features full --test dashboard

# formatting, lints, and the rules for dependencies
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --features stepladder-tests/full -- -D warnings
    cargo deny check bans licenses sources

# formats everything
fmt:
    cargo fmt --all

# known advisories about the dependencies (fetches their database)
audit:
    cargo deny check advisories

# the documentation of every crate
doc *ARGS:
    cargo doc --no-deps --workspace {{ ARGS }}

# the book of docs/, as a site in target/book; needs mdbook: cargo install mdbook --locked, or that of .ci/run
book:
    PATH="$PWD/.test/tools/bin:$PATH" mdbook build

# checks links and the reference tables of the documents, and renews docs/reference/cli.md
reference:
    STEPLADDER_RENEW_REFERENCE=1 cargo test --workspace --test reference

# gaps between steps, runs per second, CPU, memory; beside Restate where npm is there (--quick, --alone)
bench *ARGS:
    cargo bench -p stepladder-tests --bench engine -- {{ ARGS }}

# a server that is sent more than it can serve, for three minutes or so many seconds: accepted, refused, memory, recovery
load *SECONDS:
    cargo bench -p stepladder-tests --bench engine -- --load {{ SECONDS }}

# the binary that is deployed: its size, and the time from its start to the answer of its first invocation
bench-lambda:
    cargo bench -p stepladder-tests --bench lambda

# hostile bytes for one of event, journal, cel, cron, http, wake, for so many seconds; fetches cargo-fuzz
fuzz TARGET SECONDS="60":
    proof/fuzz/run {{ TARGET }} {{ SECONDS }}

# all that must pass before a change lands
ci:
    .ci/run
