//! Processor time, as /proc/PID/stat counts it (proc(5)): user and system together.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// What this process's children have used that have ended and were waited for.
pub(crate) fn of_our_children() -> Result<Duration> {
    let stat = Stat::read("self")?;
    Ok(stat.of_children)
}

/// What a process has used, with its children that have ended.
pub(crate) fn of_process(pid: u32) -> Result<Duration> {
    let stat = Stat::read(&pid.to_string())?;
    Ok(stat.own + stat.of_children)
}

struct Stat {
    own: Duration,
    of_children: Duration,
}

impl Stat {
    fn read(pid: &str) -> Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name of the program may hold anything, parentheses too.
        let (_, rest) = text.rsplit_once(')').context("/proc/PID/stat")?;
        let ticks: Vec<u64> =
            rest.split_whitespace().skip(UTIME - 3).take(4).flat_map(str::parse).collect();
        let [utime, stime, cutime, cstime] = ticks[..] else {
            anyhow::bail!("/proc/{pid}/stat can't be read");
        };
        Ok(Self { own: duration(utime + stime), of_children: duration(cutime + cstime) })
    }
}

fn duration(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1000 / TICKS_PER_SEC)
}

/// Number of the field, from 1; three more of its kind follow.
const UTIME: usize = 14;
/// USER_HZ, on every architecture that we run on.
const TICKS_PER_SEC: u64 = 100;
