//! The sending end against a model of a receiver: what it asks, what it sends, and what it leaves.
#![allow(clippy::unwrap_used, reason = "tests")]

mod filekit;
mod sendkit;

use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use filekit::{Dir, noise};
use sendkit::{Fake, Node, Tree, load};
use tow_host::files::item::{Change, Item};
use tow_host::files::send::Answer;
use tow_proto::Code;
use tow_proto::transfer::{Compress, Event, How, Options, Question};

const GO_ON: ControlFlow<()> = ControlFlow::Continue(());

fn options() -> Options {
    Options::default()
}

/// A tree with something of everything, below `t`.
fn sample(name: &str) -> Dir {
    let dir = Dir::new(name);
    dir.write("t/a.txt", b"one");
    dir.write("t/empty", b"");
    dir.write("t/sub/deep/b.bin", &noise(100_000, 1));
    dir.write("t/sub/large", &noise(3_000_000, 2));
    dir.write(b"t/sub/\xff odd\nname", b"odd");
    dir.write("t/z/last", &noise(200_000, 3));
    std::fs::create_dir(dir.join("t/nothing")).unwrap();
    std::os::unix::fs::symlink("../a.txt", dir.join("t/sub/link")).unwrap();
    std::fs::set_permissions(dir.join("t/a.txt"), PermissionsExt::from_mode(0o640)).unwrap();
    dir
}

fn touch(path: &std::path::Path, secs: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(secs);
    std::fs::File::open(path).unwrap().set_modified(time).unwrap();
}

fn sent(fake: &mut Fake, from: &Dir) {
    assert_eq!(fake.run(from, "t").unwrap(), GO_ON);
    assert_eq!(fake.tree, load(&from.join("t")));
}

#[test]
fn a_fresh_tree_arrives_without_a_question() {
    let from = sample("fresh");
    let mut fake = Fake::new(Tree::new(), options());
    sent(&mut fake, &from);
    assert!(fake.seen.questions.is_empty() && fake.seen.failed.is_empty());
    assert_eq!(fake.seen.same, (0, 0));
    let now = fake.progress.now();
    assert_eq!((now.files_total, now.files_done), (6, 6));
    assert_eq!((now.bytes_total, now.bytes_done, now.bytes_reused), (3_300_006, 3_300_006, 0));
    assert_eq!(fake.seen.plans.last(), Some(&(6, 3_300_006)));
    let notes = fake.notes.take();
    assert!(notes.contains(&(Change::Dir, "nothing".into())));
    assert!(notes.contains(&(Change::New, "sub/large".into())));
    assert!(notes.contains(&(Change::Link, "sub/link".into())));
}

#[test]
fn what_is_there_is_not_sent_again_nor_asked_for() {
    let from = sample("same");
    let mut fake = Fake::new(load(&from.join("t")), options());
    sent(&mut fake, &from);
    assert_eq!((fake.seen.bytes, fake.seen.same), (0, (6, 3_300_006)));
    assert!(fake.seen.questions.is_empty() && fake.notes.take().is_empty());
    assert_eq!((fake.seen.packs, fake.seen.finishes), (1, 1));
    assert_eq!(fake.progress.now().bytes_reused, 3_300_006);
}

