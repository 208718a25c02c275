//! Large files at the receiving end: pieces in any order, holes, resume, blocks of the old file, a
//! full disk.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(clippy::print_stdout, reason = "a test that is skipped says so")]

mod receivekit;

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use receivekit::*;
use tow_host::files::item::{Change, Item};
use tow_host::files::receive::Step;
use tow_proto::content::Hash;
use tow_proto::message::{EntryKind, Failure};
use tow_proto::transfer::{
    Durable, Event, How, Options, PieceHash, PieceTally, Record, Run, What, sign,
};
use tow_proto::{Code, Refusal};
use tow_testkit::Mount;

const MIB: usize = 1 << 20;

fn noise(len: usize) -> Vec<u8> {
    tow_testkit::noise(len, 1)
}

fn piece_hash(content: &[u8], index: usize) -> PieceHash {
    let mut tally = PieceTally::new(content.len() as u64, index as u64);
    tally.update(&content[index * MIB..content.len().min((index + 1) * MIB)]);
    tally.hash()
}

fn say_data(end: &mut End2, content: &[u8]) {
    for chunk in content.chunks(200_000) {
        end.data(chunk).unwrap();
    }
}

fn nothing() -> Vec<PathBuf> {
    Vec::new()
}

#[test]
fn pieces_come_in_any_order() {
    let kit = Kit::new();
    kit.write("a", b"old");
    let content = noise(3 * MIB + 17);
    let mut end = kit.open();
    end.records(&[enter(""), large("a", content.len() as u64, How::Whole)]).unwrap();
    for (from, to) in [(2 * MIB, content.len()), (0, MIB), (MIB, 2 * MIB)] {
        end.event(Event::At { offset: from as u64 }).unwrap();
        say_data(&mut end, &content[from..to]);
    }
    end.end(&content).unwrap();
    assert_eq!(kit.read("a"), b"old");
    let summary = end.finish_well();
    assert_eq!((summary.files, summary.bytes, summary.reused), (1, content.len() as u64, 0));
    assert!(kit.read("a") == content);
    assert_eq!(kit.told(), [(Change::Content, "a".to_owned(), content.len() as u64)]);
    assert_eq!(kit.leftovers(), nothing());
}

#[test]
fn content_may_be_compressed_and_empty() {
    let kit = Kit::new();
    let content = vec![7; 600_000];
    let mut end = kit.open();
    end.records(&[top(), large("a", 600_000, How::Whole)]).unwrap();
    end.say(Item::DataZstd(zstd::bulk::compress(&content, 1).unwrap())).unwrap();
    end.end(&content).unwrap();
    end.records(&[large("b", 0, How::Whole)]).unwrap();
    end.end(b"").unwrap();
    assert_eq!(end.finish_well().files, 2);
    assert!(kit.read("a") == content && kit.read("b").is_empty());
    let mut end = kit.open();
    end.records(&[top(), large("a", 600_000, How::Whole)]).unwrap();
    let bomb = zstd::bulk::compress(&vec![0; 64 * MIB], 1).unwrap();
    assert_eq!(end.say(Item::DataZstd(bomb)), Err(Code::Malformed));
}

#[test]
fn holes_take_up_no_room_and_are_made_where_something_was() {
    let kit = Kit::new();
    let mut content = vec![0; 8 * MIB];
    content[..5000].fill(1);
    content[6 * MIB..6 * MIB + 5000].fill(2);
    let mut end = kit.open();
    end.records(&[top(), large("a", content.len() as u64, How::Whole)]).unwrap();
    end.data(&content[..5000]).unwrap();
    end.event(Event::Hole { len: 6 * MIB as u64 - 5000 }).unwrap();
    end.data(&content[6 * MIB..6 * MIB + 5000]).unwrap();
    end.event(Event::Hole { len: 2 * MIB as u64 - 5000 }).unwrap();
    end.end(&content).unwrap();
    end.finish_well();
    assert!(kit.read("a") == content);
    assert!(allocated(&kit.at("a")) < MIB as u64, "{}", allocated(&kit.at("a")));

    // A partial file that was full of something else.
    let mut end = kit.open();
    end.records(&[top(), large("b", 4 * MIB as u64, How::Whole)]).unwrap();
    say_data(&mut end, &noise(3 * MIB));
    drop(end);
    let mut end = kit.open();
    let how = How::Resume { len: 3 * MIB as u64 };
    end.records(&[top(), large("b", 4 * MIB as u64, how)]).unwrap();
    end.event(Event::Hole { len: 4 * MIB as u64 }).unwrap();
    end.end(&vec![0; 4 * MIB]).unwrap();
    end.finish_well();
    assert!(kit.read("b") == vec![0; 4 * MIB]);
    assert!(allocated(&kit.at("b")) < MIB as u64, "{}", allocated(&kit.at("b")));
}

