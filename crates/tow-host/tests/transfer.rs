//! Trees with everything that names and times can be arrive as they were, and a name shows the old
//! file or the whole new one.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod filekit;

use std::fs;
use std::io::Read as _;
use std::ops::ControlFlow;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::{Duration, SystemTime};

use filekit::{Dir, Move, noise, picture};

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
