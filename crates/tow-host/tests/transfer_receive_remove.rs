//! What is removed or replaced at the receiving end, and where it goes; and what a sender that means
//! harm achieves: nothing.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod receivekit;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use receivekit::*;
use tow_proto::Code;
use tow_proto::message::EntryKind;
use tow_proto::transfer::{How, Options, Record};

fn deleting() -> Options {
    Options { delete: true, ..Options::default() }
}

#[test]
fn what_is_deleted_goes_with_all_that_is_in_it_and_no_link_is_followed() {
    let kit = Kit::with(deleting());
    let outside = kit.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("kept"), b"kept").unwrap();
    kit.write("gone/deep/er/x", b"x");
    kit.write("gone/y", b"y");
    kit.write("stays", b"z");
    symlink("../../outside", kit.at("gone/link")).unwrap();
    symlink("../outside", kit.at("link")).unwrap();
    let mut perms = fs::metadata(kit.at("gone/deep")).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut perms, 0o555);
    fs::set_permissions(kit.at("gone/deep"), perms).unwrap();
    let mut end = kit.open();
    end.records(&[enter(""), delete("gone"), delete("link"), delete("never")]).unwrap();
    assert_eq!(end.finish_well().deleted, 7);
    assert_eq!(walk(&kit.at("")), [kit.at("stays")]);
    assert_eq!(fs::read(outside.join("kept")).unwrap(), b"kept");
}

#[test]
fn a_read_only_directory_that_stays_is_read_only_again() {
    let exclude = vec!["*.log".into()];
    for (options, deleted) in
        [(Options { exclude, ..deleting() }, 1), (Options { max_delete: Some(0), ..deleting() }, 0)]
    {
        let kit = Kit::with(options);
        kit.write("sealed/x.log", b"x");
        kit.write("sealed/y", b"y");
        let sealed = std::os::unix::fs::PermissionsExt::from_mode(0o555);
        fs::set_permissions(kit.at("sealed"), sealed).unwrap();
        let mut end = kit.open();
        end.records(&[enter(""), delete("sealed")]).unwrap();
        assert_eq!(end.finish().0.deleted, deleted);
        assert_eq!(tow_testkit::mode_of(&kit.at("sealed")), 0o555);
    }
}

#[test]
fn nothing_is_deleted_that_was_not_to_be() {
    let kit = Kit::new();
    kit.write("a", b"a");
    assert_eq!(kit.open().records(&[enter(""), delete("a")]), Err(Code::OutOfOrder));
    let exclude = vec!["*.log".into(), "/keep".into()];
    let options = Options { exclude, gitignore: true, ..deleting() };
    let kit = Kit { options, ..kit };
    for name in ["keep", "gone/x.log", "gone/y", "gone/sub/z", "git/o.tmp", "git/x"] {
        kit.write(name, b"x");
    }
    kit.write("git/.gitignore", b"*.tmp\n");
    let foreign = kit.write("gone/.x.0123456789abcdef.tow-part", b"");
    let mut end = kit.open();
    end.records(&[enter(""), delete("keep"), delete("gone"), delete("git")]).unwrap();
    end.finish_well();
    assert!(kit.at("keep").exists() && kit.at("gone/x.log").exists() && foreign.exists());
    assert!(kit.at("git/o.tmp").exists() && !kit.at("git/x").exists());
    assert!(!kit.at("gone/y").exists() && !kit.at("gone/sub").exists());
}

#[test]
fn no_more_is_deleted_than_may_be() {
    let kit = Kit::with(Options { max_delete: Some(3), ..deleting() });
    for name in ["a", "d/1", "d/2", "d/3", "z"] {
        kit.write(name, b"x");
    }
    let mut end = kit.open();
    end.records(&[enter(""), delete("a"), delete("d"), delete("z")]).unwrap();
    assert_eq!(end.counts, [Some(3)]);
    let (summary, failed) = end.finish();
    assert_eq!((summary.deleted, failed), (3, failures([("d", Code::TooLong)])));
    assert!(kit.at("d/3").exists() && kit.at("z").exists() && !kit.at("d/2").exists());
}

