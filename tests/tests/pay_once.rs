//! Once the AI has answered, neither a failure nor a kill may make the server ask the AI again.
//!
//! The test uses the real binary, an OpenAI-compatible server, and the real PostgREST with a real
//! PostgreSQL. A proxy in front of each service injects faults and holds requests.

use serde_json::{Value, json};
use stepladder_tests::aimock::AiMock;
use stepladder_tests::postgres::Postgres;
use stepladder_tests::proxy::{HttpProxy, ProxyFault};
use stepladder_tests::{ApiClient, JsonJournal, ServerProcess, wait_for};

const UNAVAILABLE: ProxyFault = ProxyFault::Status(503);

/// The server and all services that a run of `enhance-client-with-ai` uses.
struct PaidServices {
    ai: AiMock,
    /// The proxy in front of the AI.
    line: HttpProxy,
    postgres: Postgres,
    /// The proxy in front of the database.
    database: HttpProxy,
    server: ServerProcess,
}

impl PaidServices {
    async fn start() -> Self {
        let answer = intelligence_json();
        let (ai, postgres) = tokio::join!(AiMock::start(&answer), Postgres::start());
        let line = HttpProxy::start("/v1", ai.url()).await;
        let database = HttpProxy::start("/rest/v1", postgres.rest_url()).await;
        let mut world = Self { ai, line, postgres, database, server: ServerProcess::new() };
        world.renew_server().await;
        world
    }

    /// Starts a new server with another data file.
    async fn renew_server(&mut self) {
        self.server = ServerProcess::new()
            .variable("OPENAI_API_KEY", "sk-a-key-of-this-test")
            .variable("OPENAI_BASE_URL", format!("{}/v1", self.line.url()))
            .variable("SUPABASE_URL", self.database.url())
            .variable("SUPABASE_SERVICE_ROLE_KEY", self.postgres.service_role_key())
            .argument("--retry-delay")
            .argument("20ms");
        self.server.start().await;
    }

    /// Inserts the row of a new client. The event of the returned client asks for an enhancement of
    /// that row.
    async fn client(&self, n: usize) -> ClientRow {
        let id = format!("00000000-0000-4000-8000-{n:012}");
        let name = format!("Client number {n} of this test");
        self.postgres.execute(&format!("insert into clients (id, name) values ('{id}', '{name}')")).await;
        ClientRow { id, name }
    }

    async fn send(&self, client: &ClientRow) -> String {
        let ids = self.server.api().send(&client.event()).await;
        self.server.api().run_of(&ids[0]).await
    }

    /// Returns how many requests to the AI were about a client.
    async fn asked_about(&self, client: &ClientRow) -> usize {
        let requests = self.ai.requests().await;
        requests.iter().filter(|request| request["messages"].to_string().contains(&client.name)).count()
    }

    /// Panics unless the database has exactly the rows that follow from the AI's answer about the
    /// client.
    async fn assert_rows(&self, client: &ClientRow) {
        let id = &client.id;
        let rows = self.postgres.rows(&format!("select * from clients where id = '{id}'")).await;
        let row = &rows[0];
        assert_eq!((&row["industry"], &row["name"]), (&json!("Tea"), &json!(client.name)), "{row}");
        assert_eq!(row["products"].as_array().map(Vec::len), Some(10), "the caps hold: {row}");
        let query = format!("select name, domain from competitors where client_id = '{id}' order by domain");
        let expected =
            json!([{"name": "First", "domain": "first.example"}, {"name": "Second", "domain": "second.example"}]);
        assert_eq!(json!(self.postgres.rows(&query).await), expected, "each competitor once");
    }

    /// Panics unless the run completed, its journal is legal and continues the journal from before
    /// the kill, and no step that had an outcome was executed again.
    async fn assert_survived(&self, what: &str, run: &str, client: &ClientRow, before: &JsonJournal) {
        let ended = self.server.api().wait_for_end(run).await;
        assert_eq!(ended["status"], "Completed", "{what}: {ended}");
        let journal = self.server.api().journal(run).await;
        journal.assert_legal();
        journal.assert_continues(before);
        let later = JsonJournal(journal.0[before.len()..].to_vec()).steps_with_fact("StepStarted");
        let again = before.succeeded_steps().into_iter().find(|step| later.contains(step));
        assert_eq!(again, None, "{what}: a step ran again after its outcome: {:#?}", journal.story());
        let attempts = journal.steps_with_fact("StepStarted").iter().filter(|step| *step == "call-openai").count();
        let asked = self.asked_about(client).await;
        assert!((1..=attempts).contains(&asked), "{what}: {asked} requests in {attempts} attempts");
        self.assert_rows(client).await;
        self.server.assert_no_error_logged();
    }
}

