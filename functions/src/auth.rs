//! Supabase's accounts (GoTrue's admin interface): the one file that knows it.
//!
//! It creates an account, finds it again, and deletes it. It does not retry: the engine does, so each request is made such
//! that doing it twice is doing it once.

use reqwest::{Client, Method, RequestBuilder, Response, Url};
use serde_json::Value;
use stepladder::prelude::*;

use crate::http;
use crate::secret::Secret;

/// Accounts looked at in one request.
const PER_PAGE: usize = 50;
/// Pages of accounts whose address *contains* the one that is looked for.
const PAGES: usize = 20;

/// A client for one project's accounts, with its service role: its key belongs on servers only.
#[derive(Debug, Clone)]
pub struct Auth {
    client: Client,
    /// `…/auth/v1/admin/users`
    users: Url,
    key: Secret,
}

/// An account to make.
#[derive(Debug, Clone, Copy)]
pub struct NewUser<'a> {
    /// In small letters, as GoTrue keeps it.
    pub email: &'a str,
    /// Shown, never looked for.
    pub full_name: Option<&'a str>,
    /// The client that the account is for. Kept in `app_metadata`, which users cannot change.
    pub client_id: &'a str,
    /// The run that makes it: what tells an account that this run has made from one that was there.
    pub made_by: &'a str,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Its id.
    pub id: String,
    /// Whether this run has made it, in this attempt or in one whose answer was lost.
    pub is_new: bool,
}

impl Auth {
    /// The client that `SUPABASE_URL` and `SUPABASE_SERVICE_ROLE_KEY` describe.
    ///
    /// # Errors
    /// Terminal, naming the variable, when one is missing or cannot be used.
    pub fn from_environment() -> Result<Self> {
        Self::new(&stepladder::env("SUPABASE_URL")?, &stepladder::env("SUPABASE_SERVICE_ROLE_KEY")?)
    }

    /// A client for the project at `url`; its accounts are at `{url}/auth/v1`.
    ///
    /// # Errors
    /// Terminal, when the address or the key cannot be used.
    pub fn new(url: &str, key: &str) -> Result<Self> {
        let key = Secret::new("SUPABASE_SERVICE_ROLE_KEY", key)?;
        let users = Url::parse(&format!("{}/auth/v1/admin/users", url.trim().trim_end_matches('/')));
        let Some(users) = users.ok().filter(|url| matches!(url.scheme(), "http" | "https")) else {
            return Err(Error::terminal(
                "SUPABASE_URL is not an address; it looks like https://your-project.supabase.co",
            ));
        };
        Ok(Self { client: http::client()?, users, key })
    }

    /// Makes an account, confirmed and with a password that nobody knows: its user sets one by the link of "forgotten
    /// password". An account that is there already and is this client's is taken as it is.
    ///
    /// # Errors
    /// Terminal with code `user-exists`, when the address belongs to an account of somebody else; otherwise as every
    /// request here: no connection, 408, 429 and 5xx are retried (after `Retry-After`, if one was sent), every other 4xx
    /// is terminal with what the service said.
    pub async fn create(&self, new: NewUser<'_>) -> Result<User> {
        let body = json!({
            "email": new.email,
            "email_confirm": true,
            "user_metadata": { "full_name": new.full_name },
            "app_metadata": { "client_id": new.client_id, "made_by": new.made_by },
        });
        match self.send(Method::POST, self.users.clone(), Some(&body)).await? {
            Answer::Ok(user) => Ok(User { id: id(&user)?, is_new: true }),
            Answer::Refused { status: 409 | 422, said } if is_taken(&said) => self.find(new).await,
            refused @ Answer::Refused { .. } => Err(self.refusal("creation of the account", refused)),
        }
    }

