//! A transfer that was cut goes on from what is there, after proving that it is right.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod filekit;

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;

use filekit::{Dir, Move, Outcome, noise, partials, picture};
use tow_host::files::Item;
use tow_proto::message::HaveState;

const PIECE: u64 = 4 << 20;

/// Cuts before the item number `at`.
fn cut(this: &Move<'_>, at: usize) -> Outcome {
    let mut count = 0;
    let gate = |_: &Item| {
        count += 1;
        if count > at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    this.run_until(gate).unwrap()
}

/// Sends so much of `file` that a partial of `len` bytes stays (`len` in whole chunks).
fn leave_partial(this: &Move<'_>, to: &Dir, len: u64) -> PathBuf {
    let chunks = len.div_ceil(256 << 10) as usize;
    assert!(cut(this, 2 + chunks).summary.is_none());
    let [partial] = partials(to.path()).try_into().unwrap();
    assert_eq!(fs::metadata(&partial).unwrap().len(), len);
    assert_eq!(fs::metadata(&partial).unwrap().permissions().mode() & 0o7777, 0o600);
    partial
}

#[test]
fn a_file_cut_anywhere_goes_on_where_it_stopped_and_keeps_the_old_one_until_then() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    let content = noise(13 << 20, 7);
    from.write("file", &content);
    to.write("file", b"old content");
    let (from_root, to_root) = (from.root(), to.root());
    let this = Move::new(&from_root, "file", &to_root, ".");
    let mut sent = 0;
    for at in [5, 1, 20, 3, 2] {
        sent += cut(&this, at).bytes;
        assert_eq!(fs::read(to.join("file")).unwrap(), b"old content");
    }
    let last = this.run().unwrap();
    assert_eq!(last.starts, [("".into(), sent)]);
    assert_eq!(last.summary().reused, sent);
    assert_eq!(last.summary().bytes, content.len() as u64 - sent);
    assert_eq!(fs::read(to.join("file")).unwrap(), content);
    assert_eq!(partials(to.path()), Vec::<PathBuf>::new());
    let now = last.progress.now();
    assert_eq!((now.bytes_reused, now.bytes_done), (sent, content.len() as u64));
}

#[test]
fn a_tree_cut_at_every_item_is_whole_in_the_end_and_sends_nothing_twice() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    let mut total = 0;
    for (number, size) in [0, 10, 300 << 10, 700 << 10, 1 << 20].into_iter().enumerate() {
        for dir in ["tree", "tree/a", "tree/a/b", "tree/z"] {
            from.write(format!("{dir}/file {number}"), &noise(size, number as u64 + 1));
            total += size as u64;
        }
    }
    symlink("file 1", from.join("tree/a/link")).unwrap();
    let (from_root, to_root) = (from.root(), to.root());
    let this = Move::new(&from_root, "tree", &to_root, ".");
    let (mut sent, mut at, mut continued) = (0, 0, 0);
    let last = loop {
        let outcome = cut(&this, at);
        assert_eq!(outcome.failed, []);
        sent += outcome.bytes;
        continued += outcome.starts.iter().filter(|(_, from)| *from > 0).count();
        if outcome.summary.is_some() {
            break outcome;
        }
        at += 1;
    };
    assert!(at > 25 && continued > 5, "{at} cuts, {continued} files continued");
    assert!(last.summary().same > 15);
    assert_eq!(sent, total, "a byte was sent twice, or not at all");
    assert_eq!(picture(&to.join("tree")), picture(&from.join("tree")));
    assert_eq!(partials(to.path()), Vec::<PathBuf>::new());
}

#[test]
fn a_flipped_byte_costs_what_follows_it_and_no_more() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    let content = noise(20 << 20, 9);
    from.write("file", &content);
    let (from_root, to_root) = (from.root(), to.root());
    let this = Move::new(&from_root, "file", &to_root, ".");
    for (flipped, expected) in [(0, 0), (PIECE - 1, 0), (PIECE, PIECE), (11 << 20, 2 * PIECE)] {
        let partial = leave_partial(&this, &to, 13 << 20);
        let file = fs::OpenOptions::new().write(true).open(&partial).unwrap();
        file.write_all_at(&[!content[flipped as usize]], flipped).unwrap();
        let outcome = this.run().unwrap();
        assert_eq!(outcome.starts, [("".into(), expected)], "flipped {flipped}");
        assert_eq!(outcome.summary().reused, expected);
        assert_eq!(fs::read(to.join("file")).unwrap(), content, "flipped {flipped}");
        fs::remove_file(to.join("file")).unwrap();
    }
}

#[test]
fn a_partial_that_is_longer_than_the_source_lends_only_what_matches() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    let content = noise(10 << 20, 11);
    let file = from.write("file", &content);
    let (from_root, to_root) = (from.root(), to.root());
    let this = Move::new(&from_root, "file", &to_root, ".");
    leave_partial(&this, &to, 9 << 20);
    fs::File::options().write(true).open(&file).unwrap().set_len(6 << 20).unwrap();
    let outcome = this.run().unwrap();
    assert_eq!(outcome.starts, [("".into(), PIECE)]);
    assert_eq!(fs::read(to.join("file")).unwrap(), &content[..6 << 20]);
}

#[test]
fn a_partial_with_too_much_at_its_end_is_cut_to_what_is_right() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    let content = noise(6 << 20, 12);
    from.write("file", &content);
    let (from_root, to_root) = (from.root(), to.root());
    let this = Move::new(&from_root, "file", &to_root, ".");
    let partial = leave_partial(&this, &to, 5 << 20);
    let longer = [&content[..5 << 20], &noise(9 << 20, 13)].concat();
    fs::write(&partial, longer).unwrap();
    assert_eq!(this.run().unwrap().starts, [("".into(), PIECE)]);
    assert_eq!(fs::read(to.join("file")).unwrap(), content);
}

