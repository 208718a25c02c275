//! One output stream by absolute offset, within bounds whatever it carries.
//!
//! What can be read is the stream's head, `[0, head)`, and its end, `[tail, total)`; between them
//! may be a gap. The newest bytes are in memory. Those that a viewer still has to get but memory
//! can't hold, and the head once memory lets go of it, are in a [file](super::spill):
//!
//! ```text
//! 0 ....... head ---- gap ---- tail ................ memory ............... total
//! '- file ------'              '- file (not acked) -''- acked, or not yet -'
//! ```

use std::collections::VecDeque;
use std::fs::File;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use tow_proto::content::Hash;
use tow_proto::json::big;
use tow_proto::message::StreamTotal;

use super::spill::{Refused, Spill, SpillDir};

/// How much of a stream is kept, in bytes, and where.
#[derive(Clone, Copy, Debug)]
pub struct LogLimits {
    /// Most in memory. What a viewer on a long fast path is behind fits, and the replay.
    pub memory_max: usize,
    /// Kept in memory although it was acked, for viewers that look at what just went by. Less than
    /// `memory_max`.
    pub replay_max: usize,
    /// The start of the stream that is kept for good: what a build or a job says first names its
    /// cause.
    pub head_max: u64,
    /// Most on disk that nobody has acked. A night's output of a job; 256 sessions of it are 16 GiB
    /// with both streams.
    pub tail_max: u64,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { memory_max: 5 << 20, replay_max: 1 << 20, head_max: 1 << 20, tail_max: 32 << 20 }
    }
}

/// What of a stream can be read: `[0, head_len)` and `[tail_from, total)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Length of the start that is kept by itself; 0 where there is no gap.
    #[serde(with = "big")]
    pub(super) head_len: u64,
    /// First offset of what is kept up to the end; 0 where there is no gap.
    #[serde(with = "big")]
    pub(super) tail_from: u64,
}

impl Kept {
    /// Nothing of a stream of this length.
    pub(super) fn nothing(total: u64) -> Self {
        Self { head_len: 0, tail_from: total }
    }

    /// How many bytes of a stream that is `total` long.
    pub(super) fn len(self, total: u64) -> u64 {
        self.head_len.saturating_add(total.saturating_sub(self.tail_from))
    }

    /// As ranges of offsets, none of them empty.
    pub(super) fn ranges(self, total: u64) -> impl Iterator<Item = Range<u64>> {
        [0..self.head_len, self.tail_from..total].into_iter().filter(|range| !range.is_empty())
    }
}

/// What a stream has carried: all of it counted, its head and its end kept.
pub(super) struct Log {
    limits: LogLimits,
    /// The newest bytes, up to `total`.
    memory: VecDeque<u8>,
    spill: Spill,
    /// So many bytes of the head are in the file.
    head_len: u64,
    /// From here to where memory starts, bytes are in the file's tail. Never after memory's start.
    tail_from: u64,
    total: u64,
    acked: u64,
    end: Option<Hash>,
    /// Somebody copies what is kept, and nothing of it is let go.
    is_held: bool,
}

impl Log {
    /// An empty one.
    pub(super) fn new(limits: LogLimits, dir: SpillDir) -> Self {
        let limits = LogLimits { memory_max: limits.memory_max.max(1), ..limits };
        Self {
            limits,
            memory: VecDeque::new(),
            spill: Spill::new(dir, limits.head_max, limits.tail_max),
            head_len: 0,
            tail_from: 0,
            total: 0,
            acked: 0,
            end: None,
            is_held: false,
        }
    }

    /// One that is over, and has `kept` in a file, one range after the other.
    pub(super) fn stored(file: File, kept: Kept, stream: StreamTotal) -> Self {
        let nothing = LogLimits { memory_max: 1, replay_max: 0, head_max: 0, tail_max: 0 };
        Self {
            spill: Spill::stored(file, kept.head_len, kept.tail_from),
            head_len: kept.head_len,
            ..Self::gone(nothing, kept.tail_from, stream)
        }
    }

    /// One that is over, and of which nothing is left but the figures.
    pub(super) fn lost(stream: StreamTotal) -> Self {
        let nothing = LogLimits { memory_max: 1, replay_max: 0, head_max: 0, tail_max: 0 };
        Self::gone(nothing, stream.bytes, stream)
    }

