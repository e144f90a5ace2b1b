//! The forms on pages, and the checks that protect them.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::json;

use crate::world::ServerFixture;

async fn start_nap(world: &ServerFixture) -> String {
    world.run(json!({"name": "test/nap", "data": {"long": true}})).await
}

async fn status_of_run(world: &ServerFixture, run: &str) -> String {
    world.get(&format!("/v1/runs/{run}")).await.data()["status"].as_str().unwrap().to_owned()
}

async fn number_of_runs(world: &ServerFixture) -> usize {
    world.get("/v1/runs").await.data().as_array().unwrap().len()
}

#[tokio::test]
async fn a_run_is_cancelled_from_its_page() {
    let world = ServerFixture::new();
    let run = start_nap(&world).await;
    let done = world.post_form(&format!("/runs/{run}/cancel"), "").await;
    assert_eq!((done.status.as_u16(), done.header("location")), (303, &*format!("/runs/{run}")));
    assert_eq!(status_of_run(&world, &run).await, "Cancelled");
    assert!(world.follow(&done).await.text.contains("Cancelled 1 run."));
    let again = world.post_form(&format!("/runs/{run}/cancel"), "").await;
    let page = world.follow(&again).await.text;
    assert!(page.contains("Cancelled 0 runs. 1 had already ended and was not changed."), "{page}");
    assert_eq!(world.post_form("/runs/01HF7YAT00X6E3H2QJ7N9W5K4M/cancel", "").await.status, 404);
}

#[tokio::test]
async fn the_steps_of_an_ended_run_have_ended_with_it() {
    let world = ServerFixture::new();
    let run = start_nap(&world).await;
    let open = world.get(&format!("/v1/runs/{run}")).await.data()["steps"][0].clone();
    assert_eq!((&open["status"], &open["ended_at"]), (&json!("Sleeping"), &json!(null)));
    world.post_form(&format!("/runs/{run}/cancel"), "").await;
    let cancelled = world.get(&format!("/v1/runs/{run}")).await.data();
    let step = &cancelled["steps"][0];
    assert_eq!((&step["status"], &step["ended_at"]), (&json!("Abandoned"), &cancelled["ended_at"]));
    assert!(!world.get(&format!("/runs/{run}")).await.text.contains("Skip the sleep"), "nothing is left to skip");
}

#[tokio::test]
async fn a_run_is_run_again_with_another_input() {
    let world = ServerFixture::new();
    let run = world.run(json!({"name": "test/echo", "data": {"n": 1}})).await;
    let done = world.post_form(&format!("/runs/{run}/rerun"), "from_step=say&input=%7B%22n%22%3A2%7D").await;
    assert_eq!(done.status, 303, "{}", done.text);
    world.settle().await;
    let again = world.get(&format!("/v1{}", done.header("location"))).await.data();
    assert_eq!((&again["output"], &again["status"]), (&json!({"n": 2}), &json!("Completed")));
    assert_eq!(again["origin"]["Rerun"]["of"], json!(run));
    let page = world.get(done.header("location")).await.text;
    assert!(page.contains("A rerun of") && page.contains(&format!("/runs/{run}\"")), "{page}");

    let same = world.post_form(&format!("/runs/{run}/rerun"), "from_step=&input=").await;
    world.settle().await;
    assert_eq!(world.get(&format!("/v1{}", same.header("location"))).await.data()["output"], json!({"n": 1}));
    for bad in ["input=%7B", "input=%5B%5D", "from_step=nothing", "input=%22%5Cu0000%22", "%FF=%FF"] {
        let answer = world.post_form(&format!("/runs/{run}/rerun"), bad).await;
        assert!([400, 303].contains(&answer.status.as_u16()) && bad.starts_with('%') || answer.status == 400, "{bad}");
        assert!(bad.starts_with('%') || answer.text.starts_with("<!doctype html>"), "{bad}");
    }
    world.assert_no_error_logged();
}

#[tokio::test]
async fn a_sleep_is_skipped_from_its_runs_page() {
    let world = ServerFixture::new();
    let run = start_nap(&world).await;
    let page = world.get(&format!("/runs/{run}")).await.text;
    assert!(page.contains("Skip the sleep") && page.contains("name=\"step\" value=\"rest\""), "{page}");
    assert_eq!(world.post_form(&format!("/runs/{run}/hasten"), "step=nothing").await.status, 400);
    let done = world.post_form(&format!("/runs/{run}/hasten"), "step=rest").await;
    assert_eq!((done.status.as_u16(), done.header("location")), (303, &*format!("/runs/{run}")));
    world.settle().await;
    assert_eq!(status_of_run(&world, &run).await, "Completed");
    let past = world.get(&format!("/runs/{run}?at=2")).await.text;
    assert!(past.contains("status Sleeping") && !past.contains("/hasten\""), "the past goes on by itself: {past}");
    assert_eq!(world.post_form(&format!("/runs/{run}/hasten"), "step=rest").await.status, 409, "it is over");
}

