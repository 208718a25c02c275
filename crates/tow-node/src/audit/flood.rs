//! Equal refusals of strangers: the first few of each second are written, the others counted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tow_proto::Trust;

use super::{Outcome, Record, Who};

/// Whether a record is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Write,
    HoldBack,
}

/// What strangers were refused lately. There are as many kinds as verbs times refusals, whatever the
/// strangers do.
#[derive(Debug, Default)]
pub(super) struct Floods {
    kinds: BTreeMap<(&'static str, u16), Window>,
}

#[derive(Debug)]
struct Window {
    start: Instant,
    count: u64,
    held_back: u64,
    outcome: Outcome,
}

impl Floods {
    /// Counts a record. [`Self::poll_over`] comes first.
    pub(super) fn judge(&mut self, record: &Record, now: Instant) -> Verdict {
        let Outcome::Refused(code) = record.outcome else { return Verdict::Write };
        if record.trust == Trust::Proved {
            return Verdict::Write;
        }
        let outcome = record.outcome.clone();
        let window = self.kinds.entry((record.what, code.number())).or_insert(Window {
            start: now,
            count: 0,
            held_back: 0,
            outcome,
        });
        window.count += 1;
        if window.count <= RECORDS_PER_WINDOW {
            return Verdict::Write;
        }
        window.held_back += 1;
        Verdict::HoldBack
    }

    /// One record for each kind of which some were held back in a window that is over at `now`, and
    /// how many those were.
    pub(super) fn poll_over(&mut self, now: Instant) -> Vec<(Record, u64)> {
        let mut over = Vec::new();
        self.kinds.retain(|(what, _), window| {
            if now < window.start + WINDOW {
                return true;
            }
            if window.held_back > 0 {
                let outcome = window.outcome.clone();
                let record = Record::new(Who::Unknown, Trust::Unproved, what, outcome);
                over.push((record, window.held_back));
            }
            false
        });
        over
    }
}

/// How long equal refusals are counted together.
pub(super) const WINDOW: Duration = Duration::from_secs(1);
/// Equal refusals that are written in one window.
pub(super) const RECORDS_PER_WINDOW: u64 = 10;
