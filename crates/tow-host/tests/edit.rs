//! Making, renaming and removing beneath a root: what is refused, what stays, and that nothing outside
//! is ever touched, whatever is done to the tree meanwhile.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use tow_host::beneath::Root;
use tow_host::files::{
    Above, Content, Existing, Links, Missing, Scope, make_dir, remove, rename, stat,
};
use tow_proto::message::{EntryKind, RemoveReply};
use tow_proto::{ByteString, Code};
use tow_testkit::{TempDir, names_in};

/// `outside/secret` and `root/inside/file`, with a root around the latter.
fn walled() -> (TempDir, Root) {
    let dir = TempDir::new();
    fs::create_dir_all(dir.join("outside/dir")).unwrap();
    fs::create_dir_all(dir.join("root/inside")).unwrap();
    fs::write(dir.join("outside/secret"), "secret").unwrap();
    fs::write(dir.join("root/inside/file"), "public").unwrap();
    let root = Root::open(&dir.join("root"), &dir.join("root")).unwrap();
    (dir, root)
}

fn mkdir(root: &Root, path: impl Into<ByteString>, above: Above) -> Result<bool, Code> {
    make_dir(root, &path.into(), above).map(|done| done.made).map_err(|refusal| refusal.code)
}

fn mv(
    root: &Root,
    from: impl Into<ByteString>,
    to: impl Into<ByteString>,
    existing: Existing,
) -> Result<(), Code> {
    rename(root, &from.into(), &to.into(), existing).map(drop).map_err(|refusal| refusal.code)
}

fn rm(root: &Root, path: impl Into<ByteString>, scope: Scope) -> Result<RemoveReply, Code> {
    let go_on = &mut || ControlFlow::Continue(());
    remove(root, &path.into(), scope, Missing::Refused, go_on).map_err(|refusal| refusal.code)
}

