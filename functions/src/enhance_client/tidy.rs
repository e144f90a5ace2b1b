//! Tidies the answer of an AI: trims strings, removes empty and repeated entries from lists, and
//! limits the length of both.
//!
//! The result can be stored: it contains no NUL characters, which PostgreSQL refuses. It contains
//! no domain twice, because one upsert must not change the same row twice.

use std::collections::HashSet;

use super::intelligence::{BusinessIntelligence, CompanyProfile, Competitor};
use crate::text::{clean_text, distinct_entries};

/// The maximum number of entries in each list, and of characters. The first entries are kept.
#[derive(Debug)]
pub struct ListLimits;

impl ListLimits {
    /// The maximum number of `products`.
    pub const PRODUCTS: usize = 10;
    /// The maximum number of `services`.
    pub const SERVICES: usize = 10;
    /// The maximum number of `audiences`.
    pub const AUDIENCES: usize = 8;
    /// The maximum number of `keywords`.
    pub const KEYWORDS: usize = 20;
    /// The maximum number of `unique_selling_points`.
    pub const UNIQUE_SELLING_POINTS: usize = 8;
    /// The maximum number of `locations`.
    pub const LOCATIONS: usize = 10;
    /// The maximum number of `competitors`.
    pub const COMPETITORS: usize = 10;
    /// The maximum number of characters in an entry, a name or a domain.
    pub const ENTRY_CHARS: usize = 200;
    /// The maximum number of characters in the industry, the description, the business model, the
    /// tone and a competitor's reason.
    pub const TEXT_CHARS: usize = 2000;
}

/// Limits the answer to [`ListLimits`]. Removes competitors without a valid domain, and the client
/// itself if the AI listed it.
#[must_use]
pub fn limit_array_fields(raw: BusinessIntelligence, client_domain: &str) -> BusinessIntelligence {
    let BusinessIntelligence { profile, competitors } = raw;
    BusinessIntelligence {
        profile: CompanyProfile {
            industry: clean_text(&profile.industry, ListLimits::TEXT_CHARS),
            description: clean_text(&profile.description, ListLimits::TEXT_CHARS),
            business_model: clean_text(&profile.business_model, ListLimits::TEXT_CHARS),
            tone: clean_text(&profile.tone, ListLimits::TEXT_CHARS),
            products: tidy_list(profile.products, ListLimits::PRODUCTS),
            services: tidy_list(profile.services, ListLimits::SERVICES),
            audiences: tidy_list(profile.audiences, ListLimits::AUDIENCES),
            keywords: tidy_list(profile.keywords, ListLimits::KEYWORDS),
            unique_selling_points: tidy_list(profile.unique_selling_points, ListLimits::UNIQUE_SELLING_POINTS),
            locations: tidy_list(profile.locations, ListLimits::LOCATIONS),
        },
        competitors: tidy_competitors(competitors, client_domain),
    }
}

fn tidy_competitors(competitors: Vec<Competitor>, client_domain: &str) -> Vec<Competitor> {
    let mut seen: HashSet<String> = bare_domain(client_domain).into_iter().collect();
    competitors
        .into_iter()
        .filter_map(|competitor| {
            let domain = bare_domain(&competitor.domain)?;
            seen.insert(domain.clone()).then(|| {
                let name = clean_text(&competitor.name, ListLimits::ENTRY_CHARS);
                Competitor {
                    name: if name.is_empty() { domain.clone() } else { name },
                    domain,
                    reason: clean_text(&competitor.reason, ListLimits::TEXT_CHARS),
                }
            })
        })
        .take(ListLimits::COMPETITORS)
        .collect()
}

fn tidy_list(entries: Vec<String>, cap: usize) -> Vec<String> {
    distinct_entries(entries, ListLimits::ENTRY_CHARS, cap)
}

