//! The way to X-Ray: a daemon beside the program, which takes documents as UDP datagrams ([daemon]) and sends them on.
//!
//! Nothing is awaited and nothing is retried: a trace that loses a piece is better than a hop that waits for one.
//!
//! [daemon]: https://docs.aws.amazon.com/xray/latest/devguide/xray-api-sendingdata.html#xray-api-daemon

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};

use super::Subsegment;

/// Where the daemon listens unless `AWS_XRAY_DAEMON_ADDRESS` says otherwise, as it does in Lambda.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:2000";

/// What goes before each document.
const PREFIX: &str = "{\"format\": \"json\", \"version\": 1}\n";

/// Sends documents to X-Ray's daemon.
#[derive(Debug)]
pub struct Daemon {
    way: Option<(UdpSocket, SocketAddr)>,
}

impl Daemon {
    /// The daemon at `AWS_XRAY_DAEMON_ADDRESS`.
    #[must_use]
    pub fn from_env() -> Self {
        let address = std::env::var("AWS_XRAY_DAEMON_ADDRESS").unwrap_or_default();
        Self::at(if address.trim().is_empty() { DEFAULT_ADDRESS } else { &address })
    }

    /// The daemon at `host:port`, or at `tcp:host:port udp:host:port`, of which the second counts.
    ///
    /// An address that makes no sense is told in the log, and then nothing is sent.
    #[must_use]
    pub fn at(address: &str) -> Self {
        let way = open(address).inspect_err(|error| {
            tracing::warn!(address, error = %error, "no traces: the address of X-Ray's daemon cannot be used");
        });
        Self { way: way.ok() }
    }

    /// Sends a subsegment if there is something to send, and says whether it did; whether it arrived nobody knows.
    pub fn send(&self, subsegment: &Subsegment<'_>) -> bool {
        let Some((socket, address)) = &self.way else { return false };
        let Some(document) = subsegment.document() else { return false };
        socket.send_to(format!("{PREFIX}{document}").as_bytes(), address).is_ok()
    }
}

fn open(address: &str) -> io::Result<(UdpSocket, SocketAddr)> {
    let mut parts = address.split_whitespace();
    let udp = parts.clone().find_map(|part| part.strip_prefix("udp:")).or_else(|| parts.next()).unwrap_or_default();
    let unknown = || io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    let to = udp.to_socket_addrs()?.next().ok_or_else(unknown)?;
    let from: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(from)?;
    // a full buffer drops a document; it never holds up a hop
    socket.set_nonblocking(true)?;
    Ok((socket, to))
}
