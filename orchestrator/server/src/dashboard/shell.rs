//! What every page has around it: navigation, and light or dark.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Redirect, Response};

use super::form::{Fields, OPEN_FORM_BYTES};
use super::sorry;
use crate::error::Problem;
use crate::router::Shared;

/// The cookie that remembers light or dark. Nothing secret: the page's script may set it too.
const COOKIE: &str = "stepladder_theme";
/// Seconds that it lasts: a year.
const LASTS: u32 = 365 * 24 * 60 * 60;

/// The part of the dashboard that a page belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tab {
    Runs,
    Functions,
    Events,
    Cost,
    Health,
    /// None of them: problems, the login.
    None,
}

/// The tabs in their order: where they lead, and what they are called.
const TABS: [(Tab, &str, &str); 5] = [
    (Tab::Runs, "/", "Runs"),
    (Tab::Functions, "/functions", "Functions"),
    (Tab::Events, "/events", "Events"),
    (Tab::Cost, "/cost", "Cost"),
    (Tab::Health, "/health/page", "Health"),
];

/// What the base template needs.
pub(super) struct Shell {
    pub(super) version: String,
    /// `light`, `dark`, or nothing: as the system has it.
    pub(super) theme: &'static str,
    /// Path, name, and whether it is this one.
    pub(super) tabs: Vec<(&'static str, &'static str, bool)>,
    /// Where news of the page come from; empty when it does not change.
    pub(super) live: String,
}

impl Shell {
    pub(super) fn new(shared: &Shared, headers: &HeaderMap, tab: Tab) -> Self {
        Self {
            version: shared.version.clone(),
            theme: theme(headers),
            tabs: TABS.map(|(each, path, name)| (path, name, each == tab)).into(),
            live: String::new(),
        }
    }

    /// The same page, with news from there.
    pub(super) fn live(self, path: String) -> Self {
        Self { live: path, ..self }
    }

    /// What the switch changes to.
    pub(super) fn other(&self) -> &'static str {
        match self.theme {
            "dark" => "light",
            "light" => "system",
            _ => "dark",
        }
    }
}

fn theme(headers: &HeaderMap) -> &'static str {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let chosen = lines
        .flat_map(|line| line.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE);
    known(chosen.map_or("", |(_, value)| value))
}

fn known(theme: &str) -> &'static str {
    match theme {
        "light" => "light",
        "dark" => "dark",
        _ => "",
    }
}

/// `POST /theme`, for browsers without the script: remembers the choice and goes back to where the switch was.
pub(super) async fn choose(State(shared): State<Shared>, headers: HeaderMap, body: Body) -> Response {
    let theme = match Fields::read(&shared, body, OPEN_FORM_BYTES, &["theme"]).await.and_then(|form| chosen(&form)) {
        Ok(theme) => theme,
        Err(problem) => return sorry(&shared, &headers, &problem),
    };
    let cookie = format!("{COOKIE}={theme}; Path=/; Max-Age={LASTS}; SameSite=Lax");
    ([(header::SET_COOKIE, cookie)], Redirect::to(&back(&headers))).into_response()
}

fn chosen(form: &Fields) -> Result<&'static str, Problem> {
    match form.get("theme") {
        "system" => Ok(""),
        theme => Some(known(theme))
            .filter(|known| !known.is_empty())
            .ok_or_else(|| Problem::bad_request(format!("`theme` is `{theme}`; use light, dark or system"))),
    }
}

/// The path of the page that a form was on. Only the path: whatever else a `Referer` names, the answer stays here.
fn back(headers: &HeaderMap) -> String {
    let from = headers.get(header::REFERER).and_then(|from| from.to_str().ok()).unwrap_or_default();
    let page = from.parse::<axum::http::Uri>().ok().and_then(|uri| uri.into_parts().path_and_query);
    page.map(|page| page.to_string()).filter(|page| is_local(page)).unwrap_or_else(|| "/".into())
}

/// Whether a redirect to this stays on this server. Browsers read `//host` and `/\host` as another one.
pub(super) fn is_local(path: &str) -> bool {
    path.starts_with('/')
        && !path.starts_with("//")
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_theme_is_one_of_two_or_the_systems() {
        let of = |cookie: &str| theme(&HeaderMap::from_iter([(header::COOKIE, cookie.parse().unwrap())]));
        assert_eq!(of("a=b; stepladder_theme=dark"), "dark");
        assert_eq!(of("stepladder_theme=light"), "light");
        for none in ["stepladder_theme=\"><script>", "stepladder_theme=", "theme=dark"] {
            assert_eq!(of(none), "", "{none}");
        }
    }

    #[test]
    fn a_form_goes_back_to_a_page_of_this_server_only() {
        let to = |referer: &str| back(&HeaderMap::from_iter([(header::REFERER, referer.parse().unwrap())]));
        assert_eq!(to("http://localhost:8288/runs/x?at=3"), "/runs/x?at=3");
        assert_eq!(to("https://evil.example//evil.example/"), "/");
        assert_eq!(to("nonsense"), "/");
        for foreign in ["//evil.example", "/\\evil.example", "https://evil.example", "", "/a\r\nb: c", "/ä"] {
            assert!(!is_local(foreign), "{foreign}");
        }
        assert!(is_local("/?status=Failed&cursor=01"));
    }
}