    fn gone(limits: LogLimits, tail_from: u64, stream: StreamTotal) -> Self {
        let (total, end) = (stream.bytes, Some(stream.blake3));
        Self { tail_from, total, acked: total, end, ..Self::new(limits, SpillDir::nowhere()) }
    }

    /// Length of the stream so far, in bytes.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The hash of the whole stream once it has ended.
    pub(super) fn end(&self) -> Option<Hash> {
        self.end
    }

    /// How many bytes are in memory.
    pub(super) fn kept_len(&self) -> usize {
        self.memory.len()
    }

    /// Everything from this offset on can be read.
    pub(super) fn start(&self) -> u64 {
        if self.spill.is_lost() { self.memory_start() } else { self.tail_from }
    }

    /// What can be read.
    pub(super) fn kept(&self) -> Kept {
        let (head_len, tail_from) = (self.readable_head(), self.start());
        if head_len >= tail_from {
            return Kept { head_len: 0, tail_from: 0 };
        }
        Kept { head_len, tail_from }
    }

    /// How many bytes can be read no more.
    #[cfg(test)]
    pub(super) fn missing(&self) -> u64 {
        let Kept { head_len, tail_from } = self.kept();
        tail_from - head_len
    }

    /// The first offset that can be read and is not before `from`: itself, or the end of the gap
    /// that it is in.
    pub(super) fn readable_from(&self, from: u64) -> u64 {
        if from < self.readable_head() { from } else { from.max(self.start()) }
    }

    /// At most `len_max` bytes from an offset that can be read. May be fewer; none only at the end,
    /// or where the disk has just failed: [`Self::readable_from`] then knows how it goes on.
    pub(super) fn copy(&self, from: u64, len_max: usize) -> Vec<u8> {
        let (start, head) = (self.memory_start(), self.readable_head());
        let within = |end: u64| usize::try_from(end - from).map_or(len_max, |len| len.min(len_max));
        if from >= start {
            let from = from.min(self.total);
            let to = self.total.min(from.saturating_add(len_max as u64));
            return parts(&self.memory, start, from..to).concat();
        }
        let read = if from < head {
            self.spill.read_head(from, within(head))
        } else if from >= self.tail_from {
            self.spill.read_tail(from, within(start))
        } else {
            debug_assert!(self.spill.is_lost(), "offset {from} is in the gap");
            None
        };
        read.unwrap_or_default()
    }

    /// Adds the stream's next bytes. `acked` is how far whoever sets the pace has certainly come:
    /// nobody comes back to before it.
    pub(super) fn append(&mut self, bytes: &[u8], acked: u64) {
        self.acked = acked;
        for piece in bytes.chunks(self.limits.memory_max) {
            self.make_room(piece.len());
            self.reserve(piece.len());
            self.memory.extend(piece);
            self.total += piece.len() as u64;
        }
        self.shrink();
    }

    /// Lets go of what was kept only for a viewer that has come so far.
    pub(super) fn release(&mut self, acked: u64) {
        self.acked = acked;
        if !self.is_held {
            self.make_room(0);
            self.shrink();
        }
    }

    /// Keeps all of what is complete, whoever takes it, until [`Self::let_go`].
    pub(super) fn hold(&mut self) {
        self.is_held = true;
    }

    /// Lets go of what was kept only to be held.
    pub(super) fn let_go(&mut self) {
        self.is_held = false;
        self.release(self.acked);
    }

    /// The stream is complete; `hash` is that of all of it.
    pub(super) fn finish(&mut self, hash: Hash) {
        self.end = Some(hash);
        self.memory.shrink_to_fit();
    }

    /// Drops what is kept, in memory and on disk; only the figures stay.
    pub(super) fn forget(&mut self) {
        self.memory = VecDeque::new();
        self.spill = Spill::new(SpillDir::nowhere(), 0, 0);
        (self.head_len, self.tail_from) = (0, self.total);
    }

    /// Offset of the first byte in memory.
    fn memory_start(&self) -> u64 {
        self.total - self.memory.len() as u64
    }

    fn readable_head(&self) -> u64 {
        if self.spill.is_lost() { 0 } else { self.head_len }
    }

