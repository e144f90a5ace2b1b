//! Everything that a file with functions needs: `use stepladder::prelude::*;`.

pub use std::time::Duration;

pub use serde::{Deserialize, Serialize};
pub use serde_json::json;

pub use crate::{
    Backoff, Batch, CancelOn, Check, Concurrency, Context, Debounce, Error, Event, EventData, Function, FunctionFailed,
    Log, MissedTicks, Rate, Result, ResultExt, Singleton, Tick, Timeouts, ToEvent,
};
