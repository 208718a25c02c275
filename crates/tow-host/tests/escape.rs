//! No path of a peer reaches anything outside of the root, whatever is done to the tree meanwhile.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod filekit;

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use filekit::{Dir, Move};
use tow_host::beneath::Root;
use tow_host::files::{Destination, HaveSet, Item, Progress, Rejected, Show, Source, list};
use tow_proto::message::{Entry, EntryKind};
use tow_proto::{ByteString, Code};

/// `outside/secret` and `root/inside/file`, with a root around the latter.
fn walled() -> (Dir, Root) {
    let dir = Dir::new("wall");
    dir.write("outside/secret", b"secret");
    dir.write("root/inside/file", b"public");
    dir.write("root-like/file", b"a longer name than the root's");
    let root = Root::open(&dir.join("root"), &dir.join("root")).unwrap();
    (dir, root)
}

fn offer(root: &Root, path: impl Into<ByteString>) -> Result<EntryKind, Code> {
    let source = Source::offer(root, &path.into(), "box");
    source.map(|source| source.kind()).map_err(|refusal| refusal.code)
}

fn put(root: &Root, path: impl Into<ByteString>, kind: EntryKind) -> Result<ByteString, Code> {
    Destination::prepare(root, &path.into(), kind, &"new".into(), &"box:/x".into(), "key")
        .map(|destination| destination.path().clone())
        .map_err(|refusal| refusal.code)
}

fn entries(root: &Root, path: &str, show: Show) -> Result<Vec<Entry>, Code> {
    let mut all = Vec::new();
    list(root, &path.into(), show, &mut |batch| {
        all.extend(batch);
        ControlFlow::Continue(())
    })
    .map(|()| all)
    .map_err(|refusal| refusal.code)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn nothing_that_leads_out_is_read_listed_or_written() {
    let (dir, root) = walled();
    symlink("../../outside", dir.join("root/inside/up")).unwrap();
    symlink(dir.join("outside"), dir.join("root/absolute")).unwrap();
    symlink("../outside/secret", dir.join("root/leaf")).unwrap();
    let secret = dir.join("outside/secret");
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
        text(&secret),
        text(&dir.join("root/../outside/secret")),
        text(&dir.join("root-like/file")),
        text(dir.path()),
    ] {
        assert_eq!(offer(&root, path), Err(Code::OutsideRoot), "{path}");
        assert_eq!(put(&root, path, EntryKind::Dir), Err(Code::OutsideRoot), "{path}");
        assert_eq!(put(&root, path, EntryKind::File), Err(Code::OutsideRoot), "{path}");
        if path != "leaf" {
            assert_eq!(entries(&root, path, Show::Contents), Err(Code::OutsideRoot), "{path}");
        }
    }
    assert_eq!(fs::read_dir(dir.join("outside")).unwrap().count(), 1);
}

#[test]
fn what_lies_beneath_is_found_by_every_way_of_writing_it() {
    let (dir, root) = walled();
    symlink("inside", dir.join("root/link")).unwrap();
    for path in [
        "inside/file",
        "./inside//file",
        "inside/../inside/file",
        "link/file",
        text(&dir.join("root/inside/file")),
        text(&dir.join("root//./inside/file")),
    ] {
        assert_eq!(offer(&root, path), Ok(EntryKind::File), "{path}");
    }
    for path in ["", ".", "inside", "inside/", "link/", text(&dir.join("root"))] {
        assert_eq!(offer(&root, path), Ok(EntryKind::Dir), "{path}");
    }
    assert_eq!(offer(&root, "inside/file/"), Err(Code::NotADirectory));
    assert_eq!(offer(&root, "inside/missing"), Err(Code::NotFound));
}

#[test]
fn relative_paths_start_at_the_start_directory_and_may_go_up_to_the_root() {
    let (dir, _) = walled();
    let root = Root::open(&dir.join("root"), &dir.join("root/inside")).unwrap();
    assert_eq!(offer(&root, "file"), Ok(EntryKind::File));
    assert_eq!(offer(&root, "../inside/file"), Ok(EntryKind::File));
    assert_eq!(offer(&root, "../../outside/secret"), Err(Code::OutsideRoot));
    let source = Source::offer(&root, &"".into(), "box").unwrap();
    assert_eq!(*source.name(), "inside".into());
    let real = dir.join("root/inside");
    assert_eq!(*source.source(), format!("box:{}", text(&real)).into());
    let outside = Root::open(&dir.join("root"), &dir.join("outside")).unwrap_err();
    assert_eq!(outside.code, Code::OutsideRoot);
}

#[test]
fn beneath_the_whole_machine_an_absolute_link_leads_where_it_says() {
    let (dir, _) = walled();
    symlink(dir.join("outside"), dir.join("root/absolute")).unwrap();
    let whole = Root::open("/".as_ref(), &dir.join("root")).unwrap();
    assert_eq!(offer(&whole, "absolute/secret"), Ok(EntryKind::File));
    assert_eq!(offer(&whole, text(&dir.join("root/absolute/secret"))), Ok(EntryKind::File));
    assert_eq!(offer(&whole, "../outside/secret"), Ok(EntryKind::File));
    let magic = format!("/proc/{}/root/etc/passwd", std::process::id());
    assert_eq!(offer(&whole, magic), Err(Code::LinkLoop));
}

