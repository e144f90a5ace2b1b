//! The pages: what they show. Nothing from outside may become markup.

use serde_json::json;

use crate::world::ServerFixture;

/// Returns the links on a page that start with `begin`.
pub(crate) fn links_starting_with<'a>(page: &'a str, begin: &str) -> Vec<&'a str> {
    page.split("href=\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .filter(|to| to.starts_with(begin))
        .collect()
}

/// Decodes the entities in a link, as a browser does.
fn follow_link(link: &str) -> String {
    link.replace("&amp;", "&").replace("&#38;", "&")
}

#[tokio::test]
async fn the_runs_are_at_the_root() {
    let world = ServerFixture::new();
    let run = world.run(json!({"name": "test/echo", "data": {"fail": "no luck today"}})).await;
    let page = world.get("/").await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html; charset=utf-8"));
    for part in ["<bdi>echo</bdi>", "no luck today", "1.2.3", "class=\"status Failed\""] {
        assert!(page.text.contains(part), "{part}: {}", page.text);
    }
    assert!(links_starting_with(&page.text, "/runs/").contains(&&*format!("/runs/{run}")));
    let moved = world.get("/runs?status=Failed&function=a%26b").await;
    assert_eq!((moved.status.as_u16(), moved.header("location")), (308, "/?status=Failed&function=a%26b"));
}

#[tokio::test]
async fn an_empty_list_names_this_server_and_offers_to_send_an_event() {
    let world = ServerFixture::new();
    let page = world.get_with("/", "host", "localhost:9305").await.text;
    assert!(page.contains("curl -X POST http://localhost:9305/e/dev"), "{page}");
    assert!(page.contains("href=\"/events#send\"") && !page.contains("Cancel selected"), "{page}");
}

#[tokio::test]
async fn the_switch_of_the_theme_shows_its_state() {
    let world = ServerFixture::new();
    for (cookie, title) in [
        ("a=b", "Theme: system. Switch to dark."),
        ("stepladder_theme=dark", "Theme: dark. Switch to light."),
        ("stepladder_theme=light", "Theme: light. Switch to system."),
    ] {
        assert!(world.get_with("/", "cookie", cookie).await.text.contains(title), "{title}");
    }
}

