//! What the figures depend on: the machine's processors, its disk, and what else it does meanwhile.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::time::{Duration, Instant};

use crate::marks::percentile;

/// A machine as it is now.
#[derive(Debug)]
pub(crate) struct Machine {
    /// Processors that this process may use.
    pub(crate) processors: usize,
    /// Programs that want a processor, as an average over a minute; `None` where the system does not tell.
    pub(crate) load: Option<f64>,
    /// How long a 4 KiB write with its `fdatasync` takes: the median, and the 99th of 100.
    pub(crate) sync: (Duration, Duration),
}

impl Machine {
    /// Looks at it; writes to the folder that the servers' files will be in.
    pub(crate) fn look() -> Self {
        let load = std::fs::read_to_string("/proc/loadavg").ok();
        Self {
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            load: load.and_then(|text| text.split(' ').next()?.parse().ok()),
            sync: sync_times().expect("a file in the folder for temporary files can be written and synced"),
        }
    }
}

fn sync_times() -> std::io::Result<(Duration, Duration)> {
    let mut file: File = tempfile::tempfile()?;
    let block = [7_u8; 4096];
    let mut times = Vec::new();
    for _ in 0..500 {
        // one place again and again, as in a log that is used anew: the file does not grow
        file.seek(SeekFrom::Start(0))?;
        let begun = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    Ok((percentile(&mut times, 50), percentile(&mut times, 99)))
}