#[test]
fn names_that_cannot_be_are_refused_with_the_reason() {
    let (_dir, root) = walled();
    let deep = "d/".repeat(257);
    let long_name = "x".repeat(256);
    let long_path = "x/".repeat(2049);
    for (path, code) in [
        ("inside/\0", Code::BadName),
        (long_name.as_str(), Code::BadName),
        (long_path.as_str(), Code::TooLong),
        (deep.as_str(), Code::TooDeep),
    ] {
        assert_eq!(offer(&root, path), Err(code));
        assert_eq!(put(&root, path, EntryKind::File), Err(code));
        assert_eq!(put(&root, path, EntryKind::Dir), Err(code));
        assert_eq!(entries(&root, path, Show::Contents), Err(code));
    }
    for name in ["", ".", "..", "a/b", "a\0b", &"x".repeat(256)] {
        let refused = Destination::prepare(
            &root,
            &"inside".into(),
            EntryKind::File,
            &name.into(),
            &"box:/x".into(),
            "key",
        );
        assert_eq!(refused.unwrap_err().code, Code::BadName, "{name:?}");
    }
    for path in ["missing/..", "missing/."] {
        assert_eq!(put(&root, path, EntryKind::File), Err(Code::BadName));
    }
}

#[test]
fn a_loop_of_links_is_named_as_one() {
    let (dir, root) = walled();
    symlink("loop", dir.join("root/loop")).unwrap();
    assert_eq!(offer(&root, "loop"), Err(Code::LinkLoop));
    assert_eq!(put(&root, "loop", EntryKind::File), Err(Code::LinkLoop));
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

/// Exchanges `swap` with `other` for as long as `work` runs.
fn while_swapping(swap: &Path, other: &Path, work: impl FnOnce()) {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let swaps = scope.spawn(|| {
            let mut count = 0u32;
            while !stop.load(Ordering::Relaxed) {
                renameat_with(CWD, swap, CWD, other, RenameFlags::EXCHANGE).unwrap();
                count += 1;
            }
            count
        });
        work();
        stop.store(true, Ordering::Relaxed);
        assert!(swaps.join().unwrap() > 1_000);
    });
}

const TRIES: u32 = 20_000;

#[test]
fn a_directory_swapped_for_a_link_never_lets_a_reader_out() {
    let (dir, root) = walled();
    dir.write("root/inside/secret", b"public");
    symlink("../outside", dir.join("root/swap")).unwrap();
    let (mut read, mut refused) = (0, 0);
    while_swapping(&dir.join("root/swap"), &dir.join("root/inside"), || {
        for _ in 0..TRIES {
            match Source::offer(&root, &"inside/secret".into(), "box") {
                Ok(source) => {
                    read += 1;
                    let path = source.source().to_string();
                    assert!(!path.contains("outside"), "escaped to {path}");
                }
                Err(refusal) => {
                    refused += 1;
                    let expected = [Code::OutsideRoot, Code::Busy];
                    assert!(expected.contains(&refusal.code), "{refusal}");
                }
            }
        }
    });
    assert!(read > 0 && refused > 0, "{read} read, {refused} refused: the race was not on");
}

#[test]
fn a_directory_swapped_for_a_link_never_lets_a_tree_be_read_from_outside() {
    let (dir, root) = walled();
    dir.write("root/tree/inside/secret", b"public");
    symlink("../../outside", dir.join("root/tree/swap")).unwrap();
    let mut sent = 0;
    while_swapping(&dir.join("root/tree/swap"), &dir.join("root/tree/inside"), || {
        for _ in 0..TRIES / 4 {
            let source = Source::offer(&root, &"tree".into(), "box").unwrap();
            let outgoing = source.scan(&Progress::default());
            let rejected = Rejected::default();
            let _ = outgoing.send(HaveSet::new(), &rejected, &Progress::default(), &mut |item| {
                if let Item::Data(chunk) = item {
                    assert_eq!(chunk.payload(), b"public", "escaped");
                    sent += 1;
                }
                ControlFlow::Continue(())
            });
        }
    });
    assert!(sent > 0, "the race was not on");
}

#[test]
fn a_directory_swapped_for_a_link_never_lets_a_writer_out() {
    let (dir, root) = walled();
    let from = Dir::new("from");
    from.write("tree/inside/new", b"x");
    fs::create_dir_all(dir.join("root/tree/inside")).unwrap();
    symlink("../../outside", dir.join("root/tree/swap")).unwrap();
    let from_root = from.root();
    let (mut written, mut refused) = (0, 0);
    while_swapping(&dir.join("root/tree/swap"), &dir.join("root/tree/inside"), || {
        for _ in 0..TRIES {
            match put(&root, "tree/inside/new", EntryKind::File) {
                Ok(path) => assert!(!path.to_string().contains("outside"), "escaped to {path}"),
                Err(code) => assert!([Code::OutsideRoot, Code::Busy].contains(&code), "{code:?}"),
            }
        }
        for _ in 0..TRIES / 20 {
            match Move::new(&from_root, "tree", &root, ".").run().unwrap().failed.is_empty() {
                true => written += 1,
                false => refused += 1,
            }
        }
    });
    let names: Vec<_> = fs::read_dir(dir.join("outside")).unwrap().collect();
    assert_eq!(names.len(), 1, "escaped: {names:?}");
    assert_eq!(fs::read(dir.join("outside/secret")).unwrap(), b"secret");
    assert!(written > 0 && refused > 0, "{written} written, {refused} refused");
}
