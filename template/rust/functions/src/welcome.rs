//! `welcome`: greets a new user, and asks three days later how it goes.

use stepladder::prelude::*;

/// The data of the event `user/signed.up`, which starts a run.
#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "user/signed.up")]
pub struct SignedUp {
    /// The name of the user.
    pub name: String,
}

/// The output of a run.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcomed {
    /// The first message.
    pub greeting: String,
    /// The message three days later.
    pub question: String,
}

/// Returns the function `welcome`.
#[must_use]
pub fn function() -> Function {
    Function::new("welcome", welcome).retries(3).example(&SignedUp { name: "Ada".to_owned() })
}

async fn welcome(ctx: Context, event: Event<SignedUp>) -> Result<Welcomed> {
    let name = &event.data.name;
    // the outcome of a step is stored, so a step that has ended never executes again
    let greeting = ctx.step("greet", || async move { Ok(format!("Welcome, {name}!")) }).await?;
    // nothing runs while it sleeps, and nothing is paid for
    ctx.sleep("three-days", Duration::from_secs(3 * 24 * 60 * 60)).await?;
    let question = ctx.step("ask", || async move { Ok(format!("How is it going, {name}?")) }).await?;
    Ok(Welcomed { greeting, question })
}
