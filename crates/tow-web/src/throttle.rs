//! How often one source may fail to say who it is.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tow_net::gate::Source;

/// The failures of each source. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Throttle(Arc<Mutex<HashMap<Source, Window>>>);

struct Window {
    began: Instant,
    failures: u32,
}

impl Throttle {
    /// Whether `from` has failed too often to be listened to now.
    pub(crate) fn is_spent(&self, from: IpAddr, now: Instant) -> bool {
        let windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        windows.get(&from.into()).is_some_and(|window| {
            window.failures >= FAILURES_MAX && now.duration_since(window.began) < WINDOW
        })
    }

    /// Counts a failure. Loopback is free: there, one user's mistakes would lock all others out.
    pub(crate) fn count(&self, from: IpAddr, now: Instant) {
        if from.to_canonical().is_loopback() {
            return;
        }
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= SOURCES_MAX {
            windows.retain(|_, window| now.duration_since(window.began) < WINDOW);
        }
        if windows.len() >= SOURCES_MAX {
            return;
        }
        let window = windows.entry(from.into()).or_insert(Window { began: now, failures: 0 });
        if now.duration_since(window.began) >= WINDOW {
            *window = Window { began: now, failures: 0 };
        }
        window.failures += 1;
    }
}

const FAILURES_MAX: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Beyond that, strangers are not remembered, and their secrets are still too long to be guessed.
const SOURCES_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_failures_in_a_minute_are_enough_for_one_source_and_no_other() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let [bad, good] = ["192.0.2.1", "192.0.2.2"].map(|ip| ip.parse::<IpAddr>().unwrap());
        for _ in 0..FAILURES_MAX {
            assert!(!throttle.is_spent(bad, now));
            throttle.count(bad, now);
        }
        assert!(throttle.is_spent(bad, now) && !throttle.is_spent(good, now));
        assert!(!throttle.is_spent(bad, now + WINDOW));
        throttle.count(bad, now + WINDOW);
        assert!(!throttle.is_spent(bad, now + WINDOW));
    }

    #[test]
    fn loopback_is_never_locked_out() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let here: IpAddr = "127.0.0.1".parse().unwrap();
        (0..100).for_each(|_| throttle.count(here, now));
        assert!(!throttle.is_spent(here, now));
    }
}
