//! The pages: what they show, and that nothing from outside becomes markup.

use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn the_overview_lists_functions_and_runs() {
    let world = World::new();
    let run = world.run(json!({"name": "test/echo", "data": {"fail": "no luck today"}})).await;
    let page = world.get("/").await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html; charset=utf-8"));
    for part in
        ["echo", "test/nap if event.data.long == true", "2 at a time for each event.name", "no luck today", "1.2.3"]
    {
        assert!(page.text.contains(part), "{part}: {}", page.text);
    }
    assert!(page.text.contains(&format!("href=\"/runs/{run}\"")));
    assert!(page.text.contains("class=\"status Failed\""));
    assert!(!world.get("/?status=Completed").await.text.contains(&run));
    assert!(world.get("/?status=Failed&function=echo").await.text.contains(&run));
}

#[tokio::test]
async fn the_overview_leads_to_older_runs() {
    let world = World::new();
    for n in 0..3 {
        world.run(json!({"name": "test/echo", "data": {"n": n}})).await;
    }
    let page = world.get("/?limit=2&function=echo").await.text;
    let link = page.split("href=\"").find(|part| part.starts_with("/?cursor=")).expect("a link");
    let link = link.split('"').next().unwrap().replace("&amp;", "&").replace("&#38;", "&");
    assert_eq!(world.get(&link).await.text.matches("class=\"status Completed\"").count(), 1, "{link}");
}

#[tokio::test]
async fn a_runs_page_shows_steps_attempts_and_output() {
    let world = World::new();
    let run = world.run(json!({"name": "test/echo", "data": {"answer": 42}})).await;
    let page = world.get(&format!("/runs/{run}")).await;
    assert_eq!(page.status, 200);
    for part in ["say", "Completed", "&#34;answer&#34;: 42", "<td>1</td>", "test/echo"] {
        assert!(page.text.contains(part), "{part}: {}", page.text);
    }
    assert!(!page.text.contains("http-equiv"), "a finished run does not change: {}", page.text);
    let live = world.run(json!({"name": "test/nap", "data": {"long": true}})).await;
    let live = world.get(&format!("/runs/{live}")).await.text;
    assert!(live.contains("http-equiv=\"refresh\"") && live.contains("sleeps in"), "{live}");
}

#[tokio::test]
async fn what_comes_from_outside_is_text_on_every_page() {
    let world = World::new();
    let attack = "</pre><script>alert(1)</script>\"'&<img src=x onerror=alert(1)>";
    let done = world.run(json!({"name": "<i>markup</i>", "data": {"x": attack}})).await;
    let failed = world.run(json!({"name": "<i>markup</i>", "data": {"fail": attack}})).await;
    let pages = [
        "/".to_owned(),
        format!("/runs/{done}"),
        format!("/runs/{failed}"),
        "/?function=%3Cscript%3Ealert(1)%3C/script%3E".into(),
        "/?status=%3Cscript%3E".into(),
    ];
    for path in pages {
        let page = world.get(&path).await;
        for markup in ["<script", "<img", "<b>", "<i>", "<u>"] {
            assert!(!page.text.contains(markup), "{path} has {markup}: {}", page.text);
        }
        assert!(page.text.contains("&#60;"), "{path} shows it as text: {}", page.text);
    }
}

#[tokio::test]
async fn pages_allow_no_scripts_and_no_frames() {
    let world = World::new();
    for path in ["/", "/runs/nonsense", "/?limit=x"] {
        let page = world.get(path).await;
        let policy = page.header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        assert_eq!(page.header("referrer-policy"), "same-origin", "or browsers send forms with `Origin: null`");
        assert!(page.text.starts_with("<!doctype html>"), "{path}: {}", page.text);
    }
    let style = world.get("/style.css").await;
    assert_eq!((style.status.as_u16(), style.header("content-type")), (200, "text/css; charset=utf-8"));
    assert!(style.text.contains("color-scheme: light dark"));
    assert_eq!(world.get("/v1/runs").await.header("x-content-type-options"), "nosniff");
}
