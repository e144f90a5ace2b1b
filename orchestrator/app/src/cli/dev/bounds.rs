//! What `dev` is told about its bounds: how much is taken in before clients are pushed back.

use clap::Args;
use stepladder_server::{Bounds, Connections};

#[derive(Args, Clone, Copy, Debug)]
pub(super) struct BoundsArgs {
    /// Wakes that may be due and not served before requests that start runs get 429 and `Retry-After`; 0 is no bound
    #[arg(long, value_name = "N", default_value_t = Bounds::default().backlog)]
    max_backlog: usize,
    /// The same for what waits in memory for its time or for a slot, besides; 0 is no bound
    #[arg(long, value_name = "N", default_value_t = Bounds::default().waiting)]
    max_waiting: usize,
    /// Requests with events that may be worked on at a time before others get 429; 0 is no bound
    #[arg(long, value_name = "N", default_value_t = Bounds::default().requests)]
    max_requests: usize,
    /// Connections that are open at a time; others wait until one ends. 0 is no bound
    #[arg(long, value_name = "N", default_value_t = Connections::default().most)]
    max_connections: usize,
}

impl BoundsArgs {
    pub(super) fn intake(self) -> Bounds {
        Bounds { backlog: self.max_backlog, waiting: self.max_waiting, requests: self.max_requests }
    }

    pub(super) fn connections(self) -> Connections {
        Connections { most: self.max_connections, ..Connections::default() }
    }
}
