//! What a sender or a receiver that means harm can say, and what comes of it: nothing.

mod filekit;

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::symlink;

use filekit::{Dir, Move, noise, partials, receiver};
use tow_host::files::{Chunk, HaveSet, Item, Receiver, Step};
use tow_proto::content::{Hash, Tally};
use tow_proto::message::{
    End, EntryKind, Have, HaveState, Mtime, STDIN, STDOUT, TransferEvent, piece_len,
};
use tow_proto::{ByteString, Code};

const NOW: Mtime = Mtime(1_700_000_000, 5);

fn dir(path: &str) -> Item {
    Item::Event(TransferEvent::Dir { path: path.into(), mode: 0o755, mtime: NOW })
}

fn link(path: &str, target: &str) -> Item {
    Item::Event(TransferEvent::Link { path: path.into(), target: target.into(), mtime: NOW })
}

fn file(path: impl Into<ByteString>, size: u64) -> Item {
    file_from(path, size, 0)
}

fn file_from(path: impl Into<ByteString>, size: u64, from: u64) -> Item {
    Item::Event(TransferEvent::File { path: path.into(), size, mode: 0o644, mtime: NOW, from })
}

fn data(content: &[u8]) -> Item {
    Item::Data(Chunk::from_payload(content.to_vec()))
}

fn end(content: &[u8]) -> Item {
    let mut tally = Tally::default();
    tally.update(content);
    Item::End(End { stream: STDOUT, total: tally.bytes(), blake3: tally.hash() })
}

/// The receiver's verdict: what it says of paths, or why it ended everything.
fn say(receiver: &mut Receiver, items: Vec<Item>) -> Result<Vec<(ByteString, Code)>, Code> {
    let mut failed = Vec::new();
    for item in items {
        let step = receiver.handle(item, &mut |event| {
            let TransferEvent::Failed(failure) = event else { panic!("{event:?}") };
            failed.push((failure.path, failure.why.code));
        });
        step.map_err(|refusal| refusal.code)?;
    }
    Ok(failed)
}

fn finish(receiver: Receiver) -> Vec<(ByteString, Code)> {
    let mut failed = Vec::new();
    receiver.finish(&mut |event| {
        let TransferEvent::Failed(failure) = event else { panic!("{event:?}") };
        failed.push((failure.path, failure.why.code));
    });
    failed
}

fn tree(to: &Dir) -> Receiver {
    receiver(&to.root(), ".", EntryKind::Dir, "tree")
}

#[test]
fn paths_that_no_honest_sender_gives_end_the_transfer() {
    let to = Dir::new("to");
    let long = "x/".repeat(2049) + "x";
    let deep = "d/".repeat(256) + "d";
    let wide = "x".repeat(256);
    for path in ["..", "../x", "a/../../x", "/etc/x", "a//b", "./a", "a/.", "a/", "a\0b", &wide] {
        for item in [dir(path), file(path, 1), link(path, "x")] {
            assert_eq!(say(&mut tree(&to), vec![item]), Err(Code::BadName), "{path:?}");
        }
        let same = TransferEvent::Same { path: path.into(), size: 1, mode: 0o644 };
        assert_eq!(say(&mut tree(&to), vec![Item::Event(same)]), Err(Code::BadName), "{path:?}");
    }
    assert_eq!(say(&mut tree(&to), vec![file(long.as_str(), 1)]), Err(Code::TooLong));
    assert_eq!(say(&mut tree(&to), vec![dir(&deep)]), Err(Code::TooDeep));
    assert_eq!(say(&mut tree(&to), vec![file("", 1)]), Err(Code::BadName));
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 1);
    assert_eq!(fs::read_dir(to.join("tree")).unwrap().count(), 0);
}

#[test]
fn a_link_that_was_planted_first_is_not_written_through() {
    let to = Dir::new("to");
    fs::create_dir(to.join("outside")).unwrap();
    to.write("victim", b"old");
    let mut receiver = tree(&to);
    let items = vec![
        dir(""),
        link("sub", "../outside"),
        link("leaf", "../victim"),
        file("sub/x", 1),
        data(b"x"),
        end(b"x"),
        dir("sub/made"),
        dir("sub"),
        link("sub/l", "x"),
        file("leaf", 3),
        data(b"new"),
        end(b"new"),
    ];
    let failed = say(&mut receiver, items).unwrap();
    let refused: Vec<_> = failed.iter().map(|(path, code)| (path.to_string(), *code)).collect();
    let expected = ["sub/x", "sub/made", "sub", "sub/l"];
    assert_eq!(refused, expected.map(|path| (path.to_owned(), Code::NotADirectory)));
    assert_eq!(finish(receiver), []);
    assert_eq!(fs::read_dir(to.join("outside")).unwrap().count(), 0);
    assert_eq!(fs::read(to.join("victim")).unwrap(), b"old");
    assert_eq!(fs::read(to.join("tree/leaf")).unwrap(), b"new");
}

