//! The page with the cost of runs, with the sums of a store and without.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use serde_json::json;
use stepladder_core::{Event, EventId, RunId, RunRow};
use stepladder_engine::ports::{Backend, Listings, RunQuery, StoreResult};
use stepladder_testkit::intercept::{Intercept, InterceptedBackend, StorageCall};
use stepladder_testkit::memory::Memory;

use crate::world::ServerFixture;

/// A store like DynamoDB, which keeps no counts and no sums.
struct WithoutSums(Arc<Memory>);

#[async_trait]
impl Listings for WithoutSums {
    async fn runs(&self, query: RunQuery) -> StoreResult<Vec<RunRow>> {
        self.0.runs(query).await
    }

    async fn events(&self, before: Option<EventId>, limit: usize) -> StoreResult<Vec<Event>> {
        self.0.events(before, limit).await
    }

    async fn runs_of(&self, event: EventId) -> StoreResult<Vec<RunRow>> {
        self.0.runs_of(event).await
    }

    async fn row(&self, run: RunId) -> StoreResult<Option<RunRow>> {
        self.0.row(run).await
    }
}

#[async_trait]
impl Intercept for WithoutSums {
    fn backend(&self) -> &dyn Backend {
        &*self.0
    }

    fn listings(&self) -> &dyn Listings {
        self
    }

    async fn around<'a, T: Debug + Send>(
        &'a self,
        _: StorageCall<'a>,
        reply: BoxFuture<'a, StoreResult<T>>,
    ) -> StoreResult<T> {
        reply.await
    }
}

/// Returns the values of a page's facts: those of the runs, and the sum.
fn totals(page: &str) -> [String; 2] {
    let value = |name: &str| {
        let rest = page.split(&format!("<dt>{name}</dt><dd class=\"big\">")).nth(1);
        rest.and_then(|rest| rest.split('<').next()).unwrap_or_else(|| panic!("{name}: {page}")).to_owned()
    };
    ["Runs", "Sum"].map(value)
}

#[tokio::test]
async fn costs_are_summed_over_a_day_a_week_and_a_month() {
    let world = ServerFixture::new();
    world.run(json!({"name": "test/echo", "data": {"n": 1}})).await;
    let one = totals(&world.get("/cost").await.text);
    assert_eq!(one, ["1", "$0.0000144"]);
    world.pass_time(Duration::from_secs(3 * 86_400));
    // more runs than the page lists
    for n in 0..30 {
        world.run(json!({"name": "test/echo", "data": {"n": n}})).await;
    }
    for (span, steps, runs) in [("day", 24, "30"), ("week", 28, "31"), ("month", 30, "31")] {
        let page = world.get(&format!("/cost?span={span}")).await.text;
        assert_eq!(totals(&page)[0], runs, "{span}");
        assert_eq!(page.matches("<th scope=\"row\"><time").count(), steps, "a row for each step");
        assert!(page.contains("<figure class=\"plot\">") && page.contains("requests, "), "{page}");
        assert_eq!(page.matches("href=\"/runs/").count(), 25, "the newest runs");
    }
    let echo = world.get("/cost?span=week&function=echo").await.text;
    assert_eq!(totals(&echo), ["31", "$0.000447"], "31 times the price of the first");
    assert!(echo.contains("Cost of <bdi>echo</bdi>") && echo.contains("/cost?span=month&#38;function=echo"), "{echo}");
    let link = echo.split("href=\"").find(|rest| rest.contains("Older →")).unwrap().split('"').next().unwrap();
    let older = world.get(&link.replace("&#38;", "&")).await.text;
    assert_eq!(older.matches("href=\"/runs/").count(), 6);
    assert_eq!(totals(&older)[0], "31", "the sums are those of the span");
    let refused = world.get("/cost?span=year").await;
    assert!(refused.status == 400 && refused.text.contains("use day, week or month"), "{}", refused.text);
}

#[tokio::test]
async fn without_sums_the_page_says_which_runs_it_sums() {
    let world = ServerFixture::new();
    for n in 0..60 {
        world.run(json!({"name": "test/echo", "data": {"n": n}})).await;
    }
    let remote = world.over(|memory| Arc::new(InterceptedBackend(WithoutSums(memory))));
    let page = remote.get("/cost?span=week").await.text;
    assert_eq!(totals(&page)[0], "50");
    assert!(page.contains("Sums of the 50 runs listed below. More runs were created since"), "{page}");
    assert!(page.contains("DynamoDB keeps no sums") && !page.contains("<figure"), "{page}");
    world.pass_time(Duration::from_secs(2 * 86_400));
    world.run(json!({"name": "test/echo"})).await;
    let page = remote.get("/cost").await.text;
    assert_eq!(totals(&page)[0], "1");
    assert!(page.contains("The one run that was created since"), "{page}");
    let trends = remote.get("/trends").await.text;
    assert!(trends.contains("No trends on AWS"), "{trends}");
}
