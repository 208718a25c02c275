//! Files and trees arrive as they were, under the right name, whole or not at all.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod filekit;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::time::{Duration, SystemTime};

use filekit::{Dir, Move, noise, partials, picture};
use tow_host::files::Phase;
use tow_proto::Code;

#[test]
fn a_file_of_any_size_arrives_as_it_was() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    let edge = 256 << 10;
    for size in [0, 1, edge - 1, edge, edge + 1, 5 << 20] {
        let file = from.write("file", &noise(size, 1 + size as u64));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let outcome = Move::new(&from.root(), "file", &to.root(), "copy").run().unwrap();
        let summary = outcome.summary();
        assert_eq!((summary.files, summary.failed, summary.reused), (1, 0, 0), "{size}");
        assert_eq!(summary.bytes, size as u64);
        assert_eq!(fs::read(to.join("copy")).unwrap(), fs::read(&file).unwrap(), "{size}");
        let meta = fs::metadata(to.join("copy")).unwrap();
        assert_eq!(meta.permissions().mode() & 0o7777, 0o640);
        assert_eq!(meta.modified().unwrap(), fs::metadata(&file).unwrap().modified().unwrap());
        let now = outcome.progress.now();
        assert_eq!(
            (now.bytes_done, now.bytes_total, now.files_done),
            (size as u64, size as u64, 1)
        );
        assert_eq!(now.phase, Phase::Done);
    }
    assert_eq!(partials(to.path()), Vec::<std::path::PathBuf>::new());
}

/// A tree with everything that names, kinds and permissions can be.
fn odd_tree(top: &Dir) {
    let mut names: Vec<Vec<u8>> =
        ["a b", " lead", "-rf", "new\nline", "tab\t", "..two", "...", "doc..pdf", "$(x);\"'"]
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
    names.extend([b"\xff\xfe".to_vec(), b"esc\x1b[2J".to_vec(), "\u{202e}rtl".into()]);
    names.extend([vec![b'x'; 255], "é".repeat(127).into_bytes()]);
    for (number, name) in names.iter().enumerate() {
        top.write([b"tree/names/", name.as_slice()].concat(), &noise(100 * number, 3));
        top.write([b"tree/dirs/", name.as_slice(), b"/inner"].concat(), name);
    }
    top.write("tree/empty file", b"");
    fs::create_dir_all(top.join("tree/empty/deeper")).unwrap();
    fs::create_dir_all(top.join("tree/links")).unwrap();
    symlink("nowhere/at all", top.join("tree/links/dangling")).unwrap();
    symlink("/etc/hostname", top.join("tree/links/absolute")).unwrap();
    symlink("../names", top.join("tree/links/dir")).unwrap();
    symlink(OsStr::from_bytes(b"\xff\n"), top.join("tree/links/odd")).unwrap();
    top.write("tree/run", b"#!/bin/sh\n");
    fs::set_permissions(top.join("tree/run"), fs::Permissions::from_mode(0o755)).unwrap();
    top.write("tree/secret", b"s");
    fs::set_permissions(top.join("tree/secret"), fs::Permissions::from_mode(0o400)).unwrap();
    top.write("tree/closed/file", b"in a directory that can't be written");
    top.write("tree/closed/inner/file", b"and deeper");
    fs::set_permissions(top.join("tree/closed/inner"), fs::Permissions::from_mode(0o555)).unwrap();
    fs::set_permissions(top.join("tree/closed"), fs::Permissions::from_mode(0o555)).unwrap();
    for (name, secs) in [("tree/run", 4_000_000_000), ("tree/empty file", 1)] {
        let time = SystemTime::UNIX_EPOCH + Duration::new(secs, 123_456_789);
        fs::File::open(top.join(name)).unwrap().set_modified(time).unwrap();
    }
}

#[test]
fn a_tree_with_every_kind_of_name_arrives_as_it_was() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    odd_tree(&from);
    let outcome = Move::new(&from.root(), "tree", &to.root(), ".").run().unwrap();
    assert_eq!(outcome.failed, []);
    assert_eq!(picture(&to.join("tree")), picture(&from.join("tree")));
    assert_eq!(outcome.summary().links, 4);
}

