//! Prepares texts from people and models for storage: trims them, removes NUL characters, limits
//! their length, and removes empty and repeated entries.

use std::collections::HashSet;

use stepladder::prelude::*;

/// Removes NUL characters and outer white space, and truncates the text to `max_chars` characters.
#[must_use]
pub fn clean_text(text: &str, max_chars: usize) -> String {
    let clean: String = text.chars().filter(|c| *c != '\0').collect();
    clean.trim().chars().take(max_chars).collect::<String>().trim_end().to_owned()
}

/// Returns the first `max_len` entries, each [cleaned](clean_text). Empty and repeated entries are
/// removed; entries that differ only in case count as repeated.
pub fn distinct_entries(entries: impl IntoIterator<Item = String>, max_chars: usize, max_len: usize) -> Vec<String> {
    let mut seen = HashSet::new();
    entries
        .into_iter()
        .map(|entry| clean_text(&entry, max_chars))
        .filter(|entry| !entry.is_empty() && seen.insert(entry.to_lowercase()))
        .take(max_len)
        .collect()
}

/// Checks that no field of an event is blank, before a step costs money.
///
/// # Errors
/// Returns a terminal error with the name of the first blank field.
pub fn require_filled(fields: &[(&str, &str)]) -> Result<()> {
    match fields.iter().find(|(_, value)| value.trim().is_empty()) {
        Some((field, _)) => Err(Error::terminal(format!("the event's {field} is blank; set it"))),
        None => Ok(()),
    }
}

/// Returns the JSON schema of an object in the subset that strict mode accepts: every property is
/// required, and no other property is allowed.
#[must_use]
pub fn object_schema(properties: Vec<(&str, serde_json::Value)>) -> serde_json::Value {
    let required: Vec<&str> = properties.iter().map(|(name, _)| *name).collect();
    let required = json!(required);
    let properties: serde_json::Map<String, serde_json::Value> =
        properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

/// Returns the JSON schema of an array of strings.
#[must_use]
pub fn strings_schema(description: &str) -> serde_json::Value {
    json!({ "type": "array", "items": { "type": "string" }, "description": description })
}

/// Returns the JSON schema of a string.
#[must_use]
pub fn string_schema(description: &str) -> serde_json::Value {
    json!({ "type": "string", "description": description })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_removed_regardless_of_case_and_the_first_spelling_is_kept() {
        let entries = [" Tea ", "", "tea", "a\0b", "TEA", "c"].map(str::to_owned);
        assert_eq!(distinct_entries(entries, 3, 3), ["Tea", "ab", "c"]);
    }

    #[test]
    fn a_blank_field_is_named() {
        let refused = require_filled(&[("a", "x"), ("b", " \n")]).unwrap_err();
        assert!(refused.is_terminal() && refused.to_string().contains("the event's b is blank"), "{refused}");
        require_filled(&[("a", "x")]).unwrap();
    }
}
