//! `content-brief-generator`: researches a topic, outlines and drafts an article, and stores the
//! result as a brief.
//!
//! Each research question, the outline and the draft are separate steps, so that no answer of the
//! AI is paid for twice. The row of the brief exists from the start, so that people see its status.
//! If the run fails permanently, the row gets the status "failed".

mod questions;

use stepladder::prelude::*;

pub use self::questions::{
    Draft, Outline, ResearchFinding, ResearchPlan, draft_question, finding_question, outline_question, plan_question,
};
use crate::{
    services::Services,
    text::{clean_text, distinct_entries, require_filled},
};

/// The maximum number of research questions for a brief.
pub const QUESTIONS: usize = 6;
/// The maximum number of headings in an outline.
pub const HEADINGS: usize = 12;
/// The maximum number of characters in a question, a heading or a title.
pub const LINE_CHARS: usize = 300;
/// The maximum number of characters in an answer or a draft.
pub const TEXT_CHARS: usize = 20_000;
/// The maximum number of research questions that are answered in parallel.
const MAX_PARALLEL: usize = 3;
/// How long a person has to approve a draft: 7 days.
const APPROVAL_TIMEOUT: Duration = Duration::from_secs(7 * 86_400);

/// The data of `content/brief.requested`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[event(name = "content/brief.requested")]
#[serde(rename_all = "camelCase")]
pub struct BriefRequested {
    /// The `id` of the brief's row in `content_briefs`, a UUID. If the same id is sent again, the
    /// same row is overwritten.
    pub brief_id: String,
    /// The `id` of the client's row in `clients`.
    pub client_id: String,
    /// The topic of the article.
    pub topic: String,
    /// The readers of the article, optional.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Whether a person must approve the draft. The default is false.
    #[serde(default)]
    pub approval: bool,
}

impl BriefRequested {
    /// Returns example data for the dashboard.
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

/// The data of `content/brief.ready`, which the function sends once the brief is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[event(name = "content/brief.ready")]
#[serde(rename_all = "camelCase")]
pub struct BriefReady {
    /// The `id` of the brief's row in `content_briefs`.
    pub brief_id: String,
    /// The `id` of the client's row in `clients`.
    pub client_id: String,
    /// The title of the brief.
    pub title: String,
}

/// The data of `content/brief.decided`. If a draft needs an approval, the run waits for this event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
#[event(name = "content/brief.decided")]
#[serde(rename_all = "camelCase")]
pub struct BriefDecided {
    /// The `id` of the brief's row in `content_briefs`.
    pub brief_id: String,
    /// Whether the brief may be used.
    pub approved: bool,
}

/// The output of a run, and the values of the columns of `content_briefs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brief {
    /// The title of the article.
    pub title: String,
    /// The headings of the article, in order.
    pub headings: Vec<String>,
    /// The results of the research.
    pub research: Vec<ResearchFinding>,
    /// The article, as Markdown.
    pub draft: String,
}

/// The row of `content_briefs` that is written at the start of a run.
#[derive(Debug, Serialize)]
struct OpenedBriefRow<'a> {
    id: &'a str,
    client_id: &'a str,
    topic: &'a str,
    audience: Option<&'a str>,
    status: &'static str,
}

/// The columns of `content_briefs` that the last step fills.
#[derive(Debug, Serialize)]
struct WrittenBriefRow<'a> {
    #[serde(flatten)]
    brief: &'a Brief,
    status: &'static str,
}

/// Returns the function. Environment variables configure the services that it calls.
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
    let request = &event.data;
    require_filled(&[("briefId", &request.brief_id), ("clientId", &request.client_id), ("topic", &request.topic)])?;

    let (undo_services, id) = (services.clone(), request.brief_id.clone());
    ctx.step("open-brief", || open(&services, request))
        .retries(5)
        .undo(async move |()| {
            undo_services.supabase().await?.update_by_id("content_briefs", &id, &json!({ "status": "failed" })).await
        })
        .await?;

    let plan: ResearchPlan =
        ctx.step("plan-research", async || services.openai().await?.answer(plan_question(request)).await).await?;
    let questions = distinct_entries(plan.questions, LINE_CHARS, QUESTIONS);

    let research = async |question: String| {
        let finding: ResearchFinding = services.openai().await?.answer(finding_question(request, &question)).await?;
        Ok(ResearchFinding { question, answer: clean_text(&finding.answer, TEXT_CHARS) })
    };
    let research: Vec<ResearchFinding> = ctx.map("research", questions, research).limit(MAX_PARALLEL).await?;

    let outline: Outline = ctx
        .step("outline", async || services.openai().await?.answer(outline_question(request, &research)).await)
        .await?;
    let outline = outline.tidied();

    let written: Draft = ctx
        .step("draft", async || services.openai().await?.answer(draft_question(request, &research, &outline)).await)
        .await?;

    let Outline { title, headings } = outline;
    let brief = Brief { title, headings, research, draft: clean_text(&written.markdown, TEXT_CHARS) };
    // all answers are paid for by now, so storing them gets more retries than asking the AI
    let save = |step, status| {
        let (services, brief, id) = (&services, &brief, &request.brief_id);
        let body = async move || {
            services.supabase().await?.update_by_id("content_briefs", id, &WrittenBriefRow { brief, status }).await
        };
        ctx.step(step, body).retries(5).timeout(Duration::from_secs(30))
    };
    if request.approval {
        // both futures are polled together, so that the wait is recorded before the row asks a
        // person for a decision
        let decided = ctx.wait_for_event::<BriefDecided>("approval").matching("briefId", &request.brief_id);
        let (decided, saved) = tokio::join!(decided.timeout(APPROVAL_TIMEOUT), save("save-for-approval", "approval"));
        saved?;
        match decided? {
            Some(decided) if decided.data.approved => {}
            Some(_) => {
                save("save-rejected", "rejected").await?;
                return Ok(brief);
            }
            None => {
                let why = "there was no decision on the draft within 7 days; send the request again";
                return Err(Error::terminal(why).with_code("approval-timeout"));
            }
        }
    }
    save("save-brief", "ready").await?;

    let (brief_id, client_id) = (request.brief_id.clone(), request.client_id.clone());
    ctx.send_event("announce", BriefReady { brief_id, client_id, title: brief.title.clone() }).await?;
    Ok(brief)
}

async fn open(services: &Services, request: &BriefRequested) -> Result<()> {
    let row = OpenedBriefRow {
        id: &request.brief_id,
        client_id: &request.client_id,
        topic: &request.topic,
        audience: request.audience.as_deref(),
        status: "writing",
    };
    services.supabase().await?.upsert("content_briefs", "id", &[row]).await
}
