//! Every byte that a log gives is the right one, and what it can't give it counts.

use proptest::prelude::*;
use tow_testkit::{Mount, TempDir, names_in};

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
fn what_is_held_stays_although_its_viewer_takes_it_meanwhile() {
    let limits = LogLimits { memory_max: 64, replay_max: 0, head_max: 0, tail_max: 0 };
    let mut log = Log::new(limits, SpillDir::nowhere());
    log.append(b"0123456789", 0);
    log.hold();
    log.release(10);
    assert_eq!((log.start(), log.copy(0, 10)), (0, b"0123456789".to_vec()));
    log.let_go();
    assert_eq!((log.start(), log.kept_len()), (10, 0));
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

/// The byte at an offset of every test's stream: a wrong offset shows as a wrong byte.
fn stream(range: Range<u64>) -> Vec<u8> {
    range.map(|offset| (offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

fn append(log: &mut Log, len: u64, acked: u64) {
    let total = log.total();
    log.append(&stream(total..total + len), acked);
}

/// Reads all that can be read, in pieces of `len`; checks every byte, and that what is not given is
/// what is counted as missing.
fn check_all(log: &Log, len: usize) {
    let (mut at, mut read, mut gaps) = (0, 0, Vec::new());
    while at < log.total() {
        let from = log.readable_from(at);
        if from > at {
            gaps.push(at..from);
            at = from;
            continue;
        }
        let bytes = log.copy(at, len);
        assert!(!bytes.is_empty() && bytes.len() <= len, "{at}: {} bytes", bytes.len());
        let to = at + bytes.len() as u64;
        assert_eq!(bytes, stream(at..to), "from {at}");
        read += bytes.len() as u64;
        at = to;
    }
    assert!(gaps.len() <= 1, "{gaps:?}");
    assert_eq!(log.missing(), log.total() - read);
    assert_eq!(log.kept().len(log.total()), read);
    let ranges: Vec<_> = log.kept().ranges(log.total()).collect();
    assert_eq!(ranges.iter().map(|range| range.end - range.start).sum::<u64>(), read);
    assert!(gaps.iter().all(|gap| ranges.iter().all(|r| r.end <= gap.start || r.start >= gap.end)));
}

#[test]
fn a_flood_that_nobody_reads_keeps_its_head_and_its_end_within_the_limits() {
    let dir = TempDir::new();
    let mut log = Log::new(LogLimits::default(), SpillDir::at(dir.path()));
    for _ in 0..(60 << 20) / PORTION {
        append(&mut log, PORTION, 0);
    }
    // Of 60 MiB: the first one, and the last 32 + 5.
    assert_eq!(log.kept(), Kept { head_len: 1 << 20, tail_from: 23 << 20 });
    assert_eq!(log.missing(), 22 << 20);
    assert_eq!(
        (log.readable_from(1 << 20), log.readable_from((1 << 20) - 1)),
        (23 << 20, 0xf_ffff)
    );
    assert_eq!((log.kept_len(), log.spill.file_len()), (5 << 20, 33 << 20));
    assert!(log.memory.capacity() <= 5 << 20);
    check_all(&log, 300_000);
    assert!(names_in(dir.path()).is_empty());
}

#[test]
fn a_session_that_is_watched_costs_its_replay_in_memory_and_its_head_on_disk() {
    let dir = TempDir::new();
    let mut log = Log::new(LogLimits::default(), SpillDir::at(dir.path()));
    append(&mut log, 1 << 20, 0);
    assert_eq!(log.spill.file_len(), 0, "what memory holds is not on disk");
    for _ in 0..100 {
        let acked = log.total();
        append(&mut log, PORTION, acked);
    }
    assert_eq!(log.spill.file_len(), 1 << 20);
    assert!(log.kept_len() < (1 << 20) + (PORTION as usize), "{}", log.kept_len());
    assert!(log.memory.capacity() <= 2 * log.kept_len());
    check_all(&log, 1 << 20);
}

#[test]
fn a_viewer_that_catches_up_gives_disk_and_memory_back() {
    let dir = TempDir::in_memory();
    let mut log = Log::new(LogLimits::default(), SpillDir::at(dir.path()));
    append(&mut log, 30 << 20, 0);
    assert_eq!(log.missing(), 0);
    assert!(log.spill.disk_len() < 26 << 20, "something is there twice");
    log.release(10 << 20);
    assert_eq!(log.missing(), 9 << 20, "between the head and what was not acked");
    check_all(&log, 1 << 20);
    log.release(30 << 20);
    assert!(log.spill.disk_len() < 2 << 20, "{}", log.spill.disk_len());
    assert_eq!((log.spill.file_len(), log.kept_len()), (1 << 20, 1 << 20));
    assert!(log.memory.capacity() <= 2 << 20, "{}", log.memory.capacity());
    check_all(&log, 1 << 20);
    // And the next burst finds the same room again.
    append(&mut log, 36 << 20, 30 << 20);
    assert_eq!(log.readable_from(29 << 20), 30 << 20);
    check_all(&log, 1 << 20);
}

#[test]
fn what_is_forgotten_is_missing_and_still_counted() {
    let mut log = Log::new(LogLimits::default(), SpillDir::nowhere());
    append(&mut log, 3 << 20, 3 << 20);
    log.forget();
    assert_eq!((log.missing(), log.readable_from(0), log.total()), (3 << 20, 3 << 20, 3 << 20));
    assert_eq!((log.kept_len(), log.memory.capacity()), (0, 0));
}

#[test]
fn bytes_that_the_disk_has_no_room_for_are_missing_and_never_wrong() {
    let dir = TempDir::new();
    let Some(_small) = Mount::tmpfs(dir.path(), "size=2m") else {
        println!("skipped: a small file system can only be mounted by root");
        return;
    };
    let mut log = Log::new(LogLimits::default(), SpillDir::at(dir.path()));
    for _ in 0..(20 << 20) / PORTION {
        append(&mut log, PORTION, 0);
        let Kept { head_len, tail_from } = log.kept();
        assert!(tail_from == 0 || head_len == 1 << 20, "the head is kept");
    }
    assert!(log.missing() >= 13 << 20, "{}", log.missing());
    check_all(&log, 1 << 20);
}

#[test]
fn a_file_that_cannot_be_read_back_is_a_gap() {
    let dir = TempDir::new();
    let mut log = Log::new(LogLimits::default(), SpillDir::at(dir.path()));
    append(&mut log, 10 << 20, 0);
    log.spill.truncate(4 << 20);
    assert_eq!(log.copy(0, 10), stream(0..10));
    assert_eq!(log.copy(4 << 20, 1 << 20), b"", "that is past the file's end");
    assert_eq!((log.readable_from(0), log.missing()), (5 << 20, 5 << 20));
    check_all(&log, 1 << 20);
    append(&mut log, 1 << 20, 0);
    assert_eq!(log.missing(), 6 << 20);
    check_all(&log, 1 << 20);
}

/// What happens to a log.
#[derive(Clone, Debug)]
enum Step {
    /// So many bytes come; the viewer is so far behind the end before them.
    Append {
        len: u64,
        behind: u64,
    },
    /// The viewer is so far behind.
    Release {
        behind: u64,
    },
    Disk(Disk),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disk {
    Works,
    IsFull,
}

fn limits() -> impl Strategy<Value = LogLimits> {
    (1_usize..80, 0_usize..40, 0_u64..50, 0_u64..90).prop_map(
        |(memory_max, replay_max, head_max, tail_max)| LogLimits {
            memory_max,
            replay_max,
            head_max,
            tail_max,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let behind = || prop_oneof![Just(0), 0_u64..60, 0_u64..400];
    prop_oneof![
        12 => (0_u64..50, behind()).prop_map(|(len, behind)| Step::Append { len, behind }),
        1 => (50_u64..300, behind()).prop_map(|(len, behind)| Step::Append { len, behind }),
        4 => behind().prop_map(|behind| Step::Release { behind }),
        1 => Just(Step::Disk(Disk::IsFull)),
        2 => Just(Step::Disk(Disk::Works)),
    ]
}

/// What a log has promised, by what has happened to it.
struct Promise {
    limits: LogLimits,
    acked_most: u64,
    /// The disk has always worked.
    is_whole: bool,
    head_len: u64,
}

impl Promise {
    fn check(&mut self, log: &Log) {
        let (limits, total) = (self.limits, log.total());
        assert!(log.kept_len() <= limits.memory_max);
        assert!(log.memory.capacity() <= limits.memory_max.max(2 * CAPACITY_MIN));
        assert!(log.spill.file_len() <= limits.head_max + limits.tail_max);
        check_all(log, 17);
        assert!(log.head_len >= self.head_len, "the head was kept, and is no more");
        self.head_len = log.head_len;
        let memory_at_least = limits.memory_max as u64 - log.portion();
        let replayed = total.saturating_sub(memory_at_least.min(limits.replay_max as u64));
        assert_eq!(log.readable_from(replayed), replayed);
        if self.is_whole {
            let Kept { head_len, tail_from } = log.kept();
            assert!(tail_from == 0 || head_len == limits.head_max, "{head_len}");
            let room = memory_at_least + limits.tail_max;
            let promised = self.acked_most.max(total.saturating_sub(room));
            assert_eq!(log.readable_from(promised), promised);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_byte_is_right_and_every_missing_one_is_counted(
        limits in limits(),
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let dir = TempDir::in_memory();
        let mut log = Log::new(limits, SpillDir::at(dir.path()));
        let mut promise = Promise { limits, acked_most: 0, is_whole: true, head_len: 0 };
        for step in steps {
            match step {
                Step::Append { len, behind } => {
                    let acked = log.total().saturating_sub(behind);
                    promise.acked_most = promise.acked_most.max(acked);
                    append(&mut log, len, acked);
                }
                Step::Release { behind } => {
                    let acked = log.total().saturating_sub(behind);
                    promise.acked_most = promise.acked_most.max(acked);
                    log.release(acked);
                }
                Step::Disk(disk) => {
                    log.spill.is_full = disk == Disk::IsFull;
                    promise.is_whole &= disk == Disk::Works;
                }
            }
            promise.check(&log);
        }
    }

    #[test]
    fn a_viewer_behind_a_disk_that_fails_gets_what_memory_holds(
        limits in limits(),
        lens in proptest::collection::vec(0_u64..50, 1..40),
    ) {
        let mut log = Log::new(limits, SpillDir::nowhere());
        for len in lens {
            append(&mut log, len, 0);
            check_all(&log, 17);
            let memory_at_least = limits.memory_max as u64 - log.portion();
            prop_assert!(log.kept_len() as u64 >= log.total().min(memory_at_least));
            prop_assert_eq!(log.missing(), log.total() - log.kept_len() as u64);
        }
    }
}

/// What the keeper reads at once from a flood.
const PORTION: u64 = 256 << 10;
