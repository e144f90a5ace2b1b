//! The pages for functions, events, costs and health.

use std::time::Duration;

use serde_json::json;
use stepladder_core::wake::TimerPurpose;
use stepladder_core::{RunId, Timer};

use crate::pages::links_starting_with;
use crate::world::ServerFixture;

#[tokio::test]
async fn functions_are_listed_with_what_starts_and_bounds_them() {
    let world = ServerFixture::new();
    let run = world.run(json!({"name": "test/echo", "data": {"fail": "no"}})).await;
    let page = world.get("/functions").await;
    assert_eq!(page.status, 200);
    for part in ["test/nap if event.data.long == true", "2 at once, for each event.name", "on failure"] {
        assert!(page.text.contains(part), "{part}: {}", page.text);
    }
    assert!(page.text.contains(&format!("/runs/{run}\" class=\"status Failed\"")), "its newest runs: {}", page.text);
    assert!(
        links_starting_with(&page.text, "/function?").contains(&"/function?id=%3Cb%3Ebold%3C%2Fb%3E"),
        "any id is a link"
    );
    assert_eq!(world.get("/function?id=%3Cb%3Ebold%3C%2Fb%3E").await.status, 200);
    let nap = world.get("/function?id=nap").await.text;
    assert!(nap.contains("Not retried: <span dir=\"auto\">CardDeclined, &#60;Error&#62;</span>"), "{nap}");
    assert_eq!(world.get("/function?id=nothing").await.status, 404);
    assert_eq!(world.get("/function").await.status, 404);
}

#[tokio::test]
async fn a_function_shows_how_its_runs_went_and_starts_another() {
    let world = ServerFixture::new();
    for n in 0..3 {
        world.run(json!({"name": "test/echo", "data": {"n": n}})).await;
    }
    world.run(json!({"name": "test/echo", "data": {"fail": "no"}})).await;
    let page = world.get("/function?id=echo").await.text;
    for part in ["Last day: 4 created, 3 completed, 1 failed", "<bdi>say</bdi>", "3 completed, 1 failed", "&#34;n&#34;"]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
    let sent = world.post_form("/events", "name=test%2Fecho&data=%7B%22n%22%3A7.0%7D").await;
    world.settle().await;
    assert_eq!(sent.status, 303, "{}", sent.text);
    let event = sent.header("location").strip_prefix("/events/").unwrap().split('?').next().unwrap().to_owned();
    let runs = world.get(&format!("/v1/events/{event}/runs")).await;
    assert!(runs.text.contains("{\"n\":7.0}"), "as it was written: {}", runs.text);
}

#[tokio::test]
async fn the_form_begins_with_the_functions_example_or_else_with_a_recent_runs_data() {
    let world = ServerFixture::new();
    world.run(json!({"name": "test/pay", "data": {"amount": "a recent one"}})).await;
    let page = world.get("/function?id=pay").await.text;
    let editor = |page: &str| page.split("<textarea").nth(1).unwrap().split("</textarea>").next().unwrap().to_owned();
    assert!(editor(&page).contains("&#34;amount&#34;: &#34;&#60;7&#62;&#34;"), "{page}");
    assert!(page.contains("The data is the function") && !page.contains("a recent run"), "{page}");
    world.run(json!({"name": "test/echo", "data": {"amount": "another"}})).await;
    let page = world.get("/function?id=echo").await.text;
    assert!(editor(&page).contains("another") && page.contains("a recent run</a>"), "{page}");
}

