//! A disk that fails while something arrives, at either end: it is said by name, what was there
//! stays, and the same command finishes once the disk works again.
//!
//! The errors are put into the real program by `strace`, which has to be allowed to trace it.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use tow_testkit::{Done, Pair, Signal, files_beneath, noise, until};

use super::pair;

/// Which end receives.
#[derive(Clone, Copy, Debug)]
enum Receiver {
    Client,
    Node,
}

impl Receiver {
    const BOTH: [Self; 2] = [Self::Client, Self::Node];

    fn args(self) -> &'static str {
        match self {
            Self::Client => "sync box:source dest --json",
            Self::Node => "sync source box:dest --json",
        }
    }

    fn source(self, pair: &Pair) -> PathBuf {
        match self {
            Self::Client => pair.host.file("source"),
            Self::Node => pair.client.file("source"),
        }
    }

    fn dest(self, pair: &Pair) -> PathBuf {
        match self {
            Self::Client => pair.client.file("dest"),
            Self::Node => pair.host.file("dest"),
        }
    }

    fn run(self, pair: &Pair) -> Done {
        pair.client.tow(self.args().split(' ')).run()
    }

    /// The same, while the receiver's system calls fail as `inject` says.
    fn run_with(self, pair: &mut Pair, inject: &str) -> Done {
        let calls = inject.split(':').next().unwrap_or_default();
        let by = format!("exec strace -D -f -qqq -o /dev/null -e trace={calls} -e inject={inject}");
        match self {
            Self::Client => pair.client.sh(&format!("{by} \"$TOW\" {}", self.args())).run(),
            Self::Node => {
                pair.serve_again_by(&by);
                let done = self.run(pair);
                pair.serve_again();
                done
            }
        }
    }
}

/// What is moved.
#[derive(Clone, Copy, Debug)]
enum What {
    OneFile,
    /// More than what is made safe file by file.
    Tree,
}

impl What {
    fn write(self, at: &Path, version: u64) {
        match self {
            Self::OneFile => fs::write(at, noise(3 << 20, version)).unwrap(),
            Self::Tree => {
                fs::create_dir_all(at).unwrap();
                for number in 0..20 {
                    let content = noise(1_000 + 30_000 * number, version + number as u64);
                    fs::write(at.join(number.to_string()), content).unwrap();
                }
            }
        }
    }
}

fn contents(at: &Path) -> HashMap<PathBuf, Option<Vec<u8>>> {
    match fs::read(at) {
        Ok(content) => HashMap::from([(PathBuf::new(), Some(content))]),
        Err(_) => files_beneath(at).into_iter().collect(),
    }
}

/// A test that can't do what it is for has failed.
#[track_caller]
fn expect_tracing(pair: &Pair) {
    // Where it may not trace, the program runs all the same.
    let inject = "exec strace -D -f -qqq -o /dev/null -e trace=chdir -e inject=chdir:error=EIO";
    let done = pair.client.sh(&format!("{inject} sh -c 'cd / || exit 77'")).run();
    assert_eq!(done.code(), 77, "strace is needed here, and the right to trace (ptrace): {done}");
}

/// While `inject` goes on nothing of what was there changes; `keeps` tells whether all of it is kept.
#[track_caller]
fn check(what: What, inject: &str) {
    for receiver in Receiver::BOTH {
        let mut pair = pair();
        expect_tracing(&pair);
        let (source, dest) = (receiver.source(&pair), receiver.dest(&pair));
        what.write(&source, 1);
        let _ = receiver.run(&pair).ok();
        let old = contents(&dest);
        what.write(&source, 100);
        let new = contents(&source);
        let failed = receiver.run_with(&mut pair, inject).expect(1);
        let about = format!("{receiver:?} {what:?} {inject}: {failed}");
        assert!((failed.out() + &failed.err()).contains("reading or writing failed"), "{about}");
        for (path, content) in contents(&dest) {
            let is_partial = path.to_string_lossy().ends_with(".tow-part");
            assert!(is_partial || old.get(&path) == Some(&content), "{}: {about}", path.display());
        }
        let done = receiver.run(&pair).ok();
        assert!(contents(&dest) == new, "{about}\nthen {done}");
    }
}

#[test]
fn the_second_ctrl_c_does_not_wait_for_the_disk() {
    let pair = pair();
    expect_tracing(&pair);
    What::Tree.write(&Receiver::Client.source(&pair), 1);
    let by = "exec strace -D -f -qqq -o trace -e trace=syncfs -e inject=syncfs:delay_enter=100s";
    let running = pair.client.sh(&format!("{by} \"$TOW\" sync box:source dest")).start();
    // The call is written down when it begins.
    until("it waits for the disk", || {
        fs::read_to_string(pair.client.file("trace")).is_ok_and(|trace| trace.contains("syncfs"))
    });
    running.signal(Signal::INT);
    // Two that come at once may be one.
    until("it has heard the second", || {
        running.signal(Signal::INT);
        running.stderr().starts_with(b"tow: error: interrupted")
    });
    let trace = fs::read_to_string(pair.client.file("trace")).unwrap();
    assert!(!trace.contains("DELAYED"), "{trace}");
    // What is held for so long is let go with the one who holds it.
    let _ = pair.client.sh(&format!("kill -9 {}", tracer_of(running.pid()))).run().ok();
    let _ = running.wait().expect(130);
}

fn tracer_of(pid: u32) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("TracerPid:")).unwrap().trim().to_owned()
}

#[test]
fn a_file_that_can_not_be_written_leaves_the_old_one() {
    check(What::OneFile, "pwrite64:error=EIO");
    check(What::OneFile, "pwrite64:error=EIO:when=4");
}

#[test]
fn a_file_that_is_not_on_the_disk_leaves_the_old_one() {
    check(What::OneFile, "fsync:error=EIO");
}

#[test]
fn a_file_that_can_not_be_named_leaves_the_old_one() {
    check(What::OneFile, "/^rename:error=EIO");
}

#[test]
fn a_tree_that_can_not_be_written_leaves_the_old_one() {
    check(What::Tree, "pwrite64:error=EIO");
}

#[test]
fn a_tree_that_is_not_on_the_disk_leaves_the_old_one() {
    check(What::Tree, "syncfs,fsync:error=EIO");
}

#[test]
fn a_tree_that_can_not_be_named_leaves_the_old_one() {
    check(What::Tree, "/^rename:error=EIO");
}
