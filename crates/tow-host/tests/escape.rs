//! No transfer reads, changes or removes anything outside of its root, whatever is done to the trees
//! meanwhile.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod filekit;

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use filekit::{Dir, Move, picture};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use tow_host::beneath::Root;
use tow_host::files::receive::Destination;
use tow_host::files::{Existing, Source, Upload, copy, set};
use tow_proto::message::{EntryKind, Mtime, UploadId, Write};
use tow_proto::transfer::Options;
use tow_proto::{ByteString, Code};

/// `outside/secret` and `root/inside/file`, with a root around the latter.
fn walled() -> (Dir, Root) {
    let dir = Dir::new("wall");
    dir.write("outside/secret", b"secret");
    dir.write("outside/deep/secret", b"secret");
    dir.write("root/inside/file", b"public");
    dir.write("root-like/file", b"a longer name than the root's");
    let root = Root::open(&dir.join("root"), &dir.join("root")).unwrap();
    (dir, root)
}

fn offer(root: &Root, path: &str) -> Result<EntryKind, Code> {
    let source = Source::offer(root, &path.into(), "box");
    source.map(|source| source.kind()).map_err(|refusal| refusal.code)
}

fn put(root: &Root, path: &str, kind: EntryKind, name: &str) -> Result<ByteString, Code> {
    let (path, name, source) = (path.into(), name.into(), "box:/x".into());
    Destination::prepare(root, &path, kind, &name, &source, "key", &Options::default())
        .map(|destination| destination.path().clone())
        .map_err(|refusal| refusal.code)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn nothing_that_leads_out_is_read_or_written() {
    let (dir, root) = walled();
    symlink("../../outside", dir.join("root/inside/up")).unwrap();
    symlink(dir.join("outside"), dir.join("root/absolute")).unwrap();
    symlink("../outside/secret", dir.join("root/leaf")).unwrap();
    let before = picture(&dir.join("outside"));
    for path in [
        "..",
        "../outside/secret",
        "inside/../../outside/secret",
        "inside/up/secret",
        "absolute/secret",
        "absolute",
        "leaf",
        "/etc/passwd",
        "/",
        text(&dir.join("outside/secret")),
        text(&dir.join("root/../outside/secret")),
        text(&dir.join("root-like/file")),
        text(dir.path()),
    ] {
        assert_eq!(offer(&root, path), Err(Code::OutsideRoot), "{path}");
        for kind in [EntryKind::Dir, EntryKind::File] {
            assert_eq!(put(&root, path, kind, "new"), Err(Code::OutsideRoot), "{path}");
        }
    }
    assert_eq!(picture(&dir.join("outside")), before);
}

#[test]
fn names_that_cannot_be_are_refused_with_the_reason() {
    let (_dir, root) = walled();
    for (path, code) in [
        ("inside/\0", Code::BadName),
        (&*"x".repeat(256), Code::BadName),
        (&*"x/".repeat(2049), Code::TooLong),
        (&*"d/".repeat(257), Code::TooDeep),
    ] {
        assert_eq!(offer(&root, path), Err(code));
        for kind in [EntryKind::Dir, EntryKind::File] {
            assert_eq!(put(&root, path, kind, "new"), Err(code));
        }
    }
    for name in ["", ".", "..", "a/b", "a\0b", &"x".repeat(256)] {
        assert_eq!(put(&root, "inside", EntryKind::File, name), Err(Code::BadName), "{name:?}");
    }
}

#[test]
fn a_link_within_a_tree_is_sent_as_a_link_even_if_it_leads_out() {
    let (dir, root) = walled();
    symlink("../../outside/secret", dir.join("root/inside/leaf")).unwrap();
    let to = Dir::new("to");
    let outcome = Move::new(&root, "inside", &to.root(), ".").run().unwrap();
    assert_eq!((outcome.summary().links, outcome.summary().files), (1, 1));
    assert!(to.join("inside/leaf").is_symlink());
}

/// Exchanges `swap` with `other` for as long as `work` runs, which may remove either.
fn while_swapping(swap: &Path, other: &Path, work: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let swaps = scope.spawn(|| {
            let mut count = 0u32;
            while !stop.load(Ordering::Relaxed) {
                count +=
                    u32::from(renameat_with(CWD, swap, CWD, other, RenameFlags::EXCHANGE).is_ok());
            }
            count
        });
        work();
        stop.store(true, Ordering::Relaxed);
        assert!(swaps.join().unwrap() > 0);
    });
}

const TRIES: usize = 200;

#[test]
fn a_directory_swapped_for_a_link_never_lets_a_tree_be_read_from_outside() {
    let (dir, root) = walled();
    dir.write("root/tree/inside/secret", b"public");
    dir.write("root/tree/inside/deep/secret", b"public");
    symlink("../../outside", dir.join("root/tree/swap")).unwrap();
    let mut read = 0;
    while_swapping(&dir.join("root/tree/swap"), &dir.join("root/tree/inside"), || {
        for _ in 0..TRIES {
            let to = Dir::new("to");
            let _ = Move::new(&root, "tree", &to.root(), ".").run().unwrap();
            for name in ["inside", "swap"] {
                for file in ["secret", "deep/secret"] {
                    let place = to.join(format!("tree/{name}"));
                    if !place.is_symlink()
                        && let Ok(content) = fs::read(place.join(file))
                    {
                        assert_eq!(content, b"public", "escaped");
                        read += 1;
                    }
                }
            }
            // A file by itself, whose directory is swapped.
            if let Ok(outcome) = Move::new(&root, "tree/inside/secret", &to.root(), ".").run()
                && outcome.failed.is_empty()
            {
                assert_eq!(fs::read(to.join("secret")).unwrap(), b"public", "escaped");
                read += 1;
            }
        }
    });
    assert!(read > 0, "nothing was read at all");
}

