//! The frame of every page: the navigation and the theme.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Redirect, Response};

use super::form::{FormFields, OPEN_FORM_BYTES};
use super::problem_page;
use super::text::{ShownTime, capitalized};
use crate::alerts::Alert;
use crate::error::HttpProblem;
use crate::router::SharedServerState;

/// The cookie that contains the theme. It is not secret: the page's script may set it too.
const COOKIE: &str = "stepladder_theme";
/// The lifetime of the cookie in seconds: a year.
const LIFETIME: u32 = 365 * 24 * 60 * 60;

/// The part of the dashboard that a page belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DashboardTab {
    Runs,
    Functions,
    Apps,
    Events,
    Trends,
    Cost,
    Health,
    /// No part of the dashboard: a problem.
    None,
    /// The login, which shows no tabs.
    Login,
}

/// The tabs in their order, each with its path and its name.
const TABS: [(DashboardTab, &str, &str); 7] = [
    (DashboardTab::Runs, "/", "Runs"),
    (DashboardTab::Functions, "/functions", "Functions"),
    (DashboardTab::Apps, "/apps", "Apps"),
    (DashboardTab::Events, "/events", "Events"),
    (DashboardTab::Trends, "/trends", "Trends"),
    (DashboardTab::Cost, "/cost", "Cost"),
    (DashboardTab::Health, "/health/page", "Health"),
];

/// The values that the base template needs.
pub(super) struct PageShell {
    pub(super) version: String,
    pub(super) theme: ColourTheme,
    /// The tabs: path, name, and whether it is the current tab.
    pub(super) tabs: Vec<(&'static str, &'static str, bool)>,
    /// The path of the stream of changes; `None` if the page does not change.
    pub(super) live: Option<String>,
    /// The number of seconds between two updates of a page without a stream.
    pub(super) poll: u32,
    /// Whether the page is the login, which leads nowhere else.
    pub(super) is_login: bool,
    /// Whether there is a login to end.
    pub(super) can_log_out: bool,
    /// The alerts that are raised.
    pub(super) alerts: Vec<(String, ShownTime)>,
}

/// The number of seconds between two updates of a page without a stream.
const POLL_SECONDS: u32 = 3;
/// The number of seconds between two updates if each update costs requests to paid services.
const PAID_POLL_SECONDS: u32 = 15;

impl PageShell {
    pub(super) fn new(shared: &SharedServerState, headers: &HeaderMap, tab: DashboardTab) -> Self {
        Self {
            version: shared.version.clone(),
            theme: theme_of_cookie(headers),
            tabs: TABS
                .into_iter()
                .filter(|(each, _, _)| *each != DashboardTab::Apps || shared.apps.is_some())
                .map(|(each, path, name)| (path, name, each == tab))
                .collect(),
            live: None,
            poll: POLL_SECONDS,
            is_login: tab == DashboardTab::Login,
            can_log_out: shared.token.is_some() && tab != DashboardTab::Login,
            alerts: match tab {
                DashboardTab::Login => Vec::new(),
                _ => shared.alerts.alerts().into_iter().map(shown_alert).collect(),
            },
        }
    }

    /// Updates the page every few seconds. On AWS, this happens less often, because each update
    /// reads the table again.
    pub(super) fn polling(self, shared: &SharedServerState) -> Self {
        let poll = if shared.queues.is_some() { PAID_POLL_SECONDS } else { POLL_SECONDS };
        Self { live: Some("/live/none".into()), poll, ..self }
    }

    /// Sets the path of the stream of changes.
    pub(super) fn live(self, path: String) -> Self {
        Self { live: Some(path), ..self }
    }
}

fn shown_alert(alert: Alert) -> (String, ShownTime) {
    (capitalized(&alert.sentence), ShownTime::from_timestamp(alert.since))
}

/// The colour theme of all pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ColourTheme {
    /// The theme of the operating system.
    System,
    Light,
    Dark,
}

impl ColourTheme {
    const ALL: [Self; 3] = [Self::System, Self::Light, Self::Dark];