#[test]
fn what_is_replaced_or_removed_is_found_in_the_backup() {
    let kit = Kit::with(Options { backup: Some("old/1".into()), ..deleting() });
    for name in ["a", "sub/b", "gone/c", "gone/d/e", "big"] {
        kit.write(name, format!("old {name}"));
    }
    symlink("nowhere", kit.at("l")).unwrap();
    let mut end = kit.open();
    assert!(end.list("").entries.iter().all(|entry| &*entry.name != b"old"));
    end.records(&[enter(""), file("a", b"new"), file("fresh", b"new"), link("l", "elsewhere")])
        .unwrap();
    end.records(&[delete("gone"), large("big", 3, How::Whole)]).unwrap();
    end.data(b"new").unwrap();
    end.end(b"new").unwrap();
    end.records(&[enter("sub"), file("b", b"new")]).unwrap();
    assert_eq!(end.finish_well().deleted, 4);
    for name in ["a", "sub/b", "gone/c", "gone/d/e", "big"] {
        assert_eq!(kit.read(&format!("old/1/{name}")), format!("old {name}").as_bytes());
    }
    assert_eq!(fs::read_link(kit.at("old/1/l")).unwrap(), Path::new("nowhere"));
    assert_eq!((kit.read("a"), kit.read("sub/b"), kit.read("big")), three("new"));
    assert!(!kit.at("gone").exists() && !kit.at("old/1/fresh").exists());
    let mut end = kit.open();
    let list = end.list("old/1");
    assert!(!list.is_complete || !list.entries.is_empty());
    end.records(&[enter(""), delete("old"), file("a", b"newer")]).unwrap();
    end.finish_well();
    assert_eq!((kit.read("old/1/a"), kit.read("a")), (b"new".to_vec(), b"newer".to_vec()));
    assert_eq!(kit.leftovers(), Vec::<std::path::PathBuf>::new());
}

fn three(text: &str) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    (text.into(), text.into(), text.into())
}

#[test]
fn a_backup_lies_beneath_the_top_and_is_reached_through_no_link() {
    for backup in ["", "..", "../x", "/etc", "a/../../x", "a//b"] {
        let kit = Kit::with(Options { backup: Some(backup.into()), ..Options::default() });
        let refusal = kit.prepare(kit.dir.path(), EntryKind::Dir, "tree").unwrap_err();
        assert_eq!(refusal.code, Code::BadName, "{backup}");
    }
    let kit = Kit::with(Options { backup: Some("old".into()), ..Options::default() });
    kit.write("a", b"old");
    fs::create_dir(kit.dir.path().join("outside")).unwrap();
    symlink("../outside", kit.at("old")).unwrap();
    let mut end = kit.open();
    end.records(&[enter(""), file("a", b"new")]).unwrap();
    assert_eq!(end.finish().1, failures([("a", Code::NotADirectory)]));
    assert_eq!(kit.read("a"), b"old", "what can't be kept is not replaced");
    assert_eq!(walk(&kit.dir.path().join("outside")), Vec::<std::path::PathBuf>::new());
}

#[test]
fn paths_that_no_honest_sender_gives_end_the_transfer() {
    let deep = "d/".repeat(256) + "d";
    let wide = "x".repeat(256);
    for path in ["..", "../x", "a/../../x", "/etc/x", "a//b", "./a", "a/.", "a/", "a\0b", &wide] {
        let kit = Kit::with(deleting());
        for record in [dir(path), enter(path), large(path, 1, How::Whole), hard("a", path)] {
            assert_eq!(kit.open().records(&[record]), Err(Code::BadName), "{path:?}");
        }
        for record in [file(path, b""), link(path, "x"), hard(path, "a"), delete(path)] {
            assert_eq!(kit.open().records(&[record]), Err(Code::BadName), "{path:?}");
        }
        assert_eq!(walk(kit.dir.path()), [kit.dir.path().join("tree")], "{path:?}");
    }
    assert_eq!(Kit::new().open().records(&[dir(&deep)]), Err(Code::TooDeep));
    assert_eq!(Kit::new().open().records(&[hard("a", "")]), Err(Code::BadName));
}

#[test]
fn a_link_that_was_planted_first_is_not_written_through() {
    let kit = Kit::with(deleting());
    let outside = kit.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("x"), b"old").unwrap();
    let mut end = kit.open();
    end.records(&[top(), link("sub", "../outside"), link("leaf", "../outside/x")]).unwrap();
    end.records(&[enter("sub"), file("x", b"new"), delete("x"), dir("sub"), file("y", b"")])
        .unwrap();
    end.records(&[dir("sub/made"), file("z", b""), large("sub/x", 3, How::Whole)]).unwrap();
    end.data(b"new").unwrap();
    end.end(b"new").unwrap();
    end.records(&[enter(""), file("leaf", b"new"), hard("h", "sub/x")]).unwrap();
    let (_, failed) = end.finish();
    let paths: Vec<_> = failed.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(
        paths,
        ["sub", "sub/x", "sub/x", "sub", "sub/y", "sub/made", "sub/made/z", "sub/x", "h"]
    );
    assert!(failed.iter().all(|(_, code)| *code == Code::NotADirectory), "{failed:?}");
    assert_eq!(fs::read(outside.join("x")).unwrap(), b"old");
    assert_eq!(walk(&outside), [outside.join("x")]);
    assert_eq!(kit.read("leaf"), b"new");
}

