//! The sending end where there is much of everything: nothing waits for what it has no room for.
#![allow(clippy::unwrap_used, reason = "tests")]

mod filekit;
mod sendkit;

use std::ops::ControlFlow;

use filekit::Dir;
use sendkit::{Fake, Node, load};
use tow_host::files::item::Item;
use tow_host::files::send::Answer;
use tow_proto::transfer::{Columns, Digest, Event, Meta, Options, PackWriter, Record};

/// Files with partial files in one directory: more than are set aside at a time.
const PARTS: usize = 1_002;
/// Entries of another directory at the receiver: more than are kept before they are needed.
const MANY: usize = 100_100;

#[test]
fn answers_about_files_are_found_behind_those_about_directories() {
    let from = Dir::new("behind");
    for number in 0..PARTS {
        let file = from.join(format!("t/a/{number:04}"));
        std::fs::create_dir_all(from.join("t/a")).unwrap();
        std::fs::File::create(file).unwrap().set_len(131_073).unwrap();
    }
    from.write("t/b/f", b"new");
    let mut tree = load(&from.join("t"));
    tree.retain(|path, _| !path.starts_with(b"a/"));
    tree.insert(b"b/f".to_vec(), Node::File(Meta::default(), Vec::new()));
    for number in 0..MANY {
        let path = format!("b/{number:06}").into_bytes();
        tree.insert(path, Node::File(Meta::default(), Vec::new()));
    }
    let mut fake = Fake::new(tree, Options::default());
    for number in 0..PARTS {
        fake.parts.insert(format!("a/{number:04}").into_bytes(), vec![0]);
    }
    // What is there is said when everything was found: so all directories are asked about at once.
    fake.is_silent = true;
    let inbox = fake.inbox.clone();
    fake.gate = Box::new(move |item| {
        if matches!(item, Item::Event(Event::Plan { files, .. }) if *files == PARTS as u64 + 1) {
            let mut pack = PackWriter::new(0, Columns::default());
            for path in [b"".as_slice(), b"a", b"b"] {
                pack.record(&Record::Digest { path, digest: Digest::default() });
            }
            inbox.push(Answer::Pack(pack.seal(None)));
            inbox.push(Answer::HaveEnd);
        }
        ControlFlow::Continue(())
    });
    assert_eq!(fake.run(&from, "t").unwrap(), ControlFlow::Continue(()));
    assert_eq!(fake.seen.large.len(), PARTS);
}