/// How many are gone; nothing failed.
#[track_caller]
fn removed(result: Result<RemoveReply, Code>) -> u64 {
    let reply = result.unwrap();
    assert_eq!(reply, RemoveReply { removed: reply.removed, ..RemoveReply::default() });
    reply.removed
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn nothing_that_leads_out_is_looked_at_read_made_moved_or_removed() {
    let (dir, root) = walled();
    symlink("../../outside", dir.join("root/inside/up")).unwrap();
    symlink(dir.join("outside"), dir.join("root/absolute")).unwrap();
    let real = dir.path().canonicalize().unwrap();
    let outside = Err(Code::OutsideRoot);
    for path in [
        "../outside/secret",
        "inside/../../outside/secret",
        "inside/up/secret",
        "absolute/secret",
        "/etc/passwd",
        text(&real.join("outside/secret")),
        text(&real.join("root/../outside/secret")),
        text(&real.join("root-like")),
    ] {
        let path: ByteString = path.into();
        for links in [Links::Show, Links::Follow] {
            assert_eq!(
                stat(&root, &path, links).map(drop).map_err(|no| no.code),
                outside,
                "{path}"
            );
        }
        assert_eq!(Content::open(&root, &path).map(drop).map_err(|no| no.code), outside, "{path}");
        for above in [Above::Exist, Above::Made] {
            assert_eq!(mkdir(&root, path.clone(), above).map(drop), outside, "{path}");
        }
        for existing in [Existing::Kept, Existing::Replaced] {
            assert_eq!(mv(&root, path.clone(), "stolen", existing), outside, "{path}");
            assert_eq!(mv(&root, "inside/file", path.clone(), existing), outside, "{path}");
        }
        for scope in [Scope::One, Scope::Tree] {
            assert_eq!(rm(&root, path.clone(), scope).map(drop), outside, "{path}");
        }
    }
    assert_eq!(names_in(&dir.join("outside")), ["dir", "secret"]);
    assert_eq!(names_in(&dir.join("root")), ["absolute", "inside"]);
}

#[test]
fn the_root_and_what_is_no_name_can_not_be_moved_removed_or_made() {
    let (dir, root) = walled();
    let real = dir.path().canonicalize().unwrap().join("root");
    for path in ["", ".", "inside/.", "inside/..", "inside/../", text(&real), "./"] {
        assert_eq!(rm(&root, path, Scope::Tree).map(drop), Err(Code::BadName), "{path}");
        assert_eq!(mv(&root, path, "new", Existing::Kept), Err(Code::BadName), "{path}");
        assert_eq!(mkdir(&root, path, Above::Exist), Err(Code::BadName), "{path}");
        assert_eq!(mkdir(&root, path, Above::Made), Ok(false), "{path}");
    }
    let whole = Root::open("/".as_ref(), &real).unwrap();
    for path in ["/", "//", "/.", "/..", "/tmp/.."] {
        assert_eq!(rm(&whole, path, Scope::Tree).map(drop), Err(Code::BadName), "{path}");
    }
    assert_eq!(rm(&whole, "/..//", Scope::Tree).map(drop), Err(Code::BadName));
    for path in ["a\0b", &"x".repeat(256)] {
        assert_eq!(mkdir(&root, path, Above::Made), Err(Code::BadName));
        assert_eq!(rm(&root, path, Scope::One).map(drop), Err(Code::BadName));
    }
    assert_eq!(mkdir(&root, "d/".repeat(257), Above::Made), Err(Code::TooDeep));
    assert_eq!(names_in(&dir.join("root")), ["inside"]);
}

#[test]
fn directories_are_made_one_at_a_time_or_with_those_above() {
    let (dir, root) = walled();
    assert_eq!(mkdir(&root, "new", Above::Exist), Ok(true));
    assert_eq!(mkdir(&root, "new", Above::Exist), Err(Code::Exists));
    assert_eq!(mkdir(&root, "new", Above::Made), Ok(false));
    assert_eq!(mkdir(&root, "a/b/c", Above::Exist), Err(Code::NotFound));
    assert_eq!(mkdir(&root, "a/b//c/", Above::Made), Ok(true));
    assert_eq!(mkdir(&root, "up/../down/x", Above::Made), Ok(true));
    assert_eq!(mkdir(&root, "inside/file", Above::Made), Err(Code::Exists));
    assert_eq!(mkdir(&root, "inside/file/x/y", Above::Made), Err(Code::NotADirectory));
    symlink("new", dir.join("root/link")).unwrap();
    assert_eq!(mkdir(&root, "link", Above::Made), Ok(false));
    assert_eq!(mkdir(&root, "link/in it", Above::Made), Ok(true));
    symlink("nowhere", dir.join("root/dangling")).unwrap();
    assert_eq!(mkdir(&root, "dangling", Above::Exist), Err(Code::Exists));
    assert_eq!(mkdir(&root, "dangling", Above::Made), Err(Code::Exists));
    let real = dir.path().canonicalize().unwrap().join("root/absolute/deep");
    assert_eq!(mkdir(&root, text(&real), Above::Made), Ok(true));
    for made in ["a/b/c", "up", "down/x", "new/in it", "absolute/deep"] {
        assert!(dir.join("root").join(made).is_dir(), "{made}");
    }
    let done = make_dir(&root, &"a/../where".into(), Above::Exist).unwrap();
    let real = dir.path().canonicalize().unwrap().join("root/where");
    assert_eq!(done.path, text(&real).into());
}

#[test]
fn a_move_replaces_nothing_unless_it_is_told_to() {
    let (dir, root) = walled();
    let file = |name: &str| dir.join("root").join(name);
    for name in ["a", "b"] {
        fs::write(file(name), name).unwrap();
    }
    for name in ["dir", "empty", "full"] {
        fs::create_dir(file(name)).unwrap();
    }
    fs::write(file("full/x"), "x").unwrap();
    symlink("full", file("link")).unwrap();
    for taken in ["b", "empty", "full", "link", "a"] {
        assert_eq!(mv(&root, "a", taken, Existing::Kept), Err(Code::Exists), "{taken}");
        assert_eq!(mv(&root, "dir", taken, Existing::Kept), Err(Code::Exists), "{taken}");
    }
    assert_eq!(mv(&root, "a", "full", Existing::Replaced), Err(Code::IsADirectory));
    assert_eq!(mv(&root, "dir", "a", Existing::Replaced), Err(Code::NotADirectory));
    assert_eq!(mv(&root, "dir", "full", Existing::Replaced), Err(Code::NotEmpty));
    assert_eq!(mv(&root, "dir", "dir/in/itself", Existing::Kept), Err(Code::NotFound));
    for existing in [Existing::Kept, Existing::Replaced] {
        assert_eq!(mv(&root, "dir", "dir/itself", existing), Err(Code::IntoItself));
        assert_eq!(mv(&root, "none", "new", existing), Err(Code::NotFound));
        assert_eq!(mv(&root, "a", "none/new", existing), Err(Code::NotFound));
        assert_eq!(mv(&root, "a", "new/", existing), Err(Code::NotADirectory));
        assert_eq!(mv(&root, "link/", "new", existing), Err(Code::NotADirectory));
    }
    assert_eq!(names_in(&dir.join("root")), ["a", "b", "dir", "empty", "full", "inside", "link"]);
    assert_eq!(mv(&root, "a", "b", Existing::Replaced), Ok(()));
    assert_eq!(mv(&root, "dir", "empty/", Existing::Replaced), Ok(()));
    assert_eq!(mv(&root, "link", "moved", Existing::Kept), Ok(()));
    assert_eq!(mv(&root, "full/x", "full/y", Existing::Kept), Ok(()));
    assert_eq!(mv(&root, "full", "inside/full", Existing::Kept), Ok(()));
    assert_eq!(names_in(&dir.join("root")), ["b", "empty", "inside", "moved"]);
    assert_eq!(fs::read(file("b")).unwrap(), b"a");
    assert_eq!(fs::read_link(file("moved")).unwrap(), Path::new("full"));
    assert_eq!(fs::read(file("inside/full/y")).unwrap(), b"x");
}

#[test]
fn of_two_names_of_one_file_the_first_goes() {
    let (dir, root) = walled();
    fs::hard_link(dir.join("root/inside/file"), dir.join("root/other")).unwrap();
    assert_eq!(mv(&root, "other", "inside/file", Existing::Kept), Err(Code::Exists));
    assert_eq!(mv(&root, "other", "other", Existing::Replaced), Ok(()));
    assert_eq!(names_in(&dir.join("root")), ["inside", "other"]);
    assert_eq!(mv(&root, "other", "inside/file", Existing::Replaced), Ok(()));
    assert_eq!(names_in(&dir.join("root")), ["inside"]);
    assert_eq!(fs::read(dir.join("root/inside/file")).unwrap(), b"public");
}

#[test]
fn between_file_systems_nothing_is_moved() {
    let memory = TempDir::in_memory();
    let disk = TempDir::new();
    let device = |dir: &TempDir| fs::metadata(dir.path()).unwrap().dev();
    if device(&memory) == device(&disk) {
        return;
    }
    fs::write(memory.join("file"), "x").unwrap();
    let root = Root::open("/".as_ref(), memory.path()).unwrap();
    let to = disk.path().canonicalize().unwrap().join("file");
    for existing in [Existing::Kept, Existing::Replaced] {
        assert_eq!(mv(&root, "file", text(&to), existing), Err(Code::OtherFileSystem));
    }
    assert!(memory.join("file").exists() && !to.exists());
}

#[test]
fn a_tree_is_removed_with_everything_in_it_and_links_are_not_followed() {
    let (dir, root) = walled();
    let tree = dir.join("root/tree");
    for name in [&b"a"[..], b"\xff\xfe", b" ", b"new\nline", b"-rf", b"..."] {
        let sub = tree.join(OsStr::from_bytes(name));
        fs::create_dir_all(sub.join("deep/er")).unwrap();
        fs::write(sub.join("file"), name).unwrap();
    }
    symlink("../../outside", tree.join("out")).unwrap();
    symlink("nowhere", tree.join("a/dangling")).unwrap();
    assert_eq!(rm(&root, "tree", Scope::One).map(drop), Err(Code::IsADirectory));
    symlink("tree", dir.join("root/link")).unwrap();
    assert_eq!(rm(&root, "link/", Scope::Tree).map(drop), Err(Code::NotADirectory));
    assert_eq!(removed(rm(&root, "link", Scope::Tree)), 1);
    assert!(tree.is_dir());
    // The tree, six of four names each, two links.
    assert_eq!(removed(rm(&root, "tree/", Scope::Tree)), 1 + 6 * 4 + 2);
    assert_eq!(names_in(&dir.join("root")), ["inside"]);
    assert_eq!(names_in(&dir.join("outside")), ["dir", "secret"]);
    assert_eq!(removed(rm(&root, "inside/file", Scope::One)), 1);
    assert_eq!(rm(&root, "inside/file", Scope::One).map(drop), Err(Code::NotFound));
}

#[test]
fn what_is_not_there_is_as_good_as_removed_if_that_is_said() {
    let (_dir, root) = walled();
    let force = |path: &str| {
        let go_on = &mut || ControlFlow::Continue(());
        remove(&root, &path.into(), Scope::One, Missing::Fine, go_on)
            .map(|reply| reply.removed)
            .map_err(|refusal| refusal.code)
    };
    assert_eq!(force("none"), Ok(0));
    assert_eq!(force("none/none"), Ok(0));
    assert_eq!(force("inside/file/none"), Ok(0));
    assert_eq!(force("inside/file/"), Err(Code::NotADirectory));
    assert_eq!(force("inside"), Err(Code::IsADirectory));
    assert_eq!(force("../none"), Err(Code::OutsideRoot));
    assert_eq!(force("."), Err(Code::BadName));
    assert_eq!(force("inside/file"), Ok(1));
}

#[test]
fn what_can_not_be_removed_stays_and_is_named_and_the_rest_goes() {
    if rustix::process::geteuid().is_root() {
        // To root no directory is read-only.
        return;
    }
    let (dir, root) = walled();
    let tree = dir.join("root/tree");
    for sub in ["a/locked", "b"] {
        fs::create_dir_all(tree.join(sub)).unwrap();
        fs::write(tree.join(sub).join("file"), "x").unwrap();
    }
    let mode = |mode| fs::set_permissions(tree.join("a/locked"), Permissions::from_mode(mode));
    mode(0o555).unwrap();
    let reply = rm(&root, "tree", Scope::Tree).unwrap();
    mode(0o755).unwrap();
    assert_eq!((reply.removed, reply.failed), (2, 1));
    assert_eq!(reply.failures[0].path, "a/locked/file".into());
    assert_eq!(reply.failures[0].why.code, Code::PermissionDenied);
    assert_eq!(names_in(&tree), ["a"]);
}

#[test]
fn a_tree_that_is_too_deep_is_removed_up_to_there() {
    let (dir, root) = walled();
    let mut deep = dir.join("root/tree");
    for _ in 0..260 {
        deep.push("d");
    }
    fs::create_dir_all(&deep).unwrap();
    let reply = rm(&root, "tree", Scope::Tree).unwrap();
    assert_eq!((reply.removed, reply.failed), (0, 1));
    assert_eq!(reply.failures[0].why.code, Code::TooDeep);
    // The rest is removed from further down.
    assert_eq!(removed(rm(&root, "tree/d/d/d/d/d/d", Scope::Tree)), 255);
    assert_eq!(removed(rm(&root, "tree", Scope::Tree)), 6);
}

#[test]
fn a_removal_stops_when_it_is_told_to() {
    let (dir, root) = walled();
    for number in 0..100 {
        fs::write(dir.join("root/inside").join(number.to_string()), "").unwrap();
    }
    let mut left = 10;
    let reply = remove(&root, &"inside".into(), Scope::Tree, Missing::Refused, &mut || {
        if left == 0 {
            return ControlFlow::Break(());
        }
        left -= 1;
        ControlFlow::Continue(())
    });
    assert_eq!(reply.unwrap(), RemoveReply { removed: 10, ..RemoveReply::default() });
    assert_eq!(names_in(&dir.join("root/inside")).len(), 91);
}

/// Exchanges `swap` with `other` until `work` has ended, and gives how often.
fn while_swapping(swap: &Path, other: &Path, work: impl FnOnce()) -> u64 {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let swaps = scope.spawn(|| {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                // One of them may be gone just now.
                count +=
                    u64::from(renameat_with(CWD, swap, CWD, other, RenameFlags::EXCHANGE).is_ok());
            }
            count
        });
        work();
        stop.store(true, Ordering::Relaxed);
        swaps.join().unwrap()
    })
}

