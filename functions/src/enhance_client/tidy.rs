//! Tidying an AI's answer: every text trimmed, every list without blanks and repeats, and capped.
//!
//! Pure. What comes out can be stored: no NUL characters (PostgreSQL refuses them), and no competitor domain twice
//! (one upsert may not touch a row twice).

use std::collections::HashSet;

use super::intelligence::{BusinessIntelligence, Competitor, Profile};
use crate::words::{clean, distinct};

/// The most entries a list keeps; the first ones stay.
#[derive(Debug)]
pub struct Caps;

impl Caps {
    /// `products`.
    pub const PRODUCTS: usize = 10;
    /// `services`.
    pub const SERVICES: usize = 10;
    /// `audiences`.
    pub const AUDIENCES: usize = 8;
    /// `keywords`.
    pub const KEYWORDS: usize = 20;
    /// `unique_selling_points`.
    pub const UNIQUE_SELLING_POINTS: usize = 8;
    /// `locations`.
    pub const LOCATIONS: usize = 10;
    /// `competitors`.
    pub const COMPETITORS: usize = 10;
    /// Characters of one entry of a list, of a name or of a domain.
    pub const ENTRY_CHARS: usize = 200;
    /// Characters of a text: industry, description, business model, tone, a competitor's reason.
    pub const TEXT_CHARS: usize = 2000;
}

/// The answer within [`Caps`]. A competitor without a usable domain, or with the client's own, is left out.
#[must_use]
pub fn limit_array_fields(raw: BusinessIntelligence, client_domain: &str) -> BusinessIntelligence {
    let BusinessIntelligence { profile, competitors } = raw;
    BusinessIntelligence {
        profile: Profile {
            industry: clean(&profile.industry, Caps::TEXT_CHARS),
            description: clean(&profile.description, Caps::TEXT_CHARS),
            business_model: clean(&profile.business_model, Caps::TEXT_CHARS),
            tone: clean(&profile.tone, Caps::TEXT_CHARS),
            products: list(profile.products, Caps::PRODUCTS),
            services: list(profile.services, Caps::SERVICES),
            audiences: list(profile.audiences, Caps::AUDIENCES),
            keywords: list(profile.keywords, Caps::KEYWORDS),
            unique_selling_points: list(profile.unique_selling_points, Caps::UNIQUE_SELLING_POINTS),
            locations: list(profile.locations, Caps::LOCATIONS),
        },
        competitors: rivals(competitors, client_domain),
    }
}

fn rivals(competitors: Vec<Competitor>, client_domain: &str) -> Vec<Competitor> {
    let mut seen: HashSet<String> = domain(client_domain).into_iter().collect();
    competitors
        .into_iter()
        .filter_map(|competitor| {
            let domain = domain(&competitor.domain)?;
            seen.insert(domain.clone()).then(|| {
                let name = clean(&competitor.name, Caps::ENTRY_CHARS);
                Competitor {
                    name: if name.is_empty() { domain.clone() } else { name },
                    domain,
                    reason: clean(&competitor.reason, Caps::TEXT_CHARS),
                }
            })
        })
        .take(Caps::COMPETITORS)
        .collect()
}

fn list(entries: Vec<String>, cap: usize) -> Vec<String> {
    distinct(entries, Caps::ENTRY_CHARS, cap)
}