#[test]
fn a_size_that_lies_is_found_out_both_ways() {
    let to = Dir::new("to");
    to.write("tree/file", b"old");
    let more = say(&mut tree(&to), vec![file("file", 3), data(b"four")]);
    assert_eq!(more, Err(Code::Malformed));
    let fewer = say(&mut tree(&to), vec![file("file", 5), data(b"four"), end(b"four")]);
    assert_eq!(fewer, Ok(vec![("file".into(), Code::Corrupt)]));
    let pretended = say(&mut tree(&to), vec![file("file", 5), data(b"four"), end(b"fourx")]);
    assert_eq!(pretended, Ok(vec![("file".into(), Code::Corrupt)]));
    assert_eq!(fs::read(to.join("tree/file")).unwrap(), b"old");
}

#[test]
fn content_with_another_hash_is_thrown_away() {
    let to = Dir::new("to");
    to.write("tree/file", b"old");
    let mut receiver = tree(&to);
    let failed = say(&mut receiver, vec![file("file", 4), data(b"evil"), end(b"good")]);
    assert_eq!(failed, Ok(vec![("file".into(), Code::Corrupt)]));
    assert_eq!(finish(receiver), []);
    assert_eq!(fs::read(to.join("tree/file")).unwrap(), b"old");
    assert_eq!(partials(to.path()), Vec::<std::path::PathBuf>::new());
}

#[test]
fn what_comes_at_the_wrong_time_ends_the_transfer() {
    let to = Dir::new("to");
    let wrong: [(Vec<Item>, Code); 13] = [
        (vec![data(b"x")], Code::OutOfOrder),
        (vec![end(b"x")], Code::OutOfOrder),
        (vec![Item::Event(TransferEvent::Break)], Code::OutOfOrder),
        (vec![Item::Event(TransferEvent::HaveEnd)], Code::OutOfOrder),
        (vec![file("a", 1), file("b", 1)], Code::OutOfOrder),
        (vec![file("a", 1), dir("b")], Code::OutOfOrder),
        (vec![file("a", 1), Item::Event(TransferEvent::Finish)], Code::OutOfOrder),
        (vec![Item::Event(TransferEvent::Finish), dir("b")], Code::OutOfOrder),
        (vec![file_from("a", 1, 2)], Code::Malformed),
        (vec![file_from("a", 2, 1)], Code::Malformed),
        (vec![link("a", "")], Code::Malformed),
        (vec![link("a", "x\0y")], Code::Malformed),
        (
            vec![
                file("a", 0),
                Item::End(End { stream: STDIN, total: 0, blake3: Tally::default().hash() }),
            ],
            Code::Malformed,
        ),
    ];
    for (number, (items, code)) in wrong.into_iter().enumerate() {
        assert_eq!(say(&mut tree(&to), items), Err(code), "case {number}");
    }
    let mtime = Mtime(0, 1_073_741_823);
    let event = TransferEvent::Dir { path: "a".into(), mode: 0o755, mtime };
    assert_eq!(say(&mut tree(&to), vec![Item::Event(event)]), Err(Code::Malformed));
}

#[test]
fn a_single_file_may_not_bring_anything_else() {
    let to = Dir::new("to");
    let file_receiver = || receiver(&to.root(), "file", EntryKind::File, "x");
    assert_eq!(say(&mut file_receiver(), vec![file("other", 1)]), Err(Code::BadName));
    assert_eq!(say(&mut file_receiver(), vec![dir("")]), Err(Code::OutOfOrder));
    assert_eq!(say(&mut file_receiver(), vec![link("", "x")]), Err(Code::Malformed));
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0);
}

