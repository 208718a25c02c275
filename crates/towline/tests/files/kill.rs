//! Whatever is killed at whatever moment: a name shows the old file or the new one, and the same
//! command run again ends with two equal trees and nothing left over.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use tow_testkit::{Direction, How, Machine, Pair, files_beneath, noise, until};

use super::pair;

/// What is killed.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Client,
    Node,
}

/// How often in `make test`, in both directions together; `TOWLINE_KILLS` asks for more.
const KILLS: u64 = 30;

fn kills() -> u64 {
    std::env::var("TOWLINE_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS)
}

/// The sizes of SECURITY.md's promise, small enough for a loop.
const SIZES: [usize; 9] = [0, 1, 4_095, 4_096, 4_097, 100_000, 131_073, 300_000, 3 << 19];

fn write_tree(at: &Path, version: u64) {
    for (index, size) in SIZES.into_iter().enumerate() {
        let seed = version * 100 + index as u64;
        fs::create_dir_all(at.join("sub")).unwrap();
        fs::write(at.join(format!("{index}")), noise(size, seed)).unwrap();
        fs::write(at.join(format!("sub/{index}")), noise(size / 2, seed + 50)).unwrap();
    }
    fs::create_dir_all(at.join("many")).unwrap();
    for number in 0..200 {
        fs::write(at.join(format!("many/{number}")), noise(500 + number, version + number as u64))
            .unwrap();
    }
}

fn contents(at: &Path) -> HashMap<PathBuf, Option<Vec<u8>>> {
    files_beneath(at).into_iter().collect()
}

/// Every visible file is one of the two.
#[track_caller]
fn check_nothing_is_mixed(
    now: &Path,
    old: &HashMap<PathBuf, Option<Vec<u8>>>,
    new: &HashMap<PathBuf, Option<Vec<u8>>>,
    what: &str,
) {
    for (path, content) in files_beneath(now) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".tow-part") {
            continue;
        }
        let is_known = [old, new].iter().any(|tree| tree.get(&path) == Some(&content));
        assert!(is_known, "{what}: {} is neither old nor new", path.display());
    }
}

fn kill_one(pair: &mut Pair, args: &[&str], direction: Direction, victim: Victim, after: u64) {
    let before = pair.proxy.carried(direction);
    let mut running = pair.client.tow(args).start();
    until("it has come so far, or is done", || {
        pair.proxy.carried(direction) - before >= after || running.has_ended()
    });
    match victim {
        Victim::Client => running.kill(),
        Victim::Node => {
            let other = Machine::new(env!("CARGO_BIN_EXE_tow"));
            std::mem::replace(&mut pair.node, other.serve(&[])).kill();
            pair.proxy.cut_now(How::Reset);
            running.kill();
            pair.serve_again();
        }
    }
}

#[test]
fn a_kill_at_any_moment_of_sending_mixes_nothing_and_the_next_run_finishes() {
    check(Direction::Up);
}

#[test]
fn a_kill_at_any_moment_of_fetching_mixes_nothing_and_the_next_run_finishes() {
    check(Direction::Down);
}

fn check(direction: Direction) {
    let mut pair = pair();
    let (args, source, dest) = match direction {
        Direction::Up => {
            let args = ["sync", "source", "box:dest", "--delete"];
            (args, pair.client.file("source"), pair.host.file("dest"))
        }
        Direction::Down => {
            let args = ["sync", "box:source", "dest", "--delete"];
            (args, pair.host.file("source"), pair.client.file("dest"))
        }
    };
    write_tree(&source, 0);
    let _ = pair.client.tow(args).run().ok();
    let mut old = contents(&source);
    for round in 0..kills() / 2 {
        write_tree(&source, round + 1);
        let new = contents(&source);
        let total: u64 = new.values().flatten().map(|content| content.len() as u64).sum();
        // Spread over all of it, the same each time.
        let after = (round * 7919 + 13) * 104_729 % (total + total / 8);
        let victim = if round % 3 == 0 { Victim::Node } else { Victim::Client };
        kill_one(&mut pair, &args, direction, victim, after);
        let what = format!("{direction:?} {victim:?} after {after} bytes, round {round}");
        check_nothing_is_mixed(&dest, &old, &new, &what);
        let done = pair.client.tow(args).run().ok();
        // Nothing is left over either.
        assert!(contents(&dest) == new, "{what}: {done}");
        old = new;
    }
}