    /// Deletes an account; one that is not there is as good as deleted.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub async fn delete(&self, id: &str) -> Result<()> {
        let mut url = self.users.clone();
        url.path_segments_mut().map_err(|()| Error::terminal("SUPABASE_URL cannot have a path"))?.push(id);
        match self.send(Method::DELETE, url, None).await? {
            Answer::Ok(_) | Answer::Refused { status: 404, .. } => Ok(()),
            refused @ Answer::Refused { .. } => Err(self.refusal("deletion of the account", refused)),
        }
    }

    /// The account that has the address, if it is this client's.
    async fn find(&self, wanted: NewUser<'_>) -> Result<User> {
        for page in 1..=PAGES {
            let mut url = self.users.clone();
            url.query_pairs_mut()
                .append_pair("filter", wanted.email)
                .append_pair("page", &page.to_string())
                .append_pair("per_page", &PER_PAGE.to_string());
            let answer = match self.send(Method::GET, url, None).await? {
                Answer::Ok(answer) => answer,
                refused @ Answer::Refused { .. } => return Err(self.refusal("search for the account", refused)),
            };
            let users = answer["users"].as_array().map(Vec::as_slice).unwrap_or_default();
            // the filter finds every address that contains the one that is looked for
            let has_it =
                |user: &&Value| user["email"].as_str().is_some_and(|email| email.eq_ignore_ascii_case(wanted.email));
            if let Some(user) = users.iter().find(has_it) {
                return of_this_client(user, wanted);
            }
            if users.len() < PER_PAGE {
                break;
            }
        }
        // deleted in between: the next attempt creates it
        Err(Error::new(format!("supabase says that {} has an account, but does not list it", wanted.email)))
    }

    async fn send(&self, method: Method, url: Url, body: Option<&Value>) -> Result<Answer> {
        let mut request: RequestBuilder = self.client.request(method, url);
        request = request.header("apikey", self.key.header("")?).header("authorization", self.key.header("Bearer ")?);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| http::unreachable("supabase", error))?;
        self.read(response).await
    }

    async fn read(&self, response: Response) -> Result<Answer> {
        let status = response.status();
        let retry_after = http::retry_after(&response);
        let body = http::body(response).await.map_err(|error| error.into_error("supabase"))?;
        if status.is_success() {
            if body.trim_ascii().is_empty() {
                return Ok(Answer::Ok(Value::Null));
            }
            let mut answer = serde_json::from_slice(&body)
                .map_err(|fault| Error::new(format!("supabase's answer is no JSON: {fault}")))?;
            self.key.mask_json(&mut answer);
            return Ok(Answer::Ok(answer));
        }
        let said = self.key.excerpt_of_body(&String::from_utf8_lossy(&body));
        match status.as_u16() {
            status @ (404 | 409 | 422) => Ok(Answer::Refused { status, said }),
            status => {
                let hint = if matches!(status, 401 | 403) { " (check SUPABASE_SERVICE_ROLE_KEY)" } else { "" };
                let message = format!("supabase answered {status} to a request about accounts: {said}{hint}");
                Err(Error::from_http_status(status, retry_after.as_deref(), message))
            }
        }
    }

    fn refusal(&self, what: &str, answer: Answer) -> Error {
        match answer {
            Answer::Refused { status, said } => {
                Error::terminal(format!("supabase answered {status} to the {what}: {said}"))
                    .with_code(format!("http-{status}"))
            }
            Answer::Ok(_) => Error::new(format!("supabase's answer to the {what} is not understood")),
        }
    }
}

/// What GoTrue answered.
enum Answer {
    Ok(Value),
    /// 404, 409 or 422, with what was said, masked and cut.
    Refused {
        status: u16,
        said: String,
    },
}

// newer versions send `"error_code":"email_exists"`, all of them these words
fn is_taken(said: &str) -> bool {
    said.contains("email_exists") || said.contains("already been registered")
}

fn of_this_client(user: &Value, wanted: NewUser<'_>) -> Result<User> {
    let made = &user["app_metadata"];
    if made["client_id"].as_str() != Some(wanted.client_id) {
        let message = format!(
            "{} has an account that is not of client {}; link it by hand, or use another address",
            wanted.email, wanted.client_id
        );
        return Err(Error::terminal(message).with_code("user-exists"));
    }
    Ok(User { id: id(user)?, is_new: made["made_by"].as_str() == Some(wanted.made_by) })
}

fn id(user: &Value) -> Result<String> {
    let id = user["id"].as_str().map(str::to_owned);
    id.ok_or_else(|| Error::new("supabase's answer has no id of the account"))
}
