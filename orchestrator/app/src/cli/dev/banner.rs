//! The banner that a local server prints: its address, its functions, and a command to try.

use std::fmt::Write;
use std::path::Path;

use owo_colors::OwoColorize;
use stepladder_api::Function;

use crate::cli::functions::{NO_FUNCTIONS, functions_table};
use crate::terminal::text::one_line;

/// The values that the banner shows.
pub(super) struct Banner<'a> {
    pub(super) address: &'a str,
    pub(super) db: &'a Path,
    pub(super) functions: &'a [Function],
    /// Whether events must be sent with a key.
    pub(super) keyed: bool,
    pub(super) notes: &'a [String],
}

impl Banner<'_> {
    /// Returns the banner, which has several lines.
    pub(super) fn text(&self) -> String {
        let mut out = format!("{} {}\n", "Stepladder is ready:".green().bold(), self.address.bold());
        let mut add = |line: String| {
            // writing to a string does not fail
            let _ = writeln!(out, "{line}");
        };
        add(format!("{} {}\n", "data in".dimmed(), self.db.display()));
        if self.functions.is_empty() {
            add(NO_FUNCTIONS.yellow().to_string());
        } else {
            add(functions_table(self.functions).to_string());
        }
        if let Some(curl) = self.curl_command() {
            add(format!("\n{}\n  {curl}", "try".dimmed()));
        }
        if !self.notes.is_empty() {
            add(String::new());
        }
        for note in self.notes {
            add(format!("{} {}", "note".yellow(), one_line(note, usize::MAX)));
        }
        out
    }

    /// Returns a command that sends an event for the first trigger without a condition.
    fn curl_command(&self) -> Option<String> {
        let mut triggers = self.functions.iter().flat_map(|function| &function.triggers);
        let event = &triggers.find(|trigger| trigger.condition.is_none())?.event;
        let key = if self.keyed { "YOUR_EVENT_KEY" } else { "local" };
        let body = serde_json::json!({ "name": event }).to_string().replace('\'', r"'\''");
        Some(format!("curl {}/e/{key} -d '{body}'", self.address))
    }
}

#[cfg(test)]
mod tests {
    use stepladder_api::Trigger;

    use super::*;

    fn text(functions: &[Function], keyed: bool) -> String {
        let notes = ["a stand-in answers".to_owned()];
        let banner =
            Banner { address: "http://localhost:8288", db: Path::new("x/dev.db"), functions, keyed, notes: &notes };
        console::strip_ansi_codes(&banner.text()).into_owned()
    }

    fn function_with_condition(condition: Option<&str>) -> Function {
        Function {
            id: "hello".into(),
            triggers: vec![Trigger { event: "it's".into(), condition: condition.map(str::to_owned) }],
            cron: Vec::new(),
            retries: 4,
            non_retryable: Vec::new(),
            timeout_ms: 60_000,
            concurrency: Vec::new(),
            flow_control: Vec::new(),
            on_failure: None,
            paused_since: None,
        }
    }

    #[test]
    fn the_banner_has_the_address_the_functions_and_a_command() {
        let text = text(&[function_with_condition(None)], false);
        assert!(text.starts_with("Stepladder is ready: http://localhost:8288\ndata in x/dev.db\n"), "{text}");
        assert!(text.contains("hello     it's"), "{text}");
        assert!(text.contains(r#"curl http://localhost:8288/e/local -d '{"name":"it'\''s"}'"#), "{text}");
        assert!(text.ends_with("note a stand-in answers\n"), "{text}");
    }

    #[test]
    fn a_key_is_never_printed() {
        assert!(text(&[function_with_condition(None)], true).contains("/e/YOUR_EVENT_KEY -d"));
    }

    #[test]
    fn without_an_unconditional_trigger_there_is_no_command() {
        assert!(!text(&[function_with_condition(Some("false"))], false).contains("curl"));
        assert!(text(&[], false).contains("no functions are registered"));
    }
}
