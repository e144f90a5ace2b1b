//! Calls of an app that answers what the test wants, or nothing: what the app receives, and what
//! the engine gets.

use std::sync::Arc;

use serde_json::{Value, json};
use stepladder_core::decide::Operation;
use stepladder_core::retry::RetryAdvice;
use stepladder_core::state::RevealedOutcome;
use stepladder_core::{Event, EventId, FunctionConfig, Json, Outcome, RunId, StepKind, Timestamp, json as values};
use stepladder_engine::Connect;
use stepladder_engine::clock::SystemClock;
use stepladder_engine::executor::{Attempt, AttemptError, Execution, PollResult, PreparedCall, RunView};
use stepladder_inngest::{AppConnector, SigningKey, SigningKeys};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const CREATED: Timestamp = Timestamp::from_millis(1_700_000_000_000);
/// The hash of the id `a`.
const A: &str = "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8";

/// An app that reads a request and sends these bytes.
struct ScriptedApp {
    listener: TcpListener,
}

impl ScriptedApp {
    async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    fn url(&self) -> String {
        format!("http://{}/api/inngest?secret=1", self.listener.local_addr().unwrap())
    }

    /// Answers the next request. Returns its head and its body.
    async fn answer(&self, bytes: &str) -> (String, Value) {
        let (mut stream, _) = self.listener.accept().await.unwrap();
        let (head, body) = read_request(&mut stream).await;
        stream.write_all(bytes.as_bytes()).await.unwrap();
        (head, serde_json::from_slice(&body).unwrap())
    }
}

async fn read_request(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if bytes.len() >= end + 4 + length.parse::<usize>().unwrap() {
                return (head, bytes.split_off(end + 4));
            }
        }
        assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "a whole request");
    }
}

