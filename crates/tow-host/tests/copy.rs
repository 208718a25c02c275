//! A second one of a file or a tree, and changing what is said of one: nothing is lost, nothing outside
//! is touched.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs::{self, Permissions};
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use tow_host::beneath::Root;
use tow_host::files::{Existing, copy, set};
use tow_proto::Code;
use tow_proto::message::{CopyReply, Mtime, StatReply};
use tow_testkit::{TempDir, files_beneath, mode_of, names_in, noise};

fn place() -> (TempDir, Root) {
    let dir = TempDir::new();
    let root = Root::open(dir.path(), dir.path()).unwrap();
    (dir, root)
}

fn cp(root: &Root, from: &str, to: &str, existing: Existing) -> Result<CopyReply, Code> {
    let go_on = &mut || ControlFlow::Continue(());
    copy(root, &from.into(), &to.into(), existing, go_on).map_err(|refusal| refusal.code)
}

/// How many were copied; nothing failed.
#[track_caller]
fn copied(result: Result<CopyReply, Code>) -> u64 {
    let reply = result.unwrap();
    assert_eq!(reply, CopyReply { copied: reply.copied, ..CopyReply::default() });
    reply.copied
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn touch(path: &Path, secs: u64) {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(secs);
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

/// Some of everything that can be copied.
fn a_tree(top: &Path) {
    fs::create_dir_all(top.join("dir/deep/er")).unwrap();
    fs::create_dir(top.join("empty")).unwrap();
    fs::write(top.join("file"), noise(3_000_000, 1)).unwrap();
    fs::write(top.join("dir/nothing"), "").unwrap();
    for number in 0..300 {
        fs::write(top.join(format!("dir/deep/{number}")), number.to_string()).unwrap();
    }
    fs::hard_link(top.join("file"), top.join("dir/hard")).unwrap();
    fs::hard_link(top.join("file"), top.join("dir/deep/er/hard")).unwrap();
    symlink("../file", top.join("dir/link")).unwrap();
    symlink("/nowhere", top.join("dangling")).unwrap();
    fs::write(top.join("dir/script"), "#!").unwrap();
    chmod(&top.join("dir/script"), 0o750);
    touch(&top.join("dir/script"), 1_600_000_000);
    let sparse = fs::File::create(top.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"middle", 5 << 20).unwrap();
    sparse.set_len(20 << 20).unwrap();
    chmod(&top.join("empty"), 0o500);
    touch(&top.join("empty"), 1_500_000_000);
    touch(&top.join("dir"), 1_500_000_001);
}

#[track_caller]
fn assert_same(one: &Path, other: &Path) {
    let compare = Command::new("rsync")
        .args(["-aHni", "--checksum", "--delete"])
        .arg(format!("{}/", one.display()))
        .arg(other)
        .output()
        .expect("rsync");
    assert!(compare.status.success(), "{compare:?}");
    assert_eq!(String::from_utf8_lossy(&compare.stdout), "");
}

#[test]
fn a_copy_of_a_tree_is_what_the_tree_is() {
    let (dir, root) = place();
    a_tree(&dir.join("a"));
    // The top, 4 directories, 300 + 5 files, 2 more names, 2 links.
    assert_eq!(copied(cp(&root, "a", "b", Existing::Kept)), 1 + 4 + 305 + 2 + 2 - 1);
    assert_same(&dir.join("a"), &dir.join("b"));
    let blocks = fs::metadata(dir.join("b/sparse")).unwrap().blocks();
    assert!(blocks * 512 < 1 << 20, "{blocks} blocks");
    let first = fs::metadata(dir.join("b/file")).unwrap();
    assert_eq!(
        (first.nlink(), first.ino()),
        (3, fs::metadata(dir.join("b/dir/hard")).unwrap().ino())
    );
    assert_ne!(first.ino(), fs::metadata(dir.join("a/file")).unwrap().ino());
    // Once more, into what is there: it is the same again.
    fs::write(dir.join("b/dir/script"), "changed").unwrap();
    chmod(&dir.join("b/empty"), 0o700);
    assert!(copied(cp(&root, "a", "b", Existing::Replaced)) > 300);
    assert_same(&dir.join("a"), &dir.join("b"));
    assert_eq!(names_in(dir.path()), ["a", "b"]);
}

#[test]
fn a_file_is_copied_and_replaces_only_where_it_may() {
    let (dir, root) = place();
    let content = noise(700_000, 2);
    fs::write(dir.join("a"), &content).unwrap();
    chmod(&dir.join("a"), 0o4640);
    touch(&dir.join("a"), 1_600_000_000);
    assert_eq!(copied(cp(&root, "a", "b", Existing::Kept)), 1);
    assert_eq!(fs::read(dir.join("b")).unwrap(), content);
    let copy = fs::metadata(dir.join("b")).unwrap();
    assert_eq!((copy.mode() & 0o7777, copy.mtime()), (0o640, 1_600_000_000));
    fs::write(dir.join("c"), "old").unwrap();
    assert_eq!(cp(&root, "a", "c", Existing::Kept), Err(Code::Exists));
    assert_eq!(fs::read(dir.join("c")).unwrap(), b"old");
    assert_eq!(copied(cp(&root, "a", "c", Existing::Replaced)), 1);
    assert_eq!(fs::read(dir.join("c")).unwrap(), content);
    // A link is copied itself, and replaced itself.
    symlink("a", dir.join("link")).unwrap();
    assert_eq!(copied(cp(&root, "link", "link2", Existing::Kept)), 1);
    assert_eq!(fs::read_link(dir.join("link2")).unwrap(), Path::new("a"));
    assert_eq!(copied(cp(&root, "c", "link", Existing::Replaced)), 1);
    assert!(!dir.join("link").is_symlink());
    assert_eq!(names_in(dir.path()), ["a", "b", "c", "link", "link2"]);
}

#[test]
fn what_can_not_be_copied_is_refused_with_the_reason() {
    let (dir, root) = place();
    fs::create_dir_all(dir.join("d/sub")).unwrap();
    fs::write(dir.join("f"), "f").unwrap();
    fs::write(dir.join("d/f"), "df").unwrap();
    let _socket = UnixListener::bind(dir.join("socket")).unwrap();
    let before = files_beneath(dir.path());
    for (from, to, code) in [
        ("gone", "new", Code::NotFound),
        ("f", "no/new", Code::NotFound),
        ("f", "f", Code::IntoItself),
        ("d", "d", Code::IntoItself),
        ("d", "d/sub/new", Code::IntoItself),
        ("d/.", "new", Code::BadName),
        ("", "new", Code::BadName),
        ("f", "d", Code::IsADirectory),
        ("d", "f", Code::NotADirectory),
        ("f/", "new", Code::NotADirectory),
        ("f", "new/", Code::NotADirectory),
        ("socket", "new", Code::SpecialFile),
        ("f", "socket", Code::SpecialFile),
        ("../x", "new", Code::OutsideRoot),
        ("f", "../new", Code::OutsideRoot),
        ("/etc/hosts", "new", Code::OutsideRoot),
    ] {
        assert_eq!(cp(&root, from, to, Existing::Replaced), Err(code), "{from} to {to}");
    }
    assert_eq!(cp(&root, "f", "d", Existing::Kept), Err(Code::Exists));
    assert_eq!(files_beneath(dir.path()), before);
}

#[test]
fn what_fails_is_counted_and_does_not_stop_the_rest() {
    let (dir, root) = place();
    fs::create_dir_all(dir.join("a/sub")).unwrap();
    fs::create_dir_all(dir.join("b/in the way")).unwrap();
    fs::write(dir.join("a/one"), "1").unwrap();
    fs::write(dir.join("a/in the way"), "2").unwrap();
    fs::write(dir.join("a/sub/three"), "3").unwrap();
    let _socket = UnixListener::bind(dir.join("a/sub/socket")).unwrap();
    let reply = cp(&root, "a", "b", Existing::Replaced).unwrap();
    assert_eq!((reply.copied, reply.failed), (4, 2));
    let failures: Vec<_> =
        reply.failures.iter().map(|one| (one.path.to_string(), one.why.code)).collect();
    let expected = [("in the way", Code::IsADirectory), ("sub/socket", Code::SpecialFile)];
    assert_eq!(failures, expected.map(|(path, code)| (path.to_owned(), code)));
    assert_eq!(names_in(&dir.join("b")), ["in the way", "one", "sub"]);
    assert_eq!(fs::read(dir.join("b/sub/three")).unwrap(), b"3");
}

#[test]
fn many_failures_are_told_by_the_first_hundred() {
    let (dir, root) = place();
    fs::create_dir(dir.join("a")).unwrap();
    for number in 0..130 {
        fs::create_dir_all(dir.join(format!("b/{number:03}"))).unwrap();
        fs::write(dir.join(format!("a/{number:03}")), "x").unwrap();
    }
    let reply = cp(&root, "a", "b", Existing::Replaced).unwrap();
    assert_eq!((reply.copied, reply.failed, reply.failures.len()), (1, 130, 100));
}

#[test]
fn a_copy_that_nobody_waits_for_stops_and_leaves_no_part_of_a_file() {
    let (dir, root) = place();
    a_tree(&dir.join("a"));
    let source = files_beneath(&dir.join("a"));
    for steps in [0, 1, 2, 5, 20, 100] {
        let mut left = steps;
        let go_on = &mut || {
            left -= 1;
            if left < 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let reply = copy(&root, &"a".into(), &"b".into(), Existing::Replaced, go_on).unwrap();
        assert!(reply.copied <= steps as u64, "{reply:?}");
        for found in files_beneath(&dir.join("b")) {
            assert!(source.contains(&found), "{steps}: {}", found.0.display());
        }
    }
    assert!(copied(cp(&root, "a", "b", Existing::Replaced)) > 300);
    assert_same(&dir.join("a"), &dir.join("b"));
}

#[test]
fn a_tree_may_go_into_a_directory_above_it() {
    let (dir, root) = place();
    fs::create_dir_all(dir.join("a/b/c")).unwrap();
    fs::write(dir.join("a/b/c/f"), "f").unwrap();
    fs::write(dir.join("a/b/g"), "g").unwrap();
    assert_eq!(copied(cp(&root, "a/b", "a", Existing::Replaced)), 4);
    assert_eq!(fs::read(dir.join("a/c/f")).unwrap(), b"f");
    assert_eq!(fs::read(dir.join("a/b/c/f")).unwrap(), b"f");
    assert_eq!(names_in(&dir.join("a")), ["b", "c", "g"]);
}

#[test]
fn files_that_a_kernel_makes_up_are_copied_to_their_end() {
    let (dir, _) = place();
    let root = Root::open(Path::new("/"), dir.path()).unwrap();
    assert_eq!(copied(cp(&root, "/proc/version", "version", Existing::Kept)), 1);
    let version = fs::read("/proc/version").unwrap();
    assert_eq!(fs::read(dir.join("version")).unwrap(), version);
}

fn set_at(
    root: &Root,
    path: &str,
    mode: Option<u32>,
    mtime: Option<Mtime>,
) -> Result<StatReply, Code> {
    set(root, &path.into(), mode, mtime).map_err(|refusal| refusal.code)
}

#[test]
fn permissions_and_time_are_set_and_told() {
    let (dir, root) = place();
    fs::write(dir.join("f"), "f").unwrap();
    fs::create_dir(dir.join("d")).unwrap();
    chmod(&dir.join("d"), 0o2755);
    let time = Mtime(1_700_000_000, 5);
    let stat = set_at(&root, "f", Some(0o600), Some(time)).unwrap();
    assert_eq!((stat.mode, stat.mtime), (0o600, time));
    assert_eq!(set_at(&root, "f", Some(0o000), None).unwrap().mtime, time);
    assert_eq!(mode_of(&dir.join("f")), 0);
    assert_eq!(set_at(&root, "f", Some(0o644), None).unwrap().mode, 0o644);
    let stat = set_at(&root, "d/", Some(0o700), Some(Mtime(-5, 0))).unwrap();
    assert_eq!(
        (stat.mode, stat.mtime),
        (0o2700, Mtime(-5, 0)),
        "what is made in it keeps its group"
    );
    assert_eq!(set_at(&root, "f", None, None).unwrap().mtime, time);
}

#[test]
fn a_link_is_not_followed_and_special_bits_are_refused() {
    let (dir, root) = place();
    fs::write(dir.join("f"), "f").unwrap();
    chmod(&dir.join("f"), 0o600);
    symlink("f", dir.join("link")).unwrap();
    assert_eq!(set_at(&root, "link", Some(0o777), None), Err(Code::LinkLoop));
    let stat = set_at(&root, "link", None, Some(Mtime(7, 0))).unwrap();
    assert_eq!((stat.mtime, stat.target), (Mtime(7, 0), Some("f".into())));
    assert!(fs::metadata(dir.join("f")).unwrap().mtime() > 7);
    for mode in [0o4600, 0o2600, 0o1600, 0o100_600, u32::MAX] {
        assert_eq!(set_at(&root, "f", Some(mode), None), Err(Code::BadArgument), "{mode:o}");
    }
    // What a kernel takes for "now" and for "leave it".
    for nanos in [1_000_000_000, 1_073_741_823, 1_073_741_822] {
        let time = Some(Mtime(0, nanos));
        assert_eq!(set_at(&root, "f", None, time), Err(Code::BadArgument), "{nanos}");
    }
    assert_eq!(mode_of(&dir.join("f")), 0o600);
    for (path, code) in [
        ("", Code::BadName),
        (".", Code::BadName),
        ("f/", Code::NotADirectory),
        ("gone", Code::NotFound),
        ("../x", Code::OutsideRoot),
        ("/etc/hosts", Code::OutsideRoot),
    ] {
        assert_eq!(set_at(&root, path, Some(0o600), Some(Mtime(1, 0))), Err(code), "{path}");
    }
}
