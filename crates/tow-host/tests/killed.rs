//! `kill -9` at any moment: a name shows the old file or the whole new one, and the next run ends it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod filekit;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use filekit::{Dir, Move, noise, partials, picture};
use tow_host::beneath::Root;

const DIR: &str = "TOW_HOST_TEST_KILLED";
const ROUNDS: usize = 40;
/// The number of kills, where somebody has more time than every run has.
const ROUNDS_VARIABLE: &str = "TOW_KILLS";
const OLD: &[u8] = b"the old one";

fn transfer(from: &Path, to: &Path) -> filekit::Outcome {
    let from = Root::open(from, from).unwrap();
    let to = Root::open(to, to).unwrap();
    Move::new(&from, "tree", &to, ".").run().unwrap()
}

/// What the killed process does. As a test of its own it has nothing to do.
#[test]
fn the_process_that_is_killed() {
    if let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) {
        transfer(&dir.join("from"), &dir.join("to"));
    }
}

#[test]
fn a_process_killed_at_any_moment_leaves_only_whole_files_and_the_next_run_ends_the_work() {
    let dir = Dir::new("killed");
    for number in 0..60 {
        let new = noise(number * 3_000, number as u64 + 1);
        dir.write(format!("from/tree/d{}/{number}", number % 3), &new);
    }
    dir.write("from/tree/big", &noise(24 << 20, 99));
    let (from, to) = (dir.join("from"), dir.join("to"));
    let (mut kills, mut parts) = (0, 0);
    fs::create_dir_all(&to).unwrap();
    transfer(&from, &to);
    let rounds = std::env::var(ROUNDS_VARIABLE).map_or(ROUNDS, |text| text.parse().unwrap());
    for delay in noise(rounds, 7) {
        if partials(&to).is_empty() {
            let names = files(&to.join("tree"));
            names.iter().for_each(|name| fs::write(to.join("tree").join(name), OLD).unwrap());
        }
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_process_that_is_killed"])
            .env(DIR, dir.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(u64::from(delay) * 200));
        child.kill().unwrap();
        parts += usize::from(!partials(&to).is_empty());
        kills += u32::from(!child.wait().unwrap().success());
        for path in files(&to.join("tree")) {
            let content = fs::read(to.join("tree").join(&path)).unwrap();
            let new = fs::read(from.join("tree").join(&path)).unwrap();
            assert!(content == OLD || content == new, "{path:?} shows a part");
        }
    }
    assert!(kills > 0 && parts > 0, "{kills} killed, {parts} in the middle of a file");
    assert_eq!(transfer(&from, &to).failed, []);
    assert_eq!(picture(&to.join("tree")), picture(&from.join("tree")));
    assert_eq!(partials(&to), Vec::<PathBuf>::new());
}

/// Names of everything below `top` that is no partial file.
fn files(top: &Path) -> Vec<PathBuf> {
    let dirs = [top.to_path_buf(), top.join("d0"), top.join("d1"), top.join("d2")];
    let entries = dirs.iter().flat_map(|dir| fs::read_dir(dir).unwrap());
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file() && path.extension().is_none_or(|end| end != "tow-part"))
        .map(|path| path.strip_prefix(top).unwrap().to_path_buf())
        .collect()
}
