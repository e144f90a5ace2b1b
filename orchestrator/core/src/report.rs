//! What user code reports besides its outcome: log lines, and usage of paid models.
//!
//! Both are bounded when they are created. Which log lines a run has already recorded is not stored
//! here, but in the run's [state](crate::state::RecordedLogs).

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Json;
use crate::limits::{LOG_BYTES, LOG_LINE_BYTES, LOG_LINES, NAME_CHARS, USAGE_MODELS};

/// The log lines and the model usage that a body reported. They are recorded with the attempt's
/// outcome, even if that is a failure, because used tokens must be paid for in any case.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AttemptReport {
    /// The log lines of the body, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<LogLine>,
    /// The usage of models, one item per model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub usage: Vec<Usage>,
}

impl AttemptReport {
    /// Returns this report, truncated to the limits of a journal: the size of each log line, the
    /// number of models, and the length of their names.
    pub(crate) fn bounded(self) -> Self {
        let mut usage = Vec::with_capacity(self.usage.len().min(USAGE_MODELS + 1));
        self.usage.into_iter().for_each(|used| used.add_to(&mut usage));
        Self { lines: self.lines.into_iter().map(LogLine::bounded).collect(), usage }
    }

    /// Returns whether nothing was reported.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.usage.is_empty()
    }
}

/// The tokens that a body used of one model, and their cost. Usage of the same model adds up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Usage {
    /// The model's name, as the model's service reports it.
    pub model: Arc<str>,
    /// The number of tokens that the model read, including tokens from a cache.
    pub input_tokens: u64,
    /// The number of tokens that the model read from a cache.
    #[serde(default)]
    pub cached_input_tokens: u64,
    /// The number of tokens that the model wrote, including those of its reasoning.
    pub output_tokens: u64,
    /// The cost in micro-dollars (millionths of a US dollar); `None` if the model's price is
    /// unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub micro_dollars: Option<u64>,
}

/// The name under which the usage of all models beyond [`USAGE_MODELS`] is added up.
const OTHER_MODELS: &str = "others";

impl Usage {
    /// Creates usage of a model, without tokens and without a cost.
    pub fn new(model: impl Into<Arc<str>>) -> Self {
        Self { model: model.into(), ..Self::default() }
    }

    /// Sets the number of tokens that the model read, including tokens from a cache.
    #[must_use]
    pub fn input_tokens(mut self, n: u64) -> Self {
        self.input_tokens = n;
        self
    }

    /// Sets the number of tokens that the model read from a cache.
    #[must_use]
    pub fn cached_input_tokens(mut self, n: u64) -> Self {
        self.cached_input_tokens = n;
        self
    }

    /// Sets the number of tokens that the model wrote, including those of its reasoning.
    #[must_use]
    pub fn output_tokens(mut self, n: u64) -> Self {
        self.output_tokens = n;
        self
    }

    /// Sets the cost in micro-dollars (millionths of a US dollar).
    #[must_use]
    pub fn micro_dollars(mut self, n: u64) -> Self {
        self.micro_dollars = Some(n);
        self
    }

    /// Adds this usage to a list with one item per model. Beyond [`USAGE_MODELS`] models, usage is
    /// added up under the name `others`.
    pub fn add_to(mut self, used: &mut Vec<Usage>) {
        if self.model.chars().nth(NAME_CHARS).is_some() {
            self.model = self.model.chars().take(NAME_CHARS).collect::<String>().into();
        }
        let is_new = used.iter().all(|usage| usage.model != self.model);
        if is_new && used.len() >= USAGE_MODELS {
            self.model = OTHER_MODELS.into();
        }
        match used.iter_mut().find(|usage| usage.model == self.model) {
            Some(usage) => usage.add(&self),
            None => used.push(self),
        }
    }

