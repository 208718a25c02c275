//! How fast the link is given bytes, where it was asked not to be too fast: a token bucket that only
//! calculates.

use std::time::{Duration, Instant};

/// Lets through so many bytes in a second on average, and a part of a second's worth at once.
#[derive(Clone, Debug)]
pub(super) struct Limit {
    bytes_per_sec: u64,
    /// When everything that was let through is paid for.
    paid_at: Instant,
}

impl Limit {
    /// A rate of 0 is taken as 1.
    pub(super) fn new(bytes_per_sec: u64, now: Instant) -> Self {
        Self { bytes_per_sec: bytes_per_sec.max(1), paid_at: now }
    }

    /// How long to wait before `bytes` more may go. They count as gone.
    pub(super) fn wait(&mut self, bytes: u64, now: Instant) -> Duration {
        let debt = self.paid_at.saturating_duration_since(now);
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_sec);
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).min(COST_MAX);
        self.paid_at = now + debt + cost;
        debt.saturating_sub(BURST)
    }

    /// How many bytes to give at once, so that the rate is kept evenly.
    pub(super) fn portion(&self, most: usize) -> usize {
        let even = self.bytes_per_sec / 8;
        usize::try_from(even).unwrap_or(most).clamp(PORTION_MIN.min(most), most)
    }
}

/// What may go at once after a pause.
const BURST: Duration = Duration::from_millis(100);
/// Most that one item costs, whatever the rate.
const COST_MAX: Duration = Duration::from_secs(3600);
/// Least bytes at once.
const PORTION_MIN: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_is_kept_whatever_the_portions() {
        let start = Instant::now();
        for portion in [1_000, 100_000, 1_000_000] {
            let mut limit = Limit::new(1_000_000, start);
            let mut now = start;
            for _ in 0..10_000_000 / portion {
                now += limit.wait(portion, now);
            }
            let took = (now - start).as_secs_f64();
            assert!((8.8..=10.0).contains(&took), "{portion}: {took}");
        }
    }

    #[test]
    fn a_pause_gives_no_more_than_a_burst() {
        let start = Instant::now();
        let mut limit = Limit::new(1_000, start);
        assert_eq!(limit.wait(100, start), Duration::ZERO);
        let later = start + Duration::from_secs(100);
        assert_eq!(limit.wait(500, later), Duration::ZERO);
        assert_eq!(limit.wait(500, later), Duration::from_millis(400));
        assert_eq!(limit.wait(500, later), Duration::from_millis(900));
    }

    #[test]
    fn extreme_rates_do_not_overflow() {
        let now = Instant::now();
        let mut slow = Limit::new(0, now);
        for _ in 0..10 {
            slow.wait(u64::MAX, now);
        }
        assert!(slow.wait(1, now) <= 10 * COST_MAX);
        assert_eq!(slow.portion(256 << 10), PORTION_MIN);
        let mut fast = Limit::new(u64::MAX, now);
        assert_eq!(fast.wait(u64::MAX, now), Duration::ZERO);
        assert_eq!(fast.portion(256 << 10), 256 << 10);
    }
}
