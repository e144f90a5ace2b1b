//! Supabase's tables over its REST interface (PostgREST): the one file that knows the `postgrest` client.
//!
//! It updates rows by id and upserts rows. It does not retry: the engine does. The client is the user's choice; it
//! brings an HTTP client of its own, so everything that leaves this file is the project's own types.

use std::fmt;

use postgrest::{Builder, Postgrest};
use serde_json::Value;
use stepladder::prelude::*;

use crate::secret::Secret;

/// A client for one project, with its service role: it passes row level security, so its key belongs on servers only.
#[derive(Clone)]
pub struct Supabase {
    rest: Postgrest,
    key: Secret,
}

impl Supabase {
    /// The client that `SUPABASE_URL` and `SUPABASE_SERVICE_ROLE_KEY` describe.
    ///
    /// # Errors
    /// Terminal, naming the variable, when one is missing or cannot be used.
    pub fn from_environment() -> Result<Self> {
        Self::new(&stepladder::env("SUPABASE_URL")?, &stepladder::env("SUPABASE_SERVICE_ROLE_KEY")?)
    }

    /// A client for the project at `url`; its tables are at `{url}/rest/v1`.
    ///
    /// # Errors
    /// Terminal, when the address or the key cannot be used.
    pub fn new(url: &str, key: &str) -> Result<Self> {
        let key = Secret::new("SUPABASE_SERVICE_ROLE_KEY", key)?;
        let url = url.trim().trim_end_matches('/');
        match reqwest::Url::parse(url) {
            Ok(parsed) if matches!(parsed.scheme(), "http" | "https") => {}
            Ok(_) | Err(_) => {
                return Err(Error::terminal(
                    "SUPABASE_URL is not an address; it looks like https://your-project.supabase.co",
                ));
            }
        }
        let rest = Postgrest::new(format!("{url}/rest/v1"))
            .insert_header("apikey", key.expose())
            .insert_header("authorization", format!("Bearer {}", key.expose()));
        Ok(Self { rest, key })
    }

    /// Sets the columns in `row` on the row of `table` whose `id` is the one given.
    ///
    /// # Errors
    /// Terminal, when no row has that id; otherwise as every request here: no connection, 408, 429 and 5xx are
    /// retried (after `Retry-After`, if one was sent), every other 4xx is terminal with what the database said.
    pub async fn update_by_id(&self, table: &str, id: &str, row: &impl Serialize) -> Result<()> {
        let request = self.rest.from(table).eq("id", id).select("id").update(serde_json::to_string(row)?);
        let answer = self.execute("update", table, request).await?;
        let rows: Vec<Value> = serde_json::from_str(&answer)
            .map_err(|fault| Error::new(format!("supabase's answer to the update of `{table}` is no list: {fault}")))?;
        if rows.is_empty() {
            return Err(Error::terminal(format!("no row of `{table}` has the id {id}; create it first")));
        }
        Ok(())
    }

    /// Inserts `rows` into `table`; a row that agrees with an existing one on the columns `unique` (comma-separated,
    /// with a unique index of their own) is merged into it. Doing it twice changes nothing.
    ///
    /// # Errors
    /// As [`Self::update_by_id`].
    pub async fn upsert(&self, table: &str, unique: &str, rows: &[impl Serialize]) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let request = self.rest.from(table).upsert(serde_json::to_string(rows)?).on_conflict(unique).select("id");
        self.execute("upsert", table, request).await.map(drop)
    }

    async fn execute(&self, what: &str, table: &str, request: Builder) -> Result<String> {
        // `without_url`, because an address may hold a password
        let response = request.execute().await.map_err(|error| {
            let (terminal, message) = (error.is_builder(), unreachable(&error.without_url()));
            // a builder's error: no request was made, the address or a header is wrong
            if terminal { Error::terminal(message) } else { Error::new(message) }
        })?;
        let status = response.status();
        let retry_after =
            response.headers().get("retry-after").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = response.text().await.map_err(|error| Error::new(unreachable(&error.without_url())))?;
        if status.is_success() {
            return Ok(body);
        }
        let said = self.key.excerpt(&said(&body));
        let hint = if matches!(status.as_u16(), 401 | 403) { " (check SUPABASE_SERVICE_ROLE_KEY)" } else { "" };
        let message = format!("supabase answered {status} to the {what} of `{table}`: {said}{hint}");
        // PostgREST's 409 is a violated constraint, which trying again does not mend
        if status.as_u16() == 409 {
            return Err(Error::terminal(message).with_code("http-409"));
        }
        Err(Error::from_http_status(status.as_u16(), retry_after.as_deref(), message))
    }
}

impl fmt::Debug for Supabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supabase").field("key", &self.key).finish_non_exhaustive()
    }
}

// the client's HTTP error is of an older kind than the project's: it goes on as text, with its causes
fn unreachable(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let causes: Vec<_> = causes.map(ToString::to_string).collect();
    format!("supabase cannot be reached: {}", causes.join(": "))
}

// PostgREST says {"code","message","details","hint"}; the gateway before it {"message"}, or plain text
fn said(body: &str) -> String {
    let Ok(json) = serde_json::from_str::<Value>(body) else {
        return if body.trim().is_empty() { "(nothing said)".to_owned() } else { body.to_owned() };
    };
    let Some(message) = json["message"].as_str() else { return body.to_owned() };
    let more: Vec<String> = ["code", "details", "hint"]
        .iter()
        .filter_map(|name| json[name].as_str().filter(|text| !text.is_empty()).map(|text| format!("{name}: {text}")))
        .collect();
    if more.is_empty() { message.to_owned() } else { format!("{message} ({})", more.join("; ")) }
}
