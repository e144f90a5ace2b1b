//! A stub of Supabase in memory. It has the parts of PostgREST and of GoTrue's admin interface that
//! the functions need.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::stub_server::{HttpRequest, StubResponse, serve};

/// A running stub.
#[derive(Clone, Debug)]
pub struct DatabaseStub {
    address: SocketAddr,
    rows: Arc<Mutex<WrittenRows>>,
}

/// The requests and the data that the stub has received.
#[derive(Clone, Debug, Default)]
pub struct WrittenRows {
    /// By client id, the body of the latest PATCH.
    pub clients: BTreeMap<String, Value>,
    /// The method and path of each request.
    pub requests: Vec<(String, String)>,
    /// By table, the rows that were sent to tables other than `clients`, in order.
    pub tables: BTreeMap<String, Vec<Value>>,
    /// The current accounts, by id.
    pub accounts: BTreeMap<String, Value>,
    /// The number of accounts that were created, including deleted ones.
    pub made: usize,
    /// The tables that refuse all writes, as if a row violated a constraint.
    pub refusing: Vec<String>,
    /// The ids without a row in `clients`.
    pub unknown: Vec<String>,
}

impl DatabaseStub {
    /// Starts the stub, in which a client exists for every id that was not removed.
    pub async fn start() -> Self {
        let rows = Arc::new(Mutex::new(WrittenRows::default()));
        let inner = Arc::clone(&rows);
        let address = serve(move |asked| {
            let answer = answer_request(&inner, &asked);
            async move { answer }
        })
        .await;
        Self { address, rows }
    }

    /// Returns the URL of the stub, for `SUPABASE_URL`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes a table refuse all writes from now on, with a permanent error.
    pub fn refuse_table(&self, table: &str) {
        self.rows.lock().expect("no panic").refusing.push(table.to_owned());
    }

    /// Makes the row of a client disappear.
    pub fn remove_client(&self, id: &str) {
        self.rows.lock().expect("no panic").unknown.push(id.to_owned());
    }

    /// Returns the data that was received so far.
    pub fn rows(&self) -> WrittenRows {
        self.rows.lock().expect("no panic").clone()
    }
}

fn answer_request(rows: &Mutex<WrittenRows>, asked: &HttpRequest) -> StubResponse {
    let mut rows = rows.lock().expect("no panic");
    rows.requests.push((asked.method.to_string(), asked.uri.path().to_owned()));
    match (asked.method.as_str(), asked.uri.path()) {
        ("PATCH", "/rest/v1/clients") => {
            let query = asked.uri.query().unwrap_or_default();
            let id = query.split('&').find_map(|part| part.strip_prefix("id=eq.")).unwrap_or_default();
            if rows.unknown.iter().any(|unknown| unknown == id) {
                return StubResponse::json(200, &json!([]));
            }
            rows.clients.insert(id.to_owned(), asked.json());
            StubResponse::json(200, &json!([{"id": id}]))
        }
        ("POST", "/rest/v1/competitors") => StubResponse::json(201, &asked.json()),
        ("POST", "/auth/v1/admin/users") => {
            rows.made += 1;
            let (mut user, id) = (asked.json(), format!("00000000-0000-4000-8000-{:012}", rows.made));
            user["id"] = json!(id);
            rows.accounts.insert(id, user.clone());
            StubResponse::json(200, &user)
        }
        ("DELETE", path) if path.starts_with("/auth/v1/admin/users/") => {
            let id = path.rsplit('/').next().unwrap_or_default();
            match rows.accounts.remove(id) {
                Some(_) => StubResponse::json(200, &json!({})),
                None => StubResponse::json(404, &json!({"msg": "User not found"})),
            }
        }
        (verb @ ("PATCH" | "POST"), path) if path.starts_with("/rest/v1/") => {
            let table = path.trim_start_matches("/rest/v1/").to_owned();
            if rows.refusing.contains(&table) {
                let said = json!({"code": "23503", "message": format!("{table} breaks a rule of this test")});
                return StubResponse::json(409, &said);
            }
            rows.tables.entry(table).or_default().push(asked.json());
            StubResponse::json(if verb == "POST" { 201 } else { 200 }, &json!([{"id": "some-row"}]))
        }
        (method, path) => StubResponse::json(404, &json!({"message": format!("the stub has no {method} {path}")})),
    }
}