#[test]
fn a_directory_swapped_for_a_link_never_lets_a_removal_out() {
    let (dir, root) = walled();
    let (mut swaps, mut removed) = (0, 0);
    for _ in 0..300 {
        fs::create_dir_all(dir.join("root/tree/sub/dir")).unwrap();
        fs::create_dir_all(dir.join("root/tree/z")).unwrap();
        fs::write(dir.join("root/tree/sub/secret"), "public").unwrap();
        for number in 0..20 {
            fs::write(dir.join("root/tree/z").join(number.to_string()), "").unwrap();
        }
        // It takes the place of a directory of the tree, again and again.
        symlink("../../outside", dir.join("root/swap")).unwrap();
        swaps += while_swapping(&dir.join("root/tree/sub"), &dir.join("root/swap"), || {
            removed += rm(&root, "tree", Scope::Tree).unwrap().removed;
        });
        assert_eq!(names_in(&dir.join("outside")), ["dir", "secret"]);
        // What was swapped away in time is still there.
        for left in ["tree", "swap"] {
            let _ = rm(&root, left, Scope::Tree);
        }
    }
    assert_eq!(names_in(&dir.join("root")), ["inside"]);
    assert!(swaps > 300 && removed > 300, "{swaps} swaps, {removed} removed");
}

