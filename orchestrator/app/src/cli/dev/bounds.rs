//! The options for the limits of the local server. Clients that exceed a limit get a 429.

use clap::Args;
use stepladder_server::{ConnectionLimits, IntakeBounds};

#[derive(Args, Clone, Copy, Debug)]
pub(super) struct BoundsArgs {
    /// Maximum number of due wakes; past it, requests that start runs get 429 and `Retry-After`. 0
    /// means no limit
    #[arg(long, value_name = "N", default_value_t = IntakeBounds::default().backlog)]
    max_backlog: usize,
    /// Maximum number of runs that wait in memory for their time or for a slot; past it, the same.
    /// 0 means no limit
    #[arg(long, value_name = "N", default_value_t = IntakeBounds::default().waiting)]
    max_waiting: usize,
    /// Maximum number of requests with events at the same time; others get 429. 0 means no limit
    #[arg(long, value_name = "N", default_value_t = IntakeBounds::default().requests)]
    max_requests: usize,
    /// Maximum number of open connections; others wait until one ends. 0 means no limit
    #[arg(long, value_name = "N", default_value_t = ConnectionLimits::default().max)]
    max_connections: usize,
}

impl BoundsArgs {
    pub(super) fn intake(self) -> IntakeBounds {
        IntakeBounds { backlog: self.max_backlog, waiting: self.max_waiting, requests: self.max_requests }
    }

    pub(super) fn connections(self) -> ConnectionLimits {
        ConnectionLimits { max: self.max_connections, ..ConnectionLimits::default() }
    }
}
