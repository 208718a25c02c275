//! Every byte that a log gives is the right one, and what it can't give it counts.

use super::*;

/// A log that only has memory.
fn in_memory(len: usize) -> Log {
    let limits = LogLimits { memory_max: len, replay_max: len, head_max: 0, tail_max: 0 };
    Log::new(limits, SpillDir::nowhere())
}

#[test]
fn offsets_stay_absolute_when_the_oldest_bytes_go() {
    let mut log = in_memory(10);
    for chunk in [&b"0123456"[..], b"789", b"abcde"] {
        log.append(chunk, u64::MAX);
    }
    assert_eq!((log.start(), log.total(), log.missing()), (5, 15, 5));
    assert_eq!((log.readable_from(0), log.readable_from(5), log.readable_from(9)), (5, 5, 9));
    assert_eq!(log.copy(5, 100), b"56789abcde");
    assert_eq!(log.copy(8, 4), b"89ab");
    assert_eq!(log.copy(15, 4), b"");
}

#[test]
fn one_portion_larger_than_the_log_leaves_its_own_end() {
    let mut log = in_memory(4);
    log.append(b"xy", u64::MAX);
    log.append(b"0123456789", u64::MAX);
    assert_eq!((log.start(), log.total()), (8, 12));
    assert_eq!(log.copy(8, 9), b"6789");
}

#[test]
fn every_range_is_copied_right_wherever_the_ring_wraps() {
    let mut log = in_memory(7);
    let stream: Vec<u8> = (0..200).collect();
    for chunk in stream.chunks(3) {
        log.append(chunk, u64::MAX);
        for from in log.start()..=log.total() {
            for len in 0..=8 {
                let from = usize::try_from(from).unwrap();
                let to = (from + len).min(usize::try_from(log.total()).unwrap());
                assert_eq!(log.copy(from as u64, len), stream[from..to]);
            }
        }
    }
    assert!(log.memory.capacity() <= 7, "{}", log.memory.capacity());
}
