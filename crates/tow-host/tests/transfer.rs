//! Trees with everything that names and times can be arrive as they were, and a name shows the old
//! file or the whole new one.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod filekit;

use std::fs;
use std::io::Read as _;
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::time::{Duration, SystemTime};

use filekit::{Dir, Move, noise, partials, picture};

#[test]
fn odd_names_modes_and_times_arrive_as_they_were_and_the_second_time_nothing_moves() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    let long = "\u{e9}".repeat(127);
    let mut names: Vec<&[u8]> = vec![b"\xff\xfe", b"\x9b31m", b"..\xc0\xaf", &[b'x'; 255]];
    names.extend(
        ["document..pdf", "...", "..a", "-rf", " lead", "new\nline", "tab\t"].map(str::as_bytes),
    );
    names.extend(["\u{1b}[2J", "\u{202e}rtl", "\u{200b}", "\"><img onerror>"].map(str::as_bytes));
    names.extend(
        ["$(x)", ";", "%2e%2e%2f", "\\..\\", "CON", "COM\u{b9}", "a.", "a:b"].map(str::as_bytes),
    );
    names.extend(
        ["\u{e9}", "e\u{301}", "A", "a", ".a.0123456789abcdef.tow-par", &long].map(str::as_bytes),
    );
    for (number, name) in names.iter().enumerate() {
        let file = from.write([b"tree/", *name].concat(), &noise(number * 9_000, 3));
        from.write([b"tree/dirs/", *name, b"/inner"].concat(), name);
        fs::set_permissions(&file, fs::Permissions::from_mode([0o400, 0o755, 0o640][number % 3]))
            .unwrap();
        symlink("nowhere/at\nall", from.join([b"tree/dirs/", *name, b"/link"].concat())).unwrap();
    }
    let early = SystemTime::UNIX_EPOCH - Duration::new(2_000_000_000, 1);
    let late = SystemTime::UNIX_EPOCH + Duration::new(4_000_000_000, 123_456_789);
    for (name, time) in [("tree/CON", early), ("tree/A", late)] {
        fs::File::open(from.join(name)).unwrap().set_modified(time).unwrap();
    }
    fs::set_permissions(from.join("tree/dirs/CON"), fs::Permissions::from_mode(0o555)).unwrap();
    let (from_root, to_root) = (from.root(), to.root());
    let this = Move::new(&from_root, "tree", &to_root, ".");
    assert_eq!(this.run().unwrap().failed, []);
    assert_eq!(picture(&to.join("tree")), picture(&from.join("tree")));
    let again = this.run().unwrap();
    assert_eq!((again.bytes, again.summary().files, again.failed), (0, 0, vec![]));
}

#[test]
fn a_name_shows_the_old_file_or_the_whole_new_one() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    let new = noise(3 << 20, 1);
    from.write("file", &new);
    let place = to.write("file", b"old");
    let mut open = fs::File::open(&place).unwrap();
    let (from_root, to_root) = (from.root(), to.root());
    let this = Move::new(&from_root, "file", &to_root, ".");
    let outcome = this.run_until(|_| {
        assert_eq!(fs::read(&place).unwrap(), b"old");
        ControlFlow::Continue(())
    });
    assert_eq!(outcome.unwrap().failed, []);
    assert!(fs::read(&place).unwrap() == new);
    let mut seen = String::new();
    open.read_to_string(&mut seen).unwrap();
    assert_eq!(seen, "old");
}

#[test]
fn equal_files_that_should_be_one_become_one_and_nothing_else_changes() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for dir in [&from, &to] {
        for name in ["tree/a", "tree/d/b", "tree/e/c"] {
            dir.write(name, b"the same");
        }
    }
    for name in ["tree/d/b", "tree/e/c"] {
        fs::remove_file(from.join(name)).unwrap();
        fs::hard_link(from.join("tree/a"), from.join(name)).unwrap();
    }
    // What is beside the second name differs: the whole directory is compared.
    from.write("tree/e/other", b"new");
    for name in ["tree/a", "tree/d/b", "tree/e/c", "tree/d", "tree/e", "tree"] {
        for dir in [&from, &to] {
            fs::File::open(dir.join(name)).unwrap().set_modified(time).unwrap();
        }
    }
    fs::set_permissions(to.join("tree/d"), fs::Permissions::from_mode(0o555)).unwrap();
    fs::set_permissions(from.join("tree/d"), fs::Permissions::from_mode(0o555)).unwrap();
    let (from_root, to_root) = (from.root(), to.root());
    for hard_links in [2, 0] {
        let outcome = Move::new(&from_root, "tree", &to_root, ".").run().unwrap();
        let summary = outcome.summary();
        assert_eq!((summary.hard_links, summary.failed), (hard_links, 0));
        let inode = |name: &str| fs::metadata(to.join(name)).unwrap().ino();
        assert_eq!([inode("tree/d/b"), inode("tree/e/c")], [inode("tree/a"); 2]);
        assert_eq!(picture(&to.join("tree")), picture(&from.join("tree")));
        let dir = fs::metadata(to.join("tree/d")).unwrap();
        assert_eq!((dir.modified().unwrap(), dir.mode() & 0o777), (time, 0o555));
        assert_eq!(partials(to.path()), Vec::<std::path::PathBuf>::new());
    }
    for dir in [&from, &to] {
        fs::set_permissions(dir.join("tree/d"), fs::Permissions::from_mode(0o755)).unwrap();
    }
}
