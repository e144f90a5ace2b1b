//! Business intelligence about a client: the AI's answer, its JSON schema, and the database columns
//! with its values.
//!
//! The fields have the same names in the JSON schema and in the table `clients`. The schema only
//! states the limits in its descriptions, because some servers do not accept limits in a strict
//! schema. `tidy.rs` applies the limits.

use serde_json::{Value, json};
use stepladder::prelude::*;

use super::tidy::ListLimits;
use crate::text::object_schema;

/// The AI's answer. After it was tidied, it is also the output of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BusinessIntelligence {
    /// The values for the columns of the client's row.
    #[serde(flatten)]
    pub profile: CompanyProfile,
    /// Competitors for the same customers; each is stored in its own row.
    pub competitors: Vec<Competitor>,
}

/// The columns of `clients` that a run fills.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompanyProfile {
    /// The industry, in a few words.
    pub industry: String,
    /// What the company does, in two to four sentences.
    pub description: String,
    /// How the company earns money.
    pub business_model: String,
    /// The tone of the company's own texts.
    pub tone: String,
    /// The products that the company sells.
    pub products: Vec<String>,
    /// The services that the company offers.
    pub services: Vec<String>,
    /// The groups of customers.
    pub audiences: Vec<String>,
    /// The keywords that buyers search for.
    pub keywords: Vec<String>,
    /// What distinguishes the company from others.
    pub unique_selling_points: Vec<String>,
    /// Where the company is located and where it sells.
    pub locations: Vec<String>,
}

/// One competitor, identified by its domain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Competitor {
    /// The company's name.
    pub name: String,
    /// The bare web domain, such as `example.com`.
    pub domain: String,
    /// Why the company is a competitor.
    pub reason: String,
}

/// Returns the JSON schema of [`BusinessIntelligence`], in the subset that strict mode accepts.
#[must_use]
pub fn intelligence_schema() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let list = |description: &str, max: usize| {
        json!({
            "type": "array",
            "items": { "type": "string" },
            "description": format!("{description}, at most {max}"),
        })
    };
    let competitor = object_schema(vec![
        ("name", text("the competitor's name")),
        ("domain", text("the bare domain of its web site, such as example.com")),
        ("reason", text("why it competes, in one sentence")),
    ]);
    let competitors = json!({
        "type": "array",
        "items": competitor,
        "description": format!("at most {}", ListLimits::COMPETITORS),
    });
    object_schema(vec![
        ("industry", text("the industry, in a few words")),
        ("description", text("what the company does, in two to four sentences")),
        ("business_model", text("how it earns money")),
        ("tone", text("the voice of the company's own texts, in a few words")),
        ("products", list("what it sells", ListLimits::PRODUCTS)),
        ("services", list("what it does for others", ListLimits::SERVICES)),
        ("audiences", list("who buys", ListLimits::AUDIENCES)),
        ("keywords", list("what buyers search for", ListLimits::KEYWORDS)),
        ("unique_selling_points", list("what sets it apart", ListLimits::UNIQUE_SELLING_POINTS)),
        ("locations", list("where it is and where it sells", ListLimits::LOCATIONS)),
        ("competitors", competitors),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_has_exactly_the_fields_of_the_type() {
        let mut sample = serde_json::to_value(BusinessIntelligence {
            competitors: vec![Competitor::default()],
            ..BusinessIntelligence::default()
        })
        .unwrap();
        let schema = intelligence_schema();
        let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&schema["properties"]), names(&sample));
        let competitor = sample["competitors"][0].take();
        assert_eq!(names(&schema["properties"]["competitors"]["items"]["properties"]), names(&competitor));
    }

    #[test]
    fn every_object_of_the_schema_is_strict() {
        fn check_objects(value: &Value) -> usize {
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
                Value::Object(map) => map.values().map(check_objects).sum(),
                Value::Array(list) => list.iter().map(check_objects).sum(),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
            };
            own + inner
        }
        assert_eq!(check_objects(&intelligence_schema()), 2);
    }
}
