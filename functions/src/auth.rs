//! Supabase's user accounts, through the admin interface of GoTrue. No other file uses this
//! interface.
//!
//! The client creates, finds and deletes an account. Because the engine retries requests, a
//! repeated request has the same effect as a single one.

use reqwest::{Client, Method, RequestBuilder, Response, Url};
use serde_json::Value;
use stepladder::prelude::*;

use crate::http;
use crate::secret::Secret;

/// The number of accounts per page.
const PER_PAGE: usize = 50;
/// The maximum number of pages to search. The filter finds every address that *contains* the given
/// one.
const PAGES: usize = 20;

/// A client for the accounts of one project. It uses the service role. The key of this role must
/// stay on servers.
#[derive(Debug, Clone)]
pub struct AuthClient {
    client: Client,
    /// The URL `…/auth/v1/admin/users`.
    users: Url,
    key: Secret,
}

/// An account to create.
#[derive(Debug, Clone, Copy)]
pub struct NewUser<'a> {
    /// The address, in lower case as GoTrue stores it.
    pub email: &'a str,
    /// The name to show.
    pub full_name: Option<&'a str>,
    /// The id of the client that the account is for. It is stored in `app_metadata`, which users
    /// cannot change.
    pub client_id: &'a str,
    /// The id of the run that creates the account. It distinguishes an account of this run from an
    /// older one.
    pub made_by: &'a str,
}

/// A user account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The account's id.
    pub id: String,
    /// Whether this run created the account, in this attempt or in one that got no response.
    pub is_new: bool,
}

impl AuthClient {
    /// Creates a client with this key for the project at `SUPABASE_URL`.
    ///
    /// # Errors
    /// Returns a terminal error with the variable's name if the variable is missing or invalid, or
    /// the key is invalid.
    pub fn with_key(key: &str) -> Result<Self> {
        Self::new(&stepladder::env("SUPABASE_URL")?, key)
    }

    /// Creates a client for the project at `url`. Its accounts are at `{url}/auth/v1`.
    ///
    /// # Errors
    /// Returns a terminal error if the address or the key is invalid.
    pub fn new(url: &str, key: &str) -> Result<Self> {
        let key = Secret::new("SUPABASE_SERVICE_ROLE_KEY", key)?;
        let users = Url::parse(&format!("{}/auth/v1/admin/users", url.trim().trim_end_matches('/')));
        let Some(users) = users.ok().filter(|url| matches!(url.scheme(), "http" | "https")) else {
            return Err(Error::terminal(
                "SUPABASE_URL is not an address; it looks like https://your-project.supabase.co",
            ));
        };
        Ok(Self { client: http::build_client()?, users, key })
    }

    /// Creates a confirmed account without a known password; the user sets a password with the link
    /// "forgotten password". If the same client already has an account with this address, it is
    /// returned unchanged.
    ///
    /// # Errors
    /// Returns a terminal error with the code `user-exists` if another client's account has the
    /// address. A failed connection and the statuses 408, 429 and 5xx are retried, after
    /// `Retry-After` if the service sent this header. Every other 4xx is terminal.
    pub async fn create(&self, new: NewUser<'_>) -> Result<User> {
        let body = json!({
            "email": new.email,
            "email_confirm": true,
            "user_metadata": { "full_name": new.full_name },
            "app_metadata": { "client_id": new.client_id, "made_by": new.made_by },
        });
        match self.send(Method::POST, self.users.clone(), Some(&body)).await? {
            GoTrueResponse::Ok(user) => Ok(User { id: account_id(&user)?, is_new: true }),
            GoTrueResponse::Refused { status: 409 | 422, message } if is_taken(&message) => self.find(new).await,
            refused @ GoTrueResponse::Refused { .. } => Err(self.refusal_error("creation of the account", refused)),
        }
    }

    /// Deletes an account. A missing account is not an error.
    ///
    /// # Errors
    /// The same as those of [`Self::create`].
    pub async fn delete(&self, id: &str) -> Result<()> {
        let mut url = self.users.clone();
        url.path_segments_mut().map_err(|()| Error::terminal("SUPABASE_URL cannot have a path"))?.push(id);
        match self.send(Method::DELETE, url, None).await? {
            GoTrueResponse::Ok(_) | GoTrueResponse::Refused { status: 404, .. } => Ok(()),
            refused @ GoTrueResponse::Refused { .. } => Err(self.refusal_error("deletion of the account", refused)),
        }
    }