/// Makes the race possible again, after a transfer has removed a side of it.
fn set_up(dir: &Dir) {
    let [inside, swap] = ["root/tree/inside", "root/tree/swap"].map(|name| dir.join(name));
    // What is swapped meanwhile makes a step of this fail; then the next one does it.
    if !inside.is_symlink() && !swap.is_symlink() {
        let _ = fs::remove_dir_all(&swap);
        let _ = symlink("../../outside", &swap);
    }
    // Names of what is outside, to be deleted.
    let _ = fs::remove_dir_all(dir.join("spare"));
    dir.write("spare/secret", b"old");
    dir.write("spare/deep/secret", b"old");
    let _ = fs::remove_dir_all(&inside);
    let _ = fs::rename(dir.join("spare"), &inside);
}

#[test]
fn a_directory_swapped_for_a_link_never_lets_a_writer_out() {
    let (dir, root) = walled();
    let from = Dir::new("from");
    from.write("tree/inside/new", b"x");
    from.write("tree/inside/secret", b"written");
    from.write("tree/inside/deep/large", &filekit::noise(200_000, 1));
    dir.write("root/tree/inside/secret", b"old");
    symlink("../../outside", dir.join("root/tree/swap")).unwrap();
    let before = picture(&dir.join("outside"));
    let from_root = from.root();
    let mut written = 0;
    while_swapping(&dir.join("root/tree/swap"), &dir.join("root/tree/inside"), || {
        for number in 0..TRIES {
            let mut this = Move::new(&from_root, "tree", &root, ".");
            this.options.whole = number % 2 == 0;
            this.options.checksum = true;
            let outcome = this.run().unwrap();
            written += outcome.summary().files;
            fs::write(from.join("tree/inside/new"), number.to_string()).unwrap();
        }
    });
    assert_eq!(picture(&dir.join("outside")), before, "escaped");
    assert!(written > 0, "nothing was written at all");
}

#[test]
fn a_directory_swapped_for_a_link_never_lets_a_deletion_out() {
    let (dir, root) = walled();
    let from = Dir::new("from");
    from.write("tree/inside/new", b"x");
    from.write("tree/stays", b"x");
    fs::create_dir_all(dir.join("root/tree/inside")).unwrap();
    symlink("../../outside", dir.join("root/tree/swap")).unwrap();
    let before = picture(&dir.join("outside"));
    let from_root = from.root();
    let mut deleted = 0;
    while_swapping(&dir.join("root/tree/swap"), &dir.join("root/tree/inside"), || {
        for _ in 0..TRIES {
            set_up(&dir);
            let mut this = Move::new(&from_root, "tree", &root, ".");
            this.options.delete = true;
            deleted += this.run().map_or(0, |outcome| outcome.summary().deleted);
        }
    });
    assert_eq!(picture(&dir.join("outside")), before, "escaped");
    assert!(deleted > 0, "nothing was deleted at all");
}

#[test]
fn a_directory_swapped_for_a_link_never_lets_a_write_a_copy_or_a_change_out() {
    let (dir, root) = walled();
    dir.write("root/tree/inside/secret", b"public");
    dir.write("root/tree/inside/deep/secret", b"public");
    symlink("../../outside", dir.join("root/tree/swap")).unwrap();
    let before = picture(&dir.join("outside"));
    let upload = UploadId::try_from("up".to_owned()).unwrap();
    let (mut written, mut copied, mut changed) = (0, 0, 0);
    while_swapping(&dir.join("root/tree/swap"), &dir.join("root/tree/inside"), || {
        // Each waits for the disk several times.
        for number in 0..TRIES / 4 {
            let path = "tree/inside/secret";
            let named = (number % 2 == 0).then(|| upload.clone());
            let request = Write { upload: named, parents: true, ..Write::whole(path) };
            if let Ok(mut writer) = Upload::begin(&root, &request, "key") {
                let _ = writer.append(b"public");
                written += u32::from(writer.publish().is_ok());
            }
            let _ = Upload::remove(&root, &path.into(), &upload, "key");
            let time = Some(Mtime(1, 0));
            for path in ["tree/inside", "tree/inside/secret", "tree/inside/deep"] {
                changed += u32::from(set(&root, &path.into(), Some(0o700), time).is_ok());
            }
            let go_on = &mut || ControlFlow::Continue(());
            for (from, to) in [("tree", "copy"), ("copy", "tree"), ("copy/inside", "tree/inside")] {
                copied += copy(&root, &from.into(), &to.into(), Existing::Replaced, go_on)
                    .map_or(0, |reply| reply.copied);
            }
            for file in ["inside/secret", "inside/deep/secret", "swap/secret", "swap/deep/secret"] {
                let place = dir.join("root/copy").join(file);
                let is_link = place.ancestors().any(|above| above.is_symlink());
                if !is_link && let Ok(content) = fs::read(&place) {
                    assert_eq!(content, b"public", "escaped");
                }
            }
            let _ = fs::remove_dir_all(dir.join("root/copy"));
        }
    });
    assert_eq!(picture(&dir.join("outside")), before, "escaped");
    assert!(written > 0 && copied > 0 && changed > 0, "{written} {copied} {changed}");
}
