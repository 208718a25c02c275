//! Finished sessions are found again as they were, and nothing else is.

use std::os::unix::fs::symlink;
use std::slice;

use tow_proto::content::Hash;
use tow_proto::message::{Ended, EndedBy};
use tow_testkit::{TempDir, mode_of, names_in, noise};

use super::super::log::LogLimits;
use super::super::spill::SpillDir;
use super::*;

/// A session that ended so many seconds ago, and has written nothing.
fn ended(secs_ago: u64) -> Stored {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let nothing = StreamTotal { bytes: 0, blake3: Hash([1; 32]) };
    let exit = ExitRecord {
        ended: Ended::Code(3),
        by: EndedBy::Itself,
        lingering: vec![42],
        stdout: nothing,
        stderr: nothing,
    };
    Stored {
        id: SessionId::random().unwrap(),
        owner: "laptop".into(),
        request: "r-1".into(),
        program: Program::Argv(vec!["cat".into(), b"\xff\x00\n"[..].into()]),
        has_terminal: false,
        started: now - secs_ago - 5,
        ended: now - secs_ago,
        kept: nothing_kept(&exit),
        lease: Lease::Detached,
        exit,
    }
}

/// A log of `len` bytes of noise, most of which nobody has acked, with less room than that.
fn log_with_a_gap(dir: &TempDir, bytes: &[u8]) -> Log {
    let limits = LogLimits {
        memory_max: 1 << 20,
        replay_max: 1 << 19,
        head_max: 300_000,
        tail_max: 700_000,
    };
    let mut log = Log::new(limits, SpillDir::at(dir.path()));
    bytes.chunks(100_000).for_each(|chunk| log.append(chunk, 0));
    log.finish(Hash([7; 32]));
    log
}

/// All that a log gives, by offset.
fn read(log: &Log) -> Vec<(u64, Vec<u8>)> {
    let (mut at, mut read) = (log.readable_from(0), Vec::new());
    while at < log.total() {
        let bytes = log.copy(at, 123_456);
        assert!(!bytes.is_empty(), "nothing at {at}");
        let next = at + bytes.len() as u64;
        read.push((at, bytes));
        at = log.readable_from(next);
    }
    read
}

fn store(dir: &TempDir) -> Store {
    Store::open(dir.join("sessions")).unwrap()
}

/// Saves a session whose stdout was `bytes`, of which a gap is missing.
fn saved_with_output(dir: &TempDir, store: &Store, bytes: &[u8]) -> (Stored, Log) {
    let log = log_with_a_gap(dir, bytes);
    let mut stored = ended(0);
    stored.exit.stdout = StreamTotal { bytes: log.total(), blake3: Hash([7; 32]) };
    store.save(&mut stored, [Some(&log), None]).unwrap();
    (stored, log)
}

#[test]
fn a_session_comes_back_with_its_record_and_its_output_and_the_gap_in_it() {
    let dir = TempDir::new();
    let bytes = noise(5_000_000, 1);
    let (stored, log) = saved_with_output(&dir, &store(&dir), &bytes);
    assert!(log.missing() > 2_900_000, "{}", log.missing());

    let store = store(&dir);
    assert_eq!(store.load(), slice::from_ref(&stored));
    let back = store.log(&stored, STDOUT).unwrap();
    assert_eq!((back.total(), back.end(), back.missing()), (5_000_000, log.end(), log.missing()));
    assert_eq!((back.kept(), back.kept_len()), (log.kept(), 0));
    assert_eq!(back.readable_from(300_000), log.readable_from(300_000));
    for (at, piece) in read(&back) {
        let at = usize::try_from(at).unwrap();
        assert_eq!(piece, bytes[at..at + piece.len()]);
    }
    let stderr = store.log(&stored, STDERR).unwrap();
    assert_eq!((stderr.total(), stderr.missing()), (0, 0));
    assert!(store.log(&stored, 3).is_err());
}

#[test]
fn the_files_are_only_ours() {
    let dir = TempDir::new();
    fs::create_dir(dir.join("sessions")).unwrap();
    fs::set_permissions(dir.join("sessions"), Permissions::from_mode(0o755)).unwrap();
    let store = store(&dir);
    let (stored, _) = saved_with_output(&dir, &store, b"output");
    let path = dir.join("sessions");
    assert_eq!(mode_of(&path), 0o700);
    let names = [format!("{}.1.log", stored.id), format!("{}.json", stored.id)];
    assert_eq!(names_in(&path), names.clone().map(OsString::from));
    assert!(names.iter().all(|name| mode_of(&path.join(name)) == 0o600));
}

