//! A full disk is noticed early where it can be, and costs nothing that was there before.

#![allow(clippy::print_stdout, reason = "a test that is skipped says so")]

mod filekit;

use std::fs;
use std::path::Path;
use std::process::Command;

use filekit::{Dir, Move, noise, partials};
use tow_proto::Code;

/// A file system of 8 MiB. `None`, with a word about it, where this process may not mount one.
struct SmallDisk(Dir);

impl SmallDisk {
    fn new() -> Option<Self> {
        let dir = Dir::new("small");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
            .arg(dir.path())
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(dir));
        }
        println!("skipped: a small file system can only be mounted by root");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_file_that_cannot_fit_is_refused_before_its_first_byte() {
    let Some(disk) = SmallDisk::new() else { return };
    let from = Dir::new("from");
    from.write("tree/big", &noise(12 << 20, 1));
    from.write("tree/small", b"fits");
    fs::create_dir(disk.path().join("tree")).unwrap();
    fs::write(disk.path().join("tree/big"), b"old").unwrap();
    let to = disk.0.root();
    let outcome = Move::new(&from.root(), "tree", &to, ".").run().unwrap();
    let failure = &outcome.failed[0];
    assert_eq!((failure.why.code, failure.path.clone()), (Code::NoSpace, "big".into()));
    let missing = failure.why.count.unwrap();
    assert!((4 << 20..5 << 20).contains(&missing), "{missing}");
    assert_eq!(outcome.bytes, 4, "the sender went on with a file that was refused");
    assert_eq!((outcome.breaks, outcome.summary().files), (1, 1));
    assert_eq!(fs::read(disk.path().join("tree/big")).unwrap(), b"old");
}

#[test]
fn a_disk_that_fills_up_meanwhile_keeps_the_old_file_and_the_part_that_came() {
    let Some(disk) = SmallDisk::new() else { return };
    let from = Dir::new("from");
    let content = noise(5 << 20, 2);
    from.write("tree/a big one", &content);
    from.write("tree/next", b"");
    fs::create_dir(disk.path().join("tree")).unwrap();
    fs::write(disk.path().join("tree/a big one"), b"old").unwrap();
    let filler = disk.path().join("filler");
    let to = disk.0.root();
    let (from_root, mut chunks) = (from.root(), 0);
    let this = Move::new(&from_root, "tree", &to, ".");
    let outcome = this
        .run_until(|item| {
            if let tow_host::files::Item::Data(_) = item {
                chunks += 1;
                if chunks == 4 {
                    fs::write(&filler, noise(5 << 20, 3)).unwrap();
                }
            }
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(outcome.code_of("a big one"), Some(Code::NoSpace));
    assert!(outcome.failed[0].why.count.unwrap() > 1 << 20);
    assert_eq!((outcome.breaks, outcome.summary().files), (1, 1));
    assert_eq!(fs::read(disk.path().join("tree/a big one")).unwrap(), b"old");
    let [partial] = partials(disk.path()).try_into().unwrap();
    assert!(fs::metadata(partial).unwrap().len() > 1 << 20);

    fs::remove_file(filler).unwrap();
    let outcome = this.run().unwrap();
    assert!(outcome.summary().reused > 1 << 20);
    assert_eq!(fs::read(disk.path().join("tree/a big one")).unwrap(), content);
}
