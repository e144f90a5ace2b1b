//! `content-brief-generator`: researches a topic, outlines a text about it, drafts it, and stores all of it as a brief.
//!
//! Research, outline and draft are steps of their own, and each question of the research is one, side by side: whatever
//! fails, nothing that the AI has answered is paid for again. The brief's row is there from the beginning, so that people
//! see that it is being written; if the run fails for good, the row says so.

mod questions;

use stepladder::prelude::*;

pub use self::questions::{Draft, Finding, Outline, Plan, draft, finding, outline, plan};
use crate::{
    services::Services,
    text::{clean, distinct, require_filled},
};

/// The most research questions of a brief.
pub const QUESTIONS: usize = 6;
/// The most headings of an outline.
pub const HEADINGS: usize = 12;
/// Characters of a question, a heading or a title.
pub const LINE_CHARS: usize = 300;
/// Characters of an answer or of a draft.
pub const TEXT_CHARS: usize = 20_000;
/// Research questions that are asked at the same time.
const AT_ONCE: usize = 3;
/// How long somebody may take to approve of a draft: 7 days.
const APPROVAL: Duration = Duration::from_secs(7 * 86_400);

/// The data of `content/brief.requested`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[event(name = "content/brief.requested")]
#[serde(rename_all = "camelCase")]
pub struct BriefRequested {
    /// The `id` that the brief's row in `content_briefs` gets, a UUID. The same id writes the same row again.
    pub brief_id: String,
    /// The `id` of the client's row in `clients`.
    pub client_id: String,
    /// What the text is to be about.
    pub topic: String,
    /// Who is to read it; may be missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Whether somebody has to approve of the draft; nobody unless it says so.
    #[serde(default)]
    pub approval: bool,
}

impl BriefRequested {
    /// Of a text that nobody has to approve of.
    #[must_use]
    pub fn example() -> Self {
        Self {
            brief_id: "00000000-0000-4000-8000-000000000002".to_owned(),
            client_id: "00000000-0000-4000-8000-000000000001".to_owned(),
            topic: "How to read a dashboard".to_owned(),
            audience: Some("People in a hurry".to_owned()),
            approval: false,
        }
    }
}

/// The data of `content/brief.ready`, which is sent when the brief is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[event(name = "content/brief.ready")]
#[serde(rename_all = "camelCase")]
pub struct BriefReady {
    /// Which brief.
    pub brief_id: String,
    /// Whose.
    pub client_id: String,
    /// Its title.
    pub title: String,
}

/// The data of `content/brief.decided`: what a run waits for whose brief somebody has to approve of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[event(name = "content/brief.decided")]
#[serde(rename_all = "camelCase")]
pub struct BriefDecided {
    /// Which brief.
    pub brief_id: String,
    /// Whether it may be used.
    pub approved: bool,
}

/// What a run ends with, and what the columns of `content_briefs` hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brief {
    /// The text's title.
    pub title: String,
    /// Its headings, in order.
    pub headings: Vec<String>,
    /// What the research came to.
    pub research: Vec<Finding>,
    /// The text, as Markdown.
    pub draft: String,
}

/// One row of `content_briefs` before it is written.
#[derive(Debug, Serialize)]
struct OpenedRow<'a> {
    id: &'a str,
    client_id: &'a str,
    topic: &'a str,
    audience: Option<&'a str>,
    status: &'static str,
}

/// The columns that the last step fills.
#[derive(Debug, Serialize)]
struct WrittenRow<'a> {
    #[serde(flatten)]
    brief: &'a Brief,
    status: &'static str,
}

/// Returns the function. The environment configures its services.
#[must_use]
pub fn function() -> Function {
    function_with(Services::from_environment())
}

/// Returns the function with these services.
#[must_use]
pub fn function_with(services: Services) -> Function {
    Function::new("content-brief-generator", move |ctx: Context, event: Event<BriefRequested>| {
        let services = services.clone();
        async move { write_brief(ctx, event, services).await }
    })
    .retries(2)
    .timeout(Duration::from_secs(90))
    .concurrency(Concurrency::limit(6))
    .example(&BriefRequested::example())
}

async fn write_brief(ctx: Context, event: Event<BriefRequested>, services: Services) -> Result<Brief> {
    let wanted = &event.data;
    require_filled(&[("briefId", &wanted.brief_id), ("clientId", &wanted.client_id), ("topic", &wanted.topic)])?;

    let (undoing, id) = (services.clone(), wanted.brief_id.clone());
    ctx.step("open-brief", || open(&services, wanted))
        .retries(5)
        .undo(async move |()| {
            undoing.supabase()?.update_by_id("content_briefs", &id, &json!({ "status": "failed" })).await
        })
        .await?;

    let plan: Plan = ctx.step("plan-research", async || services.openai()?.answer(plan(wanted)).await).await?;
    let asked = distinct(plan.questions, LINE_CHARS, QUESTIONS);

    let research = async |asked: String| {
        let found: Finding = services.openai()?.answer(finding(wanted, &asked)).await?;
        Ok(Finding { question: asked, answer: clean(&found.answer, TEXT_CHARS) })
    };
    let research: Vec<Finding> = ctx.map("research", asked, research).limit(AT_ONCE).await?;

    let outline: Outline =
        ctx.step("outline", async || services.openai()?.answer(outline(wanted, &research)).await).await?;
    let outline = outline.tidied();

    let written: Draft =
        ctx.step("draft", async || services.openai()?.answer(draft(wanted, &research, &outline)).await).await?;

    let Outline { title, headings } = outline;
    let brief = Brief { title, headings, research, draft: clean(&written.markdown, TEXT_CHARS) };
    // by now all of it is paid for: the database gets more tries than the AI does
    let save = |step, status| {
        let (services, brief, id) = (&services, &brief, &wanted.brief_id);
        let body =
            async move || services.supabase()?.update_by_id("content_briefs", id, &WrittenRow { brief, status }).await;
        ctx.step(step, body).retries(5).timeout(Duration::from_secs(30))
    };
    if wanted.approval {
        // side by side: the wait is written down before the row says that there is something to decide
        let decided = ctx.wait_for_event::<BriefDecided>("approval").matching("briefId", &wanted.brief_id);
        let (decided, saved) = tokio::join!(decided.timeout(APPROVAL), save("save-for-approval", "approval"));
        saved?;
        match decided? {
            Some(decided) if decided.data.approved => {}
            Some(_) => {
                save("save-rejected", "rejected").await?;
                return Ok(brief);
            }
            None => {
                let why = "nobody has decided on the draft within 7 days; send the request again";
                return Err(Error::terminal(why).with_code("approval-timeout"));
            }
        }
    }
    save("save-brief", "ready").await?;

    let (brief_id, client_id) = (wanted.brief_id.clone(), wanted.client_id.clone());
    ctx.send_event("announce", BriefReady { brief_id, client_id, title: brief.title.clone() }).await?;
    Ok(brief)
}

async fn open(services: &Services, wanted: &BriefRequested) -> Result<()> {
    let row = OpenedRow {
        id: &wanted.brief_id,
        client_id: &wanted.client_id,
        topic: &wanted.topic,
        audience: wanted.audience.as_deref(),
        status: "writing",
    };
    services.supabase()?.upsert("content_briefs", "id", &[row]).await
}