    fn add(&mut self, more: &Usage) {
        self.input_tokens = self.input_tokens.saturating_add(more.input_tokens);
        self.cached_input_tokens = self.cached_input_tokens.saturating_add(more.cached_input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(more.output_tokens);
        self.micro_dollars = self.micro_dollars.zip(more.micro_dollars).map(|(a, b)| a.saturating_add(b));
    }
}

/// One line of a run's log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LogLine {
    /// The severity of the line.
    pub level: LogLevel,
    /// The message.
    pub message: Arc<str>,
    /// Values that belong to the message: a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Json>,
}

/// The severity of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogLevel {
    /// A normal event.
    #[default]
    Info,
    /// An event that may need attention.
    Warn,
    /// An error.
    Error,
}

impl LogLevel {
    /// Returns the name of the level in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl LogLine {
    /// Creates a line of at most [`LOG_LINE_BYTES`]. A longer message is truncated, and fields that
    /// do not fit are omitted.
    pub fn new(level: LogLevel, message: &str, fields: Option<Json>) -> Self {
        let message: Arc<str> = match message.len() <= LOG_LINE_BYTES {
            true => message.into(),
            false => format!("{}…", &message[..message.floor_char_boundary(LOG_LINE_BYTES - '…'.len_utf8())]).into(),
        };
        let room = LOG_LINE_BYTES - message.len();
        Self { level, message, fields: fields.filter(|fields| fields.get().len() <= room) }
    }

    /// Creates the line that is recorded when a run's log becomes full.
    fn end_of_log() -> Self {
        let message = "the log of this run has reached its limit; further lines are not recorded";
        Self { level: LogLevel::Warn, message: message.into(), fields: None }
    }

    /// Returns this line truncated to [`LOG_LINE_BYTES`].
    pub(crate) fn bounded(self) -> Self {
        if self.bytes() <= LOG_LINE_BYTES { self } else { Self::new(self.level, &self.message, self.fields) }
    }

    /// Returns the size of the message and the fields, in bytes.
    pub fn bytes(&self) -> usize {
        self.message.len() + self.fields.as_ref().map_or(0, |fields| fields.get().len())
    }
}

impl PartialEq for LogLine {
    fn eq(&self, other: &Self) -> bool {
        let text = |line: &Self| line.fields.as_ref().map(|fields| fields.get().to_owned());
        self.level == other.level && self.message == other.message && text(self) == text(other)
    }
}

/// A line that a function logged outside its steps, with the position at which it was logged.
///
/// The position consists of two numbers: that of outcomes revealed to the function before the line,
/// and that of lines since the last of these outcomes. A replay reaches the same positions, so it
/// recognises lines that are already recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HandlerLogLine {
    /// The number of outcomes that were revealed to the function before this line.
    pub after: u64,
    /// The number of lines that the function logged between the last of these outcomes and this
    /// line.
    pub nth: u32,
    /// The log line itself.
    pub line: LogLine,
}

/// Counts the log lines of a run against the limits [`LOG_LINES`] and [`LOG_BYTES`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogBudget {
    lines: usize,
    bytes: usize,
}

impl LogBudget {
    /// Adds a line to the count.
    pub fn add(&mut self, line: &LogLine) {
        self.lines += 1;
        self.bytes += line.bytes();
    }

    /// Returns whether the log is full. If it is not, the next line is recorded, whatever its size.
    pub fn is_full(self) -> bool {
        self.lines >= LOG_LINES || self.bytes + LOG_LINE_BYTES > LOG_BYTES
    }

    /// Returns the size of all counted lines, in bytes.
    pub fn bytes(self) -> usize {
        self.bytes
    }

    /// Removes the log lines of a body that do not fit into the log. When the log becomes full,
    /// adds a line that says so.
    pub fn fit(&mut self, lines: &mut Vec<LogLine>) {
        let mut kept = Vec::new();
        for line in lines.drain(..) {
            if self.is_full() {
                break;
            }
            self.add(&line);
            kept.push(line);
            kept.extend(self.is_full().then(LogLine::end_of_log));
        }
        *lines = kept;
    }