#[tokio::test]
async fn a_retry_of_the_function_itself_is_not_waited_for() {
    let world = ServerFixture::new();
    let run = world.run(json!({"name": "test/echo", "data": {"fall": "it <fell>"}})).await;
    let page = world.get(&format!("/runs/{run}")).await.text;
    for part in ["it &#60;fell&#62;", "Next attempt at ", " (attempt 2 of ", "Try now"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let done = world.post_form(&format!("/runs/{run}/hasten"), "").await;
    assert_eq!((done.status.as_u16(), done.header("location")), (303, &*format!("/runs/{run}")));
    world.settle().await;
    assert_eq!(status_of_run(&world, &run).await, "Completed");
    let page = world.get(&format!("/runs/{run}")).await.text;
    assert!(!page.contains("Next attempt") && page.contains("on request"), "{page}");
}

#[tokio::test]
async fn a_function_is_paused_and_resumed_from_its_page() {
    let world = ServerFixture::new();
    let done = world.post_form("/function/pause", "id=echo&do=pause").await;
    assert_eq!((done.status.as_u16(), done.header("location")), (303, "/function?id=echo"));
    let page = world.follow(&done).await.text;
    assert!(page.contains("value=\"resume\"") && page.contains("Paused. New runs wait"), "{page}");
    assert!(page.contains("<button name=\"do\" value=\"resume\">Undo</button>"), "the notice undoes it: {page}");
    let list = world.get("/").await.text;
    assert!(list.contains("Paused, so new runs wait to start") && list.contains("/function?id=echo"), "{list}");
    assert!(world.get("/functions").await.text.contains("paused since"));
    let run = world.run(json!({"name": "test/echo"})).await;
    assert_eq!(status_of_run(&world, &run).await, "Scheduled");
    assert!(world.get(&format!("/runs/{run}")).await.text.contains("is paused"), "the page says why it does not move");
    world.post_form("/function/pause", "id=echo&do=resume").await;
    world.settle().await;
    assert_eq!(status_of_run(&world, &run).await, "Completed");
    assert_eq!(world.post_form("/function/pause", "id=nothing&do=pause").await.status, 404);
    assert_eq!(world.post_form("/function/pause", "id=echo").await.status, 400);
    assert_eq!(world.post("/function/pause", "id=echo&do=pause").await.status, 403);
}

#[tokio::test]
async fn several_runs_are_cancelled_or_run_again_at_once() {
    let world = ServerFixture::new();
    let (one, two) = (start_nap(&world).await, start_nap(&world).await);
    let form = format!("back=%2F%3Ffunction%3Dnap&do=cancel&sure=yes&run={one}&run={two}&run=nonsense");
    let done = world.post_form("/runs", form).await;
    assert_eq!((done.status.as_u16(), done.header("location")), (303, "/?function=nap"));
    assert_eq!(
        (status_of_run(&world, &one).await, status_of_run(&world, &two).await),
        ("Cancelled".into(), "Cancelled".into())
    );
    let page = world.follow(&done).await.text;
    assert!(page.contains("Cancelled 2 runs. 1 could not be cancelled."), "{page}");

    let done = world.post_form("/runs", format!("do=rerun&sure=yes&run={one}&run={two}")).await;
    let page = world.follow(&done).await.text;
    assert!(page.contains("Reran 2 runs.") && page.contains("Cancel the new runs…"), "{page}");
    assert_eq!(number_of_runs(&world).await, 4);
    // the result leads to the question that a selection of the new runs leads to
    let undo = page.split("Cancel the new runs").next().unwrap().rsplit("<form").next().unwrap();
    let new: Vec<&str> = undo.split("name=\"run\" value=\"").skip(1).map(|rest| &rest[..26]).collect();
    assert!(new.len() == 2 && !new.contains(&&one[..]) && !new.contains(&&two[..]), "{new:?}");
    let ask = world.post_form("/runs", format!("do=cancel&run={}&run={}", new[0], new[1])).await;
    assert!(ask.text.contains("Cancel 2 runs?"), "{}", ask.text);
    world.post_form("/runs", fields_of(&ask.text)).await;
    for run in new {
        assert_eq!(status_of_run(&world, run).await, "Cancelled");
    }
    let none = world.post_form("/runs", "do=cancel").await;
    assert!(world.follow(&none).await.text.contains("Nothing was selected."));
    assert_eq!(world.post_form("/runs", "do=delete").await.status, 400);
    for foreign in ["%2F%2Fevil.example", "https%3A%2F%2Fevil.example", "%2F%5Cevil.example", "%2F%0D%0Ax"] {
        let done = world.post_form("/runs", format!("do=cancel&sure=yes&run={one}&back={foreign}")).await;
        assert_eq!(done.header("location"), "/", "{foreign}");
    }
}

/// Returns the fields of the form on a page of a bulk action, as a browser sends them.
fn fields_of(page: &str) -> String {
    let form =
        page.split("<form method=\"post\" action=\"/runs\"").nth(1).expect("a form").split("</form>").next().unwrap();
    let value = |input: &str, name: &str| {
        let value = input.split(&format!("{name}=\"")).nth(1).unwrap_or_default().split('"').next().unwrap();
        value.replace("&#38;", "%26").replace('?', "%3F").replace('=', "%3D").replace('/', "%2F").to_owned()
    };
    let inputs = form.split("<input type=\"hidden\" ").skip(1);
    inputs.map(|input| format!("{}={}", value(input, "name"), value(input, "value"))).collect::<Vec<_>>().join("&")
}

#[tokio::test]
async fn all_matching_runs_are_counted_first_and_then_changed_page_by_page() {
    let world = ServerFixture::new();
    let naps: Vec<_> = (0..230).map(|_| json!({"name": "test/nap", "data": {"long": true}})).collect();
    world.send(json!(naps)).await;
    world.send(json!({"name": "test/pay"})).await;
    let ask = world.post_form("/runs", "do=cancel-all&back=%2F%3Ffunction%3Dnap").await;
    for part in [
        "Cancel all matching runs: 230 runs?",
        "And 220 more.",
        "This cannot be undone: a cancelled run cannot be continued",
    ] {
        assert!(ask.text.contains(part), "{part}: {}", ask.text);
    }
    assert!(world.get("/?status=Cancelled").await.text.contains("No run matches"), "a question changes nothing");
    let late = start_nap(&world).await;
    let mut answer = world.post_form("/runs", fields_of(&ask.text)).await;
    let mut pages = 0;
    while answer.status == 200 {
        pages += 1;
        assert!(answer.text.contains(&format!("{} runs cancelled", pages * 100)), "{}", answer.text);
        assert!(answer.text.contains("data-continue") && answer.text.contains(">Stop<"), "{}", answer.text);
        answer = world.post_form("/runs", fields_of(&answer.text)).await;
    }
    assert_eq!((pages, answer.header("location")), (2, "/?function=nap"));
    let page = world.follow(&answer).await.text;
    assert!(page.contains("Cancelled 231 runs.") || page.contains("Cancelled 230 runs."), "{page}");
    let live = world.get("/v1/runs?status=Running").await.data();
    assert!(
        live.as_array().unwrap().iter().all(|run| run["function_id"] == "pay" || run["run_id"] == json!(late)),
        "{live}"
    );
    let none = world.post_form("/runs", "do=cancel-all&back=%2F%3Ffunction%3Dnap%26status%3DFailed").await;
    assert!(world.follow(&none).await.text.contains("No run was changed"));
    world.settle().await;
    let again = world.post_form("/runs", "do=rerun-all&back=%2F%3Fstatus%3DCancelled").await.text;
    assert!(again.contains("Rerun 23") && again.contains("may pay for their calls again"), "{again}");
    for bad in
        ["do=cancel-all&back=%2F%3Fq%3Dno-such-text", "do=rerun-all&back=%2F%3Fx%3D%FF", "do=cancel-all&cursor=x"]
    {
        assert_eq!(world.post_form("/runs", bad).await.status, 400, "{bad}");
    }
    world.assert_no_error_logged();
}

#[tokio::test]
async fn selected_runs_are_listed_before_they_are_changed() {
    let world = ServerFixture::new();
    let (one, two) = (start_nap(&world).await, start_nap(&world).await);
    let ask = world.post_form("/runs", format!("do=rerun&run={one}&run={two}")).await;
    assert!(ask.text.contains("<h1>Rerun 2 runs?</h1>") && ask.text.contains(&one), "{}", ask.text);
    assert_eq!(number_of_runs(&world).await, 2, "nothing is rerun without an answer");
    let done = world.post_form("/runs", fields_of(&ask.text)).await;
    assert!(world.follow(&done).await.text.contains("Reran 2 runs."), "{}", done.text);
    assert_eq!(number_of_runs(&world).await, 4);
}

#[tokio::test]
async fn no_address_makes_a_page_say_what_did_not_happen() {
    let world = ServerFixture::new();
    let run = start_nap(&world).await;
    for page in ["/?did=cancel&n=9", "/function?id=echo&did=pause", "/health/page?did=redrive&wakes=9"] {
        assert_eq!(world.get(page).await.status, 400, "{page}");
    }
    assert_eq!(world.get(&format!("/runs/{run}?did=cancel&n=9")).await.status, 400);
    for bad in ["cancelled.x", "<b>", "cancelled.9.9.9.9", "paused.1"] {
        let page = world.get_with("/", "cookie", &format!("stepladder_notice={bad}")).await.text;
        assert!(!page.contains("class=\"notice"), "{bad}: {page}");
    }
}

#[tokio::test]
async fn the_result_of_a_form_is_shown_once() {
    let world = ServerFixture::new();
    let run = start_nap(&world).await;
    let done = world.post_form(&format!("/runs/{run}/cancel"), "").await;
    let cookie = done.header("set-cookie").to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let page = world.follow(&done).await;
    assert!(page.text.contains("Cancelled 1 run."), "{}", page.text);
    assert!(page.header("set-cookie").starts_with("stepladder_notice=; Path=/; Max-Age=0"), "the page removes it");
    // the script that updates another open page leaves the result to the page that follows
    let request = Request::builder().uri("/").header("cookie", &cookie).header("x-stepladder-refresh", "1");
    let update = world.send_request(request.body(Body::empty()).unwrap()).await;
    assert!(!update.text.contains("Cancelled 1 run.") && update.header("set-cookie").is_empty(), "{}", update.text);
}

#[tokio::test]
async fn what_a_form_does_needs_proof_of_where_it_was() {
    let world = ServerFixture::new();
    let run = start_nap(&world).await;
    for path in [
        "/runs".to_owned(),
        format!("/runs/{run}/cancel"),
        format!("/runs/{run}/rerun"),
        format!("/runs/{run}/hasten"),
        "/health/redrive".into(),
        "/theme".into(),
    ] {
        let body = format!("do=cancel&run={run}&theme=dark");
        let ask = async |headers: &[(&str, &str)]| {
            let mut request = Request::builder().method(Method::POST).uri(&path).header("host", "localhost:8288");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let request = request.header("content-type", "application/x-www-form-urlencoded");
            world.send_request(request.body(Body::from(body.clone())).unwrap()).await.status.as_u16()
        };
        assert_eq!(ask(&[]).await, 403, "{path}: it may come from anywhere");
        assert_eq!(ask(&[("origin", "https://evil.example")]).await, 403, "{path}");
        assert_eq!(ask(&[("origin", "null")]).await, 403, "{path}");
        assert_eq!(ask(&[("sec-fetch-site", "cross-site")]).await, 403, "{path}");
        assert_eq!(ask(&[("origin", "http://localhost:8288"), ("sec-fetch-site", "same-site")]).await, 403, "{path}");
    }
    assert_eq!(status_of_run(&world, &run).await, "Running", "nothing was done");
    assert_eq!(number_of_runs(&world).await, 1);
}

#[tokio::test]
async fn selected_functions_are_paused_and_resumed_and_a_pause_is_undone() {
    let world = ServerFixture::new();
    let paused = async || {
        let page = world.get("/functions").await.text;
        page.split("<tr>").filter(|row| row.contains("paused since")).count()
    };
    world.post_form("/function/pause", "id=nap&do=pause").await;
    world.pass_time(std::time::Duration::from_millis(1_234));
    let done = world.post_form("/functions", "function=echo&function=nap&function=listen&function=gone&do=pause").await;
    let page = world.follow(&done).await.text;
    let says = "Paused 2 functions. New runs wait to start; started runs continue. 1 was already paused. \
                1 was not registered any more.";
    assert!(page.contains(says), "{page}");
    assert_eq!(paused().await, 3);
    // undoing resumes those that this action has paused
    let since = page.split("name=\"since\" value=\"").nth(1).expect("a form").split('"').next().expect("a value");
    let undone = world.post_form("/functions", format!("since={since}&do=undo")).await;
    assert!(world.follow(&undone).await.text.contains("Resumed 2 functions."));
    assert_eq!(paused().await, 1);
    let done = world.post_form("/functions", "function=echo&function=nap&do=resume").await;
    assert!(world.follow(&done).await.text.contains("Resumed 1 function. The waiting runs start. 1 was not paused."));
    assert_eq!(paused().await, 0);
    let none = world.post_form("/functions", "do=pause").await;
    assert!(world.follow(&none).await.text.contains("Nothing was selected."));
    for bad in ["function=echo&do=stop", "since=x&do=undo"] {
        assert_eq!(world.post_form("/functions", bad).await.status, 400, "{bad}");
    }
    world.assert_no_error_logged();
}
