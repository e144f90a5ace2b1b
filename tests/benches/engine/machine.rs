//! Describes the machine on which the figures were measured: its processors, disk and load.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::time::{Duration, Instant};

use crate::marks::percentile;

/// The state of the machine at one time.
#[derive(Debug)]
pub(crate) struct MachineState {
    /// The number of processors that this process may use.
    pub(crate) processors: usize,
    /// The load average of the last minute; `None` if the system does not report it.
    pub(crate) load: Option<f64>,
    /// How long a 4 KiB write with `fdatasync` takes: the median and the 99th percentile.
    pub(crate) sync: (Duration, Duration),
}

impl MachineState {
    /// Measures the machine. For the disk, writes into the folder of the servers' files.
    pub(crate) fn measure() -> Self {
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
        // always the same position, so that the file does not grow, as with a log that is reused
        file.seek(SeekFrom::Start(0))?;
        let begun = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    Ok((percentile(&mut times, 50), percentile(&mut times, 99)))
}