#[test]
fn a_directory_on_the_way_swapped_for_a_link_never_lets_an_edit_out() {
    let (dir, root) = walled();
    symlink("../outside", dir.join("root/swap")).unwrap();
    fs::write(dir.join("root/inside/secret"), "public").unwrap();
    let (mut done, mut refused) = (0, 0);
    while_swapping(&dir.join("root/swap"), &dir.join("root/inside"), || {
        for number in 0..20_000 {
            let results = [
                mv(&root, "inside/secret", "inside/moved", Existing::Kept),
                mv(&root, "inside/moved", "inside/secret", Existing::Replaced),
                mkdir(&root, format!("inside/{number}/x"), Above::Made).map(drop),
                rm(&root, format!("inside/{number}"), Scope::Tree).map(drop),
                rm(&root, "inside/dir", Scope::Tree).map(drop),
            ];
            for result in results {
                match result {
                    Ok(()) => done += 1,
                    Err(Code::OutsideRoot | Code::NotFound | Code::Exists | Code::Busy) => {
                        refused += 1;
                    }
                    Err(code) => panic!("{code:?}"),
                }
            }
        }
    });
    assert_eq!(names_in(&dir.join("outside")), ["dir", "secret"]);
    assert_eq!(fs::read(dir.join("outside/secret")).unwrap(), b"secret");
    assert!(done > 0 && refused > 0, "{done} done, {refused} refused: the race was not on");
}

