//! Two trees at random, cut wherever it may be: the next run makes them equal. No clock takes part in
//! that, so steps of one are of no interest here: times of files are data.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod filekit;

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use filekit::{Dir, Move, noise, partials, picture};

/// Numbers that only look random, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % end
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

const SIZES: [usize; 9] = [0, 1, 90, 4_096, 20_000, 131_071, 140_000, 600_000, 1_300_000];

/// A file whose time is its own, so that no other content has it.
fn file(path: &Path, dice: &mut Dice) {
    let (size, seed) = (SIZES[dice.below(SIZES.len())], dice.below(1 << 30) as u64);
    fs::write(path, noise(size, seed)).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::new(seed, 5);
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    let mode = [0o644, 0o600, 0o755][dice.below(3)];
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn grow(dir: &Path, depth: usize, dice: &mut Dice) {
    fs::create_dir_all(dir).unwrap();
    let mut last = None;
    for name in 0..dice.below(9) {
        let path = dir.join(["a", "a b", "b", "\u{e9}", "...", "-x", "z\n", "dir", "link"][name]);
        match dice.below(8) {
            0..4 => {
                file(&path, dice);
                last = Some(path);
            }
            4 | 5 if depth > 0 => grow(&path, depth - 1, dice),
            6 => symlink(["a", "../b", "/nowhere"][dice.below(3)], &path).unwrap(),
            7 => {
                if let Some(of) = &last {
                    fs::hard_link(of, &path).unwrap();
                }
            }
            _ => {}
        }
    }
}

/// What an earlier state of `source` may have been: nothing has another kind.
fn earlier(source: &Path, to: &Path, dice: &mut Dice) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(source).unwrap() {
        let from = entry.unwrap().path();
        let path = to.join(from.file_name().unwrap());
        let kind = fs::symlink_metadata(&from).unwrap();
        if dice.one_in(3) {
            continue;
        }
        if kind.is_dir() {
            earlier(&from, &path, dice);
        } else if kind.is_symlink() {
            symlink("was", &path).unwrap();
        } else {
            fs::copy(&from, &path).unwrap();
            match dice.below(3) {
                0 => file(&path, dice),
                1 => {
                    let mut content = fs::read(&path).unwrap();
                    let at = dice.below(content.len() + 1);
                    content.insert(at, 7);
                    fs::write(&path, content).unwrap();
                }
                _ => {
                    let time = kind.modified().unwrap();
                    fs::File::open(&path).unwrap().set_modified(time).unwrap();
                }
            }
        }
    }
    if dice.one_in(2) {
        file(&to.join("extra"), dice);
    }
}

/// Runs until `cut` items were sent.
fn run_until(this: &Move<'_>, cut: usize) -> bool {
    let mut items = 0;
    let outcome = this.run_until(|_| {
        items += 1;
        if items > cut { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    outcome.unwrap().summary.is_some()
}

fn check(seed: u64, deletes: bool) -> usize {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    let (source, dest) = (from.join("tree"), to.join("tree"));
    grow(&source, 3, &mut dice);
    // An empty source deletes nothing.
    file(&source.join("there"), &mut dice);
    match deletes {
        true if dice.one_in(2) => grow(&dest, 3, &mut dice),
        _ => earlier(&source, &dest, &mut dice),
    }
    let (from_root, to_root) = (from.root(), to.root());
    let mut this = Move::new(&from_root, "tree", &to_root, ".");
    this.options.delete = deletes;
    this.options.whole = dice.one_in(4);
    this.options.checksum = dice.one_in(4);
    let mut cuts = 0;
    for _ in 0..dice.below(4) {
        cuts += usize::from(!run_until(&this, dice.below(25)));
    }
    let outcome = this.run().unwrap();
    assert_eq!(outcome.failed, [], "seed {seed}");
    let mut now = picture(&dest);
    if !deletes {
        now.retain(|line| !line.contains("extra "));
    }
    let mut expected = picture(&source);
    let is_common: Vec<String> =
        now.iter().filter(|line| expected.contains(line)).cloned().collect();
    now.retain(|line| !is_common.contains(line));
    expected.retain(|line| !is_common.contains(line));
    assert_eq!(now, expected, "seed {seed}");
    assert!(partials(to.path()).is_empty(), "seed {seed}");
    let again = this.run().unwrap();
    let summary = again.summary();
    assert_eq!((again.bytes, summary.files, summary.deleted), (0, 0, 0), "seed {seed}");
    cuts
}

#[test]
fn any_two_trees_are_equal_after_any_cuts() {
    let cuts: usize = (1..=60).map(|seed| check(seed, true)).sum();
    assert!(cuts > 20, "{cuts} cuts");
}

#[test]
fn without_deleting_everything_of_the_source_is_there_and_the_rest_stays() {
    let cuts: usize = (1_001..=1_060).map(|seed| check(seed, false)).sum();
    assert!(cuts > 20, "{cuts} cuts");
}
