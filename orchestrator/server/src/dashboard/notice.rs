//! The results of forms. The page that follows a form shows its result once. A cookie carries the
//! result as a keyword, numbers and ids, so that neither a link nor a reload makes a page say what
//! did not happen.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};

use stepladder_core::RunId;

use super::PageRequest;
use super::shell::cookie_value;

/// The cookie that carries a result from the form to the page that follows.
const COOKIE: &str = "stepladder_notice";
/// Stands between the result and the ids of created runs.
const CREATED: char = '~';
/// The lifetime of the cookie in seconds. The next page removes it.
const LIFETIME: u32 = 60;
/// The header of the script's requests that update an open page. They neither show nor remove a
/// result.
const REFRESH: &str = "x-stepladder-refresh";

/// The result of a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FormResult {
    /// Runs were cancelled; some had already ended, others could not be cancelled.
    Cancelled { done: u32, ended: u32, missed: u32 },
    /// Runs were run again; others could not be.
    Rerun { done: u32, missed: u32 },
    /// A bulk action found no run that it could change.
    NoneMatched,
    /// A form for selected runs had none.
    NoneSelected,
    /// A sleep or a retry delay was skipped.
    WaitSkipped,
    /// A function was paused.
    Paused,
    /// A function was resumed.
    Resumed,
    /// Selected functions were paused from this time on, in seconds and milliseconds; some were
    /// already paused, others are not registered.
    PausedMany { done: u32, already: u32, missed: u32, from: [u32; 2] },
    /// Selected functions were resumed; some were not paused, others are not registered.
    ResumedMany { done: u32, already: u32, missed: u32 },
    /// An event was sent.
    EventSent,
    /// A signal was completed.
    SignalCompleted,
    /// A signal was failed.
    SignalFailed,
    /// An app was synced.
    AppSynced,
    /// An app was removed.
    AppRemoved,
    /// Dead letters were moved back.
    Redriven { wakes: u32, events: u32, unreadable: u32, more: bool },
}

/// The sentence that a page shows about a form.
pub(super) struct FormNotice {
    pub(super) sentence: String,
    pub(super) failed: bool,
    /// What the form that undoes the result does: `pause` or `resume`.
    pub(super) undo: Option<&'static str>,
    /// The time in milliseconds since which functions were paused, if the result can be undone.
    pub(super) paused_from: Option<i64>,
    /// The runs that a rerun of selected runs has created. They can be cancelled.
    pub(super) created: Vec<RunId>,
}

impl FormNotice {
    /// Returns the result that the request carries, if this page is the one to show it.
    pub(super) fn from_request(request: &PageRequest) -> Option<Self> {
        if request.headers.contains_key(REFRESH) {
            return None;
        }
        let cookie = cookie_value(&request.headers, COOKIE)?;
        let (text, created) = cookie.split_once(CREATED).unwrap_or((cookie, ""));
        let result = FormResult::decode(text)?;
        Some(Self {
            sentence: result.sentence(),
            failed: result.is_failure(),
            undo: result.undo(),
            paused_from: result.paused_from(),
            created: created.split('.').filter_map(|run| run.parse().ok()).collect(),
        })
    }
}

impl FormResult {
    /// Returns a response that redirects to a page of this server, which shows the result.
    pub(super) fn redirect(self, to: &str) -> Response {
        self.redirect_with(to, &[])
    }

    /// Like [`redirect`](Self::redirect), with the runs that the form has created: at most a page
    /// of them.
    pub(super) fn redirect_with(self, to: &str, created: &[RunId]) -> Response {
        let mut text = self.encode();
        if !created.is_empty() {
            let runs: Vec<String> = created.iter().map(RunId::to_string).collect();
            text = format!("{text}{CREATED}{}", runs.join("."));
        }
        let cookie = format!("{COOKIE}={text}; Path=/; Max-Age={LIFETIME}; HttpOnly; SameSite=Strict");
        ([(header::SET_COOKIE, cookie)], Redirect::to(to)).into_response()
    }

