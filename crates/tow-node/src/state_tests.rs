//! What is refused is named with its path and with what mends it.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use rustix::fs::{Gid, Mode, Uid};

use super::*;
use crate::test_dir::TestDir;

fn layout(dir: &Path) -> Layout {
    Layout {
        config: dir.join("config"),
        state: dir.join("state"),
        socket: dir.join("run/node.sock"),
    }
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & MODE_BITS
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn make_dir(path: &Path, mode: u32) {
    fs::create_dir(path).unwrap();
    set_mode(path, mode);
}

fn us() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[test]
fn directories_are_made_for_us_alone() {
    let dir = TestDir::new();
    let layout = layout(&dir.path().join("deeper/still"));
    let state = StateDir::open(layout.clone()).unwrap();
    let _lock = state.lock().unwrap();
    for made in [&layout.config, &layout.state, &dir.path().join("deeper/still/run")] {
        assert_eq!(mode_of(made), 0o700, "{}", made.display());
    }
    StateDir::open(layout).unwrap();
}

/// Each layout is made below `dir`; the error must name `path` below it and hold `words`.
fn check_bad(name: &str, make: impl Fn(&Path), path: &str, words: &str) {
    let dir = TestDir::new();
    make(dir.path());
    let error = StateDir::open(layout(&dir.path().join("top"))).expect_err(name);
    let error = format!("{error}; {}", error.cure().unwrap_or_default());
    let named = dir.path().join(path);
    assert!(error.starts_with(&format!("{}: ", named.display())), "{name}: {error}");
    assert!(
        error.contains(&words.replace("PATH", &format!("'{}'", named.display()))),
        "{name}: {error}"
    );
}

#[test]
fn bad_modes_are_refused_with_the_path_and_what_mends_it() {
    let with = |below: &'static str, mode| {
        move |dir: &Path| {
            make_dir(&dir.join("top"), 0o700);
            if below != "top" {
                make_dir(&dir.join(below), 0o700);
            }
            set_mode(&dir.join(below), mode);
        }
    };
    let private = "chmod 700 PATH";
    check_bad("readable by all", with("top/config", 0o755), "top/config", private);
    check_bad("entered by the group", with("top/config", 0o710), "top/config", private);
    check_bad("listed by others", with("top/state", 0o704), "top/state", private);
    check_bad("sticky, and open", with("top/state", 0o1777), "top/state", private);
    check_bad("group may replace it", with("top", 0o770), "top", "chmod go-w PATH");
    check_bad("all may replace it", with("top", 0o777), "top", "chmod go-w PATH");
    check_bad("all may write to it", with("top/config", 0o722), "top/config", "chmod go-w PATH");
}

#[test]
fn what_is_no_directory_is_refused_with_its_path() {
    let file = |below: &'static str| {
        move |dir: &Path| {
            fs::create_dir_all(dir.join(below).parent().unwrap()).unwrap();
            fs::write(dir.join(below), "").unwrap();
        }
    };
    check_bad("a file", file("top/config"), "top/config", "not a directory");
    check_bad("a file on the way", file("top"), "top", "not a directory");
}

#[test]
fn symbolic_links_are_followed_to_where_they_are_unsafe() {
    let link = |target: &'static str, link: &'static str| {
        move |dir: &Path| {
            make_dir(&dir.join("top"), 0o700);
            make_dir(&dir.join("shared"), 0o777);
            make_dir(&dir.join("shared/inner"), 0o700);
            make_dir(&dir.join("open"), 0o755);
            symlink(target, dir.join(link)).unwrap();
        }
    };
    check_bad("to an open one", link("../open", "top/config"), "top/config", "open to others");
    check_bad(
        "through a shared one",
        link("../shared/inner", "top/config"),
        "shared",
        "chmod go-w PATH",
    );
    check_bad("to nowhere", link("../nowhere", "top/config"), "top/config", "not a directory");
    check_bad("to itself", link("config", "top/config"), "top/config", "too many symbolic links");
}

#[test]
fn a_chain_of_links_is_checked_link_by_link() {
    let dir = TestDir::new();
    make_dir(&dir.path().join("top"), 0o700);
    make_dir(&dir.path().join("shared"), 0o777);
    make_dir(&dir.path().join("safe"), 0o700);
    symlink(dir.path().join("shared/link"), dir.path().join("top/config")).unwrap();
    symlink(dir.path().join("safe"), dir.path().join("shared/link")).unwrap();
    let error = StateDir::open(layout(&dir.path().join("top"))).unwrap_err();
    let shared = dir.path().join("shared");
    assert!(matches!(&error, StateError::Writable { path, .. } if *path == shared), "{error}");
}

#[test]
fn a_safe_link_and_a_sticky_directory_are_fine() {
    let dir = TestDir::new();
    make_dir(&dir.path().join("sticky"), 0o1777);
    make_dir(&dir.path().join("sticky/top"), 0o700);
    make_dir(&dir.path().join("elsewhere"), 0o700);
    symlink("../../elsewhere", dir.path().join("sticky/top/config")).unwrap();
    StateDir::open(layout(&dir.path().join("sticky/top"))).unwrap();
}