#[tokio::test]
async fn events_say_what_they_started_or_why_nothing() {
    let world = ServerFixture::new();
    let run = world.run(json!({"name": "test/echo", "id": "mine", "data": {"n": 1}})).await;
    world.send(json!({"name": "test/unknown"})).await;
    let short = world.send(json!({"name": "test/nap", "data": {"long": false}})).await.remove(0);
    let page = world.get("/events").await.text;
    assert!(links_starting_with(&page, "/runs/").contains(&&*format!("/runs/{run}")), "{page}");
    for part in ["no function is started by `test/unknown`", "the condition of `nap` is not met"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let one = world.get("/events/mine").await.text;
    assert!(one.contains("<bdi>test/echo</bdi>") && one.contains(&run) && one.contains("<bdi>mine</bdi>"), "{one}");
    assert!(world.get(&format!("/events/{short}")).await.text.contains("the condition of `nap` is not met"));
    assert_eq!(world.get("/events/nothing").await.status, 404);
    assert_eq!(world.get("/events?before=x").await.status, 400);
    assert_eq!(world.get("/events/mine/data").await.json(), json!({"n": 1}));
}

#[tokio::test]
async fn events_are_paged() {
    let world = ServerFixture::new();
    let events: Vec<_> = (0..30).map(|n| json!({"name": "test/unknown", "data": {"n": n}})).collect();
    world.send(json!(events)).await;
    let page = world.get("/events").await.text;
    assert_eq!(page.matches("<tr>").count(), 26, "a head and 25 rows");
    let older = *links_starting_with(&page, "/events?before=").first().expect("a link");
    let page = world.get(older).await.text;
    assert_eq!((page.matches("<tr>").count(), links_starting_with(&page, "/events?before=").len()), (6, 0));
}

#[tokio::test]
async fn an_event_is_sent_again_as_a_new_one() {
    let world = ServerFixture::new();
    let run = world.run(json!({"name": "test/echo", "id": "mine", "data": {"n": 1}})).await;
    let again = world.post_form("/events/mine/replay", "").await;
    world.settle().await;
    let page = world.follow(&again).await.text;
    assert!(page.contains("The event was sent.") && page.contains("echo") && !page.contains(&run), "{page}");
    assert_eq!(world.post_form("/events/nothing/replay", "").await.status, 404);
}

#[tokio::test]
async fn an_event_that_is_none_is_refused_with_a_sentence() {
    let world = ServerFixture::new();
    for (form, says) in [
        ("name=&data=%7B%7D", "name"),
        ("name=inngest%2Fx&data=%7B%7D", "inngest/"),
        ("name=a&data=%7B", "not valid JSON"),
        ("name=a&data=%5B%5D", "object"),
        ("name=a&data=%22%5Cu0000%22", "NUL"),
    ] {
        let answer = world.post_form("/events", form).await;
        assert!(answer.status == 400 && answer.text.contains(says), "{form}: {}", answer.text);
    }
    assert_eq!(world.post("/events", "name=a").await.status, 403, "it may come from anywhere");
    assert_eq!(world.post("/events/x/replay", "").await.status, 403);
    world.assert_no_error_logged();
}

#[tokio::test]
async fn what_runs_cost_is_counted_from_their_journals() {
    let world = ServerFixture::new();
    let run = world.run(json!({"name": "test/echo", "data": {"n": 1}})).await;
    let page = world.get("/cost").await;
    assert_eq!(page.status, 200);
    // the expected write units: 4 to start the run and 2 to end it, 2 for the step, 2 for the slot,
    // and 7 for the tickets
    let row = page.text.split(&format!("/runs/{run}")).nth(1).expect("a row");
    let numbers: Vec<&str> =
        row.split("class=\"num\">").skip(1).take(4).map(|rest| rest.split('<').next().unwrap()).collect();
    assert_eq!(numbers, ["17", "8", "6", "2"], "{row}");
    assert!(page.text.contains("infra/COST.md") && page.text.contains("nothing yet"), "{}", page.text);
}

#[tokio::test]
async fn health_shows_what_waits() {
    let world = ServerFixture::new();
    world.run(json!({"name": "test/nap", "data": {"long": true}})).await;
    let page = world.get("/health/page").await;
    assert!(page.status == 200 && page.text.contains("data-live=\"/live/none\""), "{}", page.text);
    assert!(page.text.contains("None."), "{}", page.text);
    assert_eq!(world.get("/live/none").await.status, 204);
    assert_eq!(world.get("/health").await.json(), json!({"status": "ok"}), "load balancers ask there");
}

#[tokio::test]
async fn what_comes_from_outside_is_text_on_these_pages_too() {
    let world = ServerFixture::new();
    let attack = "</textarea><script>alert(1)</script>";
    world.run(json!({"name": "<i>markup</i>", "id": attack, "data": {"x": attack, "fail": attack}})).await;
    let event = world.send(json!({"name": attack, "data": {"x": attack}})).await.remove(0);
    let pages = ["/functions", "/function?id=%3Cb%3Ebold%3C%2Fb%3E", "/events", "/cost", "/health/page"];
    for path in pages.map(str::to_owned).into_iter().chain([format!("/events/{event}")]) {
        let page = world.get(&path).await;
        assert_eq!(page.status, 200, "{path}");
        let text = page.text.replacen("<script src=\"/app.js\" defer></script>", "", 1);
        for markup in ["<script", "<b>bold", "<i>markup", "<u>"] {
            assert!(!text.contains(markup), "{path} has {markup}: {text}");
        }
    }
}

#[tokio::test]
async fn health_reads_a_bounded_number_of_timers_and_says_that_there_are_more() {
    let world = ServerFixture::new();
    let timer = |n: u64| Timer {
        due: world.now() + Duration::from_secs(60 + n % 120),
        run: RunId::new(world.now(), u128::from(n)),
        group: "echo".into(),
        purpose: TimerPurpose::Watchdog,
    };
    world.store_timers((0..200).map(timer).collect()).await;
    assert!(world.get("/health/page").await.text.contains(">200 in all."));
    world.store_timers((200..1_000).map(timer).collect()).await;
    let page = world.get("/health/page").await.text;
    assert!(page.contains(">more than 200 in all."), "{page}");
    assert!(page.contains("<dt>Overdue timers</dt><dd class=\"big\">0<"), "{page}");
    world.pass_time(Duration::from_secs(240));
    assert!(
        world.get("/health/page").await.text.contains("<dd class=\"big\">more than 200<"),
        "the rest may be overdue too"
    );
}

#[tokio::test]
async fn trends_show_what_runs_did_in_charts_with_axes_and_in_tables() {
    let world = ServerFixture::new();
    for n in 0..3 {
        world.run(json!({"name": "test/echo", "data": {"n": n}})).await;
    }
    world.run(json!({"name": "test/echo", "data": {"fail": "no"}})).await;
    world.run(json!({"name": "test/nap", "data": {"long": true}})).await;
    for (span, steps) in [("hour", 12), ("day", 24), ("week", 28)] {
        let page = world.get(&format!("/trends?span={span}")).await;
        assert_eq!(page.status, 200, "{}", page.text);
        let text = page.text;
        for part in ["<dt>Created</dt><dd class=\"big\">5</dd>", "<dt>Failure rate</dt><dd class=\"big\">25.0 %</dd>"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(text.matches("<figure class=\"plot\">").count(), 4, "runs, durations, queue and waits");
        assert!(text.contains("class=\"label\"") && text.contains("class=\"tick middle\""), "axes: {text}");
        assert_eq!(text.matches("<th scope=\"row\"><time").count(), steps, "a row for each step");
        assert!(text.contains("3 completed, 1 failed, 0 cancelled or skipped</title>"), "{text}");
    }
    let echo = world.get("/trends?function=echo").await.text;
    assert!(echo.contains("<dt>Created</dt><dd class=\"big\">4</dd>") && echo.contains("Trends of <bdi>echo</bdi>"));
    let refused = world.get("/trends?span=year").await;
    assert!(refused.status == 400 && refused.text.contains("use hour, day or week"), "{}", refused.text);
    // a day later, the hour has nothing of it, and the day has
    world.pass_time(Duration::from_secs(20 * 3_600));
    assert!(world.get("/trends?span=hour").await.text.contains("<dt>Created</dt><dd class=\"big\">0</dd>"));
    assert!(world.get("/trends").await.text.contains("<dt>Created</dt><dd class=\"big\">5</dd>"));
}

#[tokio::test]
async fn an_event_names_the_runs_that_it_resumed() {
    let world = ServerFixture::new();
    let run = world.run(json!({"name": "test/listen"})).await;
    let event = world.send(json!({"name": "test/<b>word</b>", "data": {"n": 1}})).await.remove(0);
    let page = world.get(&format!("/events/{event}")).await.text;
    let resumed = page.split("id=\"resumed-runs\"").nth(1).unwrap().split("</section>").next().unwrap();
    assert!(resumed.contains(&format!("/runs/{run}")) && resumed.contains("<bdi>listen</bdi>"), "{page}");
    assert!(world.get("/events").await.text.contains(&format!("resumed <a href=\"/runs/{run}\">")));
    assert_eq!(world.get(&format!("/v1/events/{event}")).await.data()["resumed_runs"], json!([run]));
    assert_eq!(world.get(&format!("/v1/events/{event}/runs")).await.data(), json!([]), "it started none");
    let other = world.send(json!({"name": "test/other"})).await.remove(0);
    assert!(world.get(&format!("/events/{other}")).await.text.contains("None: no run waited for this event."));
    assert_eq!(world.get(&format!("/v1/events/{other}")).await.data()["resumed_runs"], json!(null));
}

#[tokio::test]
async fn events_are_listed_in_the_order_in_which_they_were_received() {
    let world = ServerFixture::new();
    let now = world.now();
    // the event of a run has the time of the run's event in its id
    for (n, older, received) in [(1, 0, 0), (2, 5_000, 2_000), (3, 9_000, 1_000)] {
        let event = stepladder_core::Event {
            id: stepladder_core::EventId::new(now - Duration::from_millis(older), n),
            name: format!("test/{n}").into(),
            data: stepladder_core::json::empty_object(),
            ts: now,
            user: None,
            external_id: None,
            trace: None,
            received_at: now + Duration::from_millis(received),
        };
        world.store_event(event).await;
    }
    let page = world.get("/events").await.text;
    let place = |n: u32| page.find(&format!("<bdi>test/{n}</bdi>")).unwrap();
    assert!(place(2) < place(3) && place(3) < place(1), "{page}");
}
