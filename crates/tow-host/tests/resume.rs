//! A file that was cut goes on from what is there, after proving that it is right: both ends.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod filekit;

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;

use filekit::{Dir, Move, Outcome, noise, partials};
use tow_host::files::item::Item;
use tow_proto::Code;
use tow_proto::transfer::How;

const MIB: usize = 1 << 20;

/// Cuts before the frame of content that would be more than `len` bytes altogether.
fn cut(this: &Move<'_>, len: usize) -> Outcome {
    let mut sent = 0;
    let gate = |item: &Item| {
        if let Item::Data(chunk) = item {
            sent += chunk.payload().len();
            if sent > len {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    };
    this.run_until(gate).unwrap()
}

/// Sends so much of one file that a partial of `len` bytes stays.
fn leave_partial(this: &Move<'_>, to: &Dir, len: usize) -> PathBuf {
    assert!(cut(this, len).summary.is_none());
    let [partial] = partials(to.path()).try_into().unwrap();
    assert_eq!(fs::metadata(&partial).unwrap().len(), len as u64);
    assert_eq!(fs::metadata(&partial).unwrap().permissions().mode() & 0o7777, 0o600);
    partial
}

fn nothing() -> Vec<PathBuf> {
    Vec::new()
}

#[test]
fn a_file_cut_anywhere_goes_on_where_it_stopped_and_keeps_the_old_one_until_then() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    let content = noise(7 * MIB + 5, 7);
    from.write("file", &content);
    to.write("file", b"old content");
    let (from_root, to_root) = (from.root(), to.root());
    let this = Move::new(&from_root, "file", &to_root, ".");
    for len in [MIB / 2, 0, MIB, 3 * MIB + MIB / 4, 100] {
        assert!(cut(&this, len).summary.is_none());
        assert_eq!(fs::read(to.join("file")).unwrap(), b"old content");
    }
    let last = this.run().unwrap();
    // Each cut costs at most what is of no whole piece.
    let summary = last.summary();
    assert!(summary.reused >= 4 * MIB as u64, "{summary:?}");
    assert_eq!(summary.bytes + summary.reused, content.len() as u64);
    assert!(fs::read(to.join("file")).unwrap() == content);
    assert_eq!((last.failed, partials(to.path())), (vec![], nothing()));
}

#[test]
fn a_flipped_byte_costs_its_piece_and_no_more() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    let content = noise(6 * MIB, 9);
    from.write("file", &content);
    let (from_root, to_root) = (from.root(), to.root());
    let this = Move::new(&from_root, "file", &to_root, ".");
    for number in 0..20 {
        let flipped = number * 7_919_993 % (4 * MIB);
        let partial = leave_partial(&this, &to, 4 * MIB);
        let file = fs::OpenOptions::new().write(true).open(&partial).unwrap();
        file.write_all_at(&[!content[flipped]], flipped as u64).unwrap();
        let outcome = this.run().unwrap();
        let summary = outcome.summary();
        assert_eq!((summary.reused, summary.failed), (3 * MIB as u64, 0), "flipped {flipped}");
        assert!(fs::read(to.join("file")).unwrap() == content, "flipped {flipped}");
        fs::remove_file(to.join("file")).unwrap();
    }
}

#[test]
fn a_partial_that_is_longer_than_the_source_makes_nothing_wrong() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    let content = noise(6 * MIB, 11);
    let file = from.write("file", &content);
    let (from_root, to_root) = (from.root(), to.root());
    let this = Move::new(&from_root, "file", &to_root, ".");
    leave_partial(&this, &to, 5 * MIB);
    fs::File::options().write(true).open(&file).unwrap().set_len(3_500_000).unwrap();
    assert_eq!(this.run().unwrap().failed, []);
    assert!(fs::read(to.join("file")).unwrap() == content[..3_500_000]);
    assert_eq!(partials(to.path()), nothing());
}

#[test]
fn partials_of_any_length_are_no_trouble() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    let content = noise(4 * MIB, 14);
    from.write("file", &content);
    let (from_root, to_root) = (from.root(), to.root());
    let this = Move::new(&from_root, "file", &to_root, ".");
    for len in [0, 1, 4095, MIB - 1, MIB, MIB + 1, 2_500_000, 4 * MIB, 9 * MIB] {
        let partial = leave_partial(&this, &to, 3 * MIB);
        fs::File::options().write(true).open(&partial).unwrap().set_len(len as u64).unwrap();
        let outcome = this.run().unwrap();
        assert_eq!(outcome.failed, [], "{len}");
        assert!(fs::read(to.join("file")).unwrap() == content, "{len}");
        assert_eq!(partials(to.path()), nothing(), "{len}");
        fs::remove_file(to.join("file")).unwrap();
    }
}