    fn encode(self) -> String {
        match self {
            Self::Cancelled { done, ended, missed } => format!("cancelled.{done}.{ended}.{missed}"),
            Self::Rerun { done, missed } => format!("rerun.{done}.{missed}"),
            Self::NoneMatched => "unmatched".into(),
            Self::NoneSelected => "unselected".into(),
            Self::WaitSkipped => "skipped".into(),
            Self::Paused => "paused".into(),
            Self::Resumed => "resumed".into(),
            Self::PausedMany { done, already, missed, from: [s, ms] } => {
                format!("paused-many.{done}.{already}.{missed}.{s}.{ms}")
            }
            Self::ResumedMany { done, already, missed } => format!("resumed-many.{done}.{already}.{missed}"),
            Self::EventSent => "sent".into(),
            Self::SignalCompleted => "signal".into(),
            Self::SignalFailed => "signal-failed".into(),
            Self::AppSynced => "synced".into(),
            Self::AppRemoved => "removed".into(),
            Self::Redriven { wakes, events, unreadable, more } => {
                format!("redriven.{wakes}.{events}.{unreadable}.{}", u8::from(more))
            }
        }
    }

    fn decode(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let word = parts.next()?;
        let numbers: Vec<u32> = parts.map(|part| part.parse().ok()).collect::<Option<_>>()?;
        match (word, &numbers[..]) {
            ("cancelled", &[done, ended, missed]) => Some(Self::Cancelled { done, ended, missed }),
            ("rerun", &[done, missed]) => Some(Self::Rerun { done, missed }),
            ("unmatched", []) => Some(Self::NoneMatched),
            ("unselected", []) => Some(Self::NoneSelected),
            ("skipped", []) => Some(Self::WaitSkipped),
            ("paused", []) => Some(Self::Paused),
            ("resumed", []) => Some(Self::Resumed),
            ("paused-many", &[done, already, missed, s, ms]) => {
                Some(Self::PausedMany { done, already, missed, from: [s, ms] })
            }
            ("resumed-many", &[done, already, missed]) => Some(Self::ResumedMany { done, already, missed }),
            ("sent", []) => Some(Self::EventSent),
            ("signal", []) => Some(Self::SignalCompleted),
            ("signal-failed", []) => Some(Self::SignalFailed),
            ("synced", []) => Some(Self::AppSynced),
            ("removed", []) => Some(Self::AppRemoved),
            ("redriven", &[wakes, events, unreadable, more]) => {
                Some(Self::Redriven { wakes, events, unreadable, more: more > 0 })
            }
            _ => None,
        }
    }

    fn is_failure(self) -> bool {
        match self {
            Self::Cancelled { done, missed, .. } | Self::Rerun { done, missed } => missed > 0 || done == 0,
            Self::PausedMany { done, missed, .. } | Self::ResumedMany { done, missed, .. } => missed > 0 || done == 0,
            Self::NoneMatched | Self::NoneSelected => true,
            Self::Redriven { unreadable, .. } => unreadable > 0,
            Self::WaitSkipped
            | Self::Paused
            | Self::Resumed
            | Self::EventSent
            | Self::SignalCompleted
            | Self::SignalFailed
            | Self::AppSynced
            | Self::AppRemoved => false,
        }
    }

    /// Returns the action that undoes this one; `None` if nothing does.
    fn undo(self) -> Option<&'static str> {
        match self {
            Self::Paused => Some("resume"),
            Self::Resumed => Some("pause"),
            _ => None,
        }
    }

    /// Returns the time in milliseconds since which functions were paused.
    fn paused_from(self) -> Option<i64> {
        match self {
            Self::PausedMany { done: 1.., from: [s, ms], .. } => Some(i64::from(s) * 1_000 + i64::from(ms)),
            _ => None,
        }
    }

    fn sentence(self) -> String {
        match self {
            Self::Cancelled { done, ended, missed } => {
                let mut sentence = format!("Cancelled {}.", count_of(done, "run"));
                match ended {
                    0 => {}
                    1 => sentence.push_str(" 1 had already ended and was not changed."),
                    ended => sentence.push_str(&format!(" {ended} had already ended and were not changed.")),
                }
                if missed > 0 {
                    sentence.push_str(&format!(" {missed} could not be cancelled."));
                }
                sentence
            }
            Self::Rerun { done, missed: 0 } => format!("Reran {}.", count_of(done, "run")),
            Self::Rerun { done, missed } => format!("Reran {}; {missed} failed to start.", count_of(done, "run")),
            Self::NoneMatched => "No run was changed: none of the matching runs allowed it any more.".into(),
            Self::NoneSelected => "Nothing was selected. Select rows first.".into(),
            Self::WaitSkipped => "The wait was skipped.".into(),
            Self::Paused => "Paused. New runs wait to start; started runs continue.".into(),
            Self::Resumed => "Resumed. The waiting runs start.".into(),
            Self::PausedMany { done, already, missed, .. } => {
                let rest = rest_of(already, "already paused", missed);
                format!("Paused {}. New runs wait to start; started runs continue.{rest}", count_of(done, "function"))
            }
            Self::ResumedMany { done, already, missed } => {
                let rest = rest_of(already, "not paused", missed);
                format!("Resumed {}. The waiting runs start.{rest}", count_of(done, "function"))
            }
            Self::EventSent => "The event was sent.".into(),
            Self::SignalCompleted => "The signal was completed.".into(),
            Self::SignalFailed => "The signal was failed.".into(),
            Self::AppSynced => "The app is registered.".into(),
            Self::AppRemoved => "The app was removed. Its runs wait until it is registered again.".into(),
            Self::Redriven { wakes, events, unreadable, more } => redriven_sentence(wakes, events, unreadable, more),
        }
    }
}