    /// Finds the account with the given address, if it belongs to the given client.
    async fn find(&self, wanted: NewUser<'_>) -> Result<User> {
        for page in 1..=PAGES {
            let mut url = self.users.clone();
            url.query_pairs_mut()
                .append_pair("filter", wanted.email)
                .append_pair("page", &page.to_string())
                .append_pair("per_page", &PER_PAGE.to_string());
            let answer = match self.send(Method::GET, url, None).await? {
                GoTrueResponse::Ok(answer) => answer,
                refused @ GoTrueResponse::Refused { .. } => {
                    return Err(self.refusal_error("search for the account", refused));
                }
            };
            let users = answer["users"].as_array().map(Vec::as_slice).unwrap_or_default();
            // the filter finds every address that contains the given one
            let has_address =
                |user: &&Value| user["email"].as_str().is_some_and(|email| email.eq_ignore_ascii_case(wanted.email));
            if let Some(user) = users.iter().find(has_address) {
                return check_client(user, wanted);
            }
            if users.len() < PER_PAGE {
                break;
            }
        }
        // the account was deleted in the meantime, so the next attempt creates it
        Err(Error::new(format!("supabase says that {} has an account, but does not list it", wanted.email)))
    }

    async fn send(&self, method: Method, url: Url, body: Option<&Value>) -> Result<GoTrueResponse> {
        let mut request: RequestBuilder = self.client.request(method, url);
        request = request.header("apikey", self.key.header("")?).header("authorization", self.key.header("Bearer ")?);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| http::unreachable_error("supabase", error))?;
        self.read_response(response).await
    }

    async fn read_response(&self, response: Response) -> Result<GoTrueResponse> {
        let status = response.status();
        let retry_after = http::retry_after(&response);
        let body = http::read_body(response).await.map_err(|error| error.into_error("supabase"))?;
        if status.is_success() {
            if body.trim_ascii().is_empty() {
                return Ok(GoTrueResponse::Ok(Value::Null));
            }
            let mut answer = serde_json::from_slice(&body)
                .map_err(|fault| Error::new(format!("supabase's answer is not JSON: {fault}")))?;
            self.key.mask_json(&mut answer);
            return Ok(GoTrueResponse::Ok(answer));
        }
        let message = self.key.excerpt_of_body(&String::from_utf8_lossy(&body));
        match status.as_u16() {
            status @ (404 | 409 | 422) => Ok(GoTrueResponse::Refused { status, message }),
            status => {
                let hint = if matches!(status, 401 | 403) { " (check SUPABASE_SERVICE_ROLE_KEY)" } else { "" };
                let text = format!("supabase answered {status} to a request about accounts: {message}{hint}");
                Err(Error::from_http_status(status, retry_after.as_deref(), text))
            }
        }
    }

    fn refusal_error(&self, what: &str, answer: GoTrueResponse) -> Error {
        match answer {
            GoTrueResponse::Refused { status, message } => {
                Error::terminal(format!("supabase answered {status} to the {what}: {message}"))
                    .with_code(format!("http-{status}"))
            }
            GoTrueResponse::Ok(_) => Error::new(format!("supabase's answer to the {what} is unknown")),
        }
    }
}

/// A response from GoTrue.
enum GoTrueResponse {
    Ok(Value),
    /// The status is 404, 409 or 422. In the message, secrets are masked; a long message is
    /// truncated.
    Refused {
        status: u16,
        message: String,
    },
}

// newer versions send `"error_code":"email_exists"`, older ones only send the sentence
fn is_taken(message: &str) -> bool {
    message.contains("email_exists") || message.contains("already been registered")
}

fn check_client(user: &Value, wanted: NewUser<'_>) -> Result<User> {
    let metadata = &user["app_metadata"];
    if metadata["client_id"].as_str() != Some(wanted.client_id) {
        let message = format!(
            "{} has an account of another client than {}; link it by hand, or use another address",
            wanted.email, wanted.client_id
        );
        return Err(Error::terminal(message).with_code("user-exists"));
    }
    Ok(User { id: account_id(user)?, is_new: metadata["made_by"].as_str() == Some(wanted.made_by) })
}

fn account_id(user: &Value) -> Result<String> {
    let id = user["id"].as_str().map(str::to_owned);
    id.ok_or_else(|| Error::new("supabase's answer has no account id"))
}