/// A partial file with the first 2.5 MiB of `content`.
#[test]
fn a_file_that_no_file_system_holds_is_refused_before_its_zeros_are_hashed() {
    let kit = Kit::new();
    let mut end = kit.open();
    end.records(&[enter("")]).unwrap();
    for len in [1 << 62, i64::MAX as u64, u64::MAX] {
        end.records(&[large("a", len, How::Whole)]).unwrap();
        end.event(Event::Hole { len }).unwrap();
        end.end_with(len, Hash([0; 32])).unwrap();
        assert_eq!(kit.leftovers(), nothing());
    }
    assert!(end.counts.iter().all(|max| max.is_some_and(|max| (16 << 40..1 << 62).contains(&max))));
    let (_, failed) = end.finish();
    assert_eq!(failed, failures([("a", Code::TooLong); 3]));
}

#[test]
fn a_partial_file_in_which_nothing_is_does_not_stay() {
    let kit = Kit::new();
    for how in ["break", "drop"] {
        let mut end = kit.open();
        end.records(&[enter(""), large("a", 2 << 20, How::Whole)]).unwrap();
        assert_eq!(kit.leftovers().len(), 1);
        if how == "break" {
            end.event(Event::Break).unwrap();
            end.finish_well();
        } else {
            drop(end);
        }
        assert_eq!(kit.leftovers(), nothing(), "{how}");
    }
}

fn cut(kit: &Kit, content: &[u8]) -> PathBuf {
    let mut end = kit.open();
    end.records(&[top(), large("a", content.len() as u64, How::Whole)]).unwrap();
    say_data(&mut end, &content[..2 * MIB + MIB / 2]);
    drop(end);
    let [partial] = kit.leftovers().try_into().unwrap();
    assert_eq!(fs::metadata(&partial).unwrap().len(), 2_621_440);
    partial
}

#[test]
fn a_flipped_byte_in_a_partial_file_is_found_and_only_its_piece_sent_again() {
    let content = noise(4 * MIB + 123);
    for is_asked in [true, false] {
        let kit = Kit::new();
        kit.write("a", b"old");
        let partial = cut(&kit, &content);
        let file = fs::OpenOptions::new().write(true).open(partial).unwrap();
        file.write_all_at(&[content[70_000] ^ 1], 70_000).unwrap();
        let mut end = kit.open();
        let entries = end.list("").entries;
        assert_eq!(entries[1].what, What::Part { len: 2_621_440 });
        if is_asked {
            let pieces = end.pieces("a");
            assert_eq!(pieces.len(), 3);
            assert!(pieces[0] != piece_hash(&content, 0) && pieces[1] == piece_hash(&content, 1));
        }
        let how = How::Resume { len: 2_621_440 };
        end.records(&[large("a", content.len() as u64, how)]).unwrap();
        end.event(Event::At { offset: 2 * MIB as u64 }).unwrap();
        say_data(&mut end, &content[2 * MIB..]);
        end.event(Event::At { offset: 0 }).unwrap();
        say_data(&mut end, &content[..MIB]);
        end.end(&content).unwrap();
        let summary = end.finish_well();
        assert_eq!((summary.bytes, summary.reused), (3 * MIB as u64 + 123, MIB as u64));
        assert!(kit.read("a") == content);
        assert_eq!(kit.leftovers(), nothing());
    }
}