#[test]
fn of_a_changed_tree_only_what_differs_is_sent() {
    let from = sample("changed");
    let tree = load(&from.join("t"));
    from.write("t/sub/deep/b.bin", b"shorter now");
    from.write("t/sub/new", b"new");
    std::fs::remove_file(from.join("t/sub/link")).unwrap();
    std::os::unix::fs::symlink("elsewhere", from.join("t/sub/link")).unwrap();
    std::fs::set_permissions(from.join("t/a.txt"), PermissionsExt::from_mode(0o600)).unwrap();
    let mut fake = Fake::new(tree, options());
    sent(&mut fake, &from);
    assert_eq!(fake.seen.bytes, 11 + 3);
    assert_eq!(fake.seen.meta, ["a.txt"]);
    let changes: Vec<_> =
        fake.notes.take().into_iter().filter(|(change, _)| *change != Change::Meta).collect();
    let expected =
        [(Change::Content, "sub/deep/b.bin"), (Change::Link, "sub/link"), (Change::New, "sub/new")];
    assert_eq!(changes, expected.map(|(change, path)| (change, path.to_owned())));
    let asked: usize = fake
        .seen
        .questions
        .iter()
        .map(|question| match question {
            Question::List(paths) => paths.len(),
            other => panic!("{other:?}"),
        })
        .sum();
    assert_eq!(asked, 3, "the top, sub, sub/deep");
}

#[test]
fn a_time_that_changed_alone_sends_the_file_and_with_checksum_only_the_time() {
    for checksum in [false, true] {
        let from = sample("times");
        let tree = load(&from.join("t"));
        touch(&from.join("t/a.txt"), 1_000_000_000);
        let mut fake = Fake::new(tree, Options { checksum, ..options() });
        sent(&mut fake, &from);
        assert_eq!(fake.seen.bytes, if checksum { 0 } else { 3 });
        assert_eq!(fake.seen.meta.len(), usize::from(checksum));
    }
}

#[test]
fn a_file_by_itself_gets_the_name_that_it_has() {
    let from = Dir::new("single");
    from.write("small", b"abc");
    from.write("large", &noise(500_000, 4));
    for name in ["small", "large"] {
        let mut fake = Fake::new(Tree::new(), options());
        assert_eq!(fake.run(&from, name).unwrap(), GO_ON);
        let content = std::fs::read(from.join(name)).unwrap();
        let [(path, Node::File(_, arrived))] = fake.tree.iter().collect::<Vec<_>>()[..] else {
            panic!("{:?}", fake.tree.keys())
        };
        assert_eq!((path.as_slice(), arrived), (name.as_bytes(), &content));

        // It is there now, beside something else.
        let mut tree = load(from.path());
        tree.retain(|path, _| path.is_empty() || path == name.as_bytes());
        let mut fake = Fake::new(tree, Options { delete: true, ..options() });
        assert_eq!(fake.run(&from, name).unwrap(), GO_ON);
        assert_eq!((fake.seen.bytes, fake.seen.same.0), (0, 1));
        assert!(fake.seen.deleted.is_empty());
    }
}

#[test]
fn a_partial_file_is_completed_and_its_wrong_pieces_are_sent_again() {
    let from = Dir::new("resume");
    let content = noise(5 << 20, 5);
    from.write("t/big", &content);
    let mut part = content[..(3 << 20) + 5].to_vec();
    part[(1 << 20) + 77] ^= 1;
    for is_held in [false, true] {
        let mut tree = load(&from.join("t"));
        tree.remove(b"big".as_slice());
        let mut fake = Fake::new(tree, options());
        fake.parts.insert(b"big".to_vec(), part.clone());
        if is_held {
            // The answer comes when what the partial lacks has been sent already.
            let inbox = fake.inbox.clone();
            let len = content.len() as u64 - (3 << 20);
            let mut answers = Vec::new();
            let mut seen = 0;
            let hold = hold_pieces(&part);
            fake.gate = Box::new(move |item| {
                if let Item::Data(chunk) = item {
                    seen += chunk.payload().len() as u64;
                    if seen == len {
                        answers.extend(hold());
                        answers.drain(..).for_each(|answer| inbox.push(answer));
                    }
                }
                GO_ON
            });
            fake.parts_are_silent = true;
        }
        sent(&mut fake, &from);
        assert_eq!(fake.seen.large, [("big".to_owned(), How::Resume { len: part.len() as u64 })]);
        assert_eq!(fake.seen.offsets, [3 << 20, 1 << 20]);
        assert_eq!(fake.seen.bytes, 3 << 20);
        assert_eq!(fake.progress.now().bytes_reused, 2 << 20);
    }
}