    /// Before `len` more bytes: lets go of what is wanted no more, and moves out what is too much.
    fn make_room(&mut self, len: usize) {
        let total = self.total + len as u64;
        let keep_from = self.acked.min(total.saturating_sub(self.limits.replay_max as u64));
        self.release_tail(keep_from);
        let to = self.new_start(total, keep_from);
        if to > self.memory_start() {
            self.move_out(to, keep_from);
        }
    }

    fn release_tail(&mut self, keep_from: u64) {
        let start = self.memory_start();
        if self.tail_from < start {
            self.tail_from = self.tail_from.max(keep_from.min(start));
            if self.tail_from == start {
                self.spill.give_back_tail();
            }
        }
    }

    /// Where memory shall start when the stream is `total` long.
    fn new_start(&self, total: u64, keep_from: u64) -> u64 {
        let (start, portion) = (self.memory_start(), self.portion());
        let must = total.saturating_sub(self.limits.memory_max as u64);
        if must > start.max(keep_from) {
            // In portions, so that not every line of a program is a write of ours.
            must.next_multiple_of(portion).min(self.total)
        } else if must > start || keep_from >= start + portion {
            keep_from.min(self.total)
        } else {
            start
        }
    }

    fn portion(&self) -> u64 {
        (self.limits.memory_max as u64 / 16).clamp(1, PORTION_LEN_MAX)
    }

    /// Lets memory start at `to`. What is before it and not before `keep_from` goes to the file.
    fn move_out(&mut self, to: u64, keep_from: u64) {
        if self.write_out(to, keep_from).is_err() {
            // There is never more than one gap.
            self.tail_from = to;
            self.spill.give_back_tail();
        }
        let len = usize::try_from(to - self.memory_start()).unwrap_or(usize::MAX);
        self.memory.drain(..len.min(self.memory.len()));
    }

    /// Writes to the file what of memory is before `to`, as far as it belongs there; memory keeps
    /// it.
    fn write_out(&mut self, to: u64, keep_from: u64) -> Result<(), Refused> {
        let start = self.memory_start();
        let head = self.head_len..to.min(self.limits.head_max);
        // After a write that failed, what would follow is no head.
        if self.head_len >= start && !head.is_empty() {
            self.spill.write_head(head.start, parts(&self.memory, start, head.clone()))?;
            self.head_len = head.end;
        }
        let in_ring = to.saturating_sub(self.limits.tail_max);
        self.tail_from = self.tail_from.max(in_ring.min(start));
        let from = keep_from.max(start).max(self.head_len).max(in_ring).min(to);
        self.spill.write_tail(from, parts(&self.memory, start, from..to))?;
        if self.tail_from == start {
            self.tail_from = from;
        }
        Ok(())
    }

    fn reserve(&mut self, len: usize) {
        let needed = self.memory.len() + len;
        if needed > self.memory.capacity() {
            // Doubling, as a VecDeque does by itself, but never beyond the limit.
            let wanted = (2 * self.memory.capacity()).min(self.limits.memory_max).max(needed);
            self.memory.reserve_exact(wanted - self.memory.len());
        }
    }

    /// Gives memory back after a burst. Not sooner, or a stream whose viewer acks in large steps
    /// would be copied over and over.
    fn shrink(&mut self) {
        let len = self.memory.len().max(CAPACITY_MIN);
        if self.memory.capacity() / 3 > len {
            self.memory.shrink_to(2 * len);
        }
    }
}

/// A range of offsets of what is in memory from offset `start` on; in two parts, because it is a
/// ring.
fn parts(memory: &VecDeque<u8>, start: u64, range: Range<u64>) -> [&[u8]; 2] {
    let within = |offset: u64| {
        usize::try_from(offset.saturating_sub(start))
            .map_or(memory.len(), |at| at.min(memory.len()))
    };
    let (front, back) = memory.as_slices();
    let (from, to) = (within(range.start), within(range.end));
    let after_front = |at: usize| at.saturating_sub(front.len());
    [&front[from.min(front.len())..to.min(front.len())], &back[after_front(from)..after_front(to)]]
}

/// Most bytes that memory moves out or lets go of in one step beyond what it must.
const PORTION_LEN_MAX: u64 = 64 << 10;
/// So much of a log's memory is never given back while it runs.
const CAPACITY_MIN: usize = 64 << 10;

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