#[test]
fn a_flipped_byte_that_nobody_sends_again_is_never_shown() {
    let content = noise(4 * MIB + 123);
    let kit = Kit::new();
    kit.write("a", b"old");
    let partial = cut(&kit, &content);
    let file = fs::OpenOptions::new().write(true).open(partial).unwrap();
    file.write_all_at(&[content[MIB + 1] ^ 1], MIB as u64 + 1).unwrap();
    let mut end = kit.open();
    end.pieces("a");
    end.records(&[enter(""), large("a", content.len() as u64, How::Resume { len: 2_621_440 })])
        .unwrap();
    end.event(Event::At { offset: 2 * MIB as u64 }).unwrap();
    say_data(&mut end, &content[2 * MIB..]);
    end.end(&content).unwrap();
    assert_eq!(end.again, ["a"]);
    assert_eq!((kit.read("a"), kit.leftovers()), (b"old".to_vec(), nothing()));
    // Said before the sender heard of it: not the end yet.
    assert_eq!(end.event(Event::Finish), Ok(Step::More));
    end.records(&[large("a", content.len() as u64, How::Whole)]).unwrap();
    say_data(&mut end, &content);
    end.end(&content).unwrap();
    // What arrived well in the end has not failed.
    end.finish_well();
    assert!(kit.read("a") == content);
}

#[test]
fn a_partial_file_that_is_not_what_the_sender_heard_of_is_not_used() {
    let content = noise(4 * MIB + 123);
    let kit = Kit::new();
    let partial = cut(&kit, &content);
    let mut end = kit.open();
    end.records(&[enter(""), large("a", content.len() as u64, How::Resume { len: 5 })]).unwrap();
    end.data(b"dropped").unwrap();
    end.event(Event::Break).unwrap();
    end.records(&[large("b", 9, How::Resume { len: 5 })]).unwrap();
    end.end(b"").unwrap();
    assert_eq!(end.failed, failures([("a", Code::Changed), ("b", Code::Changed)]));
    assert_eq!(fs::metadata(&partial).unwrap().len(), 2_621_440);
    // Whole, while the answerer has it open.
    assert_eq!(end.pieces("a").len(), 3);
    end.records(&[large("a", content.len() as u64, How::Whole)]).unwrap();
    say_data(&mut end, &content);
    end.end(&content).unwrap();
    end.finish();
    assert!(kit.read("a") == content);
    assert_eq!(kit.leftovers(), nothing());
}

#[test]
fn a_partial_file_that_another_transfer_writes_is_left_to_it() {
    let kit = Kit::new();
    let content = noise(4 * MIB);
    let mut one = kit.open();
    one.records(&[top(), large("a", content.len() as u64, How::Whole)]).unwrap();
    say_data(&mut one, &content[..MIB]);
    let mut other = kit.open();
    assert_eq!(other.pieces("a"), []);
    let how = How::Resume { len: MIB as u64 };
    other.records(&[enter(""), large("a", content.len() as u64, how)]).unwrap();
    other.event(Event::Break).unwrap();
    other.records(&[large("a", content.len() as u64, How::Whole)]).unwrap();
    other.event(Event::Break).unwrap();
    assert_eq!(other.failed, failures([("a", Code::Busy), ("a", Code::Busy)]));
    say_data(&mut one, &content[MIB..]);
    one.end(&content).unwrap();
    one.finish_well();
    assert!(kit.read("a") == content);
}

#[test]
fn what_took_the_place_of_a_verified_file_gets_no_name() {
    for durable in [Durable::None, Durable::Batch, Durable::File] {
        let kit = Kit::with(Options { durable, ..Options::default() });
        let content = noise(2 * MIB);
        for name in ["large", "small"] {
            kit.write(name, b"old");
        }
        let mut end = kit.open();
        let (first, last) = content.split_at(MIB);
        end.records(&[enter(""), file("small", b"new")]).unwrap();
        end.records(&[large("large", content.len() as u64, How::Whole)]).unwrap();
        end.data(first).unwrap();
        let partial = kit.leftovers().into_iter().find(|path| len_of(path) == MIB as u64).unwrap();
        let planted = kit.write("planted", b"planted");
        fs::rename(&planted, &partial).unwrap();
        end.data(last).unwrap();
        end.end(&content).unwrap();
        let (summary, failed) = end.finish();
        assert_eq!(failed, failures([("large", Code::Changed)]), "{durable:?}");
        assert_eq!((summary.files, kit.read("large")), (1, b"old".to_vec()));
        // It is not ours to remove.
        assert_eq!(fs::read(&partial).unwrap(), b"planted");
        let mut end = kit.open();
        end.records(&[enter(""), large("large", content.len() as u64, How::Whole)]).unwrap();
        end.data(&content).unwrap();
        end.end(&content).unwrap();
        end.finish_well();
        assert!(kit.read("large") == content);
    }
}

