//! The page of a run: what it says first, its timeline, its steps, and each view's address.

use std::time::Instant;

use serde_json::json;
use stepladder_core::{Fact, Timestamp};

use crate::journals::{Journal, backoff, many_steps};
use crate::world::ServerFixture;

async fn page(world: &ServerFixture, path: &str) -> String {
    let page = world.get(path).await;
    assert_eq!(page.status, 200, "{path}: {}", page.text);
    page.text
}

/// Returns the part of a page from one text to another.
fn part<'a>(page: &'a str, from: &str, to: &str) -> &'a str {
    let start = page.find(from).unwrap_or_else(|| panic!("no {from}: {page}"));
    let end = page[start..].find(to).unwrap_or_else(|| panic!("no {to}: {page}"));
    &page[start..start + end]
}

fn now_box(page: &str) -> &str {
    part(page, "<div id=\"now\"", "<dl class=\"facts")
}

fn detail(page: &str) -> &str {
    part(page, "<section class=\"detail\"", "</section>")
}

#[tokio::test]
async fn a_retrying_run_says_the_error_the_attempt_and_offers_to_try_now() {
    let world = ServerFixture::new();
    let run = world.run(json!({"name": "test/echo", "data": {"again": "not today"}})).await;
    let page = page(&world, &format!("/runs/{run}")).await;
    let now = now_box(&page);
    for wanted in
        ["Waiting to retry", "<bdi>say</bdi>", ": attempt 2 of 5", "not today", ">Try now</button>", "data-until="]
    {
        assert!(now.contains(wanted), "{wanted}: {now}");
    }
    assert!(now.contains("name=\"step\" value=\"say\""), "{now}");
    assert!(!now.contains("Now:"), "the step says it: {now}");
}

#[tokio::test]
async fn a_failed_run_names_its_step_links_to_it_and_says_its_error_once() {
    let world = ServerFixture::new();
    let error = "x is undefined";
    let run = world.run(json!({"name": "test/echo", "data": {"fail": error}})).await;
    let page = page(&world, &format!("/runs/{run}")).await;
    let now = now_box(&page);
    assert!(now.contains("Failed in <a href=\"?step=0#step\"><bdi>say</bdi></a>") && now.contains(error), "{now}");
    let detail = detail(&page);
    assert!(detail.contains("<bdi>say</bdi>") && detail.contains("This step failed the run"), "it is open: {detail}");
    assert!(!detail.contains(error) && detail.contains("Failed with the error above"), "{detail}");
}

#[tokio::test]
async fn an_error_that_repeats_is_written_once() {
    let world = ServerFixture::new();
    let run = backoff().store(&world).await;
    let page = page(&world, &format!("/runs/{run}")).await;
    let shown = [now_box(&page), detail(&page)].concat().matches("503 from openai").count();
    assert_eq!(shown, 1, "{page}");
}

#[tokio::test]
async fn the_awaited_event_is_sent_from_the_page() {
    let world = ServerFixture::new();
    let run = world.run(json!({"name": "test/listen"})).await;
    let page = page(&world, &format!("/runs/{run}")).await;
    let now = now_box(&page);
    assert!(
        now.contains("Waiting in") && now.contains("name=\"name\" value=\"test/&#60;b&#62;word&#60;/b&#62;\""),
        "{now}"
    );
    let path = format!("/runs/{run}/answer");
    let wrong = world.post_form(&path, "do=send&name=test%2Fx&data=%5B1%5D").await;
    assert_eq!(wrong.status, 400, "{}", wrong.text);
    let sent = world.post_form(&path, "do=send&name=test%2F%3Cb%3Eword%3C%2Fb%3E&data=%7B%22a%22%3A1%7D").await;
    assert_eq!((sent.status.as_u16(), sent.header("location")), (303, &*format!("/runs/{run}")));
    world.settle().await;
    assert_eq!(world.get(&format!("/v1/runs/{run}")).await.data()["status"], "Completed");
}