#[test]
fn a_link_is_looked_at_or_followed_as_it_is_asked() {
    let (dir, root) = walled();
    symlink("inside/file", dir.join("root/link")).unwrap();
    symlink("/etc/passwd", dir.join("root/out")).unwrap();
    let kind = |path: &str, links| {
        stat(&root, &path.into(), links).map(|known| known.kind).map_err(|refusal| refusal.code)
    };
    assert_eq!(kind("link", Links::Show), Ok(EntryKind::Link));
    assert_eq!(kind("link", Links::Follow), Ok(EntryKind::File));
    assert_eq!(kind("link/", Links::Show), Err(Code::NotADirectory));
    assert_eq!(kind("out", Links::Show), Ok(EntryKind::Link));
    assert_eq!(kind("out", Links::Follow), Err(Code::OutsideRoot));
    assert_eq!(kind("inside/", Links::Show), Ok(EntryKind::Dir));
    assert_eq!(kind("", Links::Show), Ok(EntryKind::Dir));
    assert_eq!(kind("none", Links::Follow), Err(Code::NotFound));
    let known = stat(&root, &"out".into(), Links::Show).unwrap();
    assert_eq!(known.target, Some("/etc/passwd".into()));
    let known = stat(&root, &"link".into(), Links::Follow).unwrap();
    let real = fs::metadata(dir.join("root/inside/file")).unwrap();
    assert_eq!((known.device, known.inode, known.size), (real.dev(), real.ino(), 6));
    assert_eq!((known.mtime.0, known.ctime.0), (real.mtime(), real.ctime()));
    assert_eq!(known.mode, real.mode() & 0o7777);
    let path = dir.path().canonicalize().unwrap().join("root/inside/file");
    assert_eq!(known.path, text(&path).into());
}