// `https://WWW.Example.com/about` and `example.com` are one competitor
fn domain(text: &str) -> Option<String> {
    let lower = text.trim().to_lowercase();
    let bare = lower.split_once("://").map_or(lower.as_str(), |(_, rest)| rest);
    let host = bare.split(['/', '?', '#', ':']).next().unwrap_or_default();
    let host = host.strip_prefix("www.").unwrap_or(host).trim_end_matches('.');
    let usable = host.contains('.')
        && !host.starts_with('.')
        && host.len() <= Caps::ENTRY_CHARS
        && host.chars().all(|c| c.is_alphanumeric() || c == '.' || c == '-');
    usable.then(|| host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn many(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("entry {i}")).collect()
    }

    fn competitor(name: &str, domain: &str) -> Competitor {
        Competitor { name: name.to_owned(), domain: domain.to_owned(), reason: "sells the same".to_owned() }
    }

    #[test]
    fn every_list_is_capped_and_keeps_its_first_entries() {
        let raw = BusinessIntelligence {
            profile: Profile {
                products: many(50),
                services: many(50),
                audiences: many(50),
                keywords: many(50),
                unique_selling_points: many(50),
                locations: many(50),
                ..Profile::default()
            },
            competitors: (0..50).map(|i| competitor("Rival", &format!("rival-{i}.example"))).collect(),
        };
        let tidy = limit_array_fields(raw, "client.example");
        // by way of JSON, so that a list added to the type and forgotten here is found
        let json = serde_json::to_value(&tidy).unwrap();
        let lists: Vec<_> =
            json.as_object().unwrap().iter().filter_map(|(name, v)| Some((name, v.as_array()?))).collect();
        assert_eq!(lists.len(), 7);
        for (name, entries) in lists {
            assert!((1..=20).contains(&entries.len()), "{name} has {}", entries.len());
        }
        assert_eq!(tidy.profile.keywords, many(Caps::KEYWORDS));
        assert_eq!(tidy.profile.products, many(Caps::PRODUCTS));
        assert_eq!(tidy.competitors.len(), Caps::COMPETITORS);
        assert_eq!(tidy.competitors[9].domain, "rival-9.example");
    }

    #[test]
    fn blanks_and_repeats_go_before_the_cap_counts() {
        let mut entries = vec![" Tea ".to_owned(), String::new(), "tea".to_owned(), " \n".to_owned(), "TEA".to_owned()];
        entries.extend(many(Caps::AUDIENCES));
        let raw = BusinessIntelligence {
            profile: Profile { audiences: entries, ..Profile::default() },
            ..BusinessIntelligence::default()
        };
        let tidy = limit_array_fields(raw, "client.example");
        let mut expected = vec!["Tea".to_owned()];
        expected.extend(many(Caps::AUDIENCES - 1));
        assert_eq!(tidy.profile.audiences, expected);
    }

    #[test]
    fn texts_lose_nul_characters_and_what_is_past_their_length() {
        let raw = BusinessIntelligence {
            profile: Profile {
                description: format!(" a\0b{} ", "é".repeat(3000)),
                keywords: vec!["k".repeat(500)],
                ..Profile::default()
            },
            ..BusinessIntelligence::default()
        };
        let tidy = limit_array_fields(raw, "client.example");
        assert!(tidy.profile.description.starts_with("abé"));
        assert_eq!(tidy.profile.description.chars().count(), Caps::TEXT_CHARS);
        assert_eq!(tidy.profile.keywords[0].len(), Caps::ENTRY_CHARS);
    }

    #[test]
    fn competitors_are_told_apart_by_bare_domain_and_the_client_is_none() {
        let raw = BusinessIntelligence {
            competitors: vec![
                competitor("One", "https://WWW.One.example/about?x=1"),
                competitor("One again", "one.example."),
                competitor("Itself", "www.client.example"),
                competitor("Nowhere", "n/a"),
                competitor("Unknown", "not known.example"),
                competitor(" ", "two.example:8080"),
            ],
            ..BusinessIntelligence::default()
        };
        let tidy = limit_array_fields(raw, "https://Client.example");
        let told: Vec<_> = tidy.competitors.iter().map(|c| (c.name.as_str(), c.domain.as_str())).collect();
        assert_eq!(told, [("One", "one.example"), ("two.example", "two.example")]);
    }

    #[test]
    fn tidying_twice_changes_nothing() {
        let raw = BusinessIntelligence {
            profile: Profile { description: "x ".repeat(1500), products: many(30), ..Profile::default() },
            competitors: vec![competitor("A", "http://a.example/"), competitor("B", "b.example")],
        };
        let once = limit_array_fields(raw, "client.example");
        assert_eq!(limit_array_fields(once.clone(), "client.example"), once);
    }
}