/// Returns an answer of an SDK.
fn of_sdk(status: u16, headers: &str, body: &Value) -> String {
    let body = body.to_string();
    let length = body.len();
    format!(
        "HTTP/1.1 {status} x\r\nx-inngest-sdk: js:v4\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    )
}

async fn open(url: &str, keys: Option<SigningKeys>, attempt: u32) -> Box<dyn Execution> {
    let connector = AppConnector::new(keys, Arc::new(SystemClock)).unwrap();
    let executor = connector.connect(url, &FunctionConfig::new("shop-hello")).unwrap();
    assert!(executor.executes_in_poll());
    let event = Event {
        id: EventId::new(CREATED, 1),
        name: "stepladder/function.invoked".into(),
        data: values::to_json(&json!({"n": 1})).unwrap(),
        ts: CREATED,
        user: None,
        external_id: Some("order-7".into()),
        received_at: CREATED,
        trace: None,
    };
    let view = RunView {
        run: RunId::new(CREATED, 7),
        secret: 1,
        attempt,
        event: Arc::new(event),
        joined: Vec::new(),
        created_at: CREATED,
        labels: Vec::new(),
        trace: None,
    };
    executor.open(view, Timestamp::MAX).await.unwrap_or_else(|error| panic!("{error:?}"))
}

fn revealed(step: &str, kind: StepKind, value: &Value) -> RevealedOutcome {
    let value: Json = values::to_json(value).unwrap();
    RevealedOutcome { step: step.into(), kind, outcome: Outcome::Value(value), at: CREATED, carried: false }
}

fn attempt(step: &str) -> Attempt {
    Attempt {
        step: step.into(),
        number: 2,
        failures: 1,
        max_failures: 3,
        deadline: Timestamp::MAX,
        poll_state: None,
        trace: None,
    }
}

#[tokio::test]
async fn a_call_has_the_event_the_memo_and_the_attempt() {
    let app = ScriptedApp::start().await;
    let mut execution = open(&app.url(), None, 1).await;
    execution.prepare_call(PreparedCall { number: 7, ..PreparedCall::default() });
    let memo = vec![
        revealed("b", StepKind::Run, &json!(2)),
        revealed("nap", StepKind::Sleep, &Value::Null),
        revealed("w", StepKind::Event, &json!({"name": "x/y", "data": {}})),
    ];
    let operations = json!([{"id": A, "op": "StepRun", "displayName": "a", "data": 1}]);
    let (polled, (head, body)) =
        tokio::join!(execution.poll(memo), async { app.answer(&of_sdk(206, "", &operations)).await });
    assert!(head.starts_with("post /api/inngest?secret=1&fnid=shop-hello&stepid=step "), "{head}");
    assert!(head.contains("x-inngest-server-kind: dev") && !head.contains("x-inngest-signature"), "{head}");
    assert!(head.contains("x-request-id: ") && head.contains("x-inngest-job-id: "), "{head}");
    let event = json!({
        "id": "order-7", "name": "inngest/function.invoked", "data": {"n": 1}, "ts": 1_700_000_000_000_i64, "user": {},
    });
    assert_eq!((&body["event"], &body["events"]), (&event, &json!([event])));
    let hash = |at: usize| body["ctx"]["stack"]["stack"][at].as_str().unwrap();
    assert_eq!(body["steps"][hash(0)], json!({"data": 2}));
    assert_eq!(body["steps"][hash(1)], Value::Null);
    assert_eq!(body["steps"][hash(2)], json!({"name": "x/y", "data": {}}), "an event is not nested");
    let ctx = &body["ctx"];
    assert_eq!((&ctx["attempt"], &ctx["max_attempts"], &ctx["qi_id"]), (&json!(0), &json!(5), &json!("7")));
    assert_eq!((&ctx["disable_immediate_execution"], &ctx["stack"]["current"]), (&json!(false), &json!(3)));
    let polled = polled.unwrap();
    let executed: Vec<_> = polled.executed.iter().map(|step| (&*step.want.step, step.result.is_ok())).collect();
    assert_eq!(executed, [("a", true)]);
}

#[tokio::test]
async fn no_step_executes_in_a_poll_while_another_may_execute_it() {
    let app = ScriptedApp::start().await;
    for (attempt, has_open_steps, disabled) in [(1, false, false), (1, true, true), (2, false, true)] {
        let mut execution = open(&app.url(), None, attempt).await;
        execution.prepare_call(PreparedCall { number: 7, has_open_bodies: has_open_steps, ..PreparedCall::default() });
        let operations = json!([{"id": A, "op": "StepPlanned", "displayName": "a"}]);
        let (polled, (_, body)) =
            tokio::join!(execution.poll(Vec::new()), async { app.answer(&of_sdk(206, "", &operations)).await });
        assert_eq!(body["ctx"]["disable_immediate_execution"], json!(disabled), "{attempt} {has_open_steps}");
        let PollResult::Wanted(wants) = polled.unwrap().result else { panic!("no wants") };
        assert!(matches!(wants[..], [ref want] if matches!(want.operation, Operation::Run(_))), "{wants:?}");
    }
}

#[tokio::test]
async fn an_attempt_is_a_call_of_its_step() {
    let app = ScriptedApp::start().await;
    let mut execution = open(&app.url(), None, 1).await;
    execution.run(vec![attempt("a")]);
    let failed = json!([{"id": A, "op": "StepError", "error": {"name": "TypeError", "message": "bad"}}]);
    let answer = of_sdk(206, "retry-after: 30\r\n", &failed);
    let (finished, (head, body)) = tokio::join!(execution.wait(), async { app.answer(&answer).await });
    assert!(head.contains(&format!("stepid={A} ")), "{head}");
    assert_eq!((&body["ctx"]["attempt"], &body["ctx"]["max_attempts"]), (&json!(1), &json!(3)));
    let Err(AttemptError::Failed(error)) = &finished.results[0].result else { panic!("{finished:?}") };
    assert_eq!((&*error.failure.message, error.failure.name.as_deref()), ("bad", Some("TypeError")));
    assert_eq!(error.retry, RetryAdvice::After(std::time::Duration::from_secs(30)));

    for (operations, says) in [
        (json!([{"id": A, "op": "StepNotFound"}]), "does not find step `a`"),
        (json!([{"id": "f".repeat(40), "op": "StepRun"}]), "does not find step `a`"),
    ] {
        execution.run(vec![attempt("a")]);
        let answer = of_sdk(206, "", &operations);
        let (finished, _) = tokio::join!(execution.wait(), async { app.answer(&answer).await });
        let Err(AttemptError::Failed(error)) = &finished.results[0].result else { panic!("{finished:?}") };
        assert!(error.failure.message.contains(says), "{error:?}");
    }
}

#[tokio::test]
async fn an_attempt_that_is_stopped_fails_at_its_timeout() {
    let app = ScriptedApp::start().await;
    let mut execution = open(&app.url(), None, 1).await;
    execution.run(vec![attempt("a")]);
    execution.stop(&"a".into(), std::time::Duration::from_secs(20));
    let finished = execution.wait().await;
    let Err(AttemptError::Failed(error)) = &finished.results[0].result else { panic!("{finished:?}") };
    assert!(error.failure.message.contains("ran past its time-out of 20s"), "{error:?}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_lost_and_a_refused_connection_is_not() {
    let app = ScriptedApp::start().await;
    let half = "HTTP/1.1 206 x\r\nx-inngest-sdk: js:v4\r\nconnection: close\r\ncontent-length: 100\r\n\r\n[{";
    for answer in ["", half, "HTTP/1.1 502 x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"] {
        let mut execution = open(&app.url(), None, 1).await;
        let (polled, _) = tokio::join!(execution.poll(Vec::new()), async { app.answer(answer).await });
        let why = polled.expect_err("the app is unreachable").why;
        assert!(!why.contains("secret"), "{why}");
        execution.run(vec![attempt("a")]);
        let (finished, _) = tokio::join!(execution.wait(), async { app.answer(answer).await });
        assert!(matches!(finished.results[0].result, Err(AttemptError::Lost(_))), "{finished:?}");
    }
    let url = app.url();
    drop(app);
    let mut execution = open(&url, None, 1).await;
    assert!(execution.poll(Vec::new()).await.is_err());
    execution.run(vec![attempt("a")]);
    let finished = execution.wait().await;
    assert!(matches!(finished.results[0].result, Err(AttemptError::Unreachable(_))), "{finished:?}");
}

#[tokio::test]
async fn calls_are_signed_and_a_bad_signature_is_refused() {
    let app = ScriptedApp::start().await;
    let key = SigningKey::parse("signkey-prod-00ff").unwrap();
    let keys = SigningKeys { current: key.clone(), fallback: None };
    let now = || jiff::Timestamp::now().as_second();
    let answer = json!({"a": 1});
    for (signature, is_accepted) in
        [(key.sign(answer.to_string().as_bytes(), now()), true), (key.sign(b"", now()), false)]
    {
        let mut execution = open(&app.url(), Some(keys.clone()), 1).await;
        let answer = of_sdk(200, &format!("x-inngest-signature: {signature}\r\n"), &answer);
        let (polled, (head, body)) = tokio::join!(execution.poll(Vec::new()), async { app.answer(&answer).await });
        let sent = head.lines().find_map(|line| line.strip_prefix("x-inngest-signature: ")).expect("a signature");
        assert!(keys.verify(sent, body.to_string().as_bytes(), now()), "{sent}");
        assert!(head.contains("x-inngest-server-kind: cloud"), "{head}");
        assert_eq!(polled.is_ok(), is_accepted, "{polled:?}");
    }
}

#[tokio::test]
async fn a_call_that_was_told_to_end_is_continued_and_no_failure() {
    let app = ScriptedApp::start().await;
    let stopped = json!({"name": "StaleDispatchError", "message": "Stale dispatch: checkpoint returned 409"});
    let answer = of_sdk(400, "x-inngest-no-retry: true\r\n", &stopped);
    for (attempt, is_continued) in [(1, true), (2, false)] {
        let mut execution = open(&app.url(), None, attempt).await;
        execution.prepare_call(PreparedCall { number: 7, ..PreparedCall::default() });
        let (polled, _) = tokio::join!(execution.poll(Vec::new()), async { app.answer(&answer).await });
        let polled = polled.unwrap();
        assert_eq!(polled.has_checkpoints, is_continued);
        // only a checkpoint's response can end a call, so this is an error of the code
        assert_eq!(matches!(polled.result, PollResult::Wanted(wants) if wants.is_empty()), is_continued);
    }
}