#[test]
fn a_source_that_changed_meanwhile_arrives_as_it_is_now() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    let mut content = noise(6 * MIB, 15);
    let file = from.write("file", &content);
    let (from_root, to_root) = (from.root(), to.root());
    let this = Move::new(&from_root, "file", &to_root, ".");
    leave_partial(&this, &to, 5 * MIB);
    content[2 * MIB + 7] ^= 1;
    fs::write(&file, &content).unwrap();
    let outcome = this.run().unwrap();
    assert!(matches!(outcome.how("file"), Some(How::Resume { .. })), "{:?}", outcome.larges);
    assert_eq!(outcome.summary().reused, 4 * MIB as u64);
    assert!(fs::read(to.join("file")).unwrap() == content);
    leave_nothing_of_another(&this, &from, &to);
}

/// The whole source is another file now.
fn leave_nothing_of_another(this: &Move<'_>, from: &Dir, to: &Dir) {
    fs::remove_file(to.join("file")).unwrap();
    leave_partial(this, to, 5 * MIB);
    let content = noise(6 * MIB, 16);
    from.write("file", &content);
    assert_eq!(this.run().unwrap().summary().reused, 0);
    assert!(fs::read(to.join("file")).unwrap() == content);
    assert_eq!(partials(to.path()), nothing());
}

#[test]
fn another_key_or_another_source_does_not_find_the_partial() {
    let (from, other, to) = (Dir::new("from"), Dir::new("other"), Dir::new("to"));
    let content = noise(3 * MIB, 16);
    from.write("file", &content);
    other.write("file", &content);
    let (from_root, other_root, to_root) = (from.root(), other.root(), to.root());
    let this = Move::new(&from_root, "file", &to_root, ".");
    leave_partial(&this, &to, 2 * MIB);
    let other_key = Move { key: "other", ..Move::new(&from_root, "file", &to_root, ".") };
    assert_eq!(other_key.run().unwrap().summary().reused, 0);
    let other_source = Move::new(&other_root, "file", &to_root, "second");
    assert_eq!(other_source.run().unwrap().summary().reused, 0);
    fs::remove_file(to.join("file")).unwrap();
    assert_eq!(this.run().unwrap().summary().reused, 2 * MIB as u64);
}

#[test]
fn what_was_planted_in_place_of_a_partial_is_neither_read_nor_written() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    let content = noise(3 * MIB, 17);
    from.write("file", &content);
    let (from_root, to_root) = (from.root(), to.root());
    let this = Move::new(&from_root, "file", &to_root, ".");
    let partial = leave_partial(&this, &to, 2 * MIB);
    let victim = to.write("victim", &content[..MIB]);
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
        let outcome = this.run().unwrap();
        assert_eq!((outcome.summary().reused, outcome.failed), (0, vec![]));
        assert!(fs::read(&victim).unwrap() == content[..MIB]);
        assert!(fs::read(to.join("file")).unwrap() == content);
        fs::remove_file(to.join("file")).unwrap();
    }
}

#[test]
fn two_of_the_same_transfer_at_once_do_not_write_one_partial() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    let content = noise(3 * MIB, 18);
    from.write("file", &content);
    let (from_root, to_root) = (from.root(), to.root());
    let this = Move::new(&from_root, "file", &to_root, ".");
    let (mut count, mut inner) = (0, None);
    let gate = |item: &Item| {
        count += usize::from(matches!(item, Item::Data(_)));
        if count == 6 && inner.is_none() {
            inner = Some(this.run().unwrap());
        }
        ControlFlow::Continue(())
    };
    let outer = this.run_until(gate).unwrap();
    assert_eq!(inner.unwrap().code_of("file"), Some(Code::Busy));
    assert_eq!(outer.failed, []);
    assert!(fs::read(to.join("file")).unwrap() == content);
}

#[test]
fn partials_of_what_the_source_no_longer_has_are_removed() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    let gone = from.write("tree/a", &noise(2 * MIB, 19));
    from.write("tree/b", b"b");
    let (from_root, to_root) = (from.root(), to.root());
    let this = Move::new(&from_root, "tree", &to_root, ".");
    leave_partial(&this, &to, MIB);
    fs::remove_file(gone).unwrap();
    this.run().unwrap();
    assert_eq!(partials(to.path()), nothing());
}
