//! `create-client-user`: makes an account for somebody at a client and links it to the client.
//!
//! Two systems that know no common transaction: if the account is there and the link cannot be made, the account is
//! deleted again. Only one that this run has made: an account that was there before stays.

use stepladder::prelude::*;

use crate::{
    auth::{NewUser, User},
    services::Services,
    text::require_filled,
};

/// The data of `client/user.requested`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[event(name = "client/user.requested")]
#[serde(rename_all = "camelCase")]
pub struct UserRequested {
    /// The `id` of the client's row in `clients`.
    pub client_id: String,
    /// The address with which the user signs in.
    pub email: String,
    /// The user's name; may be missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_name: Option<String>,
}

impl UserRequested {
    /// Of somebody whose address nobody has.
    #[must_use]
    pub fn example() -> Self {
        Self {
            client_id: "00000000-0000-4000-8000-000000000001".to_owned(),
            email: "ada@acme.example".to_owned(),
            full_name: Some("Ada Lovelace".to_owned()),
        }
    }
}

/// The data of `client/user.created`, and what a run ends with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[event(name = "client/user.created")]
#[serde(rename_all = "camelCase")]
pub struct UserCreated {
    /// The client.
    pub client_id: String,
    /// The account's id, and that of its row in `profiles`.
    pub user_id: String,
    /// The address with which the user signs in.
    pub email: String,
}

/// One row of `profiles`.
#[derive(Debug, Serialize)]
struct ProfileRow<'a> {
    id: &'a str,
    client_id: &'a str,
    email: &'a str,
    full_name: Option<&'a str>,
}

/// Returns the function. The environment configures its services.
#[must_use]
pub fn function() -> Function {
    function_with(Services::from_environment())
}

/// Returns the function with these services.
#[must_use]
pub fn function_with(services: Services) -> Function {
    Function::new("create-client-user", move |ctx: Context, event: Event<UserRequested>| {
        let services = services.clone();
        async move { create_client_user(ctx, event, services).await }
    })
    .timeout(Duration::from_secs(30))
    .example(&UserRequested::example())
}

async fn create_client_user(ctx: Context, event: Event<UserRequested>, services: Services) -> Result<UserCreated> {
    let wanted = &event.data;
    require_filled(&[("clientId", &wanted.client_id), ("email", &wanted.email)])?;
    let (email, run) = (wanted.email.trim().to_lowercase(), ctx.run_id().to_string());

    let undoing = services.clone();
    let user: User = ctx
        .step("create-auth-user", async || {
            let new = NewUser {
                email: &email,
                full_name: wanted.full_name.as_deref(),
                client_id: &wanted.client_id,
                made_by: &run,
            };
            services.auth()?.create(new).await
        })
        .undo(async move |user: User| match user.is_new {
            true => undoing.auth()?.delete(&user.id).await,
            false => Ok(()),
        })
        .await?;

    ctx.step("link-profile", async || {
        let (id, full_name) = (user.id.as_str(), wanted.full_name.as_deref());
        let row = ProfileRow { id, client_id: &wanted.client_id, email: &email, full_name };
        services.supabase()?.upsert("profiles", "id", &[row]).await
    })
    .await?;

    let created = UserCreated { client_id: wanted.client_id.clone(), user_id: user.id, email };
    ctx.send_event("announce", created.clone()).await?;
    Ok(created)
}
