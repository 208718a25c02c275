//! File systems that do not tell upper from lower case, as a receiver sees them.

use std::sync::Arc;

use tow_proto::message::{EntryKind, Summary};
use tow_proto::transfer::{Event, How, Meta, PackWriter, Record};
use tow_testkit::TempDir;

use super::names::Names;
use super::*;
use crate::beneath::Root;
use crate::files::Progress;
use crate::files::item::Item;

/// A receiver for a tree at `dir`, on a file system that does not tell upper from lower case.
fn folding(dir: &TempDir) -> Receiver {
    let root = Root::open(dir.path(), dir.path()).unwrap();
    let options = Options { exact: true, ..Options::default() };
    let (path, name, source) = (".".into(), "tree".into(), "box:/x".into());
    let destination =
        Destination::prepare(&root, &path, EntryKind::Dir, &name, &source, "key", &options);
    let (mut receiver, _) = destination.unwrap().open(Arc::new(Progress::default()), Arc::new(()));
    receiver.names = Names::folding();
    receiver
}

fn receive(mut receiver: Receiver, records: &[Record<'_>]) -> (Summary, Vec<(String, Code)>) {
    let mut failed = Vec::new();
    let mut note = |event| {
        let Event::Failed(failure) = event else { panic!("{event:?}") };
        failed.push((failure.path.to_string(), failure.why.code));
    };
    let mut writer = PackWriter::new(0, Columns::default());
    records.iter().for_each(|record| writer.record(record));
    receiver.handle(Item::Pack(writer.seal(None)), &mut note).unwrap();
    if let receiver::State::Skipping = receiver.state {
        receiver.handle(Item::Event(Event::Break), &mut note).unwrap();
    }
    receiver.handle(Item::Event(Event::Finish), &mut note).unwrap();
    (receiver.finish(&mut note), failed)
}

fn meta() -> Meta {
    Meta { mode: 0o755, ..Meta::default() }
}

fn file<'a>(name: &'a str, content: &'a str) -> Record<'a> {
    Record::File { name: name.as_bytes(), meta: meta(), content: content.as_bytes() }
}

#[test]
fn where_case_is_not_told_the_second_of_two_names_fails_and_nothing_is_merged() {
    let dir = TempDir::new();
    let made = |path| Record::Dir { path, meta: meta() };
    let records = [
        file("README", "one"),
        file("readme", "two"),
        Record::Link { name: b"Readme", meta: meta(), target: b"x" },
        made(b"sub"),
        file("x", "x"),
        made(b"SUB"),
        file("X", "lost"),
    ];
    let (summary, failed) = receive(folding(&dir), &records);
    let paths = ["readme", "Readme", "SUB", "SUB/X"];
    assert_eq!(failed, paths.map(|path| (path.to_owned(), Code::Exists)));
    assert_eq!((summary.files, summary.dirs, summary.links), (2, 1, 0));
    assert_eq!(std::fs::read(dir.path().join("README")).unwrap(), b"one");
}

#[test]
fn where_case_is_not_told_a_file_that_is_there_keeps_its_name_and_content() {
    let dir = TempDir::new();
    std::fs::write(dir.path().join("README"), b"old").unwrap();
    let large = Record::Large { path: b"ReadMe", meta: meta(), size: 5, how: How::Whole };
    let records = [file("readme", "new"), file("other", ""), large];
    let (summary, failed) = receive(folding(&dir), &records);
    let expected = ["readme", "ReadMe"].map(|path| (path.to_owned(), Code::Exists));
    assert_eq!((summary.files, failed), (1, expected.to_vec()));
    assert_eq!(std::fs::read(dir.path().join("README")).unwrap(), b"old");
    let (summary, _) = receive(folding(&dir), &[file("README", "new")]);
    assert_eq!(summary.files, 1);
    assert_eq!(std::fs::read(dir.path().join("README")).unwrap(), b"new");
}

#[test]
fn a_name_that_turns_up_before_it_is_given_is_not_replaced_where_names_are_folded() {
    let dir = TempDir::new();
    let mut receiver = folding(&dir);
    let mut writer = PackWriter::new(0, Columns::default());
    writer.record(&file("a", "new"));
    receiver.handle(Item::Pack(writer.seal(None)), &mut |_| {}).unwrap();
    std::fs::write(dir.path().join("a"), b"theirs").unwrap();
    let mut failed = 0;
    receiver.handle(Item::Event(Event::Finish), &mut |_| {}).unwrap();
    receiver.finish(&mut |_| failed += 1);
    assert_eq!((failed, std::fs::read(dir.path().join("a")).unwrap()), (1, b"theirs".to_vec()));
}