#[test]
fn a_file_that_is_sent_twice_is_the_second_or_the_first_but_whole() {
    let to = Dir::new("to");
    let mut receiver = tree(&to);
    let items =
        vec![file("a", 3), data(b"one"), end(b"one"), file("a", 5), data(b"other"), end(b"other")];
    assert_eq!(say(&mut receiver, items), Ok(vec![]));
    let items = vec![link("a", "nowhere"), file("a", 3), data(b"two"), end(b"two")];
    assert_eq!(say(&mut receiver, items), Ok(vec![]));
    assert_eq!(finish(receiver), []);
    assert_eq!(fs::read(to.join("tree/a")).unwrap(), b"two");
    assert_eq!(partials(to.path()), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_name_that_is_a_partial_of_this_transfer_is_refused_and_another_is_just_a_name() {
    let to = Dir::new("to");
    drop({
        let mut receiver = tree(&to);
        say(&mut receiver, vec![file("a", 9), data(b"part")]).unwrap();
        receiver
    });
    let [partial] = partials(to.path()).try_into().unwrap();
    let name = partial.file_name().unwrap().to_str().unwrap().to_owned();
    let mut receiver = tree(&to);
    let failed = say(&mut receiver, vec![file(name.as_str(), 1), data(b"x"), end(b"x")]);
    assert_eq!(failed, Ok(vec![(name.as_str().into(), Code::BadName)]));
    let other = ".a.0123456789abcdef.tow-part";
    assert_eq!(say(&mut receiver, vec![file(other, 1), data(b"x"), end(b"x")]), Ok(vec![]));
    assert_eq!(finish(receiver), []);
    assert_eq!(fs::read(to.join("tree").join(other)).unwrap(), b"x");
}

#[test]
fn same_is_not_believed_of_what_is_not_the_same() {
    let to = Dir::new("to");
    to.write("tree/file", b"four");
    symlink("file", to.join("tree/link")).unwrap();
    let same = |path: &str, size| {
        Item::Event(TransferEvent::Same { path: path.into(), size, mode: 0o600 })
    };
    let mut receiver = tree(&to);
    let items = vec![same("file", 4), same("file", 5), same("link", 4), same("gone", 4)];
    let expected = [
        ("file".into(), Code::Changed),
        ("link".into(), Code::Changed),
        ("gone".into(), Code::NotFound),
    ];
    assert_eq!(say(&mut receiver, items), Ok(expected.to_vec()));
    assert_eq!(receiver.finish(&mut |_| {}).same, 1);
}

#[test]
fn events_of_a_later_version_are_passed_over() {
    let to = Dir::new("to");
    let mut receiver = tree(&to);
    let unknown = || Item::Event(TransferEvent::Unknown);
    let items = vec![unknown(), file("a", 1), unknown(), data(b"x"), end(b"x"), unknown()];
    assert_eq!(say(&mut receiver, items), Ok(vec![]));
    let last = receiver.handle(Item::Event(TransferEvent::Finish), &mut |_| {});
    assert_eq!(last.unwrap(), Step::Finished);
    assert_eq!(receiver.finish(&mut |_| {}).files, 1);
}

#[test]
fn a_receiver_cannot_fill_the_senders_memory_or_lie_about_pieces() {
    let mut have = HaveSet::new();
    let part = |len: u64, count: usize| Have {
        path: "a".into(),
        state: HaveState::Part { len, pieces: vec![Hash([0; 32]); count] },
    };
    have.add(part(1, 1)).unwrap();
    for (len, count) in [(1, 0), (1, 2), (0, 1), (u64::MAX, 1), (5 << 20, 1)] {
        assert_eq!(have.add(part(len, count)).unwrap_err().code, Code::Malformed, "{len}");
    }
    let len: u64 = 4 << 30;
    let count = len.div_ceil(piece_len(len)) as usize;
    let full = (0..100_000).find_map(|_| have.add(part(len, count)).err());
    assert_eq!(full.unwrap().code, Code::TooLong);
}

#[test]
fn a_receiver_that_claims_to_have_a_file_gets_it_all_the_same_if_it_lies() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    let content = noise(9 << 20, 30);
    from.write("file", &content);
    let (from_root, to_root) = (from.root(), to.root());
    let this = Move::new(&from_root, "file", &to_root, ".");
    let source = tow_host::files::Source::offer(&from_root, &"file".into(), "box").unwrap();
    let outgoing = source.scan(&Default::default());
    let mut have = HaveSet::new();
    let pieces = vec![Hash([7; 32]); 3];
    have.add(Have { path: "".into(), state: HaveState::Part { len: 9 << 20, pieces } }).unwrap();
    let mut from_offset = None;
    let _ = outgoing.send(have, &Default::default(), &Default::default(), &mut |item| {
        if let Item::Event(TransferEvent::File { from, .. }) = item {
            from_offset = Some(from);
        }
        ControlFlow::Continue(())
    });
    assert_eq!(from_offset, Some(0));
    assert_eq!(this.run().unwrap().summary().files, 1);
}
