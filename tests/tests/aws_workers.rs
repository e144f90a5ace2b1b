//! Workers that die and messages that are repeated. The test makes each delivery to the processes
//! of the roles. A body is executed again only if its outcome was lost, and every run ends.

#[path = "aws/blocked.rs"]
mod blocked;
#[path = "aws/ingest.rs"]
mod ingest;
#[path = "aws/roles.rs"]
mod roles;
#[path = "aws/table.rs"]
mod table;
#[path = "aws/telemetry.rs"]
mod telemetry;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use stepladder_core::{RunId, Status};
use stepladder_engine::RunFilter;
use stepladder_engine::clock::SystemClock;
use stepladder_engine::ports::queues::{DeadLetterQueue, Queues};
use stepladder_testkit::clock::VirtualClock;
use stepladder_tests::aws_faults::{AwsFault, AwsFaultProxy};
use stepladder_tests::database::DatabaseStub;
use stepladder_tests::lambda_api::InvocationOutcome;
use stepladder_tests::openai::OpenAiStub;
use stepladder_tests::{JsonJournal, wait_calmly, wait_for};

use roles::{LambdaRoles, VISIBILITY};

/// The timeout of an invocation that must not end by itself. Its leases expire 5 s after the
/// timeout.
const SHORT: Duration = Duration::from_secs(2);
const HOUR: Duration = Duration::from_secs(3_600);

fn hello_event(id: &str) -> Value {
    json!({"name": "test/hello.world", "id": id, "data": {"name": id}})
}

fn enhance_event(id: &str) -> Value {
    let data = json!({"clientId": id, "clientName": "Acme", "clientDomain": "acme.example"});
    json!({"name": "client/enhance.requested", "id": id, "data": data})
}

/// Starts the roles of the binary under test, and stubs of the services that the functions call.
async fn with_stubs() -> (LambdaRoles, OpenAiStub, DatabaseStub) {
    let (ai, database) = (OpenAiStub::start().await, DatabaseStub::start().await);
    let world = LambdaRoles::start(&[
        ("OPENAI_API_KEY", "sk-a-key-of-this-test".into()),
        ("OPENAI_BASE_URL", ai.url()),
        ("SUPABASE_URL", database.url()),
        ("SUPABASE_SERVICE_ROLE_KEY", "a-key-of-this-test".into()),
    ])
    .await;
    (world, ai, database)
}

/// Returns the steps that were started more than once, and how often each was started.
fn repeated_steps(journal: &JsonJournal) -> Vec<(String, usize)> {
    let started = journal.steps_with_fact("StepStarted");
    let steps: HashSet<_> = started.iter().collect();
    let counted = steps.into_iter().map(|step| (step.clone(), started.iter().filter(|other| *other == step).count()));
    counted.filter(|(_, times)| *times > 1).collect()
}

async fn assert_completed(world: &LambdaRoles, run: RunId) {
    let summary = world.run(run).await;
    assert_eq!(summary.status, Status::Completed, "{summary:?}");
}

#[tokio::test]
async fn only_the_body_of_a_killed_worker_runs_again_after_its_lease() {
    let (world, ai, database) = with_stubs().await;
    let [run] = world.runs([enhance_event("killed")]).await;
    ai.hold_requests();
    let mut dying = world.worker();
    let mut pump = world.pump_steps();
    pump.timeout = SHORT;
    let asked = async || (!ai.request_count().requests.is_empty()).then_some(());
    let deliver = async {
        // an invocation as short as this one first hands the step over to the next one, which
        // starts it
        let mut last = None;
        while asked().await.is_none() {
            last = pump.pump().await.or(last);
        }
        last.expect("a delivery").outcome
    };
    let kill = async {
        wait_for("the request to the AI", asked).await;
        dying.kill().await;
    };
    let (outcome, ()) = tokio::join!(deliver, kill);
    assert_eq!(outcome, InvocationOutcome::TimedOut);
    ai.release_requests();

    let _other = world.worker();
    world.stack.advance(VISIBILITY);
    world.until_ended(&[run]).await;
    assert_completed(&world, run).await;
    let journal = world.journal(run).await;
    assert_eq!(repeated_steps(&journal), [("call-openai".to_owned(), 2)], "{:#?}", journal.story());
    assert_eq!(ai.request_count().requests.len(), 2, "once for each attempt");
    assert_eq!(ai.request_count().most, 1, "no two bodies of a step at a time");
    assert_eq!(database.rows().requests.len(), 2, "{:?}", database.rows().requests);
}