    /// Removes the log lines of a function that do not fit into the log. When the log becomes full,
    /// adds a line that says so.
    pub fn fit_handler_lines(&mut self, lines: &mut Vec<HandlerLogLine>) {
        let mut kept = Vec::new();
        for placed in lines.drain(..) {
            if self.is_full() {
                break;
            }
            self.add(&placed.line);
            let after = placed.after;
            kept.push(placed);
            // the number `u32::MAX` cannot collide with a line of the function
            kept.extend(self.is_full().then(|| HandlerLogLine { after, nth: u32::MAX, line: LogLine::end_of_log() }));
        }
        *lines = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn usage(model: &str, tokens: u64, micro_dollars: Option<u64>) -> Usage {
        Usage {
            model: model.into(),
            input_tokens: tokens,
            cached_input_tokens: 1,
            output_tokens: tokens.saturating_mul(2),
            micro_dollars,
        }
    }

    #[test]
    fn usage_of_a_model_adds_up_and_an_unknown_price_stays_unknown() {
        let mut used = Vec::new();
        [usage("a", 1, Some(5)), usage("b", 1, None), usage("a", 10, Some(7)), usage("b", 1, Some(1))]
            .into_iter()
            .for_each(|more| more.add_to(&mut used));
        let summary: Vec<_> =
            used.iter().map(|u| (&*u.model, u.input_tokens, u.output_tokens, u.micro_dollars)).collect();
        assert_eq!(summary, [("a", 11, 22, Some(12)), ("b", 2, 4, None)]);
        assert_eq!(used[0].cached_input_tokens, 2);
    }

    #[test]
    fn models_are_bounded_in_number_and_name() {
        let mut used = Vec::new();
        for n in 0..3 * USAGE_MODELS {
            usage(&format!("{n}{}", "é".repeat(2 * NAME_CHARS)), 1, Some(1)).add_to(&mut used);
        }
        assert_eq!(used.len(), USAGE_MODELS + 1);
        assert_eq!((&*used[USAGE_MODELS].model, used[USAGE_MODELS].input_tokens), ("others", 2 * USAGE_MODELS as u64));
        assert!(used.iter().all(|of| of.model.chars().count() <= NAME_CHARS));
        usage("c", u64::MAX, Some(u64::MAX)).add_to(&mut used);
        assert_eq!(used[USAGE_MODELS].input_tokens, u64::MAX);
    }

    #[test]
    fn a_line_is_cut_between_characters_and_fields_that_do_not_fit_are_left_out() {
        let fields = json::to_json(&serde_json::json!({"rows": 7})).unwrap();
        let short = LogLine::new(LogLevel::Info, "stored", Some(fields.clone()));
        assert_eq!((&*short.message, short.bytes()), ("stored", 6 + fields.get().len()));
        let long = LogLine::new(LogLevel::Info, &"é".repeat(LOG_LINE_BYTES), Some(fields));
        assert!(long.message.ends_with("é…") && long.bytes() <= LOG_LINE_BYTES, "{}", long.bytes());
        assert_eq!(long.fields.map(|fields| fields.get().to_owned()), None);
    }

    #[test]
    fn a_full_log_ends_with_a_line_that_says_so() {
        let line = |n: usize| LogLine::new(LogLevel::Info, &"x".repeat(n), None);
        let (mut budget, mut many) = (LogBudget::default(), vec![line(1); LOG_LINES + 5]);
        budget.fit(&mut many);
        assert_eq!((many.len(), many[LOG_LINES].clone()), (LOG_LINES + 1, LogLine::end_of_log()));
        let mut more = vec![line(1)];
        budget.fit(&mut more);
        assert!(more.is_empty());

        let place = |nth| HandlerLogLine { after: 3, nth, line: line(LOG_LINE_BYTES) };
        let (mut budget, mut long) = (LogBudget::default(), (0..1_000).map(place).collect::<Vec<_>>());
        budget.fit_handler_lines(&mut long);
        assert!(budget.is_full() && budget.bytes() <= LOG_BYTES);
        assert_eq!(long.last().map(|last| (last.after, last.nth)), Some((3, u32::MAX)));
    }
}