#[test]
fn a_log_that_is_stored_again_is_the_same() {
    let dir = TempDir::new();
    let store = store(&dir);
    let (mut stored, log) = saved_with_output(&dir, &store, &noise(3_000_000, 2));
    let back = store.log(&stored, STDOUT).unwrap();
    store.save(&mut stored, [Some(&back), None]).unwrap();
    assert_eq!(stored.kept[0], log.kept());
    assert_eq!(read(&store.log(&stored, STDOUT).unwrap()), read(&back));
}

#[test]
fn of_1200_sessions_the_newest_1000_are_known() {
    let dir = TempDir::in_memory();
    let store = store(&dir);
    let mut all: Vec<Stored> = (0..1_200).rev().map(ended).collect();
    all.iter_mut().for_each(|stored| store.save(stored, [None, None]).unwrap());
    let gone = store.prune();
    assert_eq!(gone, all.drain(..200).map(|stored| stored.id).collect::<Vec<_>>());
    assert_eq!(store.load(), all);
    assert_eq!(names_in(&dir.join("sessions")).len(), 1_000);
}

#[test]
fn a_session_is_known_for_seven_days() {
    let dir = TempDir::new();
    let store = store(&dir);
    let day = 24 * 60 * 60;
    let mut young = ended(7 * day - 60);
    store.save(&mut young, [None, None]).unwrap();
    store.save(&mut ended(8 * day), [None, None]).unwrap();
    assert_eq!(store.load(), [young]);
    assert_eq!(names_in(&dir.join("sessions")).len(), 1);
}

#[test]
fn outputs_that_are_too_much_go_before_their_records() {
    let dir = TempDir::new();
    let store = store(&dir);
    let path = dir.join("sessions");
    let mut old = saved_with_output(&dir, &store, b"old output").0;
    let mut new = saved_with_output(&dir, &store, b"new output").0;
    old.ended -= 10;
    // As if the newer one had filled the room: only the records say how much there is.
    new.exit.stdout.bytes = LOGS_LEN_MAX;
    for stored in [&old, &new] {
        fs::write(record_path(&path, &stored.id), json::to_vec(stored)).unwrap();
    }
    assert_eq!(store.prune(), []);
    assert!(log_path(&path, &new.id, STDOUT).exists());
    assert!(!log_path(&path, &old.id, STDOUT).exists());
    assert_eq!(store.log(&old, STDOUT).unwrap().missing(), 10);
    old.kept = nothing_kept(&old.exit);
    assert_eq!(store.load(), [old, new]);
}

#[test]
fn a_damaged_record_is_no_session_and_goes() {
    let dir = TempDir::new();
    let store = store(&dir);
    let path = dir.join("sessions");
    let good = saved_with_output(&dir, &store, b"output").0;
    let write = |id: &SessionId, bytes: &[u8]| {
        fs::write(record_path(&path, id), bytes).unwrap();
        fs::write(log_path(&path, id, STDOUT), b"output").unwrap();
    };
    let json = json::to_vec(&good);
    let id = || SessionId::random().unwrap();
    write(&id(), &json[..json.len() - 1]);
    write(&id(), b"");
    // Another's name.
    write(&id(), &json);
    let mut unsound = ended(0);
    unsound.kept[0] = Kept { head_len: 2, tail_from: 1 };
    write(&unsound.id, &json::to_vec(&unsound));
    unsound.id = id();
    unsound.kept[0] = Kept { head_len: 0, tail_from: 1 };
    write(&unsound.id, &json::to_vec(&unsound));
    let mut long = ended(0);
    long.owner = "x".repeat(2 << 20);
    write(&long.id, &json::to_vec(&long));
    assert!(store.save(&mut long, [None, None]).is_err());
    assert_eq!(store.load(), [good]);
    assert_eq!(names_in(&path).len(), 2);
}