#[tokio::test]
async fn a_signal_is_completed_or_failed_from_the_page() {
    let world = ServerFixture::new();
    for (form, status) in [("do=complete&data=%5B1%2C2%5D", "Completed"), ("do=fail&message=no+funds", "Failed")] {
        let run = world.run(json!({"name": "test/pay"})).await;
        let page = page(&world, &format!("/runs/{run}")).await;
        let now = now_box(&page);
        assert!(now.contains("Complete the signal") && now.contains("Fail the signal"), "{now}");
        let token = part(now, "name=\"token\" value=\"", "\">").rsplit('"').next().unwrap().to_owned();
        let path = format!("/runs/{run}/answer");
        for (wrong, part) in [
            ("do=fail&message=", "`message` is empty"),
            ("do=complete&data=%7B", "`data` is not valid JSON"),
            ("do=other", "use send, complete or fail"),
        ] {
            let refused = world.post_form(&path, format!("{wrong}&token={token}")).await;
            assert!(refused.status == 400 && refused.text.contains(part), "{wrong}: {}", refused.text);
        }
        assert_eq!(world.post_form(&path, format!("{form}&token={token}")).await.status, 303);
        world.settle().await;
        assert_eq!(world.get(&format!("/v1/runs/{run}")).await.data()["status"], status);
        let gone = world.post_form(&path, format!("do=complete&data=1&token={token}")).await;
        assert_eq!(gone.status, 409, "{}", gone.text);
    }
    world.assert_no_error_logged();
}

#[tokio::test]
async fn the_journal_has_the_date_where_the_day_changes() {
    let world = ServerFixture::new();
    let (day, until) = (86_400_000, Timestamp::from_millis(1_700_000_000_000 + 3 * 86_400_000));
    let journal = Journal::default()
        .done("first", 1, 2)
        .fact(3, Fact::SleepStarted { step: "nap".into(), until })
        .fact(3 * day, Fact::SleepEnded { step: "nap".into() })
        .done("last", 3 * day + 1, 3 * day + 2)
        .ends(3 * day + 3);
    let run = journal.store(&world).await;
    let page = page(&world, &format!("/runs/{run}")).await;
    let entries = part(&page, "<ol class=\"entries\" id=\"entries\"", "</ol>");
    let days: Vec<&str> = entries.split("id=\"day-").skip(1).map(|rest| &rest[..10]).collect();
    assert_eq!(days, ["2023-11-17", "2023-11-14"], "{entries}");
}

#[tokio::test]
async fn the_compressed_scale_shows_its_breaks_and_the_true_one_none() {
    let world = ServerFixture::new();
    let run = backoff().store(&world).await;
    let compressed = page(&world, &format!("/runs/{run}")).await;
    for length in ["15.0 s</text>", "32.0 s</text>", ">1 m</text>", ">2 m</text>", ">5 m</text>"] {
        assert!(compressed.contains(length), "{length}: {compressed}");
    }
    let link = part(&compressed, "?scale=true", "\"");
    let linear = page(&world, &format!("/runs/{run}{link}")).await;
    assert!(!linear.contains("class=\"cut\"") && linear.contains(">8 m</text>"), "{linear}");
    // 20 ms of 8 min 47 s are as narrow as a mark can be; on the compressed scale they are not
    let wide = |page: &str| page.matches("class=\"m failed\"").count();
    assert_eq!((wide(&compressed), wide(&linear)), (6 + 1, 6 + 1), "and the legend");
}

#[tokio::test]
async fn each_step_has_an_address_and_is_found_from_there() {
    let world = ServerFixture::new();
    let run = many_steps(1_000).store(&world).await;
    let at = async |query: &str| page(&world, &format!("/runs/{run}{query}")).await;
    let first = at("").await;
    assert!(first.contains("data-first=\"0\" data-total=\"1000\"") && first.contains("?steps=100\""), "{first}");
    assert!(detail(&first).contains("<bdi>process-row-500</bdi>"), "the failed step is selected");
    let one = at("?step=750").await;
    assert!(detail(&one).contains("<bdi>process-row-750</bdi>") && one.contains("data-first=\"730\""));
    assert_eq!(one.matches("class=\"step\"").count(), 100, "a window of the rows");
    assert!(one.contains("id=\"step-750\" href=\"?step=750#step\" data-view aria-current=\"true\""));
    assert!(first.contains("<a href=\"?step=500\" data-view>First failed</a>"), "{first}");
    assert!(first.contains("<a href=\"?step=5\" data-view>Slowest</a>"), "{first}");
    // a step that does not exist is not selected
    assert!(detail(&at("?step=5000").await).contains("process-row-500"));
}