/// Describes the functions that an action has not changed.
fn rest_of(already: u32, what: &str, missed: u32) -> String {
    let of = |n: u32, what: &str| match n {
        0 => String::new(),
        1 => format!(" 1 was {what}."),
        n => format!(" {n} were {what}."),
    };
    of(already, what) + &of(missed, "not registered any more")
}

fn redriven_sentence(wakes: u32, events: u32, unreadable: u32, more: bool) -> String {
    let mut sentence = match (wakes, events) {
        (0, 0) => "No dead letter was moved.".to_owned(),
        (wakes, events) => {
            format!("Moved {} and {} back.", count_of(wakes, "wake"), count_of(events, "event message"))
        }
    };
    match unreadable {
        0 => {}
        1 => sentence.push_str(" 1 is left: it is unreadable."),
        left => sentence.push_str(&format!(" {left} are left: they are unreadable.")),
    }
    if more {
        sentence.push_str(" There may be more: press again.");
    }
    sentence
}

/// Formats a number with a noun: `1 run`, `2 runs`.
pub(super) fn count_of(n: u32, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// Converts a count to a number of a result.
pub(super) fn shown_count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Removes the cookie once a page has shown the result.
pub(super) async fn forget(request: Request, next: Next) -> Response {
    let is_shown = request.method() == Method::GET
        && !request.headers().contains_key(REFRESH)
        && cookie_value(request.headers(), COOKIE).is_some();
    let mut response = next.run(request).await;
    if is_shown && is_html(response.headers()) {
        let removed = HeaderValue::from_static("stepladder_notice=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict");
        response.headers_mut().append(header::SET_COOKIE, removed);
    }
    response
}

fn is_html(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_survives_the_cookie() {
        for result in [
            FormResult::Cancelled { done: 3, ended: 1, missed: 0 },
            FormResult::Rerun { done: 0, missed: 2 },
            FormResult::NoneMatched,
            FormResult::NoneSelected,
            FormResult::WaitSkipped,
            FormResult::Paused,
            FormResult::Resumed,
            FormResult::PausedMany { done: 2, already: 1, missed: 0, from: [1_764_000_000, 999] },
            FormResult::ResumedMany { done: 2, already: 0, missed: 3 },
            FormResult::EventSent,
            FormResult::AppSynced,
            FormResult::AppRemoved,
            FormResult::Redriven { wakes: 1, events: 0, unreadable: 2, more: true },
        ] {
            assert_eq!(FormResult::decode(&result.encode()), Some(result));
        }
        for bad in ["", "cancelled", "cancelled.1.2", "cancelled.1.2.x", "paused.1", "hello", "rerun.-1.0"] {
            assert_eq!(FormResult::decode(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_sentence_says_what_happened() {
        let one = FormResult::Cancelled { done: 1, ended: 2, missed: 3 }.sentence();
        assert_eq!(one, "Cancelled 1 run. 2 had already ended and were not changed. 3 could not be cancelled.");
        assert_eq!(FormResult::Rerun { done: 3, missed: 2 }.sentence(), "Reran 3 runs; 2 failed to start.");
        let redriven = FormResult::Redriven { wakes: 0, events: 1, unreadable: 1, more: false }.sentence();
        assert_eq!(redriven, "Moved 0 wakes and 1 event message back. 1 is left: it is unreadable.");
    }
}
