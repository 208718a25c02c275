//! Reading one file: all of it, a part, what is no file, and what changes meanwhile.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs::{self, File, FileTimes, Permissions};
use std::io::Write as _;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;

use tow_host::beneath::Root;
use tow_host::files::{CHUNK_LEN_MAX, Content, Sent};
use tow_proto::Code;
use tow_testkit::{TempDir, noise};

fn rooted() -> (TempDir, Root) {
    let dir = TempDir::new();
    let root = Root::open(dir.path(), dir.path()).unwrap();
    (dir, root)
}

fn open(root: &Root, path: &str) -> Result<Content, Code> {
    Content::open(root, &path.into()).map_err(|refusal| refusal.code)
}

fn read(content: &Content, from: u64, len: Option<u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let sent = content.send(from, len, &mut |chunk| {
        bytes.extend_from_slice(chunk.payload());
        ControlFlow::Continue(())
    });
    assert_eq!(sent, Ok(Sent::Steady));
    bytes
}

#[test]
fn any_part_of_a_file_can_be_had() {
    let (dir, root) = rooted();
    let all = noise(3 * CHUNK_LEN_MAX + 17, 1);
    fs::write(dir.join("file"), &all).unwrap();
    let content = open(&root, "file").unwrap();
    assert_eq!(content.stat().size, all.len() as u64);
    assert!(read(&content, 0, None) == all);
    let end = all.len() as u64;
    for (from, len) in [
        (0, 0),
        (0, 1),
        (5, 100),
        (CHUNK_LEN_MAX as u64 - 1, 2),
        (1, end - 1),
        (end - 1, u64::MAX),
        (end, 10),
        (end + 1, 10),
        (u64::MAX, u64::MAX),
    ] {
        let start = usize::try_from(from.min(end)).unwrap();
        let stop = usize::try_from(from.saturating_add(len).min(end)).unwrap();
        assert!(read(&content, from, Some(len)) == all[start..stop], "{len} bytes from {from}");
    }
}

#[test]
fn what_is_no_file_is_refused_and_not_waited_for() {
    let (dir, root) = rooted();
    fs::create_dir(dir.join("dir")).unwrap();
    let fifo = std::process::Command::new("mkfifo").arg(dir.join("pipe")).status();
    assert!(fifo.unwrap().success());
    let _socket = UnixListener::bind(dir.join("socket")).unwrap();
    fs::write(dir.join("file"), "").unwrap();
    let refused = |path: &str| open(&root, path).map(drop);
    assert_eq!(refused("dir"), Err(Code::IsADirectory));
    assert_eq!(refused(""), Err(Code::IsADirectory));
    assert_eq!(refused("pipe"), Err(Code::SpecialFile));
    assert_eq!(refused("socket"), Err(Code::SpecialFile));
    assert_eq!(refused("none"), Err(Code::NotFound));
    assert_eq!(refused("file/"), Err(Code::NotADirectory));
    assert_eq!(refused("file"), Ok(()));
}

#[test]
fn a_file_that_the_kernel_makes_up_is_read_to_its_end() {
    let root = Root::open("/".as_ref(), "/".as_ref()).unwrap();
    let content = open(&root, "/proc/self/status").unwrap();
    assert_eq!(content.stat().size, 0);
    assert!(read(&content, 0, None).starts_with(b"Name:"));
    assert_eq!(read(&content, 2, Some(3)), b"me:");
}

/// What is said when `change` is done to a file in the middle of it.
fn said(change: impl FnOnce(&TempDir)) -> Sent {
    let (dir, root) = rooted();
    fs::write(dir.join("file"), noise(3 * CHUNK_LEN_MAX, 2)).unwrap();
    let long_ago = FileTimes::new().set_modified(std::time::UNIX_EPOCH);
    File::open(dir.join("file")).unwrap().set_times(long_ago).unwrap();
    let content = open(&root, "file").unwrap();
    let mut change = Some(change);
    let sent = content.send(0, None, &mut |_| {
        if let Some(change) = change.take() {
            change(&dir);
        }
        ControlFlow::Continue(())
    });
    sent.unwrap()
}

#[test]
fn a_file_that_changes_while_it_is_read_is_said_to() {
    let append = |dir: &TempDir| {
        let mut file = File::options().append(true).open(dir.join("file")).unwrap();
        file.write_all(b"more").unwrap();
    };
    assert_eq!(said(append), Sent::Changed);
    let shorten = |dir: &TempDir| {
        File::options().write(true).open(dir.join("file")).unwrap().set_len(10).unwrap();
    };
    assert_eq!(said(shorten), Sent::Changed);
    let write = |dir: &TempDir| {
        let mut file = File::options().write(true).open(dir.join("file")).unwrap();
        file.write_all(b"x").unwrap();
    };
    assert_eq!(said(write), Sent::Changed);
}

#[test]
fn a_file_whose_name_goes_to_another_or_whose_mode_is_set_has_not_changed() {
    let replace = |dir: &TempDir| {
        fs::write(dir.join("new"), "new").unwrap();
        fs::rename(dir.join("new"), dir.join("file")).unwrap();
    };
    assert_eq!(said(replace), Sent::Steady);
    let set_mode = |dir: &TempDir| {
        fs::set_permissions(dir.join("file"), Permissions::from_mode(0o600)).unwrap();
    };
    assert_eq!(said(set_mode), Sent::Steady);
    assert_eq!(said(|_| {}), Sent::Steady);
}

#[test]
fn who_has_had_enough_stops_it() {
    let (dir, root) = rooted();
    fs::write(dir.join("file"), noise(3 * CHUNK_LEN_MAX, 3)).unwrap();
    let mut count = 0;
    let sent = open(&root, "file").unwrap().send(0, None, &mut |_| {
        count += 1;
        ControlFlow::Break(())
    });
    assert_eq!((sent, count), (Ok(Sent::Stopped), 1));
}