#[test]
fn a_log_that_was_cut_is_missing_and_not_guessed() {
    let dir = TempDir::new();
    let store = store(&dir);
    let stored = saved_with_output(&dir, &store, &noise(3_000_000, 3)).0;
    let path = log_path(&dir.join("sessions"), &stored.id, STDOUT);
    let len = fs::metadata(&path).unwrap().len();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(len - 1).unwrap();
    let log = store.log(&stored, STDOUT).unwrap();
    assert_eq!((log.missing(), log.readable_from(0)), (3_000_000, 3_000_000));
    assert_eq!((log.copy(3_000_000, 10), log.end()), (vec![], Some(Hash([7; 32]))));
    fs::remove_file(&path).unwrap();
    assert_eq!(store.log(&stored, STDOUT).unwrap().missing(), 3_000_000);
}

#[test]
fn what_is_no_sessions_is_not_read_and_goes() {
    let dir = TempDir::new();
    let store = store(&dir);
    let path = dir.join("sessions");
    let good = saved_with_output(&dir, &store, b"output").0;
    let other = SessionId::random().unwrap();
    fs::write(dir.join("elsewhere.json"), json::to_vec(&good)).unwrap();
    symlink(dir.join("elsewhere.json"), record_path(&path, &other)).unwrap();
    for name in ["notes.txt", "0123.json", "ABCDEFGHJKMN.json", ".json", &format!("{other}.3.log")]
    {
        fs::write(path.join(name), b"{}").unwrap();
    }
    fs::create_dir(path.join("a directory")).unwrap();
    assert_eq!(store.load(), slice::from_ref(&good));
    let names = ["a directory".into(), format!("{}.1.log", good.id), format!("{}.json", good.id)];
    let mut names = names.map(OsString::from);
    names.sort();
    assert_eq!(names_in(&path), names);
    assert!(dir.join("elsewhere.json").exists());
}

#[test]
fn a_crash_before_the_record_leaves_nothing() {
    let dir = TempDir::new();
    let store = store(&dir);
    let path = dir.join("sessions");
    let id = SessionId::random().unwrap();
    for name in ["1.log", "2.log.new", "json.new"] {
        fs::write(path.join(format!("{id}.{name}")), b"output").unwrap();
    }
    assert_eq!(store.load(), []);
    assert!(names_in(&path).is_empty());
}

#[test]
fn a_record_is_kept_where_its_output_cannot_be() {
    let dir = TempDir::new();
    let store = store(&dir);
    let mut stored = ended(0);
    stored.exit.stdout.bytes = 6;
    let mut log = Log::new(LogLimits::default(), SpillDir::nowhere());
    log.append(b"output", 0);
    // The log's name is taken.
    fs::create_dir(log_path(&dir.join("sessions"), &stored.id, STDOUT)).unwrap();
    store.save(&mut stored, [Some(&log), None]).unwrap();
    assert_eq!(stored.kept[0], Kept::nothing(6));
    assert_eq!(store.log(&stored, STDOUT).unwrap().missing(), 6);
    assert_eq!(names_in(&dir.join("sessions")).len(), 2, "nothing unfinished is left");
}

#[test]
fn what_is_removed_is_gone() {
    let dir = TempDir::new();
    let store = store(&dir);
    let stored = saved_with_output(&dir, &store, b"output").0;
    store.remove(&stored.id).unwrap();
    store.remove(&stored.id).unwrap();
    assert!(names_in(&dir.join("sessions")).is_empty());
}

#[test]
fn a_store_that_is_nowhere_keeps_nothing() {
    let dir = TempDir::new();
    let store = Store::nowhere();
    let mut stored = saved_with_output(&dir, &store, b"output").0;
    assert_eq!(stored.kept, nothing_kept(&stored.exit));
    store.save(&mut stored, [None, None]).unwrap();
    store.remove(&stored.id).unwrap();
    assert_eq!((store.load(), store.prune()), (vec![], vec![]));
    assert_eq!(store.log(&stored, STDOUT).unwrap().missing(), 6);
}

#[test]
fn a_name_that_is_no_sessions_reaches_no_file() {
    for text in ["", "../../passwd", "0123456789a", "0123456789abc", "0123456789aL", "0123456789a/"]
    {
        assert!(SessionId::parse(text).is_none(), "{text}");
    }
    let id = SessionId::random().unwrap();
    assert_eq!(SessionId::parse(id.as_str()), Some(id));
}
