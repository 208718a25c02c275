//! The last bytes of one output stream, by absolute offset.

use std::collections::VecDeque;

use tow_proto::content::Hash;

/// What a stream has carried: all of it counted, the end of it kept.
pub(super) struct Log {
    kept: VecDeque<u8>,
    kept_max: usize,
    total: u64,
    end: Option<Hash>,
}

impl Log {
    /// An empty log that keeps the last `kept_max` bytes.
    pub(super) fn new(kept_max: usize) -> Self {
        Self { kept: VecDeque::new(), kept_max, total: 0, end: None }
    }

    /// Length of the stream so far, in bytes.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Offset of the first byte that is kept.
    pub(super) fn start(&self) -> u64 {
        self.total - self.kept.len() as u64
    }

    /// How many bytes are kept.
    pub(super) fn kept_len(&self) -> usize {
        self.kept.len()
    }

    /// The hash of the whole stream once it has ended.
    pub(super) fn end(&self) -> Option<Hash> {
        self.end
    }

    /// Adds the stream's next bytes, and drops the oldest that are too many.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let bytes = &bytes[bytes.len().saturating_sub(self.kept_max)..];
        let over = (self.kept.len() + bytes.len()).saturating_sub(self.kept_max);
        self.kept.drain(..over);
        let needed = self.kept.len() + bytes.len();
        if needed > self.kept.capacity() {
            // Doubling, as a VecDeque does by itself, but never beyond the limit.
            let wanted = (2 * self.kept.capacity()).clamp(needed, self.kept_max);
            self.kept.reserve_exact(wanted - self.kept.len());
        }
        self.kept.extend(bytes);
    }

    /// The stream is complete; `hash` is that of all of it.
    pub(super) fn finish(&mut self, hash: Hash) {
        self.end = Some(hash);
        self.kept.shrink_to_fit();
    }

    /// Drops what is kept; only the figures stay.
    pub(super) fn forget(&mut self) {
        self.kept = VecDeque::new();
    }

    /// At most `len_max` bytes from offset `from`, which is not before [`Self::start`].
    pub(super) fn copy(&self, from: u64, len_max: usize) -> Vec<u8> {
        debug_assert!(from >= self.start());
        let skip = usize::try_from(from.saturating_sub(self.start())).unwrap_or(usize::MAX);
        let skip = skip.min(self.kept.len());
        let len = len_max.min(self.kept.len() - skip);
        let (front, back) = self.kept.as_slices();
        let mut bytes = Vec::with_capacity(len);
        let of_front = &front[skip.min(front.len())..(skip + len).min(front.len())];
        bytes.extend_from_slice(of_front);
        let skip = skip.saturating_sub(front.len());
        bytes.extend_from_slice(&back[skip..skip + len - of_front.len()]);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_stay_absolute_when_the_oldest_bytes_go() {
        let mut log = Log::new(10);
        for chunk in [&b"0123456"[..], b"789", b"abcde"] {
            log.append(chunk);
        }
        assert_eq!((log.start(), log.total()), (5, 15));
        assert_eq!(log.copy(5, 100), b"56789abcde");
        assert_eq!(log.copy(8, 4), b"89ab");
        assert_eq!(log.copy(15, 4), b"");
    }

    #[test]
    fn one_portion_larger_than_the_log_leaves_its_own_end() {
        let mut log = Log::new(4);
        log.append(b"xy");
        log.append(b"0123456789");
        assert_eq!((log.start(), log.total()), (8, 12));
        assert_eq!(log.copy(8, 9), b"6789");
    }

    #[test]
    fn every_range_is_copied_right_wherever_the_ring_wraps() {
        let mut log = Log::new(7);
        let stream: Vec<u8> = (0..200).collect();
        for chunk in stream.chunks(3) {
            log.append(chunk);
            for from in log.start()..=log.total() {
                for len in 0..=8 {
                    let from = usize::try_from(from).unwrap();
                    let to = (from + len).min(usize::try_from(log.total()).unwrap());
                    assert_eq!(log.copy(from as u64, len), stream[from..to]);
                }
            }
        }
        assert!(log.kept.capacity() <= 7, "{}", log.kept.capacity());
    }
}