/// The answer to the question for the pieces of `big`.
fn hold_pieces(part: &[u8]) -> impl Fn() -> Vec<Answer> + use<> {
    use tow_proto::transfer::{Columns, PackWriter, PieceTally, piece_len};
    let len = part.len() as u64;
    let hash = |(index, piece): (usize, &[u8])| {
        let mut tally = PieceTally::new(len, index as u64);
        tally.update(piece);
        tally.hash()
    };
    let hashes: Vec<_> = part.chunks(piece_len(len) as usize).enumerate().map(hash).collect();
    move || {
        let mut pack = PackWriter::new(0, Columns::default());
        assert_eq!(pack.pieces(b"big", 0, &hashes), hashes.len());
        vec![Answer::Pack(pack.seal(None))]
    }
}

#[test]
fn a_partial_file_that_is_gone_meanwhile_costs_all_of_it() {
    let from = Dir::new("gone");
    from.write("t/big", &noise(3 << 20, 6));
    let mut tree = load(&from.join("t"));
    tree.remove(b"big".as_slice());
    let mut fake = Fake::new(tree, options());
    fake.parts.insert(b"big".to_vec(), vec![0; 2 << 20]);
    fake.forgets_parts = true;
    sent(&mut fake, &from);
    assert_eq!(fake.seen.bytes, 3 << 20);
}

#[test]
fn of_a_patched_file_only_the_changed_blocks_are_sent() {
    let from = Dir::new("blocks");
    let mut content = noise(4_000_000, 7);
    from.write("t/image", &content);
    from.write("t/small", b"old");
    let tree = load(&from.join("t"));
    content.splice(1_000_000..1_000_000, *b"inserted");
    content[3_000_000] ^= 1;
    from.write("t/image", &content);
    for whole in [false, true] {
        let mut fake = Fake::new(tree.clone(), Options { whole, ..options() });
        sent(&mut fake, &from);
        if whole {
            assert_eq!(fake.seen.large, [("image".to_owned(), How::Whole)]);
            assert_eq!(fake.seen.bytes, content.len() as u64);
        } else {
            assert!(matches!(fake.seen.large[..], [(_, How::Blocks { .. })]));
            assert!(fake.seen.bytes < 20_000, "{}", fake.seen.bytes);
            assert_eq!(fake.seen.bytes + fake.seen.copied, content.len() as u64);
        }
        let now = fake.progress.now();
        assert_eq!((now.files_done, now.bytes_done), (now.files_total, now.bytes_total));
    }
}

#[test]
fn a_patched_file_that_came_out_wrong_is_sent_whole_even_after_the_end() {
    let from = Dir::new("corrupt");
    let mut content = noise(1_000_000, 8);
    from.write("t/image", &content);
    let tree = load(&from.join("t"));
    content[5] ^= 1;
    from.write("t/image", &content);
    let mut fake = Fake::new(tree, options());
    fake.corrupts = Some(b"image".to_vec());
    sent(&mut fake, &from);
    let ways: Vec<_> = fake.seen.large.iter().map(|(_, how)| *how).collect();
    assert!(matches!(ways[..], [How::Blocks { .. }, How::Whole]), "{ways:?}");
    assert_eq!(fake.seen.finishes, 2);
}

#[test]
fn holes_are_said_and_not_sent() {
    let from = Dir::new("sparse");
    let path = from.write("t/disk", b"");
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    use std::os::unix::fs::FileExt as _;
    file.write_all_at(&noise(100_000, 9), 0).unwrap();
    file.write_all_at(&noise(100_000, 10), 5 << 20).unwrap();
    file.set_len(9 << 20).unwrap();
    drop(file);
    let mut fake = Fake::new(Tree::new(), options());
    sent(&mut fake, &from);
    // A file system without holes has them filled.
    assert_eq!(fake.seen.bytes + fake.seen.holes, 9 << 20);
    use std::os::unix::fs::MetadataExt as _;
    if std::fs::metadata(&path).unwrap().blocks() * 512 < 1 << 20 {
        assert!(fake.seen.bytes < 300_000, "{}", fake.seen.bytes);
    }
}