#[tokio::test]
async fn a_worker_killed_in_the_middle_of_a_batch_loses_none_of_its_runs() {
    let (world, ai, _) = with_stubs().await;
    let [slow, quick @ ..] = world.runs([enhance_event("slow"), hello_event("first"), hello_event("second")]).await;
    ai.hold_requests();
    let mut dying = world.worker();
    let mut pump = world.pump_steps();
    pump.timeout = SHORT;
    // an invocation as short as this one hands the steps over to the next one, which starts them
    let handed_over = pump.pump().await.expect("three wakes");
    assert_eq!((handed_over.deleted.len(), handed_over.failed.len()), (3, 0));
    let kill = async {
        wait_for("all three to be under way", async || {
            let greeted = async |run| world.journal(run).await.succeeded_steps().contains("greet");
            (!ai.request_count().requests.is_empty() && greeted(quick[0]).await && greeted(quick[1]).await)
                .then_some(())
        })
        .await;
        dying.kill().await;
    };
    let (batch, ()) = tokio::join!(pump.pump(), kill);
    let batch = batch.expect("three wakes");
    assert_eq!((batch.outcome, batch.failed.len()), (InvocationOutcome::TimedOut, 3));
    ai.release_requests();

    let _other = world.worker();
    world.stack.advance(VISIBILITY);
    world.until_ended(&[slow, quick[0], quick[1]]).await;
    for run in [slow, quick[0], quick[1]] {
        assert_completed(&world, run).await;
    }
    assert_eq!(repeated_steps(&world.journal(slow).await), [("call-openai".to_owned(), 2)]);
    for run in quick {
        assert_eq!(repeated_steps(&world.journal(run).await), []);
    }
}

#[tokio::test]
async fn messages_delivered_twice_and_in_reverse_execute_every_body_once() {
    let (world, ai, database) = with_stubs().await;
    let events =
        ["a", "b"].map(|id| [hello_event(&format!("hello-{id}")), enhance_event(&format!("enhance-{id}"))]).concat();
    world.send(&events.iter().map(ToString::to_string).collect::<Vec<_>>()).await;
    let mut doubled = HashSet::new();
    world.deliver_twice(world.events_queue(), &mut doubled).await;
    assert_eq!(doubled.len(), 8);
    let ingests = [world.ingest(), world.ingest()];
    let mut pump = world.pump_events();
    pump.batch_size = 3;
    tokio::join!(pump.drain(), pump.drain());
    let mut runs = Vec::new();
    for event in &events {
        runs.push(world.run_of(event["id"].as_str().expect("text")).await);
    }

    let workers = [world.worker(), world.worker()];
    let pump = world.pump_steps();
    wait_calmly("the end of the runs", async || {
        world.deliver_twice(world.steps_queue(), &mut doubled).await;
        let (mut pumped, more) = tokio::join!(pump.drain(), pump.drain());
        pumped.extend(more);
        assert!(pumped.iter().all(|pumped| pumped.failed.is_empty()), "{pumped:?}");
        for run in &runs {
            world.run(*run).await.ended_at?;
        }
        Some(())
    })
    .await;
    for run in &runs {
        assert_completed(&world, *run).await;
        let journal = world.journal(*run).await;
        assert_eq!(
            (repeated_steps(&journal), journal.steps_with_fact("StepFailed")),
            (vec![], vec![]),
            "{:#?}",
            journal.story()
        );
    }
    assert_eq!(ai.request_count().requests.len(), 2, "once a run");
    assert_eq!(database.rows().requests.len(), 4, "{:?}", database.rows().requests);
    for role in ingests.iter().chain(&workers) {
        assert!(!role.log().contains("\"level\":\"ERROR\""), "{}", role.log());
    }
}