#[test]
fn an_empty_and_a_shortened_partial_are_no_trouble() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    let content = noise(6 << 20, 14);
    from.write("file", &content);
    let (from_root, to_root) = (from.root(), to.root());
    let this = Move::new(&from_root, "file", &to_root, ".");
    for len in [0, 1, 1_000_000, (4 << 20) + 1] {
        let partial = leave_partial(&this, &to, 5 << 20);
        fs::File::options().write(true).open(&partial).unwrap().set_len(len).unwrap();
        let outcome = this.run().unwrap();
        assert_eq!(outcome.starts, [("".into(), len)]);
        assert_eq!(fs::read(to.join("file")).unwrap(), content);
        fs::remove_file(to.join("file")).unwrap();
    }
}

#[test]
fn a_source_that_changed_meanwhile_arrives_as_it_is_now() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    let mut content = noise(12 << 20, 15);
    let file = from.write("file", &content);
    let (from_root, to_root) = (from.root(), to.root());
    let this = Move::new(&from_root, "file", &to_root, ".");
    leave_partial(&this, &to, 10 << 20);
    content[5 << 20] ^= 1;
    fs::write(&file, &content).unwrap();
    assert_eq!(this.run().unwrap().starts, [("".into(), PIECE)]);
    assert_eq!(fs::read(to.join("file")).unwrap(), content);
}

#[test]
fn another_key_or_another_source_does_not_find_the_partial() {
    let (from, other, to) = (Dir::new("from"), Dir::new("other"), Dir::new("to"));
    let content = noise(3 << 20, 16);
    from.write("file", &content);
    other.write("file", &content);
    let (from_root, other_root, to_root) = (from.root(), other.root(), to.root());
    let this = Move::new(&from_root, "file", &to_root, ".");
    leave_partial(&this, &to, 2 << 20);
    let other_key = Move { key: "other", ..Move::new(&from_root, "file", &to_root, ".") };
    assert_eq!(other_key.run().unwrap().summary().reused, 0);
    let other_source = Move::new(&other_root, "file", &to_root, "second");
    assert_eq!(other_source.run().unwrap().summary().reused, 0);
    fs::remove_file(to.join("file")).unwrap();
    assert_eq!(this.run().unwrap().summary().reused, 2 << 20);
}

#[test]
fn what_was_planted_in_place_of_a_partial_is_neither_read_nor_written() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    let content = noise(3 << 20, 17);
    from.write("file", &content);
    let (from_root, to_root) = (from.root(), to.root());
    let this = Move::new(&from_root, "file", &to_root, ".");
    let partial = leave_partial(&this, &to, 2 << 20);
    let victim = to.write("victim", &content[..1 << 20]);
    let plant: [&dyn Fn(); 3] = [
        &|| symlink("victim", &partial).unwrap(),
        &|| fs::hard_link(&victim, &partial).unwrap(),
        &|| {
            let made = std::process::Command::new("mkfifo").arg(&partial).status().unwrap();
            assert!(made.success());
        },
    ];
    for plant in plant {
        let _ = fs::remove_file(&partial);
        plant();
        assert_eq!(this.run().unwrap().summary().reused, 0);
        assert_eq!(fs::read(&victim).unwrap(), &content[..1 << 20]);
        assert_eq!(fs::read(to.join("file")).unwrap(), content);
        fs::remove_file(to.join("file")).unwrap();
    }
}

#[test]
fn two_of_the_same_transfer_at_once_do_not_write_one_partial() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    let content = noise(3 << 20, 18);
    from.write("file", &content);
    let (from_root, to_root) = (from.root(), to.root());
    let this = Move::new(&from_root, "file", &to_root, ".");
    let mut count = 0;
    let mut inner = None;
    let gate = |_: &Item| {
        count += 1;
        if count == 6 {
            inner = Some(this.run().unwrap());
        }
        ControlFlow::Continue(())
    };
    let outer = this.run_until(gate).unwrap();
    assert_eq!(inner.unwrap().code_of(""), Some(tow_proto::Code::Busy));
    assert_eq!(outer.failed, []);
    assert_eq!(fs::read(to.join("file")).unwrap(), content);
}

#[test]
fn partials_of_what_the_source_no_longer_has_are_removed() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    let gone = from.write("tree/a", &noise(1 << 20, 19));
    from.write("tree/b", b"b");
    let (from_root, to_root) = (from.root(), to.root());
    let this = Move::new(&from_root, "tree", &to_root, ".");
    assert!(cut(&this, 4).summary.is_none());
    assert_eq!(partials(to.path()).len(), 1);
    fs::remove_file(gone).unwrap();
    this.run().unwrap();
    assert_eq!(partials(to.path()), Vec::<PathBuf>::new());
}

#[test]
fn a_whole_file_and_its_partial_are_both_reported() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    from.write("file", &noise(3 << 20, 20));
    to.write("file", b"old");
    let (from_root, to_root) = (from.root(), to.root());
    let this = Move::new(&from_root, "file", &to_root, ".");
    leave_partial(&this, &to, 1 << 20);
    let had = cut(&this, 0).had;
    assert!(matches!(had[0].state, HaveState::Whole { size: 3, .. }), "{had:?}");
    assert!(matches!(&had[1].state, HaveState::Part { len, .. } if *len == 1 << 20), "{had:?}");
}