#[test]
fn other_names_of_a_file_are_links_to_the_first() {
    let from = Dir::new("hard");
    from.write("t/a", b"content");
    from.write("t/big", &noise(300_000, 11));
    std::fs::create_dir(from.join("t/d")).unwrap();
    std::fs::hard_link(from.join("t/a"), from.join("t/d/b")).unwrap();
    std::fs::hard_link(from.join("t/big"), from.join("t/d/big")).unwrap();
    let mut fake = Fake::new(Tree::new(), options());
    sent(&mut fake, &from);
    let hard = [("d/b", "a"), ("d/big", "big")].map(|(one, two)| (one.to_owned(), two.to_owned()));
    assert_eq!(fake.seen.hard, hard);
    assert_eq!(fake.seen.bytes, 7 + 300_000);

    // The first is there already, the second is not; of the third it is said, for it may be another.
    let mut tree = load(&from.join("t"));
    tree.remove(b"d/b".as_slice());
    let mut fake = Fake::new(tree, options());
    sent(&mut fake, &from);
    assert_eq!((fake.seen.hard, fake.seen.bytes), (hard.to_vec(), 0));
}

#[test]
fn what_is_excluded_is_neither_sent_nor_deleted() {
    let from = Dir::new("exclude");
    from.write("t/keep.rs", b"1");
    from.write("t/drop.o", b"2");
    from.write("t/target/x", b"3");
    from.write("t/.gitignore", b"*.log\n");
    from.write("t/sub/.gitignore", b"!kept.log\n");
    from.write("t/sub/kept.log", b"4");
    from.write("t/sub/other.log", b"5");
    from.write("t/.x.0123456789abcdef.tow-part", b"6");
    let exclude = vec!["*.o".into(), "/target/".into()];
    let options = Options { exclude, gitignore: true, delete: true, ..options() };
    let mut fake = Fake::new(Tree::new(), options.clone());
    assert_eq!(fake.run(&from, "t").unwrap(), GO_ON);
    let names: Vec<_> = fake.tree.keys().map(|path| String::from_utf8_lossy(path)).collect();
    let expected = ["", ".gitignore", "keep.rs", "sub", "sub/.gitignore", "sub/kept.log"];
    assert_eq!(names, expected);

    let mut tree = fake.tree.clone();
    let file = tree[b"keep.rs".as_slice()].clone();
    for there in ["there.o", "sub/there.log", "extra", "target"] {
        tree.insert(there.into(), file.clone());
    }
    let mut fake = Fake::new(tree, options);
    assert_eq!(fake.run(&from, "t").unwrap(), GO_ON);
    // `target` is no directory there, and so is not what the pattern means.
    assert_eq!(fake.seen.deleted, ["extra", "target"]);
}

#[test]
fn what_the_source_does_not_have_is_deleted_only_where_that_is_asked_for() {
    let from = sample("delete");
    let mut tree = load(&from.join("t"));
    let dir = tree[b"nothing".as_slice()].clone();
    let file = tree[b"a.txt".as_slice()].clone();
    tree.insert(b"old".to_vec(), dir.clone());
    tree.insert(b"old/inner".to_vec(), file.clone());
    tree.insert(b"sub/stale".to_vec(), file.clone());
    // A directory where a file should be.
    tree.insert(b"empty".to_vec(), dir);
    tree.insert(b"empty/x".to_vec(), file);
    let mut fake = Fake::new(tree.clone(), Options { delete: true, ..options() });
    sent(&mut fake, &from);
    assert_eq!(fake.seen.deleted, ["empty", "old", "sub/stale"]);
    let mut fake = Fake::new(tree, options());
    assert_eq!(fake.run(&from, "t").unwrap(), GO_ON);
    assert!(fake.seen.deleted.is_empty());
}

