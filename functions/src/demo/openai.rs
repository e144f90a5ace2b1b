//! A stand-in for OpenAI, which invents answers to the questions of these functions.
//!
//! No model is involved. An answer conforms to the schema, and its text says that it comes from a
//! stand-in.

use std::time::Duration;

use axum::{Json, Router, http::StatusCode, response::IntoResponse, routing::post};
use serde_json::{Value, json};

use super::LABEL;
use crate::{
    content_brief::{Draft, Outline, ResearchFinding, ResearchPlan},
    enhance_client::{BusinessIntelligence, CompanyProfile, Competitor},
    generate_queries::QuerySuggestions,
};

/// Returns the routes of the stand-in. Each answer is delayed, so that the executing step is
/// visible.
pub(super) fn router(delay: Duration) -> Router {
    Router::new().route("/v1/chat/completions", post(move |Json(body): Json<Value>| answer_after_delay(body, delay)))
}

async fn answer_after_delay(body: Value, delay: Duration) -> impl IntoResponse {
    let asked = body["messages"].as_array().and_then(|all| all.last()).and_then(|last| last["content"].as_str());
    let question: Value = asked.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let schema = body["response_format"]["json_schema"]["name"].as_str().unwrap_or_default();
    tracing::info!(target: "stepladder::demo", "{LABEL} for OpenAI: thinking about a {schema} for {delay:?}");
    tokio::time::sleep(delay).await;
    let Some(content) = invent_answer(schema, &question) else {
        let message = format!("{LABEL} for OpenAI: knows nothing of a `{schema}`");
        let body = json!({ "error": { "message": message, "type": "invalid_request_error", "code": null } });
        return (StatusCode::BAD_REQUEST, [("x-stand-in", "openai")], Json(body));
    };
    let tokens = json!({ "prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0 });
    let answer = json!({
        "id": "chatcmpl-stand-in",
        "object": "chat.completion",
        "created": 0,
        "model": LABEL,
        "choices": [{
            "index": 0,
            "finish_reason": "stop",
            "message": { "role": "assistant", "content": content, "refusal": null },
        }],
        "usage": tokens,
    });
    (StatusCode::OK, [("x-stand-in", "openai")], Json(answer))
}

// returns an answer that conforms to the schema, or `None` for an unknown schema
fn invent_answer(schema: &str, question: &Value) -> Option<String> {
    let text = |field: &str, other: &str| question[field].as_str().unwrap_or(other).to_owned();
    let (company, domain) = (text("company", "The company"), text("domain", "company.example"));
    let topic = text("topic", "the topic");
    let about = |parts: &[&str]| parts.iter().map(|part| format!("{part} {topic}")).collect::<Vec<_>>();
    let content = match schema {
        "business_intelligence" => serde_json::to_string(&invent_intelligence(&company, &domain)),
        // contains a repeated query, so that `process-data` has something to remove
        "search_queries" => serde_json::to_string(&QuerySuggestions {
            queries: ["best", "cheap", "Best "].iter().map(|kind| format!("{kind} alternative to {company}")).collect(),
        }),
        "research_plan" => {
            serde_json::to_string(&ResearchPlan { questions: about(&["What is", "Who needs", "What costs"]) })
        }
        "finding" => serde_json::to_string(&ResearchFinding {
            question: String::new(),
            answer: format!("The {LABEL} for OpenAI does not know much about {topic}. No model was asked."),
        }),
        "outline" => serde_json::to_string(&Outline {
            title: format!("All about {topic}"),
            headings: about(&["What is", "Who needs", "What next after"]),
        }),
        "draft" => serde_json::to_string(&Draft {
            markdown: format!("# All about {topic}\n\nWritten by the {LABEL} for OpenAI. No model was asked."),
        }),
        _ => return None,
    };
    content.ok()
}

// contains too many and repeated entries, so that `process-data` has something to remove
fn invent_intelligence(company: &str, domain: &str) -> BusinessIntelligence {
    let numbered = |what: &str, n: usize| (1..=n).map(|i| format!("{what} {i} of {company}")).collect::<Vec<_>>();
    let lines = |entries: &[&str]| entries.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>();
    let stem = domain.split('.').next().unwrap_or("company");
    BusinessIntelligence {
        profile: CompanyProfile {
            industry: "Software".to_owned(),
            description: format!("{company} ({domain}), as the {LABEL} for OpenAI imagines it. No model was asked."),
            business_model: "Subscriptions, billed by month or by year".to_owned(),
            tone: "Plain and friendly".to_owned(),
            products: numbered("Product", 14),
            services: lines(&["Consulting", "Training", "consulting", "Support"]),
            audiences: lines(&["Small companies", "Agencies", "Public authorities"]),
            keywords: numbered("Keyword", 26),
            unique_selling_points: lines(&["Runs in your own account", "Never pays twice", "Never pays twice"]),
            locations: lines(&["Berlin", "Lisbon", ""]),
        },
        competitors: ["rival", "other", "RIVAL"]
            .iter()
            .map(|kind| Competitor {
                name: format!("{kind} of {company}"),
                domain: format!("https://www.{kind}-{stem}.example/"),
                reason: "Sells the same to the same people.".to_owned(),
            })
            .collect(),
    }
}
