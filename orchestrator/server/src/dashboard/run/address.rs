//! What the address of a run's page selects. Each view of a run has an address of its own.

use stepladder_core::journal::Seq;

use crate::dashboard::PageRequest;
use crate::dashboard::scale::ScaleKind;
use crate::dashboard::text::query_string;
use crate::error::HttpProblem;

/// The maximum length of the text by which steps are filtered, in bytes.
const FIND_BYTES: usize = 256;

/// The parts of the address of a run's page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RunAddress {
    /// The number of entries after which the run is shown; `None` for now.
    pub(super) at: Option<Seq>,
    /// The first row of the list of steps.
    pub(super) first: Option<usize>,
    /// The selected step.
    pub(super) step: Option<usize>,
    /// The text that the names of the listed steps contain. With `*`, the pattern of the names.
    pub(super) find: String,
    pub(super) is_true_scale: bool,
    pub(super) is_grouped: bool,
    /// The time that the timeline shows, in milliseconds since the start of the run.
    pub(super) zoom: Option<(i64, i64)>,
}

impl RunAddress {
    /// Reads the query of a request.
    ///
    /// # Errors
    /// 400 with the name of a wrong parameter.
    pub(super) fn from_request(request: &PageRequest) -> Result<Self, HttpProblem> {
        let query = &request.query;
        let one_of = |name: &str, word: &str| match request.parameter(name) {
            None | Some("") => Ok(false),
            Some(given) if given == word => Ok(true),
            Some(given) => Err(HttpProblem::bad_request(format!("`{name}` is `{given}`; use {word} or leave it out"))),
        };
        let find = request.parameter("find").unwrap_or_default();
        if find.len() > FIND_BYTES {
            let sentence = format!("`find` has {} bytes; at most {FIND_BYTES} are allowed", find.len());
            return Err(HttpProblem::bad_request(sentence));
        }
        Ok(Self {
            at: query.number("at", "the number of an entry")?,
            first: query.number("steps", "the number of a row, from 0")?,
            step: query.number("step", "the number of a step, from 0")?,
            find: find.to_owned(),
            is_true_scale: one_of("scale", "true")?,
            is_grouped: one_of("group", "names")?,
            zoom: request.parameter("zoom").filter(|zoom| !zoom.is_empty()).map(zoom_of).transpose()?,
        })
    }

    pub(super) fn scale(&self) -> ScaleKind {
        if self.is_true_scale { ScaleKind::True } else { ScaleKind::Compressed }
    }

    /// Returns the query of the address. It is `?` if all parts have their defaults, so that a link
    /// drops the query of the current page.
    pub(super) fn link(&self) -> String {
        let numbers = [
            ("at", self.at.map(|at| at.to_string())),
            ("steps", self.first.map(|first| first.to_string())),
            ("step", self.step.map(|step| step.to_string())),
            ("zoom", self.zoom.map(|(from, to)| format!("{from}-{to}"))),
        ];
        let texts = [
            ("find", Some(&self.find[..]).filter(|find| !find.is_empty())),
            ("scale", self.is_true_scale.then_some("true")),
            ("group", self.is_grouped.then_some("names")),
        ];
        let numbers = numbers.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?)));
        let query = query_string(numbers.chain(texts.into_iter().filter_map(|(name, value)| Some((name, value?)))));
        if query.is_empty() { "?".into() } else { query }
    }

    /// Returns the address with a change.
    pub(super) fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut changed = self.clone();
        change(&mut changed);
        changed
    }

    /// Returns the address with a selected step.
    pub(super) fn of_step(&self, step: usize) -> String {
        self.with(|address| (address.step, address.first) = (Some(step), None)).link()
    }

    /// Returns the names and the values of the parts that a form for the filter keeps.
    pub(super) fn kept_by_filter(&self) -> Vec<(&'static str, String)> {
        let zoom = self.zoom.map(|(from, to)| ("zoom", format!("{from}-{to}")));
        let parts = [
            self.at.map(|at| ("at", at.to_string())),
            self.is_true_scale.then(|| ("scale", "true".to_owned())),
            self.is_grouped.then(|| ("group", "names".to_owned())),
            zoom,
        ];
        parts.into_iter().flatten().collect()
    }
}

fn zoom_of(text: &str) -> Result<(i64, i64), HttpProblem> {
    let parsed = text.split_once('-').and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    parsed.filter(|(from, to)| 0 <= *from && from < to).ok_or_else(|| {
        HttpProblem::bad_request(format!("`zoom` is `{text}`; use two times in milliseconds, such as 500-2000"))
    })
}

/// The links that change the part of the time that is shown.
pub(super) struct ZoomLinks {
    pub(super) closer: String,
    pub(super) wider: Option<String>,
    pub(super) earlier: Option<String>,
    pub(super) later: Option<String>,
    pub(super) whole: Option<String>,
}

impl ZoomLinks {
    /// Returns the links for a run of this length in milliseconds.
    pub(super) fn of(address: &RunAddress, length: i64) -> Self {
        let (from, to) = address.zoom.unwrap_or((0, length));
        let span = (to - from).max(2);
        let link = |from: i64, to: i64| {
            let (from, to) = (from.clamp(0, length - 1), to.min(length));
            let zoom = Some((from, to.max(from + 1))).filter(|zoom| *zoom != (0, length));
            address.with(|address| (address.zoom, address.first) = (zoom, None)).link()
        };
        let zoomed = address.zoom.is_some();
        Self {
            closer: link(from + span / 4, to - span / 4),
            wider: zoomed.then(|| link(from - span / 2, to + span / 2)),
            earlier: (zoomed && from > 0).then(|| link((from - span / 2).max(0), (from - span / 2).max(0) + span)),
            later: (zoomed && to < length).then(|| link(from + span / 2, to + span / 2)),
            whole: zoomed.then(|| link(0, length)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_holds_what_differs_from_the_default() {
        let address = RunAddress::default();
        assert_eq!(address.link(), "?");
        let find = "a b*".to_owned();
        let full = RunAddress {
            at: Some(3),
            first: Some(100),
            step: Some(7),
            find,
            is_true_scale: true,
            is_grouped: true,
            zoom: Some((5, 90)),
        };
        assert_eq!(full.link(), "?at=3&steps=100&step=7&zoom=5-90&find=a%20b%2A&scale=true&group=names");
        assert_eq!(address.of_step(0), "?step=0");
    }

    #[test]
    fn zooming_stays_within_the_run() {
        let links = ZoomLinks::of(&RunAddress::default(), 1_000);
        assert_eq!((links.closer.as_str(), links.wider), ("?zoom=250-750", None));
        let zoomed = RunAddress { zoom: Some((250, 750)), ..RunAddress::default() };
        let links = ZoomLinks::of(&zoomed, 1_000);
        assert_eq!(links.wider.as_deref(), Some("?"), "the whole run");
        assert_eq!((links.earlier.as_deref(), links.later.as_deref()), (Some("?zoom=0-500"), Some("?zoom=500-1000")));
        for wrong in ["", "1", "a-b", "5-5", "9-1", "-1-5", "1-2-3"] {
            assert!(zoom_of(wrong).is_err(), "{wrong}");
        }
    }
}
