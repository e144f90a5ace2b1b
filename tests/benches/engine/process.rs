//! Measures the processor time and memory of processes, from `/proc` on Linux. Other systems have
//! no such figures.

use std::time::{Duration, Instant};

/// The unit of processor time in `/proc`, which is always a hundredth of a second.
const TICK: Duration = Duration::from_millis(10);

/// The processor times of processes at the start of a measurement.
#[derive(Clone, Debug)]
pub(crate) struct ProcessorWatch {
    pids: Vec<u32>,
    begun: Instant,
    used: Option<Duration>,
    own: Option<Duration>,
    busy: Option<Duration>,
}

/// The times that a measurement took.
#[derive(Clone, Debug)]
pub(crate) struct ProcessorUsage {
    /// The elapsed time.
    pub(crate) elapsed: Duration,
    /// The total processor time of the measured processes.
    pub(crate) cpu: Option<Duration>,
    /// The average number of processors that other programs used.
    pub(crate) others: Option<f64>,
}

impl ProcessorWatch {
    /// Starts measuring these processes.
    pub(crate) fn start(pids: &[u32]) -> Self {
        Self {
            pids: pids.to_vec(),
            begun: Instant::now(),
            used: cpu_of(pids),
            own: cpu_of(&[std::process::id()]),
            busy: busy_time(),
        }
    }

    /// Ends the measurement.
    pub(crate) fn stop(&self) -> ProcessorUsage {
        let now = Self::start(&self.pids);
        let elapsed = self.begun.elapsed();
        let since = |now: Option<Duration>, then: Option<Duration>| now?.checked_sub(then?);
        let (cpu, own, busy) = (since(now.used, self.used), since(now.own, self.own), since(now.busy, self.busy));
        let others = || Some(busy?.saturating_sub(cpu? + own?).as_secs_f64() / elapsed.as_secs_f64());
        ProcessorUsage { elapsed, cpu, others: others() }
    }
}

/// Returns the sum of the peak memory of these processes, in bytes.
pub(crate) fn peak_memory(pids: &[u32]) -> Option<u64> {
    pids.iter().map(|pid| status_of(*pid, "VmHWM:")).sum()
}

/// Returns the current memory of a process, in bytes.
pub(crate) fn resident_memory(pid: u32) -> Option<u64> {
    status_of(pid, "VmRSS:")
}

fn status_of(pid: u32, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    Some(line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()? * 1024)
}

fn cpu_of(pids: &[u32]) -> Option<Duration> {
    pids.iter()
        .map(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // the process's name, in parentheses, may contain spaces; user and system time are the
            // 12th and 13th field after it
            let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
            let ticks = fields.next()?.parse::<u32>().ok()? + fields.next()?.parse::<u32>().ok()?;
            Some(TICK * ticks)
        })
        .sum()
}

/// Returns the processor time used on the whole machine, by users and by the system.
fn busy_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let mut fields = stat.strip_prefix("cpu")?.split_whitespace();
    let (user, nice, system) = (fields.next()?, fields.next()?, fields.next()?);
    let ticks: u32 = [user, nice, system].iter().map(|text| text.parse::<u32>().unwrap_or(0)).sum();
    Some(TICK * ticks)
}