#[test]
fn an_empty_source_deletes_nothing_unless_it_may() {
    let from = Dir::new("nothing");
    std::fs::create_dir(from.join("t")).unwrap();
    let other = sample("everything");
    let tree = load(&other.join("t"));
    let mut fake = Fake::new(tree.clone(), Options { delete: true, ..options() });
    assert_eq!(fake.run(&from, "t").unwrap_err().code, Code::EmptySource);
    assert!(fake.seen.deleted.is_empty() && fake.seen.finishes == 0);
    let mut fake = Fake::new(tree, Options { delete: true, delete_all: true, ..options() });
    sent(&mut fake, &from);
    let mut fake = Fake::new(load(&from.join("t")), Options { delete: true, ..options() });
    sent(&mut fake, &from);
}

#[test]
fn a_dry_run_says_everything_and_sends_no_content() {
    let from = sample("dry");
    let options = Options { dry_run: true, ..options() };
    let mut fake = Fake::new(Tree::new(), options.clone());
    assert_eq!(fake.run(&from, "t").unwrap(), GO_ON);
    assert_eq!((fake.seen.bytes, fake.seen.ends, fake.seen.breaks), (0, 0, 2));
    let notes = fake.notes.take();
    assert_eq!(notes.len(), 4 + 6 + 1, "{notes:?}");

    let tree = load(&from.join("t"));
    from.write("t/sub/large", &noise(3_000_001, 12));
    let mut fake = Fake::new(tree, options);
    assert_eq!(fake.run(&from, "t").unwrap(), GO_ON);
    assert!(fake.notes.take().contains(&(Change::Content, "sub/large".into())));
    assert!(fake.seen.questions.iter().all(|question| matches!(question, Question::List(_))));
}

#[test]
fn text_is_compressed_where_that_is_asked_for() {
    let from = Dir::new("zstd");
    let text = "all work and no play ".repeat(100_000);
    from.write("t/large", text.as_bytes());
    from.write("t/small", &text.as_bytes()[..100_000]);
    from.write("t/noise", &noise(500_000, 13));
    let mut fake = Fake::new(Tree::new(), Options { compress: Compress::Always, ..options() });
    sent(&mut fake, &from);
    assert!(fake.seen.wire < 600_000, "{}", fake.seen.wire);
    let mut fake = Fake::new(Tree::new(), Options { compress: Compress::Never, ..options() });
    sent(&mut fake, &from);
    assert!(fake.seen.wire > 2_700_000);
}

#[test]
fn a_receiver_that_breaks_the_rules_ends_the_transfer() {
    let from = sample("rules");
    let packs =
        [vec![], vec![7; 40], hold_pieces(&[1; 100])().into_iter().map(payload).next().unwrap()];
    for (pack, expected) in
        packs.into_iter().zip([Some(Code::Malformed), Some(Code::Malformed), None])
    {
        let mut fake = Fake::new(Tree::new(), options());
        fake.inbox.push(Answer::Pack(pack));
        let result = fake.run(&from, "t");
        assert_eq!(result.err().map(|refusal| refusal.code), expected);
    }
    let mut fake = Fake::new(Tree::new(), options());
    let inbox = fake.inbox.clone();
    fake.gate = Box::new(move |item| {
        if matches!(item, Item::Event(Event::Plan { .. })) {
            inbox.close();
        }
        GO_ON
    });
    fake.is_silent = true;
    assert_eq!(fake.run(&from, "t").unwrap(), ControlFlow::Break(()));
}

fn payload(answer: Answer) -> Vec<u8> {
    match answer {
        Answer::Pack(payload) => payload,
        other => panic!("{other:?}"),
    }
}
