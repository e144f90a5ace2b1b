//! A double of the database's REST interface in Rust: just enough of PostgREST for the enhance run, in memory.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::double::{Answer, Asked, serve};

/// A running double.
#[derive(Clone, Debug)]
pub struct Database {
    address: SocketAddr,
    rows: Arc<Mutex<Rows>>,
}

/// What has been written.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// The last PATCH of each client, by its id.
    pub clients: BTreeMap<String, Value>,
    /// Requests that arrived: method and path.
    pub requests: Vec<(String, String)>,
}

impl Database {
    /// Knows every client that is asked for.
    pub async fn start() -> Self {
        let rows = Arc::new(Mutex::new(Rows::default()));
        let inner = Arc::clone(&rows);
        let address = serve(move |asked| {
            let answer = answer(&inner, &asked);
            async move { answer }
        })
        .await;
        Self { address, rows }
    }

    /// What `SUPABASE_URL` is set to.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What has been written so far.
    pub fn rows(&self) -> Rows {
        self.rows.lock().expect("no panic").clone()
    }
}

fn answer(rows: &Mutex<Rows>, asked: &Asked) -> Answer {
    let mut rows = rows.lock().expect("no panic");
    rows.requests.push((asked.method.to_string(), asked.uri.path().to_owned()));
    match (asked.method.as_str(), asked.uri.path()) {
        ("PATCH", "/rest/v1/clients") => {
            let query = asked.uri.query().unwrap_or_default();
            let id = query.split('&').find_map(|part| part.strip_prefix("id=eq.")).unwrap_or_default();
            rows.clients.insert(id.to_owned(), asked.json());
            Answer::json(200, &json!([{"id": id}]))
        }
        ("POST", "/rest/v1/competitors") => Answer::json(201, &asked.json()),
        (method, path) => Answer::json(404, &json!({"message": format!("the double has no {method} {path}")})),
    }
}
