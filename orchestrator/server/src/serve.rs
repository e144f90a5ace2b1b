//! The server on a listener: how many connections it has at a time, how long one may take to say what it wants, and how
//! long to take the answer.

mod slow;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::slow::WriteLimited;

/// How a server treats connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// At most so many at a time; others wait in the operating system's queue until one ends. 0 is no bound.
    pub most: usize,
    /// The head of a request, the first or the next, must be there within this time, or its connection is closed.
    pub head_within: Duration,
    /// An answer that is not taken is given up after this time, and its connection closed. Its client must take 1 KiB a
    /// second on average.
    pub taken_within: Duration,
}

impl Default for Connections {
    /// Half of the 1,024 files that a process may commonly have open, and half a minute each.
    fn default() -> Self {
        let half_a_minute = Duration::from_secs(30);
        Self { most: 512, head_within: half_a_minute, taken_within: half_a_minute }
    }
}

/// Serves until `shutdown` completes; requests under way are answered.
pub async fn serve(
    mut listener: TcpListener,
    router: Router,
    connections: Connections,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let most = match connections.most {
        0 => Semaphore::MAX_PERMITS,
        most => most.min(Semaphore::MAX_PERMITS),
    };
    let places = Arc::new(Semaphore::new(most));
    let ending = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(connections.head_within);
    tokio::pin!(shutdown);
    loop {
        let next = tokio::select! {
            next = next(&mut listener, &places) => next,
            () = &mut shutdown => break,
        };
        let Some((connection, place)) = next else { break };
        // answers are small and complete: waiting to fill a packet would only delay them
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "a connection stays with delayed small packets");
        }
        let service = TowerToHyperService::new(router.clone());
        let connection = TokioIo::new(WriteLimited::new(connection, connections.taken_within));
        let served = ending.watch(http.serve_connection(connection, service));
        tokio::spawn(async move {
            if let Err(error) = served.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(place);
        });
    }
    drop(listener);
    ending.shutdown().await;
}

/// The next connection, once there is a place for it. `None` never comes: the places are not closed.
async fn next(listener: &mut TcpListener, places: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.ok()?;
    // axum's: goes on after errors of single connections, and waits a second when no file is left
    let (connection, _) = Listener::accept(listener).await;
    Some((connection, place))
}