#[tokio::test]
async fn runs_are_found_by_status_function_time_and_text() {
    let world = ServerFixture::new();
    let event = world.send(json!({"name": "test/echo", "id": "order-7", "data": {"fail": "no"}})).await.remove(0);
    let failed = world.get(&format!("/v1/events/{event}/runs")).await.data()[0]["run_id"].as_str().unwrap().to_owned();
    let nap = world.run(json!({"name": "test/nap", "data": {"long": true}})).await;
    let found = async |query: &str| {
        let page = world.get(&format!("/?{query}")).await;
        assert_eq!(page.status, 200, "{query}: {}", page.text);
        (page.text.contains(&format!("r-{failed}")), page.text.contains(&format!("r-{nap}")))
    };
    assert_eq!(found("").await, (true, true));
    assert_eq!(found("status=Failed").await, (true, false));
    assert_eq!(found("status=Running").await, (false, true));
    assert_eq!(found("status=Scheduled").await, (false, false));
    assert_eq!(found("function=nap").await, (false, true));
    assert_eq!(found("within=1h").await, (true, true));
    // the clock stands at 2023-11-14T22:13:20
    assert_eq!(found("from=2023-11-14T22:00").await, (true, true));
    assert_eq!(found("from=2023-11-14T22:14").await, (false, false));
    assert_eq!(found("to=2023-11-14T22:12").await, (false, false));
    assert_eq!(found("from=2023-11-14T22:13&to=2023-11-14T22:13").await, (true, true), "one minute");
    for (text, expected) in [
        (&failed[..], (true, false)),
        (&failed.to_lowercase(), (true, false)),
        (&failed[..10], (true, true)),
        (&failed[..24], (true, false)),
        (&event, (true, false)),
        ("order-7", (true, false)),
        ("NAP", (false, true)),
        ("ech", (true, false)),
        ("nothing-of-this-name", (false, false)),
        ("0", (false, false)),
    ] {
        assert_eq!(found(&format!("q={text}")).await, expected, "{text}");
    }
    assert_eq!(found("q=nap&status=Failed").await, (false, false));
    for bad in ["status=x", "within=2h", "from=x", "to=x", "cursor=x", "q=%00&status=-"] {
        assert_eq!(world.get(&format!("/?{bad}")).await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn the_list_says_what_live_runs_wait_for_and_counts_them() {
    let world = ServerFixture::new();
    world.run(json!({"name": "test/nap", "data": {"long": true}})).await;
    world.run(json!({"name": "test/pay"})).await;
    let retrying = world.run(json!({"name": "test/echo", "data": {"again": "503"}})).await;
    world.run(json!({"name": "test/echo", "data": {"n": "<needle>"}})).await;
    let page = world.get("/").await.text;
    for part in [
        "class=\"status Sleeping\">Sleeping</span><div class=\"doing\"><bdi>rest</bdi>, ends <time class=\"ago\"",
        "<bdi>a callback</bdi>, expires <time",
        ">Retrying 2 of 5</span><div class=\"doing\"><bdi>say</bdi>,  <time",
        "<code class=\"input\" dir=\"auto\">{&#34;n&#34;:&#34;&#60;needle&#62;&#34;}</code>",
        "All <span class=\"count\">4</span>",
        "Live</span> <span class=\"count\">3</span>",
        "Completed</span> <span class=\"count\">1</span>",
        "Retrying</span> <span class=\"count\">1</span>",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("status Running\">Running"), "no live run executes: {page}");
    let found = world.get("/?doing=retrying").await.text;
    assert_eq!((found.matches("<tr id=\"r-").count(), found.contains(&format!("r-{retrying}"))), (1, true));
    assert_eq!(world.get("/?doing=live").await.text.matches("<tr id=\"r-").count(), 3);
    assert_eq!(world.get("/?doing=asleep").await.status, 400);
    world.post_form("/function/pause", "id=echo&do=pause").await;
    world.run(json!({"name": "test/echo"})).await;
    assert!(world.get("/?doing=paused").await.text.contains("The function is paused."));
}

#[tokio::test]
async fn text_is_found_in_inputs_and_errors_of_the_newest_runs_and_errors_are_grouped() {
    let world = ServerFixture::new();
    let one = world.run(json!({"name": "test/echo", "data": {"clientId": "cust-42"}})).await;
    let failed = world.run(json!({"name": "test/echo", "data": {"fail": "503 from openai, request 81234"}})).await;
    world.run(json!({"name": "test/echo", "data": {"fail": "503 from openai, request 99999"}})).await;
    let other = world.run(json!({"name": "test/echo", "data": {"fail": "401 from openai"}})).await;
    let found = async |query: &str| {
        let page = world.get(&format!("/?{query}")).await.text;
        let has = |run: &str| page.contains(&format!("<tr id=\"r-{run}"));
        ((has(&one), has(&failed), has(&other)), page)
    };
    let (shown, page) = found("q=CUST-42").await;
    assert_eq!(shown, (true, false, false));
    assert!(page.contains("runs with this in their input or error, of the newest 4 runs."), "{page}");
    assert_eq!(found("q=from%20openai").await.0, (false, true, true));
    let (_, page) = found("status=Failed").await;
    assert!(page.contains("<span class=\"count\">2 runs</span>"), "{page}");
    let group =
        *links_starting_with(&page, "/?status=Failed&").iter().find(|link| link.contains("error=")).expect("a group");
    let group = follow_link(group);
    assert_eq!(found(group.trim_start_matches("/?")).await.0, (false, true, false), "{group}");
}

#[tokio::test]
async fn the_list_leads_to_older_runs() {
    let world = ServerFixture::new();
    let events: Vec<_> = (0..60).map(|n| json!({"name": "test/echo", "data": {"n": n}})).collect();
    world.send(json!(events)).await;
    let page = world.get("/?function=echo").await.text;
    assert_eq!(page.matches("<tr id=\"r-").count(), 50);
    let older =
        *links_starting_with(&page, "/?function=echo&").iter().find(|link| link.contains("cursor")).expect("a link");
    let page = world.get(&follow_link(older)).await.text;
    assert_eq!(page.matches("<tr id=\"r-").count(), 10, "{older}");
    assert!(!page.contains("rel=\"next\"") && page.contains(">Newest<"));
}

#[tokio::test]
async fn a_runs_page_shows_steps_attempts_and_output() {
    let world = ServerFixture::new();
    let run = world.run(json!({"name": "test/echo", "data": {"answer": 42}})).await;
    let page = world.get(&format!("/runs/{run}")).await;
    assert_eq!(page.status, 200);
    for part in ["<bdi>say</bdi>", "Completed", "&#34;answer&#34;:</b> 42", ">1</td>", "test/echo", "attempt 1 took"] {
        assert!(page.text.contains(part), "{part}: {}", page.text);
    }
    assert!(!page.text.contains("data-live=\""), "a finished run does not change: {}", page.text);
    let live = world.run(json!({"name": "test/nap", "data": {"long": true}})).await;
    let page = world.get(&format!("/runs/{live}")).await.text;
    assert!(page.contains(&format!("data-live=\"/live/runs/{live}?seen=")) && page.contains("Sleeping in"), "{page}");
}

#[tokio::test]
async fn an_errors_name_stack_and_data_are_shown_as_text() {
    let world = ServerFixture::new();
    let data = json!({"fail": "x is undefined", "stack": "at <b>pay</b>", "n": "<i>1</i>"});
    let run = world.run(json!({"name": "test/echo", "data": data})).await;
    let page = world.get(&format!("/runs/{run}")).await.text;
    assert!(page.contains("TypeError: x is undefined (asked)"), "{page}");
    assert_eq!(page.matches("<summary>Stack</summary>").count(), 1, "the error of the step is that of the run: {page}");
    assert_eq!(page.matches("<summary>Data of the error</summary>").count(), 1);
    assert!(
        page.contains("at &#60;b&#62;pay&#60;/b&#62;") && !page.contains("<b>pay") && !page.contains("<i>1"),
        "{page}"
    );
}

#[tokio::test]
async fn a_run_is_shown_as_it_stood_at_any_entry() {
    let world = ServerFixture::new();
    let run = world.run(json!({"name": "test/echo", "data": {"answer": 42}})).await;
    let at = async |n: u64| world.get(&format!("/runs/{run}?at={n}")).await.text;
    let journal = world.get(&format!("/v1/runs/{run}/journal")).await.data();
    let total = journal.as_array().unwrap().len() as u64;
    assert!(total >= 3, "{journal}");
    let created = at(1).await;
    assert!(created.contains("No step has started.") && created.contains("status Scheduled"), "{created}");
    assert!(created.contains("Showing the run after entry 1 of") && !created.contains("data-live"), "{created}");
    let started = at(2).await;
    assert!(started.contains("status Running") && started.contains("attempt 1 runs"), "{started}");
    assert!(!started.contains("/cancel\""), "the past cannot be cancelled: {started}");
    for now in [at(total).await, at(total + 7).await, world.get(&format!("/runs/{run}")).await.text] {
        assert!(now.contains("status Completed") && !now.contains("Showing the run"), "{now}");
    }
    assert!(at(0).await.contains("after entry 1 of"), "before the first entry there is no run");
}

#[tokio::test]
async fn a_value_is_downloaded_whole() {
    let world = ServerFixture::new();
    let long = "é".repeat(100_000);
    let run = world.run(json!({"name": "test/echo", "data": {"long": long}})).await;
    let page = world.get(&format!("/runs/{run}")).await.text;
    assert!(page.len() < 200_000 && page.contains("The beginning of"), "{}", page.len());
    for of in ["event", "output", "step&n=0"] {
        let value = world.get(&format!("/runs/{run}/value?of={of}")).await;
        assert_eq!(value.json()["long"], json!(long), "{of}");
        assert!(value.header("content-disposition").starts_with("attachment; filename=\""));
        assert_eq!(value.header("x-content-type-options"), "nosniff");
    }
    for none in ["of=step&n=1", "of=step", "of=step&n=x"] {
        assert_eq!(world.get(&format!("/runs/{run}/value?{none}")).await.status, 404, "{none}");
    }
    for wrong in ["", "?of=event&view=html"] {
        assert_eq!(world.get(&format!("/runs/{run}/value{wrong}")).await.status, 400, "{wrong}");
    }
    let live = world.run(json!({"name": "test/nap", "data": {"long": true}})).await;
    assert_eq!(world.get(&format!("/runs/{live}/value?of=output")).await.status, 404);
}

#[tokio::test]
async fn what_comes_from_outside_is_text_on_every_page() {
    let world = ServerFixture::new();
    let attack = "</pre><script>alert(1)</script>\"'&<img src=x onerror=alert(1)>";
    let done = world.run(json!({"name": "<i>markup</i>", "data": {"x": attack, attack: [attack]}})).await;
    let failed = world.run(json!({"name": "<i>markup</i>", "data": {"fail": attack}})).await;
    let pages = [
        "/".to_owned(),
        format!("/runs/{done}"),
        format!("/runs/{failed}"),
        format!("/runs/{failed}?at=2"),
        "/?function=%3Cscript%3Ealert(1)%3C/script%3E".into(),
        "/?status=%3Cscript%3E".into(),
        "/?q=%22%3E%3Cscript%3E".into(),
    ];
    for path in pages {
        let page = world.get(&path).await;
        let own = "<script src=\"/app.js\" defer></script>";
        let text = page.text.replacen(own, "", 1);
        for markup in ["<script", "<img", "<b>bold", "<i>markup", "<u>"] {
            assert!(!text.contains(markup), "{path} has {markup}: {text}");
        }
        assert!(text.contains("&#60;"), "{path} shows it as text: {text}");
        for inline in [" style=", " onclick=", " onerror=\"", "javascript:", "<style"] {
            assert!(!text.contains(inline), "{path} has {inline}");
        }
    }
}

#[tokio::test]
async fn text_of_another_direction_stays_where_it_is() {
    let world = ServerFixture::new();
    let turned = "\u{202e}gnp.exe";
    let run = world.run(json!({"name": "test/echo", "data": {"fail": turned, "שלום": turned}})).await;
    let page = world.get(&format!("/runs/{run}")).await.text;
    let pieces: Vec<&str> = page.split(turned).collect();
    assert!(pieces.len() > 2, "{page}");
    for (n, before) in pieces[..pieces.len() - 1].iter().enumerate() {
        let last = |marks: &[&str]| marks.iter().filter_map(|mark| before.rfind(mark)).max();
        let (isolated, over) =
            (last(&["dir=\"auto\"", "<bdi>"]), last(&["</span>", "</bdi>", "</pre>", "</td>", "</p>"]));
        assert!(isolated > over || n > 0 && over.is_none(), "{before}");
    }
    assert!(page.contains("שלום"));
}

#[tokio::test]
async fn large_and_deep_values_leave_a_page_small() {
    let world = ServerFixture::new();
    let deep = format!("{}1{}", "[".repeat(90), "]".repeat(90));
    let body =
        format!("{{\"name\":\"test/echo\",\"data\":{{\"deep\":{deep},\"large\":\"{}\"}}}}", "<\\\"&".repeat(250_000));
    let event = world.post("/e/key", body).await.json()["ids"][0].as_str().unwrap().to_owned();
    world.settle().await;
    let run = world.get(&format!("/v1/events/{event}/runs")).await.data()[0]["run_id"].as_str().unwrap().to_owned();
    for path in ["/".to_owned(), format!("/runs/{run}"), format!("/runs/{run}?at=2")] {
        let page = world.get(&path).await;
        assert!(page.status == 200 && page.text.len() < 200_000, "{path}: {}", page.text.len());
    }
}

#[tokio::test]
async fn pages_allow_their_own_script_and_no_other_and_no_frames() {
    let world = ServerFixture::new();
    for path in ["/", "/runs/nonsense", "/?within=x"] {
        let page = world.get(path).await;
        let policy = page.header("content-security-policy");
        for part in
            ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"]
        {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        assert_eq!(page.header("referrer-policy"), "same-origin", "or browsers send forms with `Origin: null`");
        assert!(page.text.starts_with("<!doctype html>"), "{path}: {}", page.text);
    }
    for (path, kind, part) in [
        ("/style.css", "text/css; charset=utf-8", "color-scheme: light dark"),
        ("/app.js", "text/javascript; charset=utf-8", "EventSource"),
    ] {
        let asset = world.get(path).await;
        assert_eq!((asset.status.as_u16(), asset.header("content-type")), (200, kind));
        assert!(asset.text.contains(part));
    }
    assert_eq!(world.get("/v1/runs").await.header("x-content-type-options"), "nosniff");
}

#[tokio::test]
async fn light_and_dark_are_remembered() {
    let world = ServerFixture::new();
    assert!(!world.get("/").await.text.contains("data-theme"));
    assert!(world.get_with("/", "cookie", "stepladder_theme=dark").await.text.contains("data-theme=\"dark\""));
    let chosen = world.post_form("/theme", "theme=light").await;
    assert_eq!((chosen.status.as_u16(), chosen.header("location")), (303, "/"));
    assert!(chosen.header("set-cookie").starts_with("stepladder_theme=light; Path=/;"));
    assert!(
        world.post_form("/theme", "theme=system").await.header("set-cookie").starts_with("stepladder_theme=system;")
    );
    let refused = world.post_form("/theme", "theme=%0D%0Aset-cookie:x").await;
    assert_eq!((refused.status.as_u16(), refused.header("set-cookie")), (400, ""));
}

#[tokio::test]
async fn a_step_that_failed_says_when_each_attempt_to_come_would_be() {
    let world = ServerFixture::new();
    let run = world.run(json!({"name": "test/echo", "data": {"again": "not today"}})).await;
    let due = world.get(&format!("/v1/runs/{run}")).await.data()["steps"][0]["due"].as_str().unwrap().to_owned();
    let due: jiff::Timestamp = due.parse().unwrap();
    let page = world.get(&format!("/runs/{run}")).await.text;
    // the default delays between attempts are 30 s, 1 min and 2 min
    for after in [0, 30, 90, 210] {
        let at = due + jiff::SignedDuration::from_secs(after);
        let shown = at.strftime("%Y-%m-%d %H:%M:%S").to_string();
        let times = if after == 0 { 2 } else { 1 };
        assert_eq!(page.matches(&format!(">{shown}</time>")).count(), times, "{shown}: {page}");
    }
    assert!(page.contains("(attempt 2 of 5)<span class=\"dim\">. Later attempts: <time"), "{page}");
}

#[tokio::test]
async fn a_run_says_which_version_of_its_function_it_is_of() {
    let world = ServerFixture::new();
    let run = world.run(json!({"name": "test/pay"})).await;
    let page = world.get(&format!("/runs/{run}")).await.text;
    assert!(page.contains("<dt>Function version</dt><dd><bdi>7&#60;b&#62;</bdi></dd>"), "{page}");
    let other = world.run(json!({"name": "test/echo"})).await;
    assert!(!world.get(&format!("/runs/{other}")).await.text.contains("Function version"));
}