#[test]
fn what_has_another_kind_is_not_replaced() {
    let kit = Kit::new();
    kit.write("d/x", b"x");
    kit.write("f", b"f");
    let mut end = kit.open();
    end.records(&[enter(""), file("d", b"new"), link("d", "x"), dir("f"), file("y", b"")]).unwrap();
    end.records(&[large("d", 1, How::Whole)]).unwrap();
    end.event(tow_proto::transfer::Event::Break).unwrap();
    let expected = [
        ("d", Code::IsADirectory),
        ("d", Code::IsADirectory),
        ("f", Code::NotADirectory),
        ("f/y", Code::NotADirectory),
        ("d", Code::IsADirectory),
    ];
    assert_eq!(end.finish().1, failures(expected));
    assert_eq!((kit.read("d/x"), kit.read("f")), (b"x".to_vec(), b"f".to_vec()));
}

#[test]
fn what_comes_at_the_wrong_time_ends_the_transfer() {
    let start = || large("a", 3, How::Whole);
    let copy = || Record::Copy { runs: Vec::new() };
    let wrong: [&[Record<'_>]; 5] = [
        &[copy()],
        &[start(), start()],
        &[start(), file("b", b"")],
        &[Record::Digest { path: b"", digest: Default::default() }],
        &[Record::Pieces { path: b"a", first: 0, hashes: Vec::new() }],
    ];
    for (number, records) in wrong.iter().enumerate() {
        assert_eq!(Kit::new().open().records(records), Err(Code::OutOfOrder), "case {number}");
    }
    let events = [
        tow_proto::transfer::Event::Break,
        tow_proto::transfer::Event::HaveEnd,
        tow_proto::transfer::Event::At { offset: 0 },
        tow_proto::transfer::Event::Hole { len: 0 },
        tow_proto::transfer::Event::List { paths: Vec::new() },
    ];
    for event in events {
        assert_eq!(Kit::new().open().event(event.clone()), Err(Code::OutOfOrder), "{event:?}");
    }
    assert_eq!(Kit::new().open().data(b"x"), Err(Code::OutOfOrder));
    assert_eq!(Kit::new().open().end(b"x"), Err(Code::OutOfOrder));
    let mut alone = Kit::new().open_as(EntryKind::File, "a");
    assert_eq!(alone.records(&[file("b", b"")]), Err(Code::BadName));
    let mut alone = Kit::new().open_as(EntryKind::File, "a");
    assert_eq!(alone.records(&[dir("a")]), Err(Code::OutOfOrder));
}

#[test]
fn a_pack_that_was_changed_on_its_way_ends_the_transfer() {
    let kit = Kit::new();
    let mut writer = tow_proto::transfer::PackWriter::new(0, Default::default());
    writer.record(&file("a", b"content"));
    let mut pack = writer.seal(None);
    *pack.last_mut().unwrap() ^= 1;
    let result = kit.open().say(tow_host::files::item::Item::Pack(pack));
    assert_eq!(result, Err(Code::Corrupt));
    assert_eq!(walk(&kit.at("")), Vec::<std::path::PathBuf>::new());
}

#[test]
fn names_of_partial_files_of_this_transfer_are_refused_and_others_are_just_names() {
    let kit = Kit::new();
    let mut end = kit.open();
    end.records(&[top(), file("small", b"x"), large("a", 9, How::Whole)]).unwrap();
    end.data(b"part").unwrap();
    let ours: Vec<String> = kit
        .leftovers()
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(ours.len(), 3, "a lock, a small file, a large one");
    drop(end);
    let mut end = kit.open();
    let other = ".a.0123456789abcdef.tow-part";
    end.records(&[enter(""), file(other, b"x")]).unwrap();
    for name in &ours {
        end.records(&[file(name, b"evil"), link(name, "x")]).unwrap();
    }
    let (_, failed) = end.finish();
    assert_eq!(failed.len(), 6);
    assert!(failed.iter().all(|(_, code)| *code == Code::BadName));
    assert_eq!(kit.read(other), b"x");
}

#[test]
fn a_pack_full_of_tiny_records_is_work_and_nothing_more() {
    let kit = Kit::new();
    let mut end = kit.open();
    let records: Vec<_> = (0..200_000).map(|_| enter("")).collect();
    end.records(&records).unwrap();
    let gone: Vec<_> = (0..120_000).map(|_| hard("a", "b")).collect();
    end.records(&gone).unwrap();
    end.event(tow_proto::transfer::Event::Finish).unwrap();
    let mut told = 0;
    let summary = end.receiver.finish(&mut |_| told += 1);
    assert_eq!((summary.failed, told), (120_000, 100_000));
}