#[test]
fn the_second_time_nothing_is_sent_and_nothing_is_different() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    odd_tree(&from);
    let (from_root, to_root) = (from.root(), to.root());
    let again = || Move::new(&from_root, "tree", &to_root, ".").run().unwrap();
    let first = again().summary();
    let second = again();
    assert_eq!(second.failed, []);
    assert_eq!((second.summary().files, second.summary().bytes), (0, 0));
    assert_eq!(second.summary().same, first.files);
    assert_eq!(picture(&to.join("tree")), picture(&from.join("tree")));
}

#[test]
fn a_change_of_permissions_alone_is_passed_on() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    let file = from.write("tree/run", b"x");
    Move::new(&from.root(), "tree", &to.root(), ".").run().unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o751)).unwrap();
    let outcome = Move::new(&from.root(), "tree", &to.root(), ".").run().unwrap();
    assert_eq!((outcome.summary().same, outcome.summary().files), (1, 0));
    assert_eq!(fs::metadata(to.join("tree/run")).unwrap().mode() & 0o7777, 0o751);
}

#[test]
fn setuid_setgid_and_sticky_bits_stay_behind() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    let file = from.write("tree/tool", b"x");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o6755)).unwrap();
    fs::set_permissions(from.join("tree"), fs::Permissions::from_mode(0o1777)).unwrap();
    Move::new(&from.root(), "tree", &to.root(), ".").run().unwrap();
    assert_eq!(fs::metadata(to.join("tree/tool")).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(fs::metadata(to.join("tree")).unwrap().mode() & 0o7777, 0o777);
}

#[test]
fn a_pipe_in_a_tree_fails_by_name_and_delays_nothing() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    from.write("tree/after", b"x");
    let made = std::process::Command::new("mkfifo").arg(from.join("tree/a pipe")).status().unwrap();
    assert!(made.success());
    let _socket = std::os::unix::net::UnixListener::bind(from.join("tree/socket")).unwrap();
    let outcome = Move::new(&from.root(), "tree", &to.root(), ".").run().unwrap();
    assert_eq!(outcome.code_of("a pipe"), Some(Code::SpecialFile));
    assert_eq!(outcome.code_of("socket"), Some(Code::SpecialFile));
    assert_eq!((outcome.summary().files, outcome.summary().failed), (1, 2));
    let alone = Move::new(&from.root(), "tree/a pipe", &to.root(), ".").run().unwrap_err();
    assert_eq!(alone.code, Code::SpecialFile);
}

#[test]
fn a_link_named_as_the_source_is_followed() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    from.write("real/file", b"content");
    symlink("real", from.join("dir link")).unwrap();
    symlink("real/file", from.join("file link")).unwrap();
    Move::new(&from.root(), "file link", &to.root(), ".").run().unwrap();
    Move::new(&from.root(), "dir link", &to.root(), ".").run().unwrap();
    assert_eq!(fs::read(to.join("file link")).unwrap(), b"content");
    assert!(!to.join("file link").is_symlink());
    assert_eq!(fs::read(to.join("dir link/file")).unwrap(), b"content");
}

