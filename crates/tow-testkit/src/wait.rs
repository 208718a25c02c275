//! Waiting for something to be true, with a deadline.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// Looks again until `is_so`; a test that waits longer than a minute has failed.
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    until_some(what, || is_so().then_some(()));
}

/// Looks again until there is something, and gives it.
#[track_caller]
pub fn until_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::sleep(INTERVAL);
    }
}

/// Whether a process of this id is there and not a zombie.
pub fn is_running(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // The name is in parentheses and may hold anything; the state follows it.
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

pub(crate) const INTERVAL: Duration = Duration::from_millis(4);
/// Longer than anything takes that works, on the slowest machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