// `https://WWW.Example.com/about` and `example.com` must count as the same competitor
fn bare_domain(text: &str) -> Option<String> {
    let lower = text.trim().to_lowercase();
    let bare = lower.split_once("://").map_or(lower.as_str(), |(_, rest)| rest);
    let host = bare.split(['/', '?', '#', ':']).next().unwrap_or_default();
    let host = host.strip_prefix("www.").unwrap_or(host).trim_end_matches('.');
    let is_valid = host.contains('.')
        && !host.starts_with('.')
        && host.len() <= ListLimits::ENTRY_CHARS
        && host.chars().all(|c| c.is_alphanumeric() || c == '.' || c == '-');
    is_valid.then(|| host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn many_entries(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("entry {i}")).collect()
    }

    fn competitor(name: &str, domain: &str) -> Competitor {
        Competitor { name: name.to_owned(), domain: domain.to_owned(), reason: "sells the same".to_owned() }
    }

    #[test]
    fn every_list_is_capped_and_keeps_its_first_entries() {
        let raw = BusinessIntelligence {
            profile: CompanyProfile {
                products: many_entries(50),
                services: many_entries(50),
                audiences: many_entries(50),
                keywords: many_entries(50),
                unique_selling_points: many_entries(50),
                locations: many_entries(50),
                ..CompanyProfile::default()
            },
            competitors: (0..50).map(|i| competitor("Rival", &format!("rival-{i}.example"))).collect(),
        };
        let tidy = limit_array_fields(raw, "client.example");
        // the JSON contains every list, even one that is later added to the type but not to this
        // test
        let json = serde_json::to_value(&tidy).unwrap();
        let lists: Vec<_> =
            json.as_object().unwrap().iter().filter_map(|(name, v)| Some((name, v.as_array()?))).collect();
        assert_eq!(lists.len(), 7);
        for (name, entries) in lists {
            assert!((1..=20).contains(&entries.len()), "{name} has {}", entries.len());
        }
        assert_eq!(tidy.profile.keywords, many_entries(ListLimits::KEYWORDS));
        assert_eq!(tidy.profile.products, many_entries(ListLimits::PRODUCTS));
        assert_eq!(tidy.competitors.len(), ListLimits::COMPETITORS);
        assert_eq!(tidy.competitors[9].domain, "rival-9.example");
    }

    #[test]
    fn blanks_and_repeats_are_removed_before_the_list_is_cut() {
        let mut entries = vec![" Tea ".to_owned(), String::new(), "tea".to_owned(), " \n".to_owned(), "TEA".to_owned()];
        entries.extend(many_entries(ListLimits::AUDIENCES));
        let raw = BusinessIntelligence {
            profile: CompanyProfile { audiences: entries, ..CompanyProfile::default() },
            ..BusinessIntelligence::default()
        };
        let tidy = limit_array_fields(raw, "client.example");
        let mut expected = vec!["Tea".to_owned()];
        expected.extend(many_entries(ListLimits::AUDIENCES - 1));
        assert_eq!(tidy.profile.audiences, expected);
    }

    #[test]
    fn text_loses_nul_characters_and_is_cut() {
        let raw = BusinessIntelligence {
            profile: CompanyProfile {
                description: format!(" a\0b{} ", "é".repeat(3000)),
                keywords: vec!["k".repeat(500)],
                ..CompanyProfile::default()
            },
            ..BusinessIntelligence::default()
        };
        let tidy = limit_array_fields(raw, "client.example");
        assert!(tidy.profile.description.starts_with("abé"));
        assert_eq!(tidy.profile.description.chars().count(), ListLimits::TEXT_CHARS);
        assert_eq!(tidy.profile.keywords[0].len(), ListLimits::ENTRY_CHARS);
    }

    #[test]
    fn competitors_are_compared_by_bare_domain_and_exclude_the_client() {
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
        let tidied: Vec<_> = tidy.competitors.iter().map(|c| (c.name.as_str(), c.domain.as_str())).collect();
        assert_eq!(tidied, [("One", "one.example"), ("two.example", "two.example")]);
    }

    #[test]
    fn tidying_twice_changes_nothing() {
        let raw = BusinessIntelligence {
            profile: CompanyProfile {
                description: "x ".repeat(1500),
                products: many_entries(30),
                ..CompanyProfile::default()
            },
            competitors: vec![competitor("A", "http://a.example/"), competitor("B", "b.example")],
        };
        let once = limit_array_fields(raw, "client.example");
        assert_eq!(limit_array_fields(once.clone(), "client.example"), once);
    }
}
