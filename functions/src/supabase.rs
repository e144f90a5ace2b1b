//! Supabase's tables, through the REST interface of PostgREST.
//!
//! The client updates rows by id, and upserts rows. It does not retry, because the engine does. The
//! HTTP client of all services ([`crate::http`]) sends the requests. It follows no redirects, which
//! would send the key along.

use std::fmt;

use reqwest::{Client, RequestBuilder, Url};
use serde_json::Value;
use stepladder::prelude::*;

use crate::http;
use crate::secret::Secret;

/// A client for the tables of one project. It uses the service role, which bypasses row level
/// security, so its key must stay on servers.
#[derive(Clone)]
pub struct Supabase {
    /// Where the tables are: `{SUPABASE_URL}/rest/v1`.
    rest: Url,
    client: Client,
    key: Secret,
}

impl Supabase {
    /// Creates a client with this key for the project at `SUPABASE_URL`.
    ///
    /// # Errors
    /// Returns a terminal error with the variable's name if the variable is missing or invalid, or
    /// the key is invalid.
    pub fn with_key(key: &str) -> Result<Self> {
        Self::new(&stepladder::env("SUPABASE_URL")?, key)
    }

    /// Creates a client for the project at `url`. The URL of its tables is `{url}/rest/v1`.
    ///
    /// # Errors
    /// Returns a terminal error if the address or the key is invalid.
    pub fn new(url: &str, key: &str) -> Result<Self> {
        let key = Secret::new("SUPABASE_SERVICE_ROLE_KEY", key)?;
        let rest = Url::parse(&format!("{}/rest/v1", url.trim().trim_end_matches('/')))
            .ok()
            .filter(|rest| matches!(rest.scheme(), "http" | "https"));
        let Some(rest) = rest else {
            return Err(Error::terminal(
                "SUPABASE_URL is not an address; it looks like https://your-project.supabase.co",
            ));
        };
        Ok(Self { rest, client: http::build_client()?, key })
    }

    /// Updates the row of `table` that has this `id`, with the columns in `row`.
    ///
    /// # Errors
    /// Returns a terminal error if no row has this id. A failed connection and the statuses 408,
    /// 429 and 5xx are retried (after `Retry-After`, if the service sent this header). Every other
    /// 4xx is terminal, with the database's message.
    pub async fn update_by_id(&self, table: &str, id: &str, row: &impl Serialize) -> Result<()> {
        let address = self.address_of(table, &[("id", &format!("eq.{id}")), ("select", "id")])?;
        let request = self.client.patch(address).header("prefer", "return=representation").json(row);
        let answer = self.execute("update", table, request).await?;
        let rows: Vec<Value> = serde_json::from_str(&answer)
            .map_err(|fault| Error::new(format!("supabase's answer to the update of `{table}` is no list: {fault}")))?;
        if rows.is_empty() {
            return Err(Error::terminal(format!("no row of `{table}` has the id {id}; create it first")));
        }
        Ok(())
    }

    /// Inserts `rows` into `table`. If an existing row has the same values in the columns `unique`,
    /// the new row is merged into it. `unique` is a comma-separated list of columns with a unique
    /// index. A repeated call changes nothing.
    ///
    /// # Errors
    /// The same as those of [`Self::update_by_id`].
    pub async fn upsert(&self, table: &str, unique: &str, rows: &[impl Serialize]) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let address = self.address_of(table, &[("on_conflict", unique), ("select", "id")])?;
        let merge = "return=representation,resolution=merge-duplicates";
        let request = self.client.post(address).header("prefer", merge).json(rows);
        self.execute("upsert", table, request).await.map(drop)
    }

    async fn execute(&self, what: &str, table: &str, request: RequestBuilder) -> Result<String> {
        let request =
            request.header("apikey", self.key.header("")?).header("authorization", self.key.header("Bearer ")?);
        let response = request.send().await.map_err(|error| http::unreachable_error("supabase", error))?;
        let status = response.status();
        let retry_after = http::retry_after(&response);
        let body = http::read_body(response).await.map_err(|error| error.into_error("supabase"))?;
        let body = String::from_utf8_lossy(&body).into_owned();
        if status.is_success() {
            return Ok(body);
        }
        let said = self.key.excerpt(&error_message(&body));
        let hint = if matches!(status.as_u16(), 401 | 403) { " (check SUPABASE_SERVICE_ROLE_KEY)" } else { "" };
        let message = format!("supabase answered {status} to the {what} of `{table}`: {said}{hint}");
        // PostgREST's status 409 means a violated constraint, which a retry cannot fix
        if status.as_u16() == 409 {
            return Err(Error::terminal(message).with_code("http-409"));
        }
        Err(Error::from_http_status(status.as_u16(), retry_after.as_deref(), message))
    }

    /// Returns the address of `table` with `parameters` as its query.
    fn address_of(&self, table: &str, parameters: &[(&str, &str)]) -> Result<Url> {
        let mut address = self.rest.clone();
        // an address with a host always has a path
        address.path_segments_mut().map_err(|()| Error::terminal("SUPABASE_URL has no path"))?.push(table);
        address.query_pairs_mut().extend_pairs(parameters);
        Ok(address)
    }
}

impl fmt::Debug for Supabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supabase").field("key", &self.key).finish_non_exhaustive()
    }
}

// PostgREST sends {"code","message","details","hint"}; the gateway in front of it sends {"message"}
// or plain text
fn error_message(body: &str) -> String {
    let Ok(json) = serde_json::from_str::<Value>(body) else {
        return if body.trim().is_empty() { "(no message)".to_owned() } else { body.to_owned() };
    };
    // the JSON is serialized again, so that the key is not escaped and can be masked
    let Some(message) = json["message"].as_str() else { return json.to_string() };
    let more: Vec<String> = ["code", "details", "hint"]
        .iter()
        .filter_map(|name| json[name].as_str().filter(|text| !text.is_empty()).map(|text| format!("{name}: {text}")))
        .collect();
    if more.is_empty() { message.to_owned() } else { format!("{message} ({})", more.join("; ")) }
}
