//! A double of Supabase in Rust: just enough of PostgREST and of GoTrue's admin interface for the functions, in memory.

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
    /// What each other table was sent, in order.
    pub tables: BTreeMap<String, Vec<Value>>,
    /// The accounts that there are, by id.
    pub accounts: BTreeMap<String, Value>,
    /// Accounts that were made, deleted ones among them.
    pub made: usize,
    /// Tables that refuse everything, as those do whose rules a row breaks.
    pub refusing: Vec<String>,
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

    /// From now on a table refuses whatever it is sent, for good.
    pub fn refuse(&self, table: &str) {
        self.rows.lock().expect("no panic").refusing.push(table.to_owned());
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
        ("POST", "/auth/v1/admin/users") => {
            rows.made += 1;
            let (mut user, id) = (asked.json(), format!("00000000-0000-4000-8000-{:012}", rows.made));
            user["id"] = json!(id);
            rows.accounts.insert(id, user.clone());
            Answer::json(200, &user)
        }
        ("DELETE", path) if path.starts_with("/auth/v1/admin/users/") => {
            let id = path.rsplit('/').next().unwrap_or_default();
            match rows.accounts.remove(id) {
                Some(_) => Answer::json(200, &json!({})),
                None => Answer::json(404, &json!({"msg": "User not found"})),
            }
        }
        (verb @ ("PATCH" | "POST"), path) if path.starts_with("/rest/v1/") => {
            let table = path.trim_start_matches("/rest/v1/").to_owned();
            if rows.refusing.contains(&table) {
                let said = json!({"code": "23503", "message": format!("{table} breaks a rule of this test")});
                return Answer::json(409, &said);
            }
            rows.tables.entry(table).or_default().push(asked.json());
            Answer::json(if verb == "POST" { 201 } else { 200 }, &json!([{"id": "some-row"}]))
        }
        (method, path) => Answer::json(404, &json!({"message": format!("the double has no {method} {path}")})),
    }
}
