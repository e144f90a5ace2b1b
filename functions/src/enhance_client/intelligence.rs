//! What is known about a client's business: the AI's answer, the schema that asks for it, and the columns it fills.
//!
//! The field names are those of the JSON schema and of the table `clients` at once. The schema asks for the
//! limits in words, since strict schemas cannot state them for every server; `tidy.rs` applies them.

use serde_json::{Value, json};
use stepladder::prelude::*;

use super::tidy::Caps;
use crate::words::strict_object;

/// The AI's answer, and, tidied, what a run ends with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BusinessIntelligence {
    /// What goes into the client's own row.
    #[serde(flatten)]
    pub profile: Profile,
    /// Who else sells to the same people; rows of their own.
    pub competitors: Vec<Competitor>,
}

/// The columns of `clients` that a run fills.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// The industry, in a few words.
    pub industry: String,
    /// What the company does, in two to four sentences.
    pub description: String,
    /// How it earns money.
    pub business_model: String,
    /// The voice of its own texts.
    pub tone: String,
    /// What it sells.
    pub products: Vec<String>,
    /// What it does for others.
    pub services: Vec<String>,
    /// Who buys.
    pub audiences: Vec<String>,
    /// What buyers search for.
    pub keywords: Vec<String>,
    /// What sets it apart.
    pub unique_selling_points: Vec<String>,
    /// Where it is and where it sells.
    pub locations: Vec<String>,
}

/// One competitor; its domain is what tells it from the others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Competitor {
    /// The company's name.
    pub name: String,
    /// Its bare web domain.
    pub domain: String,
    /// Why it competes.
    pub reason: String,
}

/// The JSON schema of [`BusinessIntelligence`], in the strict subset: every property is required, none may be added.
#[must_use]
pub fn schema() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let list = |description: &str, most: usize| {
        json!({
            "type": "array",
            "items": { "type": "string" },
            "description": format!("{description}, at most {most}"),
        })
    };
    let competitor = strict_object(vec![
        ("name", text("the competitor's name")),
        ("domain", text("the bare domain of its web site, such as example.com")),
        ("reason", text("why it competes, in one sentence")),
    ]);
    let competitors = json!({
        "type": "array",
        "items": competitor,
        "description": format!("at most {}", Caps::COMPETITORS),
    });
    strict_object(vec![
        ("industry", text("the industry, in a few words")),
        ("description", text("what the company does, in two to four sentences")),
        ("business_model", text("how it earns money")),
        ("tone", text("the voice of the company's own texts, in a few words")),
        ("products", list("what it sells", Caps::PRODUCTS)),
        ("services", list("what it does for others", Caps::SERVICES)),
        ("audiences", list("who buys", Caps::AUDIENCES)),
        ("keywords", list("what buyers search for", Caps::KEYWORDS)),
        ("unique_selling_points", list("what sets it apart", Caps::UNIQUE_SELLING_POINTS)),
        ("locations", list("where it is and where it sells", Caps::LOCATIONS)),
        ("competitors", competitors),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_asks_for_exactly_the_fields_that_are_decoded() {
        let mut sample = serde_json::to_value(BusinessIntelligence {
            competitors: vec![Competitor::default()],
            ..BusinessIntelligence::default()
        })
        .unwrap();
        let schema = schema();
        let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&schema["properties"]), names(&sample));
        let competitor = sample["competitors"][0].take();
        assert_eq!(names(&schema["properties"]["competitors"]["items"]["properties"]), names(&competitor));
    }

    #[test]
    fn every_object_of_the_schema_is_strict() {
        fn check(value: &Value) -> usize {
            let own = usize::from(value["type"] == "object");
            if own == 1 {
                assert_eq!(value["additionalProperties"], false);
                let mut required: Vec<&str> =
                    value["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
                required.sort_unstable();
                let mut properties: Vec<&str> =
                    value["properties"].as_object().unwrap().keys().map(String::as_str).collect();
                properties.sort_unstable();
                assert_eq!(required, properties);
            }
            let inner = match value {
                Value::Object(map) => map.values().map(check).sum(),
                Value::Array(list) => list.iter().map(check).sum(),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
            };
            own + inner
        }
        assert_eq!(check(&schema()), 2);
    }
}