#[tokio::test]
async fn an_event_without_an_id_is_one_event_although_its_message_is_repeated() {
    let world = LambdaRoles::start(&[]).await;
    let event = json!({"name": "test/hello.world", "data": {"name": "anonymous"}});
    world.send(&[json!([event, event]).to_string()]).await;
    let pump = world.pump_events();
    let mut runs = HashSet::new();
    for delivery in 1..=3 {
        let mut ingest = world.ingest();
        let pumped = pump.pump_and_lose().await.expect("the message");
        assert!(matches!(pumped.outcome, InvocationOutcome::Response(_)), "{pumped:?}");
        ingest.kill().await;
        world.stack.advance(VISIBILITY);
        let page = world.engine(Arc::new(SystemClock)).query().runs(RunFilter::default()).await.expect("a page");
        runs.extend(page.runs.iter().map(|run| run.run));
        assert_eq!(runs.len(), 2, "two events, one run each, after delivery {delivery}");
    }
    let _worker = world.worker();
    let runs: Vec<_> = runs.into_iter().collect();
    world.until_ended(&runs).await;
    for run in runs {
        assert_completed(&world, run).await;
    }
}

#[tokio::test]
async fn only_the_invalid_message_of_a_batch_is_reported_as_failed() {
    let world = LambdaRoles::start(&[]).await;
    let [first, second] = world.runs([hello_event("beside-1"), hello_event("beside-2")]).await;
    let worker = world.worker();
    let broken = world.post_wake(r#"{"run": "no id"}"#).await;
    let batch = world.pump_steps().pump().await.expect("three messages");
    assert_eq!((batch.deleted.len(), batch.failed), (2, vec![broken.clone()]));
    assert!(worker.log().contains(&broken), "the log says which: {}", worker.log());
    world.until_ended(&[first, second]).await;

    world.send(&[hello_event("beside-3").to_string(), "no event".into(), hello_event("beside-4").to_string()]).await;
    let _ingest = world.ingest();
    let batch = world.pump_events().pump().await.expect("three messages");
    assert_eq!((batch.deleted.len(), batch.failed.len()), (2, 1));
    let more = [world.run_of("beside-3").await, world.run_of("beside-4").await];
    world.until_ended(&more).await;
    for run in [first, second, more[0], more[1]] {
        assert_completed(&world, run).await;
        assert_eq!(repeated_steps(&world.journal(run).await), []);
    }
}

/// Creates a run that lost its only wake as a dead letter, because five workers in a row could not
/// start.
async fn run_without_wake(world: &LambdaRoles) -> RunId {
    let [run] = world.runs([hello_event("given-up")]).await;
    let mut pump = world.pump_steps();
    pump.timeout = Duration::from_millis(1);
    for delivery in 1..=5 {
        let mut worker = world.broken_worker();
        assert!(!worker.wait_for_exit().await.success());
        let said: Value = serde_json::from_str(worker.log().trim()).expect("a line of JSON");
        assert!(said["error"].as_str().is_some_and(|said| said.contains("STEPLADDER_PACE")), "{said}");
        let pumped = pump.pump().await.unwrap_or_else(|| panic!("delivery {delivery}"));
        assert_eq!((pumped.outcome, pumped.failed.len()), (InvocationOutcome::TimedOut, 1));
        assert_eq!((world.wake_count().await, world.dead_wakes().await), (1, 0), "after delivery {delivery}");
        world.stack.advance(VISIBILITY);
    }
    assert_eq!(pump.pump().await, None, "there is no sixth delivery");
    assert_eq!((world.wake_count().await, world.dead_wakes().await), (0, 1));
    run
}

#[tokio::test]
async fn the_watchdog_wakes_a_run_whose_wake_is_a_dead_letter_after_an_hour() {
    let world = LambdaRoles::start(&[]).await;
    let run = run_without_wake(&world).await;
    let created = world.run(run).await.created_at;
    let clock = Arc::new(VirtualClock::new(created + HOUR - Duration::from_secs(180)));
    let engine = world.engine(clock.clone());
    assert_eq!(engine.sweep().await.expect("a sweep").watched, 0, "three minutes before");
    assert_eq!(world.wake_count().await, 0);
    clock.set(created + HOUR);
    assert_eq!(engine.sweep().await.expect("a sweep").watched, 1);
    assert_eq!(world.wake_count().await, 1);
    let _worker = world.worker();
    world.until_ended(&[run]).await;
    assert_completed(&world, run).await;
}

#[tokio::test]
async fn a_redriven_dead_letter_continues_its_run() {
    let world = LambdaRoles::start(&[]).await;
    let run = run_without_wake(&world).await;
    let aws = world.aws(Arc::new(SystemClock));
    let looked = aws.redrive_listed(DeadLetterQueue::Wakes, 10, true).await.expect("the queues answer");
    assert_eq!((looked.moved.len(), looked.left.len()), (0, 1));
    assert_eq!((world.wake_count().await, world.dead_wakes().await), (0, 1), "looking moves nothing");
    // listing has made the message invisible for a minute
    world.stack.advance(Duration::from_secs(60));
    let redriven = aws.redrive_listed(DeadLetterQueue::Wakes, 10, false).await.expect("the queues answer");
    assert_eq!((redriven.moved.len(), redriven.left.len()), (1, 0));
    assert_eq!((world.wake_count().await, world.dead_wakes().await), (1, 0));
    let _worker = world.worker();
    world.until_ended(&[run]).await;
    assert_completed(&world, run).await;
}

/// A permission to write is missing. Each delivery of the message fails, and the message becomes a
/// dead letter. The log says what to do, and a metric counts the errors.
#[tokio::test]
async fn a_wake_becomes_a_dead_letter_if_writes_are_denied_and_the_log_says_why() {
    let world = LambdaRoles::start(&[("RUST_LOG", "info".into())]).await;
    let [run] = world.runs([hello_event("denied")]).await;
    let proxy = AwsFaultProxy::start(world.dynamo()).await;
    proxy.set_plan(|request| {
        let of_a_journal = request.body["Item"]["SK"]["S"].as_str().is_some_and(|sk| sk.starts_with("J#"));
        if of_a_journal { AwsFault::Refuse("AccessDeniedException") } else { AwsFault::Pass }
    });
    let worker = world.worker_behind(&proxy.url());
    let pump = world.pump_steps();
    for _ in 0..5 {
        let pumped = pump.pump().await.expect("the wake");
        assert_eq!((pumped.failed.len(), pumped.deleted.len()), (1, 0), "{pumped:?}");
        assert_eq!(world.wake_count().await, 1, "nothing is sent beside it");
        world.stack.advance(VISIBILITY);
    }
    assert_eq!(pump.pump().await, None);
    assert_eq!(world.dead_wakes().await, 1);
    assert_eq!(world.run(run).await.status, Status::Scheduled);
    let lines: Vec<Value> = worker.log().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let with = |metric: &str| lines.iter().filter(|line| line[metric] == 1).collect::<Vec<_>>();
    let errors = with("PermanentErrors");
    assert_eq!(errors.len(), 5, "{lines:#?}");
    for error in errors {
        assert_eq!((&error["level"], &error["run"]), (&json!("ERROR"), &json!(run.to_string())), "{error}");
        let why = error["error"].as_str().expect("text");
        assert!(why.contains("AccessDeniedException") && why.contains("the role lacks a permission"), "{why}");
    }
    assert_eq!(with("RunsStarted").len(), 0, "it has not started");
}
