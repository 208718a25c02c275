//! Waiting for others.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Waits until something is so, which takes no time worth measuring.
pub(crate) fn until(is_reached: impl Fn() -> bool) -> Result<()> {
    let started = Instant::now();
    while !is_reached() {
        if started.elapsed() > WAIT_MAX {
            bail!("nothing after {} s", WAIT_MAX.as_secs());
        }
        sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Waits until all children of a process have ended.
pub(crate) fn until_childless(pid: u32) -> Result<()> {
    let children = format!("/proc/{pid}/task/{pid}/children");
    until(|| fs::read_to_string(&children).is_ok_and(|children| children.trim().is_empty()))
}

const WAIT_MAX: Duration = Duration::from_secs(20);