struct ClientRow {
    id: String,
    name: String,
}

impl ClientRow {
    fn event(&self) -> Value {
        let data = json!({"clientId": self.id, "clientName": self.name, "clientDomain": "acme.example"});
        json!({"name": "client/enhance.requested", "id": self.id, "data": data})
    }
}

/// Returns the AI's answer about every client. Its lists have more entries than allowed, and one
/// competitor occurs twice.
fn intelligence_json() -> Value {
    let many: Vec<_> = (1..=12).map(|n| format!("Product {n}")).collect();
    let competitor = |name: &str, domain: &str| json!({"name": name, "domain": domain, "reason": "Sells tea too."});
    json!({
        "industry": "Tea", "description": "Sells tea.", "business_model": "Shops", "tone": "Warm",
        "products": many, "services": ["Tasting"], "audiences": ["Everybody"], "keywords": ["tea"],
        "unique_selling_points": ["Fresh"], "locations": ["Lisbon"],
        "competitors": [
            competitor("Second", "second.example"),
            competitor("First", "first.example"),
            competitor("First", "https://www.first.example/"),
        ],
    })
}

#[tokio::test]
async fn the_ai_is_asked_once_although_the_database_fails_twice() {
    let world = PaidServices::start().await;
    for (n, faults) in [[UNAVAILABLE; 2], [ProxyFault::CutBefore; 2], [ProxyFault::CutAfter; 2]].into_iter().enumerate()
    {
        let client = world.client(n).await;
        world.database.next_meet("PATCH", faults);
        world.database.next_meet("POST", faults);
        let run = world.send(&client).await;
        world.assert_survived(&format!("{faults:?}"), &run, &client, &JsonJournal::default()).await;
        assert_eq!(world.asked_about(&client).await, 1, "{faults:?}");
        let failed = world.server.api().journal(&run).await.steps_with_fact("StepFailed");
        assert_eq!(
            failed,
            ["update-client", "update-client", "upsert-competitors", "upsert-competitors"],
            "{faults:?}"
        );
    }
}