    /// Returns the value of the theme in forms and cookies.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|theme| theme.word() == word)
    }

    /// Returns whether the operating system chooses the theme.
    pub(super) fn is_system(&self) -> bool {
        *self == Self::System
    }

    /// Returns the theme to which the switch changes.
    pub(super) fn next_theme(self) -> Self {
        match self {
            Self::Dark => Self::Light,
            Self::Light => Self::System,
            Self::System => Self::Dark,
        }
    }

    /// Describes the theme and the effect of the switch.
    pub(super) fn switch_title(&self) -> String {
        format!("Theme: {}. Switch to {}.", self.word(), self.next_theme().word())
    }
}

fn theme_of_cookie(headers: &HeaderMap) -> ColourTheme {
    cookie_value(headers, COOKIE).and_then(ColourTheme::of_word).unwrap_or(ColourTheme::System)
}

/// Returns the value of a cookie.
pub(super) fn cookie_value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut cookies = lines.flat_map(|line| line.split(';')).filter_map(|cookie| cookie.trim().split_once('='));
    cookies.find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// `POST /theme`: stores the chosen theme, for browsers without scripts. Redirects to the page from
/// which the form was sent.
pub(super) async fn choose_theme(State(shared): State<SharedServerState>, headers: HeaderMap, body: Body) -> Response {
    let theme =
        match FormFields::read(&shared, body, OPEN_FORM_BYTES, &["theme"]).await.and_then(|form| chosen_theme(&form)) {
            Ok(theme) => theme,
            Err(problem) => return problem_page(&shared, &headers, &problem),
        };
    let cookie = format!("{COOKIE}={}; Path=/; Max-Age={LIFETIME}; SameSite=Lax", theme.word());
    ([(header::SET_COOKIE, cookie)], Redirect::to(&return_path(&headers))).into_response()
}

fn chosen_theme(form: &FormFields) -> Result<ColourTheme, HttpProblem> {
    let word = form.get("theme");
    ColourTheme::of_word(word)
        .ok_or_else(|| HttpProblem::bad_request(format!("`theme` is `{word}`; use light, dark or system")))
}

/// Returns the path of the page from which a form was sent. The host of the `Referer` is dropped,
/// so that the redirect stays on this server.
fn return_path(headers: &HeaderMap) -> String {
    let from = headers.get(header::REFERER).and_then(|from| from.to_str().ok()).unwrap_or_default();
    let page = from.parse::<axum::http::Uri>().ok().and_then(|uri| uri.into_parts().path_and_query);
    page.map(|page| page.to_string()).filter(|page| is_local(page)).unwrap_or_else(|| "/".into())
}

/// Returns whether a redirect to this path stays on this server. Browsers interpret `//host` and
/// `/\host` as another host.
pub(super) fn is_local(path: &str) -> bool {
    path.starts_with('/')
        && !path.starts_with("//")
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_theme_is_light_dark_or_that_of_the_system() {
        let of = |cookie: &str| theme_of_cookie(&HeaderMap::from_iter([(header::COOKIE, cookie.parse().unwrap())]));
        assert_eq!(of("a=b; stepladder_theme=dark"), ColourTheme::Dark);
        assert_eq!(of("stepladder_theme=light"), ColourTheme::Light);
        for none in ["stepladder_theme=\"><script>", "stepladder_theme=", "theme=dark"] {
            assert_eq!(of(none), ColourTheme::System, "{none}");
        }
    }

    #[test]
    fn a_form_goes_back_to_a_page_of_this_server_only() {
        let to = |referer: &str| return_path(&HeaderMap::from_iter([(header::REFERER, referer.parse().unwrap())]));
        assert_eq!(to("http://localhost:8288/runs/x?at=3"), "/runs/x?at=3");
        assert_eq!(to("https://evil.example//evil.example/"), "/");
        assert_eq!(to("nonsense"), "/");
        for foreign in ["//evil.example", "/\\evil.example", "https://evil.example", "", "/a\r\nb: c", "/ä"] {
            assert!(!is_local(foreign), "{foreign}");
        }
        assert!(is_local("/?status=Failed&cursor=01"));
    }
}