#[tokio::test]
async fn steps_are_filtered_grouped_and_zoomed() {
    let world = ServerFixture::new();
    let run = many_steps(1_000).store(&world).await;
    let at = async |query: &str| page(&world, &format!("/runs/{run}{query}")).await;
    let found = at("?find=ROW-99").await;
    assert!(found.contains("11 of 1000") && !found.contains("<bdi>process-row-1</bdi>"), "99 and 990 to 999: {found}");
    assert!(at("?find=%3Cb%3E").await.contains("No step matches."));
    let grouped = at("?group=names").await;
    assert!(grouped.contains("<bdi>process-row-*</bdi>") && grouped.contains("999 Completed, 1 Failed"), "{grouped}");
    assert!(grouped.contains("href=\"?find=process-row-%2A&#38;group=names\""), "{grouped}");
    assert!(at("?group=names&find=process-row-*").await.contains("data-total=\"1000\""));
    let zoomed = at("?zoom=2000-2100").await;
    assert!(zoomed.contains("data-total=\"12\"") || zoomed.contains("data-total=\"11\""), "{zoomed}");
    assert!(zoomed.contains(">Whole run</a>") && zoomed.contains("class=\"window\""), "{zoomed}");
    for wrong in ["zoom=x", "zoom=9-1", "scale=log", "group=x", "step=a", "steps=-1", "at=b", "zoom=1"] {
        let refused = world.get(&format!("/runs/{run}?{wrong}")).await;
        let name = wrong.split('=').next().unwrap();
        assert!(refused.status == 400 && refused.text.contains(name), "{wrong}: {}", refused.text);
    }
}

/// The limit is generous, because tests run without optimization and beside others.
#[tokio::test]
async fn ten_thousand_steps_are_a_small_page() {
    let world = ServerFixture::new();
    let run = many_steps(10_000).store(&world).await;
    let begun = Instant::now();
    let page = page(&world, &format!("/runs/{run}")).await;
    println!("10,000 steps: {:?}, {} bytes", begun.elapsed(), page.len());
    assert!(page.len() < 120_000 && page.contains("data-total=\"10000\""), "{}", page.len());
}

#[tokio::test]
async fn a_run_is_run_again_from_a_step_and_both_know_each_other() {
    let world = ServerFixture::new();
    let run = world.run(json!({"name": "test/echo", "data": {"answer": 42}})).await;
    let original = page(&world, &format!("/runs/{run}")).await;
    assert!(detail(&original).contains("name=\"from_step\" value=\"say\""), "{original}");
    let moved = world.post_form(&format!("/runs/{run}/rerun"), "from_step=say&input=%7B%22answer%22%3A43%7D").await;
    let rerun = moved.header("location").trim_start_matches("/runs/").to_owned();
    world.settle().await;
    let original = page(&world, &format!("/runs/{run}")).await;
    let link = format!("/runs/{rerun}/compare?with={run}");
    assert!(original.contains("<dt>Rerun as</dt>") && original.contains(&link), "{original}");
    let page_of_rerun = page(&world, &format!("/runs/{rerun}")).await;
    assert!(page_of_rerun.contains("<dt>A rerun of</dt>") && page_of_rerun.contains(&link), "{page_of_rerun}");
    let compared = page(&world, &link).await;
    assert!(
        compared.contains("Removed: </span>  &#34;answer&#34;: 42")
            && compared.contains("Added: </span>  &#34;answer&#34;: 43"),
        "{compared}"
    );
    assert!(compared.contains("<td>different<div class=\"diff\""), "{compared}");
    for (wrong, status) in [("", 400), ("?with=x", 400), ("?with=01HF7YAT00X6E3H2QJ7N9W5K4M", 404)] {
        assert_eq!(world.get(&format!("/runs/{run}/compare{wrong}")).await.status, status, "{wrong}");
    }
}

