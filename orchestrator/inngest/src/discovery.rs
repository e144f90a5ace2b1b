//! Finds apps on this machine, for a local server: asks the usual ports and paths of web frameworks
//! every few seconds.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use reqwest::{Method, Url};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::apps::{Apps, POLL_INTERVAL};
use crate::convert::parse_address;

/// The ports at which frameworks listen by default.
const PORTS: [RangeInclusive<u16>; 12] = [
    80..=80,
    443..=443,
    3000..=3010,
    4321..=4321,
    5000..=5000,
    5173..=5173,
    8000..=8000,
    8080..=8080,
    8081..=8081,
    8787..=8787,
    8888..=8888,
    8910..=8915,
];
/// The paths at which frameworks serve functions.
const PATHS: [&str; 4] = ["/api/inngest", "/x/inngest", "/.netlify/functions/inngest", "/.redwood/functions/inngest"];
/// How long a connection to this machine may take.
const CONNECT: Duration = Duration::from_millis(250);
/// How long an app may take to answer.
const ANSWER: Duration = Duration::from_secs(2);

impl Apps {
    /// Looks for apps on the usual ports of this machine until the returned future is dropped, and
    /// polls those that it finds. Leaves out `own_port`, and apps at these addresses.
    pub async fn discover(self: Arc<Self>, own_port: u16, addresses: Vec<String>) {
        let mut known: BTreeSet<String> = addresses.iter().filter_map(|address| local_key(address)).collect();
        let mut polls = JoinSet::new();
        loop {
            let ports = PORTS.into_iter().flatten().filter(|port| *port != own_port);
            let found = join_all(ports.map(|port| self.find_at(port, &known))).await;
            for url in found.into_iter().flatten() {
                tracing::info!(url = %url, "an app was found");
                known.extend(local_key(url.as_str()));
                let apps = self.clone();
                polls.spawn(async move {
                    let problem = apps.sync_and_log(url.as_str(), None).await;
                    apps.poll(url.as_str(), problem).await;
                });
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Returns the address of the app at a port, if there is one that is not known.
    async fn find_at(&self, port: u16, known: &BTreeSet<String>) -> Option<Url> {
        if !listens(port).await {
            return None;
        }
        for path in PATHS {
            let url: Url = format!("http://localhost:{port}{path}").parse().ok()?;
            if known.contains(&local_key(url.as_str())?) {
                return None;
            }
            let answer = self.transport().send(Method::GET, &url, &[], Vec::new());
            if let Ok(Ok(answer)) = tokio::time::timeout(ANSWER, answer).await
                && answer.is_of_sdk()
            {
                return Some(url);
            }
        }
        None
    }
}

/// Returns whether a program of this machine listens at a port.
async fn listens(port: u16) -> bool {
    let connects = |address: IpAddr| async move {
        let connection = TcpStream::connect(SocketAddr::new(address, port));
        matches!(tokio::time::timeout(CONNECT, connection).await, Ok(Ok(_)))
    };
    // Node.js listens at `localhost`, which may be either
    connects(Ipv4Addr::LOCALHOST.into()).await || connects(Ipv6Addr::LOCALHOST.into()).await
}

/// Returns the port and the path of an address on this machine.
fn local_key(address: &str) -> Option<String> {
    let url = parse_address(address).ok()?;
    Some(format!("{}{}", url.port_or_known_default()?, url.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_that_is_polled_already_is_not_found_again() {
        assert_eq!(local_key("http://127.0.0.1:3000/api/inngest?x=1"), local_key("http://localhost:3000/api/inngest"));
        assert_ne!(local_key("http://localhost:3001/api/inngest"), local_key("http://localhost:3000/api/inngest"));
        assert_eq!(local_key("http://localhost/x/inngest").as_deref(), Some("80/x/inngest"));
        assert_eq!(local_key("localhost"), None);
    }
}
