//! What the receiving end keeps to itself, whoever sends.
#![allow(clippy::unwrap_used, reason = "tests")]

mod receivekit;

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use receivekit::{Kit, delete, file, large, mode};
use tow_host::beneath::Root;
use tow_host::files::Progress;
use tow_host::files::receive::{Destination, Tells};
use tow_proto::Code;
use tow_proto::message::{EntryKind, Failure};
use tow_proto::transfer::{Event, How, Options, Record};

#[test]
fn who_may_not_read_learns_nothing_of_what_is_there_and_can_write_all_the_same() {
    let kit = Kit::with(Options { checksum: true, ..Options::default() });
    kit.write("d/secret", vec![7; 300_000]);
    for tells in [Tells::What, Tells::Nothing] {
        let mut end = kit.open();
        let destination = kit.prepare(kit.dir.path(), EntryKind::Dir, "tree").unwrap();
        let halves = destination.telling(tells).open(Arc::new(Progress::default()), Arc::new(()));
        (end.receiver, end.answerer) = halves;
        let is_silent = tells == Tells::Nothing;
        assert_eq!(end.have().is_empty(), is_silent);
        let listing = end.list("d");
        assert_eq!(listing.entries.is_empty(), is_silent);
        assert_eq!(listing.is_complete, !is_silent);
        assert_eq!(end.blocks("d/secret", 1 << 10, 1).is_empty(), is_silent);
        end.records(&[receivekit::dir("d"), file("new", b"new")]).unwrap();
        let blocks = end.records(&[large("d/secret", 300_000, How::Blocks { len: 1 << 10 })]);
        assert_eq!(blocks.is_err(), is_silent);
        if !is_silent {
            end.event(Event::Break).unwrap();
            end.finish();
        }
        assert_eq!(kit.read("d/new"), b"new");
    }
}

#[test]
fn the_top_that_a_transfer_makes_is_its_owners_until_it_gets_what_the_senders_has() {
    let kit = Kit::new();
    let root = Root::open(kit.dir.path(), kit.dir.path()).unwrap();
    let bits =
        |name: &str| kit.dir.path().join(name).metadata().unwrap().permissions().mode() & 0o777;
    let options = Options { exact: true, ..Options::default() };
    let (path, name, source) = ("private".into(), "t".into(), "box:/x".into());
    let destination =
        Destination::prepare(&root, &path, EntryKind::Dir, &name, &source, "key", &options);
    assert_eq!(bits("private"), 0o700);
    let mut end = kit.open();
    let (progress, watch) = (Arc::new(Progress::default()), Arc::new(()));
    (end.receiver, end.answerer) = destination.unwrap().open(progress, watch);
    end.records(&[Record::Dir { path: b"", meta: mode(0o755) }]).unwrap();
    assert_eq!(bits("private"), 0o700);
    end.finish();
    assert_eq!(bits("private"), 0o755);
}

#[test]
fn a_dry_run_takes_what_would_be_gone_for_gone() {
    for dry_run in [true, false] {
        let kit = Kit::with(Options { dry_run, delete: true, ..Options::default() });
        kit.write("file/inner", b"a directory so far");
        kit.write("big/inner", b"a directory so far");
        kit.write("dir", b"a file so far");
        let mut end = kit.open();
        let whole = large("big", 3, How::Whole);
        let (sub, inner) = (receivekit::dir("dir"), file("inner", b"new"));
        let records = [receivekit::top(), delete("dir"), delete("file"), file("file", b"new")];
        end.records(&records).unwrap();
        end.records(&[receivekit::top(), delete("big"), whole]).unwrap();
        if dry_run {
            end.event(Event::Break).unwrap();
        } else {
            end.data(b"big").unwrap();
            end.end(b"big").unwrap();
        }
        end.records(&[sub, inner]).unwrap();
        let summary = end.finish_well();
        assert_eq!((summary.files, summary.deleted), (3, 5));
        assert_eq!(kit.at("file").is_dir(), dry_run);
        assert_eq!(kit.at("dir").is_dir(), !dry_run);
    }
}

#[test]
fn a_name_is_not_given_to_a_file_that_failed() {
    let kit = Kit::new();
    kit.write("a", "old");
    kit.write("b", "another");
    let mut end = kit.open();
    end.records(&[receivekit::top(), large("a", 3, How::Whole)]).unwrap();
    end.event(Event::Break).unwrap();
    let why = tow_proto::Refusal::about(Code::Changed, "a");
    end.event(Event::Failed(Failure::new("a", why))).unwrap();
    end.records(&[receivekit::enter(""), receivekit::hard("b", "a")]).unwrap();
    end.event(Event::Finish).unwrap();
    let mut failed = Vec::new();
    end.receiver.finish(&mut |event| failed.push(event));
    assert_eq!((failed.len(), kit.read("b")), (1, b"another".to_vec()));
}
