//! Whether compressing pays: decided from what was measured, and from nothing else.
//!
//! The link is the bottleneck where the sender spends more than half of its time waiting to give
//! something to it. Then the next few hundred kilobytes are compressed; it stays so while they
//! become smaller, and are compressed faster than the link would take them as they are.

use std::time::{Duration, Instant};

use tow_proto::transfer::Compress;

/// What was decided, and the measurements that the next decision needs.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    mode: Compress,
    level: Option<i32>,
    /// Since when and how long the link kept the sender waiting.
    since: Instant,
    blocked: Duration,
    given: u64,
    /// Bytes in a second that the link took when it was last the bottleneck.
    rate: f64,
    /// What was compressed since the last judgement.
    from: u64,
    to: u64,
    spent: Duration,
    /// Bytes to pass before another trial.
    rest: u64,
}

impl Choice {
    pub(super) fn new(mode: Compress, now: Instant) -> Self {
        let level = (mode == Compress::Always).then_some(LEVEL_ALWAYS);
        Self {
            mode,
            level,
            since: now,
            blocked: Duration::ZERO,
            given: 0,
            rate: 0.0,
            from: 0,
            to: 0,
            spent: Duration::ZERO,
            rest: 0,
        }
    }

    /// The zstd level for what is sent next; `None`: as it is.
    pub(super) fn level(&self) -> Option<i32> {
        self.level
    }

    /// `bytes` were given to the link at `now`, which kept the sender waiting for `blocked`.
    pub(super) fn gave(&mut self, bytes: u64, blocked: Duration, now: Instant) {
        self.given += bytes;
        self.blocked += blocked;
        self.rest = self.rest.saturating_sub(bytes);
        let window = now.saturating_duration_since(self.since);
        if window < WINDOW {
            return;
        }
        let share = self.blocked.as_secs_f64() / window.as_secs_f64();
        let rate = self.given as f64 / window.as_secs_f64();
        (self.since, self.blocked, self.given) = (now, Duration::ZERO, 0);
        if self.mode == Compress::Auto {
            self.decide(share, rate);
        }
    }

    /// `from` bytes became `to` within `took`.
    pub(super) fn compressed(&mut self, from: usize, to: usize, took: Duration) {
        self.from += from as u64;
        self.to += to as u64;
        self.spent += took;
        if self.mode == Compress::Auto && self.from >= JUDGED_LEN {
            self.judge();
        }
    }

    fn decide(&mut self, share: f64, rate: f64) {
        let is_bottleneck = share > 0.5;
        if is_bottleneck {
            self.rate = rate;
        }
        self.level = match self.level {
            None if is_bottleneck && self.rest == 0 => Some(LEVEL_MIN),
            Some(_) if share > 0.75 => Some(LEVEL_MAX),
            // The link takes more than compressing gives. Only without it can be seen how much.
            Some(_) if share < 0.1 => self.stop(),
            level => level,
        };
    }

    fn judge(&mut self) {
        let is_smaller = (self.to as f64) < RATIO_MAX * self.from as f64;
        let speed = self.from as f64 / self.spent.as_secs_f64().max(1e-9);
        (self.from, self.to, self.spent) = (0, 0, Duration::ZERO);
        if !is_smaller || speed <= self.rate {
            self.level = self.stop();
        }
    }

    fn stop(&mut self) -> Option<i32> {
        self.rest = REST;
        (self.from, self.to, self.spent) = (0, 0, Duration::ZERO);
        None
    }
}

/// How long is measured before a decision.
const WINDOW: Duration = Duration::from_millis(250);
/// Bytes after which it is judged whether compressing them was worth it.
const JUDGED_LEN: u64 = 512 << 10;
/// Bytes that pass after compressing did not pay.
const REST: u64 = 4 << 20;
/// What becomes of a byte at most for it to be worth it.
const RATIO_MAX: f64 = 0.9;
const LEVEL_MIN: i32 = 1;
const LEVEL_MAX: i32 = 3;
const LEVEL_ALWAYS: i32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Chunks of 256 KiB that become `ratio` of it within `compress` on a link that takes
    /// `link_rate` bytes in a second. The share of them that were compressed, of the last half.
    fn run(mode: Compress, link_rate: f64, ratio: f64, compress: Duration) -> f64 {
        let (mut now, mut free_at) = (Instant::now(), Instant::now());
        let mut choice = Choice::new(mode, now);
        let mut packed = 0;
        for number in 0..2_000 {
            now += MS / 4;
            let mut wire = 256 << 10;
            if choice.level().is_some() {
                now += compress;
                let smaller = (wire as f64 * ratio) as usize;
                choice.compressed(wire, smaller, compress);
                wire = wire.min(smaller);
                packed += u32::from(number >= 1_000);
            }
            // The link holds one chunk besides the one that it sends.
            let blocked = free_at.saturating_duration_since(now);
            now += blocked;
            free_at = now + Duration::from_secs_f64(wire as f64 / link_rate);
            choice.gave(wire as u64, blocked, now);
        }
        f64::from(packed) / 1_000.0
    }

    #[test]
    fn a_slow_link_and_text_are_compressed() {
        assert!(run(Compress::Auto, 10e6, 0.3, MS) > 0.95);
        assert!(run(Compress::Auto, 100e6, 0.3, MS / 2) > 0.8);
    }

    #[test]
    fn a_fast_link_is_not_slowed_down() {
        assert_eq!(run(Compress::Auto, 4e9, 0.3, MS), 0.0);
        // Faster than what compressing gives: tried now and then, never kept.
        assert!(run(Compress::Auto, 600e6, 0.3, MS) < 0.2);
    }

    #[test]
    fn noise_is_tried_now_and_then() {
        let share = run(Compress::Auto, 10e6, 1.0, MS);
        assert!(share > 0.0 && share < 0.25, "{share}");
    }

    #[test]
    fn never_is_never_and_always_is_always() {
        assert_eq!(run(Compress::Never, 1e6, 0.1, MS), 0.0);
        assert_eq!(run(Compress::Always, 4e9, 1.0, 10 * MS), 1.0);
    }

    #[test]
    fn a_very_slow_link_gets_the_better_level() {
        let mut now = Instant::now();
        let mut choice = Choice::new(Compress::Auto, now);
        let mut levels = Vec::new();
        for _ in 0..4 {
            now += 300 * MS;
            choice.gave(1 << 20, 290 * MS, now);
            levels.push(choice.level());
        }
        assert_eq!(levels, [Some(1), Some(3), Some(3), Some(3)]);
    }
}
