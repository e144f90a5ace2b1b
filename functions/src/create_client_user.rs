//! `create-client-user`: creates an account for a client's user, and links it to the client.
//!
//! The two systems share no transaction. If the link fails permanently, the account is deleted,
//! unless it existed before.

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
    /// The user's name, optional.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_name: Option<String>,
}

impl UserRequested {
    /// Returns example data for the dashboard.
    #[must_use]
    pub fn example() -> Self {
        Self {
            client_id: "00000000-0000-4000-8000-000000000001".to_owned(),
            email: "ada@acme.example".to_owned(),
            full_name: Some("Ada Lovelace".to_owned()),
        }
    }
}

/// The data of `client/user.created`, and the output of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[event(name = "client/user.created")]
#[serde(rename_all = "camelCase")]
pub struct UserCreated {
    /// The `id` of the client's row in `clients`.
    pub client_id: String,
    /// The id of the account, and of its row in `profiles`.
    pub user_id: String,
    /// The address with which the user signs in.
    pub email: String,
}

#[derive(Debug, Serialize)]
struct ProfileRow<'a> {
    id: &'a str,
    client_id: &'a str,
    email: &'a str,
    full_name: Option<&'a str>,
}

/// Returns the function. Environment variables configure the services that it calls.
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
    let request = &event.data;
    require_filled(&[("clientId", &request.client_id), ("email", &request.email)])?;
    let (email, run) = (request.email.trim().to_lowercase(), ctx.run_id().to_string());

    let undo_services = services.clone();
    let user: User = ctx
        .step("create-auth-user", async || {
            let new = NewUser {
                email: &email,
                full_name: request.full_name.as_deref(),
                client_id: &request.client_id,
                made_by: &run,
            };
            services.auth().await?.create(new).await
        })
        .undo(async move |user: User| match user.is_new {
            true => undo_services.auth().await?.delete(&user.id).await,
            false => Ok(()),
        })
        .await?;

    ctx.step("link-profile", async || {
        let (id, full_name) = (user.id.as_str(), request.full_name.as_deref());
        let row = ProfileRow { id, client_id: &request.client_id, email: &email, full_name };
        services.supabase().await?.upsert("profiles", "id", &[row]).await
    })
    .await?;

    let created = UserCreated { client_id: request.client_id.clone(), user_id: user.id, email };
    ctx.send_event("announce", created.clone()).await?;
    Ok(created)
}