#[tokio::test]
async fn steps_that_compensate_are_named_undoing() {
    let world = ServerFixture::new();
    let journal = Journal::default()
        .done("book", 1, 5)
        .failed("pay", 1, (6, 9), "no funds", None)
        .compensates(10, "no funds")
        .done("undo book", 11, 15);
    let run = journal.ends_with_error(16, "no funds").store(&world).await;
    let page = page(&world, &format!("/runs/{run}")).await;
    assert!(page.contains("<bdi>Undoing book</bdi>") && page.contains("<bdi>Undoing</bdi>"), "{page}");
    assert!(!page.contains("Run again from here"), "its outcomes are no longer valid: {page}");
}

#[tokio::test]
async fn an_ai_step_shows_its_usage_and_its_answer_as_text() {
    let world = ServerFixture::new();
    let answer = "## Plan\n\nDo **this** first.";
    let run = Journal::default().asked("ask", 1, 900, answer).ends(901).store(&world).await;
    let page = page(&world, &format!("/runs/{run}")).await;
    let detail = detail(&page);
    assert!(detail.contains("gpt-5-mini") && detail.contains("<h4>Answer</h4>"), "{detail}");
    assert!(detail.contains("<h4>Plan</h4>") && detail.contains("<strong>this</strong>"), "{detail}");
}

#[tokio::test]
async fn the_slider_stands_above_the_timeline_that_it_moves() {
    let world = ServerFixture::new();
    let run = world.run(json!({"name": "test/echo", "data": {}})).await;
    let page = page(&world, &format!("/runs/{run}")).await;
    assert!(page.find("id=\"slider\"").unwrap() < page.find("id=\"steps\"").unwrap());
}

#[tokio::test]
async fn an_update_of_a_page_brings_only_what_has_changed() {
    let world = ServerFixture::new();
    let mut journal = Journal::default();
    for n in 0..1_000 {
        journal = journal.done(&format!("row-{n}"), n * 10, n * 10 + 7);
    }
    let run = journal.started("last", 1, 10_100).store(&world).await;
    let path = format!("/runs/{run}");
    world.pass_time(std::time::Duration::from_millis(10_300));
    let whole = page(&world, &path).await;
    let have: Vec<&str> = whole.split("data-h=\"").skip(1).map(|rest| &rest[..10]).collect();
    assert!(have.len() > 100, "{}", have.len());
    world.pass_time(std::time::Duration::from_millis(900));
    let update = world.get_with(&path, "x-stepladder-have", &have.join(" ")).await.text;
    println!("{} bytes, then {}", whole.len(), update.len());
    assert!(update.len() < whole.len() / 3, "{} of {}", update.len(), whole.len());
    assert!(update.contains("id=\"step-7\"") && !update.contains("<bdi>row-7</bdi>"), "{update}");
    // a page that has nothing gets everything
    assert_eq!(world.get_with(&path, "x-stepladder-have", "").await.text.matches("data-same").count(), 0);
}

#[tokio::test]
async fn the_steps_that_a_rerun_kept_are_in_the_order_of_their_numbers() {
    let world = ServerFixture::new();
    let mut journal = Journal::default();
    for step in ["research:2", "prepare", "research", "research:10", "research:1"] {
        let outcome = stepladder_core::journal::Outcome::Value(stepladder_core::json::null());
        let kind = stepladder_core::StepKind::Run;
        // a rerun records what it keeps a moment before the run is created
        journal = journal.fact(-1, stepladder_core::Fact::StepCarriedOver { step: step.into(), kind, outcome });
    }
    let run = journal.done("later", 10, 20).ends(30).store(&world).await;
    let steps = world.get(&format!("/v1/runs/{run}")).await.data()["steps"].clone();
    let names: Vec<_> = steps.as_array().unwrap().iter().map(|step| step["id"].as_str().unwrap()).collect();
    assert_eq!(names, ["research", "research:1", "research:2", "research:10", "prepare", "later"]);
    let rows = page(&world, &format!("/runs/{run}")).await;
    assert_eq!(rows.matches("kept from the other run").count(), 2 * names.len() - 2, "each is drawn: {rows}");
}