#[tokio::test]
async fn a_kill_after_each_entry_loses_nothing_and_repeats_nothing() {
    let mut world = PaidServices::start().await;
    // in every run, one request to each table fails, so that the journal contains failed attempts
    let undisturbed = world.client(0).await;
    make_faults(&world);
    let run = world.send(&undisturbed).await;
    world.assert_survived("undisturbed", &run, &undisturbed, &JsonJournal::default()).await;
    let entries = world.server.api().journal(&run).await.len();
    assert!(entries >= 14, "an event, four steps, two failures and an end are 14 entries: {entries}");

    for k in 1..=entries {
        let client = world.client(k).await;
        make_faults(&world);
        let run = world.send(&client).await;
        let before = wait_for("the entry", async || {
            let journal = world.server.api().journal(&run).await;
            (journal.len() >= k).then_some(journal)
        })
        .await;
        world.server.kill_and_restart().await;
        let what = format!("killed at entry {} ({k})", before.len());
        world.assert_survived(&what, &run, &client, &before).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_kill_at_each_write_loses_nothing_and_repeats_nothing() {
    let mut world = PaidServices::start().await;
    let mut kills = 0;
    loop {
        let n = kills + 1;
        world.renew_server().await;
        let client = world.client(n).await;
        make_faults(&world);
        let (api, event) = (world.server.api(), client.event());
        let sending = tokio::spawn(async move { until_it_ends(&api, &event).await });
        if !world.server.kill_at_write(n, move || sending.is_finished()).await {
            break;
        }
        kills = n;
        world.server.start().await;
        // the sender repeats its event, because the kill may have come before the response
        let run = world.send(&client).await;
        let what = format!("killed at write {n}");
        world.assert_survived(&what, &run, &client, &JsonJournal::default()).await;
        assert_eq!(world.server.api().number_of_runs().await, 1, "{what}");
    }
    // the writes of the event, four outcomes, two failures and the end are separate; other entries
    // may share a write with one of them
    assert!(kills >= 8, "only {kills} writes were seen");
}

/// Sends an event and waits until the run has ended. Returns `None` if the server was killed before
/// that.
async fn until_it_ends(api: &ApiClient, event: &Value) -> Option<()> {
    let (_, sent) = api.try_post("/e/test", event.to_string()).await.ok()?;
    let runs = format!("/v1/events/{}/runs", sent["ids"][0].as_str()?);
    while api.try_get(&runs).await.ok()?.1["data"][0]["ended_at"].is_null() {
        tokio::task::yield_now().await;
    }
    Some(())
}

/// Injects one fault into the next request to each table. Cancels older faults that were not
/// injected yet.
fn make_faults(world: &PaidServices) {
    world.database.forget_faults();
    world.database.next_meet("PATCH", [UNAVAILABLE]);
    world.database.next_meet("POST", [ProxyFault::CutAfter]);
}

#[tokio::test]
async fn a_kill_during_a_body_repeats_only_that_body() {
    let mut world = PaidServices::start().await;
    let client = world.client(1).await;
    world.line.hold_requests();
    let run = world.send(&client).await;
    wait_for("the request to the AI", async || (!world.line.seen_requests().is_empty()).then_some(())).await;
    let before = world.server.api().journal(&run).await;
    world.server.kill().await;
    world.line.release_requests();
    world.database.hold_requests();
    world.server.start().await;
    world.server.api().journal(&run).await.assert_continues(&before);

    // the AI has answered by the time of the first request to the database; each of the two
    // database steps is interrupted by one kill
    for method in ["PATCH", "POST"] {
        let asked = async || world.database.seen_requests().iter().any(|seen| seen.method == method).then_some(());
        wait_for("the request to the database", asked).await;
        let before = world.server.api().journal(&run).await;
        assert!(before.succeeded_steps().contains("call-openai"), "{:#?}", before.story());
        world.server.kill().await;
        world.database.release_requests();
        let seen = world.database.seen_requests().len();
        if method == "PATCH" {
            world.database.hold_method("POST");
        }
        world.server.start().await;
        wait_for("the database to be asked again", async || {
            (world.database.seen_requests().len() > seen).then_some(())
        })
        .await;
        world.server.api().journal(&run).await.assert_continues(&before);
    }
    world.assert_survived("in flight", &run, &client, &JsonJournal::default()).await;
    let journal = world.server.api().journal(&run).await;
    let interrupted = journal.steps_with_fact("AttemptInterrupted");
    assert_eq!(interrupted, ["call-openai", "update-client", "upsert-competitors"], "{:#?}", journal.story());
}

#[tokio::test]
async fn a_kill_while_an_event_is_accepted_leaves_one_run_after_the_sender_repeats_it() {
    let mut world = PaidServices::start().await;
    for n in 1..=5 {
        let client = world.client(n).await;
        let (api, body) = (world.server.api(), client.event().to_string());
        let sending = tokio::spawn(async move { api.try_post("/e/test", body).await });
        // in each round, the request gets further before the kill
        for _ in 0..n * n {
            tokio::task::yield_now().await;
        }
        world.server.kill().await;
        // the sender repeats the event, whether it got a response or not
        let first = sending.await.expect("no panic").ok();
        world.server.start().await;
        let ids = world.server.api().send(&client.event()).await;
        if let Some((200, answer)) = first {
            assert_eq!(answer["ids"], json!(ids), "an acknowledged id stands");
        }
        let run = world.server.api().run_of(&ids[0]).await;
        world.assert_survived("repeated event", &run, &client, &JsonJournal::default()).await;
        assert_eq!(world.server.api().number_of_runs().await, n, "one run an event");
    }
}

#[tokio::test]
async fn secrets_reach_neither_journal_nor_log() {
    let world = PaidServices::start().await;
    let client = world.client(1).await;
    world.database.next_meet("PATCH", [ProxyFault::Status(401)]);
    let run = world.send(&client).await;
    let ended = world.server.api().wait_for_end(&run).await;
    assert_eq!(ended["status"], "Failed", "a 401 is not retried: {ended}");
    assert!(ended["error"]["message"].as_str().is_some_and(|said| said.contains("a fault on purpose")), "{ended}");
    let everything = format!("{ended}{:?}{}", world.server.api().journal(&run).await, world.server.log());
    for secret in ["sk-a-key-of-this-test", world.postgres.service_role_key()] {
        assert!(!everything.contains(secret), "{secret} is visible");
    }
}