#[test]
fn a_relative_path_is_refused() {
    let layout = Layout { config: "config".into(), ..layout(Path::new("/nowhere")) };
    assert!(matches!(StateDir::open(layout), Err(StateError::NotAbsolute { .. })));
}

/// Makes `path` belong to somebody else: by its owner where we may, else by who we say we are.
fn give_away(path: &Path) -> u32 {
    if us() != 0 {
        return us() + 1;
    }
    let stranger = (Uid::from_raw(STRANGER), Gid::from_raw(STRANGER));
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(rustix::fs::CWD, path, Some(stranger.0), Some(stranger.1), flags).unwrap();
    us()
}

const STRANGER: u32 = 54_321;

#[test]
fn what_belongs_to_somebody_else_is_refused() {
    let dir = TestDir::new();
    for (name, is_link) in [("theirs", false), ("link", true)] {
        let path = dir.path().join(name);
        if is_link {
            symlink("/", &path).unwrap();
        } else {
            make_dir(&path, 0o700);
        }
        let us = give_away(&path);
        let error = check_way_to(&path, us).unwrap_err();
        assert!(matches!(error, StateError::NotOurs { .. }), "{name}: {error}");
        assert!(error.cure().is_some_and(|cure| cure.starts_with("chown ")), "{error}");
    }
}

#[test]
fn a_private_file_of_somebody_else_is_refused() {
    let dir = TestDir::new();
    let path = dir.path().join("file");
    write_private(&path, b"secret").unwrap();
    let us = give_away(&path);
    let metadata = fs::metadata(&path).unwrap();
    let error = check_private(&path, &metadata, us, FILE_MODE).unwrap_err();
    assert!(matches!(error, StateError::NotOurs { .. }), "{error}");
}

#[test]
fn a_file_that_is_not_private_is_not_read() {
    let dir = TestDir::new();
    let path = dir.path().join("file");
    for mode in [0o640, 0o604, 0o644, 0o660, 0o601] {
        write_private(&path, b"secret").unwrap();
        set_mode(&path, mode);
        let error = read_private(&path, 100).unwrap_err();
        let named = format!("{}: open to others (mode {mode:o})", path.display());
        assert_eq!(error.to_string(), named);
        assert_eq!(error.cure(), Some(format!("chmod 600 '{}'", path.display())));
    }
}

#[test]
fn what_is_no_file_is_not_read_and_does_not_block() {
    let dir = TestDir::new();
    write_private(&dir.path().join("file"), b"secret").unwrap();
    symlink("file", dir.path().join("link")).unwrap();
    make_dir(&dir.path().join("dir"), 0o700);
    let fifo = dir.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, Mode::RUSR | Mode::WUSR).unwrap();
    for name in ["link", "dir", "fifo"] {
        let error = read_private(&dir.path().join(name), 100).unwrap_err();
        assert!(matches!(error, StateError::NotAFile { .. }), "{name}: {error}");
    }
    assert!(read_private(&dir.path().join("none"), 100).unwrap_err().is_not_found());
}

#[test]
fn a_file_over_its_limit_is_not_read() {
    let dir = TestDir::new();
    let path = dir.path().join("file");
    write_private(&path, &[0; 100]).unwrap();
    assert_eq!(read_private(&path, 100).unwrap(), [0; 100]);
    let error = read_private(&path, 99).unwrap_err();
    assert!(matches!(error, StateError::TooLong { len: 100, max: 99, .. }), "{error}");
}

#[test]
fn a_file_is_replaced_as_a_whole_and_stays_private() {
    let dir = TestDir::new();
    let path = dir.path().join("file");
    write_private(&path, b"old").unwrap();
    let mut old = File::open(&path).unwrap();
    write_private(&path, b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(mode_of(&path), 0o600);
    let mut text = String::new();
    old.read_to_string(&mut text).unwrap();
    assert_eq!(text, "old", "who reads the old file reads all of it");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left over");
}

#[test]
fn a_file_that_exists_is_not_created() {
    let dir = TestDir::new();
    let path = dir.path().join("file");
    create_private(&path, b"first").unwrap();
    let StateError::Io { source, .. } = create_private(&path, b"second").unwrap_err() else {
        panic!("an error of another kind")
    };
    assert_eq!(source.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&path).unwrap(), b"first");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left over");
}

#[test]
fn one_node_at_a_time_holds_a_directory() {
    let dir = TestDir::new();
    let state = StateDir::open(layout(dir.path())).unwrap();
    let lock = state.lock().unwrap();
    let error = state.lock().unwrap_err();
    let us = std::process::id();
    assert!(matches!(error, StateError::Locked { pid: Some(pid), .. } if pid == us), "{error}");
    assert!(
        error.to_string().ends_with(&format!("another node runs here (process {us})")),
        "{error}"
    );
    drop(lock);
    state.lock().unwrap();
}

#[test]
fn a_lock_file_without_a_number_is_still_a_lock() {
    let dir = TestDir::new();
    let state = StateDir::open(layout(dir.path())).unwrap();
    let _lock = state.lock().unwrap();
    fs::write(dir.path().join("state/node.lock"), "no number").unwrap();
    let error = state.lock().unwrap_err();
    assert!(matches!(error, StateError::Locked { pid: None, .. }), "{error}");
}
