//! Texts that people and models write, made fit to be stored: trimmed, without NUL, not too long, not blank, not twice.

use std::collections::HashSet;

use stepladder::prelude::*;

/// `text` without NUL characters and outer white space, cut to so many characters.
#[must_use]
pub fn clean(text: &str, chars: usize) -> String {
    let clean: String = text.chars().filter(|c| *c != '\0').collect();
    clean.trim().chars().take(chars).collect::<String>().trim_end().to_owned()
}

/// The first `cap` of `entries`, each clean; blanks are left out, and repeats (regardless of case) after the first.
pub fn distinct(entries: impl IntoIterator<Item = String>, chars: usize, cap: usize) -> Vec<String> {
    let mut seen = HashSet::new();
    entries
        .into_iter()
        .map(|entry| clean(&entry, chars))
        .filter(|entry| !entry.is_empty() && seen.insert(entry.to_lowercase()))
        .take(cap)
        .collect()
}

/// Found out before anything is paid for.
///
/// # Errors
/// Terminal, naming the first field whose value is blank.
pub fn refuse_blanks(fields: &[(&str, &str)]) -> Result<()> {
    match fields.iter().find(|(_, value)| value.trim().is_empty()) {
        Some((field, _)) => Err(Error::terminal(format!("the event's {field} is blank; send it filled in"))),
        None => Ok(()),
    }
}

/// A JSON schema of an object in the strict subset: every property is required, none may be added.
#[must_use]
pub fn strict_object(properties: Vec<(&str, serde_json::Value)>) -> serde_json::Value {
    let required: Vec<&str> = properties.iter().map(|(name, _)| *name).collect();
    let required = json!(required);
    let properties: serde_json::Map<String, serde_json::Value> =
        properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

/// The schema of a list of texts.
#[must_use]
pub fn texts(description: &str) -> serde_json::Value {
    json!({ "type": "array", "items": { "type": "string" }, "description": description })
}

/// The schema of a text.
#[must_use]
pub fn text(description: &str) -> serde_json::Value {
    json!({ "type": "string", "description": description })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_told_regardless_of_case_and_the_first_spelling_stays() {
        let entries = [" Tea ", "", "tea", "a\0b", "TEA", "c"].map(str::to_owned);
        assert_eq!(distinct(entries, 3, 3), ["Tea", "ab", "c"]);
    }

    #[test]
    fn a_blank_field_is_named() {
        let refused = refuse_blanks(&[("a", "x"), ("b", " \n")]).unwrap_err();
        assert!(refused.is_terminal() && refused.to_string().contains("the event's b is blank"), "{refused}");
        refuse_blanks(&[("a", "x")]).unwrap();
    }
}
