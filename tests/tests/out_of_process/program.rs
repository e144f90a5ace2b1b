//! The other process: it has the code of some functions, and answers one request per connection,
//! each a line of JSON.
//!
//! | request | answer |
//! | --- | --- |
//! | `{"call":"poll", function, version, done}` | `{"wants":[step]}`, or `{"output":…}` |
//! | `{"call":"body", function, version, step}` | `{"output":…}` |
//! | `{"control":"hold", step}` | `{}`: bodies of this step, or polls, answer when they are released |
//! | `{"control":"await", step}` | `{}` once such a request is held |
//! | `{"control":"release"}` | `{}`: nothing is held any more |
//! | `{"control":"bodies", step}` | `{"n":…}`: how often the body has begun |

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex};

use serde_json::{Value, json};

/// The step name by which polls are held.
pub(crate) const POLL: &str = "(poll)";

/// The step that starts at most once.
pub(crate) const CHARGE: &str = "charge";

#[derive(Default)]
struct State {
    held: HashSet<String>,
    /// The requests that are held now, by step.
    waiting: HashMap<String, usize>,
    begun: HashMap<String, u64>,
}

type Shared = Arc<(Mutex<State>, Condvar)>;

/// Serves until the process is killed. Prints the port once it listens.
pub(crate) fn serve(port: Option<&str>) -> ExitCode {
    let listener = TcpListener::bind(("127.0.0.1", port.and_then(|port| port.parse().ok()).unwrap_or(0)));
    let listener = listener.expect("a free port");
    println!("{}", listener.local_addr().expect("an address").port());
    let shared = Shared::default();
    for stream in listener.incoming().flatten() {
        let shared = shared.clone();
        std::thread::spawn(move || {
            // a client that has gone needs no answer
            let _ = answer(&stream, &shared);
        });
    }
    ExitCode::SUCCESS
}

fn answer(stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let request: Value = serde_json::from_str(&line)?;
    let mut reply = reply(&request, shared).to_string();
    reply.push('\n');
    let mut stream = stream;
    stream.write_all(reply.as_bytes())
}

fn reply(request: &Value, shared: &Shared) -> Value {
    let text = |field: &str| request[field].as_str().unwrap_or_default().to_owned();
    let (state, changed) = &**shared;
    let step = text("step");
    match (text("call").as_str(), text("control").as_str()) {
        ("poll", _) => {
            pass(POLL, shared);
            let done = request["done"].as_array().map_or(0, Vec::len);
            match steps(&text("function"), &text("version")).get(done) {
                Some(next) => json!({ "wants": [next] }),
                None => json!({ "output": request["done"] }),
            }
        }
        ("body", _) => {
            *state.lock().expect("a state").begun.entry(step.clone()).or_default() += 1;
            pass(&step, shared);
            json!({ "output": format!("{step} {}", text("version")) })
        }
        (_, "hold") => {
            state.lock().expect("a state").held.insert(step);
            json!({})
        }
        (_, "release") => {
            state.lock().expect("a state").held.clear();
            changed.notify_all();
            json!({})
        }
        (_, "await") => {
            let is_free = |state: &mut State| state.waiting.get(&step).is_none_or(|n| *n == 0);
            drop(changed.wait_while(state.lock().expect("a state"), is_free));
            json!({})
        }
        (_, "bodies") => json!({ "n": state.lock().expect("a state").begun.get(&step).copied().unwrap_or(0) }),
        _ => json!({ "error": "unknown request" }),
    }
}

/// Waits while requests of this step are held.
fn pass(step: &str, (state, changed): &(Mutex<State>, Condvar)) {
    let mut locked = state.lock().expect("a state");
    *locked.waiting.entry(step.to_owned()).or_default() += usize::from(locked.held.contains(step));
    let was_held = locked.held.contains(step);
    changed.notify_all();
    locked = changed.wait_while(locked, |state| state.held.contains(step)).expect("a state");
    if was_held && let Some(n) = locked.waiting.get_mut(step) {
        *n -= 1;
    }
}

/// The code of the functions: their steps, one after the other.
fn steps(function: &str, version: &str) -> &'static [&'static str] {
    match (function, version) {
        ("order", "1") => &["pack", "ship"],
        ("order", "2") => &["pack", "label"],
        ("mail", _) => &["send"],
        ("payment", _) => &[CHARGE],
        _ => &[],
    }
}