fn len_of(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

#[test]
fn blocks_of_the_old_file_are_signed_and_copied() {
    let kit = Kit::new();
    let old = noise(MIB + 100);
    kit.write("sub/a", &old);
    let mut end = kit.open();
    let mut expected = Vec::new();
    sign(&old, 4096, 9, &mut expected);
    assert_eq!(end.blocks("sub/a", 4096, 9), expected);
    assert_eq!(expected.len(), 256);
    assert_eq!((end.blocks("sub/gone", 4096, 9), end.blocks("sub", 4096, 9)), (vec![], vec![]));
    let new = [b"inserted", &old[40_960..81_920], &old[..8192], b"end"].concat();
    end.records(&[enter("sub"), large("sub/a", new.len() as u64, How::Blocks { len: 4096 })])
        .unwrap();
    end.data(b"inserted").unwrap();
    let runs = vec![Run { skip: 10, blocks: 10 }, Run { skip: -20, blocks: 2 }];
    end.records(&[Record::Copy { runs }]).unwrap();
    end.data(b"end").unwrap();
    end.end(&new).unwrap();
    let summary = end.finish_well();
    assert_eq!((summary.files, summary.patched, summary.bytes), (1, 1, 11));
    assert_eq!(summary.reused, 12 * 4096);
    assert!(kit.read("sub/a") == new);
}

#[test]
fn an_old_file_that_was_replaced_meanwhile_makes_nothing_wrong() {
    let kit = Kit::new();
    let old = noise(MIB);
    kit.write("a", &old);
    let mut end = kit.open();
    end.blocks("a", 4096, 1);
    kit.write("a", vec![9; MIB]);
    let all = |end: &mut End2, size: usize| {
        end.records(&[enter(""), large("a", size as u64, How::Blocks { len: 4096 })]).unwrap();
        end.records(&[Record::Copy { runs: vec![Run { skip: 0, blocks: 256 }] }])
    };
    all(&mut end, MIB).unwrap();
    end.end(&old).unwrap();
    assert_eq!(end.again, ["a"]);
    assert!(kit.read("a") == vec![9; MIB]);
    // Shorter: such a run can't be.
    kit.write("a", b"short");
    assert_eq!(all(&mut kit.open(), MIB), Err(Code::Malformed));
    fs::remove_file(kit.at("a")).unwrap();
    let mut other = kit.open();
    all(&mut other, MIB).unwrap();
    other.event(Event::Break).unwrap();
    assert_eq!(other.again, ["a"]);
    end.records(&[large("a", MIB as u64, How::Whole)]).unwrap();
    say_data(&mut end, &old);
    end.end(&old).unwrap();
    end.finish_well();
    assert!(kit.read("a") == old);
    assert_eq!(kit.leftovers(), nothing());
}

#[test]
fn the_end_waits_for_what_came_out_wrong_within_a_bound() {
    let kit = Kit::new();
    let names: Vec<String> = (0..1_100).map(|number| format!("f{number}")).collect();
    let mut end = kit.open();
    end.records(&[top()]).unwrap();
    // There is no old file to take blocks from.
    for name in &names {
        end.records(&[large(name, 9, How::Blocks { len: 1024 })]).unwrap();
        end.event(Event::Break).unwrap();
    }
    assert_eq!((end.again.len(), end.failed.len()), (1_000, 100));
    assert_eq!(end.event(Event::Finish), Ok(Step::More));
    // Sent once more, well or not, or given up by the sender.
    end.records(&[large(&names[0], 3, How::Whole)]).unwrap();
    end.data(b"new").unwrap();
    end.end(b"new").unwrap();
    end.records(&[large(&names[1], 3, How::Whole)]).unwrap();
    end.data(b"new").unwrap();
    end.end(b"old").unwrap();
    for name in &names[2..1_000] {
        assert_eq!(end.event(Event::Finish), Ok(Step::More));
        let why = Refusal::about(Code::Changed, name.as_str());
        end.event(Event::Failed(Failure::new(name.as_str(), why))).unwrap();
    }
    assert_eq!(end.event(Event::Finish), Ok(Step::Finished));
    let summary = end.receiver.finish(&mut |_| {});
    assert_eq!((summary.files, summary.failed), (1, 1_099));
    assert_eq!(kit.read("f0"), b"new");
}

#[test]
fn content_that_no_honest_sender_sends_ends_the_transfer() {
    let big = 3 * MIB as u64;
    let wrong: Vec<(u64, How, Vec<Event>, Code)> = vec![
        (big, How::Whole, vec![Event::At { offset: 5 }], Code::Malformed),
        (big, How::Whole, vec![Event::At { offset: 4 << 20 }], Code::Malformed),
        (big, How::Whole, vec![Event::At { offset: u64::MAX }], Code::Malformed),
        (big, How::Whole, vec![Event::Hole { len: big + 1 }], Code::Malformed),
        (big, How::Whole, vec![Event::Hole { len: u64::MAX }], Code::Malformed),
        (big, How::Whole, vec![Event::Finish], Code::OutOfOrder),
        (big, How::Blocks { len: 1000 }, vec![], Code::Malformed),
        (big, How::Blocks { len: 2 << 20 }, vec![], Code::Malformed),
    ];
    for (number, (size, how, events, code)) in wrong.into_iter().enumerate() {
        let kit = Kit::new();
        let mut end = kit.open();
        let mut result = end.records(&[top(), large("a", size, how)]);
        for event in events {
            result = result.and_then(|_| end.event(event));
        }
        assert_eq!(result, Err(code), "case {number}");
    }
    let kit = Kit::new();
    let mut end = kit.open();
    end.records(&[top(), large("a", 3, How::Whole)]).unwrap();
    assert_eq!(end.data(b"four"), Err(Code::Malformed));
    for runs in [
        Run { skip: 0, blocks: 0 },
        Run { skip: -1, blocks: 1 },
        Run { skip: 0, blocks: 5 },
        Run { skip: i64::MAX, blocks: u64::MAX },
    ] {
        let kit = Kit::new();
        kit.write("a", noise(4096));
        let mut end = kit.open();
        end.records(&[top(), large("a", big, How::Blocks { len: 1024 })]).unwrap();
        let copied = end.records(&[Record::Copy { runs: vec![runs] }]);
        assert_eq!(copied, Err(Code::Malformed), "{runs:?}");
    }
}

#[test]
fn the_same_bytes_again_and_again_end_somewhere() {
    let kit = Kit::new();
    let mut end = kit.open();
    end.records(&[top(), large("a", 2 << 20, How::Whole)]).unwrap();
    let mut again = || {
        end.event(Event::At { offset: 0 })?;
        end.event(Event::Hole { len: 2 << 20 })
    };
    let code = (0..20).find_map(|_| again().err());
    assert_eq!(code, Some(Code::TooLong));
}

#[test]
fn what_is_not_all_of_a_file_never_gets_its_name() {
    let kit = Kit::new();
    kit.write("a", b"old");
    let content = noise(2 * MIB);
    let len = content.len() as u64;
    let mut end = kit.open();
    end.records(&[top(), large("a", len, How::Whole)]).unwrap();
    end.end(&content).unwrap();
    end.records(&[large("a", len, How::Whole)]).unwrap();
    end.event(Event::At { offset: MIB as u64 }).unwrap();
    say_data(&mut end, &content[MIB..]);
    end.end(&content).unwrap();
    end.records(&[large("a", len, How::Whole)]).unwrap();
    say_data(&mut end, &content);
    end.end(&noise(2 * MIB - 1)).unwrap();
    end.records(&[large("a", len, How::Whole)]).unwrap();
    say_data(&mut end, &noise(2 * MIB + 1)[1..]);
    end.end(&content).unwrap();
    for size in [1 << 63, u64::MAX] {
        end.records(&[large("a", size, How::Whole)]).unwrap();
        end.event(Event::Break).unwrap();
    }
    let (summary, failed) = end.finish();
    let expected = [Code::Corrupt; 4].into_iter().chain([Code::TooLong; 2]);
    assert_eq!(failed, expected.map(|code| ("a".to_owned(), code)).collect::<Vec<_>>());
    assert_eq!((summary.files, kit.read("a")), (0, b"old".to_vec()));
    assert_eq!(kit.leftovers(), nothing());
}

fn small_disk(kit: &Kit) -> Option<(Mount, PathBuf)> {
    let at = kit.dir.path().join("disk");
    fs::create_dir(&at).unwrap();
    let mount = Mount::tmpfs(&at, "size=8m");
    if mount.is_none() {
        println!("skipped: a small file system can only be mounted by root");
    }
    mount.map(|mount| (mount, at))
}

fn old_on(disk: &Path) {
    fs::create_dir(disk.join("tree")).unwrap();
    fs::write(disk.join("tree/a"), b"old").unwrap();
}

#[test]
fn a_file_that_cannot_fit_is_refused_at_its_first_byte_and_a_sparse_one_is_not() {
    let kit = Kit::new();
    let Some((_mount, disk)) = small_disk(&kit) else { return };
    old_on(&disk);
    let mut end = kit.open_in(&disk, EntryKind::Dir, "tree");
    end.records(&[enter(""), large("a", 12 << 20, How::Whole)]).unwrap();
    end.data(b"first").unwrap();
    assert_eq!(end.failed, failures([("a", Code::NoSpace)]));
    let missing = end.counts[0].unwrap();
    assert!((4 << 20..5 << 20).contains(&missing), "{missing}");
    assert_eq!(kit.leftovers(), nothing());
    end.data(b"dropped").unwrap();
    end.event(Event::Break).unwrap();
    end.records(&[file("small", b"fits"), large("sparse", 32 << 20, How::Whole)]).unwrap();
    end.event(Event::Hole { len: (32 << 20) - 4 }).unwrap();
    end.data(b"last").unwrap();
    let content = [vec![0; (32 << 20) - 4], b"last".to_vec()].concat();
    end.end(&content).unwrap();
    assert_eq!(end.finish().0.files, 2);
    assert_eq!(fs::read(disk.join("tree/a")).unwrap(), b"old");
    assert!(fs::read(disk.join("tree/sparse")).unwrap() == content);
}

#[test]
fn a_disk_that_fills_up_keeps_the_old_files_and_the_part_that_came() {
    let kit = Kit::new();
    let Some((_mount, disk)) = small_disk(&kit) else { return };
    old_on(&disk);
    let content = noise(5 * MIB);
    let mut end = kit.open_in(&disk, EntryKind::Dir, "tree");
    end.records(&[enter(""), large("a", content.len() as u64, How::Whole)]).unwrap();
    say_data(&mut end, &content[..MIB]);
    let filler = disk.join("filler");
    fs::write(&filler, noise(6 * MIB)).unwrap();
    say_data(&mut end, &content[MIB..]);
    end.event(Event::Break).unwrap();
    assert_eq!(end.failed, failures([("a", Code::NoSpace)]));
    let chunk = noise(100_000);
    let names: Vec<String> = (0..20).map(|number| format!("s{number}")).collect();
    for name in &names {
        end.records(&[file(name, &chunk)]).unwrap();
    }
    let (summary, failed) = end.finish();
    assert_eq!(summary.files + failed.len() as u64, 21);
    assert!(failed.len() > 10 && failed.iter().all(|(_, code)| *code == Code::NoSpace));
    assert_eq!(fs::read(disk.join("tree/a")).unwrap(), b"old");
    let len = 2 * MIB as u64 - fs::metadata(disk.join("tree/s0")).map_or(0, |meta| meta.len());
    fs::remove_file(filler).unwrap();
    let mut end = kit.open_in(&disk, EntryKind::Dir, "tree");
    let entries = end.list("").entries;
    let part = entries.iter().find_map(|entry| match entry.what {
        What::Part { len } => Some(len),
        _ => None,
    });
    let part = part.unwrap();
    assert!(part > MIB as u64 && part <= len + MIB as u64, "{part}");
    end.records(&[enter(""), large("a", content.len() as u64, How::Resume { len: part })]).unwrap();
    let from = part as usize / MIB * MIB;
    end.event(Event::At { offset: from as u64 }).unwrap();
    say_data(&mut end, &content[from..]);
    end.end(&content).unwrap();
    end.finish_well();
    assert!(fs::read(disk.join("tree/a")).unwrap() == content);
}