#[test]
fn a_file_lands_in_a_directory_or_under_the_name_given() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    from.write("file", b"x");
    fs::create_dir(to.join("dir")).unwrap();
    symlink("dir", to.join("link")).unwrap();
    let (from_root, to_root) = (from.root(), to.root());
    let put = |dest: &str| {
        let result = Move::new(&from_root, "file", &to_root, dest).run();
        result.map(|outcome| outcome.summary().files).map_err(|refusal| refusal.code)
    };
    assert_eq!(put(""), Ok(1));
    assert!(to.join("file").is_file());
    assert_eq!(put("dir"), Ok(1));
    assert!(to.join("dir/file").is_file());
    fs::remove_file(to.join("dir/file")).unwrap();
    assert_eq!(put("link/"), Ok(1));
    assert!(to.join("dir/file").is_file());
    assert_eq!(put("dir/other"), Ok(1));
    assert!(to.join("dir/other").is_file());
    assert_eq!(put("missing/"), Err(Code::NotFound));
    assert_eq!(put("missing/name"), Err(Code::NotFound));
    assert_eq!(put("file/name"), Err(Code::NotADirectory));
    assert_eq!(put("file/"), Err(Code::NotADirectory));
    fs::create_dir(to.join("dir/file2")).unwrap();
    from.write("file2", b"x");
    let result = Move::new(&from_root, "file2", &to_root, "dir").run();
    assert_eq!(result.unwrap_err().code, Code::IsADirectory);
}

#[test]
fn a_directory_lands_in_the_destination_under_its_own_name() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    from.write("tree/file", b"x");
    let (from_root, to_root) = (from.root(), to.root());
    let put = |dest: &str| {
        let result = Move::new(&from_root, "tree/", &to_root, dest).run();
        result.map(|outcome| outcome.summary().files).map_err(|refusal| refusal.code)
    };
    assert_eq!(put("made"), Ok(1));
    assert!(to.join("made/tree/file").is_file());
    assert_eq!(put("made/"), Ok(0));
    assert_eq!(put("no/parent"), Err(Code::NotFound));
    assert!(!to.join("no").exists());
    to.write("plain", b"x");
    assert_eq!(put("plain"), Err(Code::NotADirectory));
    to.write("taken/tree", b"a file in its place");
    assert_eq!(put("taken"), Err(Code::NotADirectory));
    fs::create_dir(to.join("linked")).unwrap();
    symlink("../made", to.join("linked/tree")).unwrap();
    assert_eq!(put("linked"), Err(Code::NotADirectory));
}

#[test]
fn a_link_in_the_place_of_a_file_is_replaced_and_not_written_through() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    from.write("tree/file", b"new");
    let victim = to.write("victim", b"old");
    fs::create_dir(to.join("tree")).unwrap();
    symlink("../victim", to.join("tree/file")).unwrap();
    Move::new(&from.root(), "tree", &to.root(), ".").run().unwrap();
    assert_eq!(fs::read(&victim).unwrap(), b"old");
    assert!(!to.join("tree/file").is_symlink());
    assert_eq!(fs::read(to.join("tree/file")).unwrap(), b"new");
}

#[test]
fn a_device_or_a_pipe_is_never_replaced() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    from.write("file", b"x");
    let pipe = to.join("file");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let result = Move::new(&from.root(), "file", &to.root(), ".").run();
    assert_eq!(result.unwrap_err().code, Code::SpecialFile);
    let whole = tow_host::beneath::Root::open("/".as_ref(), "/".as_ref()).unwrap();
    let result = Move::new(&from.root(), "file", &whole, "/dev/null").run();
    assert_eq!(result.unwrap_err().code, Code::SpecialFile);
}

#[test]
fn what_the_kernel_makes_up_is_not_taken_for_empty() {
    let to = Dir::new("to");
    let whole = tow_host::beneath::Root::open("/".as_ref(), "/".as_ref()).unwrap();
    let outcome = Move::new(&whole, "/proc/version", &to.root(), ".").run().unwrap();
    assert_eq!(outcome.code_of(""), Some(Code::SpecialFile));
    assert!(!to.join("version").exists());
}

#[test]
fn a_reader_of_the_old_file_keeps_it_while_the_name_shows_the_new_one() {
    use std::io::Read as _;
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    from.write("file", b"new content");
    to.write("file", b"old");
    let mut open = fs::File::open(to.join("file")).unwrap();
    Move::new(&from.root(), "file", &to.root(), ".").run().unwrap();
    let mut seen = String::new();
    open.read_to_string(&mut seen).unwrap();
    assert_eq!(seen, "old");
    assert_eq!(fs::read(to.join("file")).unwrap(), b"new content");
}
