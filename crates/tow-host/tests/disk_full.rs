//! A disk that is full, at whatever moment, costs nothing that was there before.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(clippy::print_stdout, reason = "a test that is skipped says so")]

mod filekit;

use std::fs;
use std::path::PathBuf;

use filekit::{Dir, Move, noise, partials, picture};
use tow_host::beneath::Root;
use tow_proto::Code;
use tow_testkit::Mount;

const LEVELS: usize = 20;
const DISK: usize = 8 << 20;

#[test]
fn a_disk_that_is_full_at_any_level_keeps_the_old_files_and_ends_well_with_more_room() {
    let (from, disk) = (Dir::new("from"), Dir::new("disk"));
    let Some(_mount) = Mount::tmpfs(disk.path(), "size=8m") else {
        println!("skipped: a small file system can only be mounted by root");
        return;
    };
    let mut content = Vec::new();
    for (number, size) in [0, 1, 4096, 90_000, 200_000, 700_000, 2 << 20].into_iter().enumerate() {
        for dir in ["", "sub/", "sub/deeper/"] {
            let size = if dir.is_empty() { size } else { size / 2 };
            let path = format!("tree/{dir}{number}");
            let bytes = noise(size, number as u64 + 1);
            from.write(&path, &bytes);
            content.push((path, bytes));
        }
    }
    let (from_root, to_root) = (from.root(), Root::open(disk.path(), disk.path()).unwrap());
    let this = Move::new(&from_root, "tree", &to_root, ".");
    let mut incomplete = 0;
    for level in 0..LEVELS {
        let _ = fs::remove_dir_all(disk.join("tree"));
        for (path, _) in &content {
            disk.write(path, b"old");
        }
        let filler = disk.write("filler", &noise(0, 1));
        let _ = fs::write(&filler, noise(DISK / LEVELS * (level + 1), 2));
        match this.run() {
            Ok(outcome) => {
                incomplete += usize::from(!outcome.failed.is_empty());
                for failure in outcome.failed {
                    assert_eq!(failure.why.code, Code::NoSpace, "{level}: {failure:?}");
                }
            }
            Err(refusal) => assert_eq!(refusal.code, Code::NoSpace, "{level}"),
        }
        for (path, new) in &content {
            let now = fs::read(disk.join(path)).unwrap();
            assert!(now == *new || now == b"old", "{level}: {path} is neither old nor new");
        }
        fs::remove_file(filler).unwrap();
        let outcome = this.run().unwrap();
        assert_eq!(outcome.failed, [], "{level}");
        assert_eq!(picture(&disk.join("tree")), picture(&from.join("tree")), "{level}");
        assert_eq!(partials(disk.path()), Vec::<PathBuf>::new(), "{level}");
    }
    assert!(incomplete > 5, "the disk was full in {incomplete} of {LEVELS} cases");
}
