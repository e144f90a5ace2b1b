//! Sends documents to the X-Ray daemon on the same machine, as UDP datagrams ([daemon]).
//!
//! Nothing is awaited or retried, because a hop must not wait for its trace. If a document is lost,
//! the trace has a gap.
//!
//! [daemon]:
//! https://docs.aws.amazon.com/xray/latest/devguide/xray-api-sendingdata.html#xray-api-daemon

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};

use super::Subsegment;

/// The address of the daemon if `AWS_XRAY_DAEMON_ADDRESS` is not set. Lambda sets this variable.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:2000";

/// The header that precedes each document.
const PREFIX: &str = "{\"format\": \"json\", \"version\": 1}\n";

/// Sends documents to X-Ray's daemon.
#[derive(Debug)]
pub struct XRayDaemon {
    route: Option<(UdpSocket, SocketAddr)>,
}

impl XRayDaemon {
    /// Creates a sender to the daemon at `AWS_XRAY_DAEMON_ADDRESS`.
    #[must_use]
    pub fn from_env() -> Self {
        let address = std::env::var("AWS_XRAY_DAEMON_ADDRESS").unwrap_or_default();
        Self::with_address(if address.trim().is_empty() { DEFAULT_ADDRESS } else { &address })
    }

    /// Creates a sender to the daemon at `host:port`. The form `tcp:host:port udp:host:port` is
    /// accepted too; only its UDP part is used.
    ///
    /// If the address is invalid, this is logged, and the sender sends nothing.
    #[must_use]
    pub fn with_address(address: &str) -> Self {
        let route = open(address).inspect_err(|error| {
            tracing::warn!(address, error = %error, "the address of the X-Ray daemon is invalid; no traces are sent");
        });
        Self { route: route.ok() }
    }

    /// Sends a subsegment if its trace is recorded. Returns whether the datagram was sent. UDP does
    /// not report whether it arrived.
    pub fn send(&self, subsegment: &Subsegment<'_>) -> bool {
        let Some((socket, address)) = &self.route else { return false };
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
    // a full buffer drops the document instead of blocking the hop
    socket.set_nonblocking(true)?;
    Ok((socket, to))
}
