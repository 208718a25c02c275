//! A source that changes while it is read is never mixed, from one end to the other; neither is what
//! the receiver puts together from something that changes there.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod filekit;

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::SystemTime;

use filekit::{Dir, Move, Pace, noise, partials};
use tow_host::files::item::Item;
use tow_proto::Code;
use tow_proto::transfer::{Event, How};

const GO_ON: ControlFlow<()> = ControlFlow::Continue(());

#[test]
fn a_file_that_changes_once_arrives_as_it_is_now() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    let mut content = noise(2 << 20, 1);
    let file = from.write("file", &content);
    content[10] ^= 1;
    let open = fs::File::options().write(true).open(&file).unwrap();
    let (from_root, to_root, mut chunks) = (from.root(), to.root(), 0);
    let outcome = Move::new(&from_root, "file", &to_root, ".").run_until(|item| {
        chunks += usize::from(matches!(item, Item::Data(_)));
        if chunks == 2 {
            open.write_all_at(&content[10..11], 10).unwrap();
            chunks += 1;
        }
        GO_ON
    });
    let outcome = outcome.unwrap();
    assert_eq!((outcome.breaks, outcome.summary().files), (1, 1));
    assert_eq!(fs::read(to.join("file")).unwrap(), content);
}

#[test]
fn a_file_that_shrinks_is_not_padded_and_one_that_is_replaced_is_one_of_the_two() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    let (short, old, new) = (noise(2 << 20, 3), noise(2 << 20, 4), noise(3 << 20, 5));
    let shrinks = from.write("tree/shrinks", &short);
    let replaced = from.write("tree/x replaced", &old);
    let spare = from.write("spare", &new);
    let (from_root, to_root) = (from.root(), to.root());
    let (mut about, mut is_done) = (0, (false, false));
    let outcome = Move::new(&from_root, "tree", &to_root, ".").run_until(|item| {
        match item {
            Item::Pack(_) => about += 1,
            Item::Data(_) if !is_done.0 => {
                fs::File::options().write(true).open(&shrinks).unwrap().set_len(1_000_000).unwrap();
                is_done.0 = true;
            }
            Item::End(_) if !is_done.1 => {
                fs::rename(&spare, &replaced).unwrap();
                is_done.1 = true;
            }
            _ => {}
        }
        GO_ON
    });
    let outcome = outcome.unwrap();
    assert!(about > 1 && is_done == (true, true));
    assert_eq!((outcome.breaks, outcome.summary().files), (1, 2));
    assert_eq!(fs::read(to.join("tree/shrinks")).unwrap(), &short[..1_000_000]);
    let copy = fs::read(to.join("tree/x replaced")).unwrap();
    assert!(copy == new || copy == old);
}

/// The writer goes through the file page by page, each time with the next number: at any moment the
/// file holds one number up to somewhere and the one before it from there on. Anything else that
/// arrives was never in the file.
#[test]
fn whatever_a_writer_does_a_mixture_of_two_moments_never_arrives() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    const PAGES: usize = 256;
    let file = from.write("file", &vec![0; PAGES * 4096]);
    let open = fs::File::options().write(true).open(&file).unwrap();
    let mut written = 0;
    let mut write_pages = |count: usize| {
        for _ in 0..count {
            let number = (written / PAGES) as u32 + 1;
            let page = number.to_le_bytes().repeat(1024);
            open.write_all_at(&page, (written % PAGES * 4096) as u64).unwrap();
            written += 1;
        }
    };
    let choices = noise(100_000, 5);
    let mut choices = choices.iter().map(|byte| usize::from(*byte));
    let (from_root, to_root) = (from.root(), to.root());
    let mut this = Move::new(&from_root, "file", &to_root, ".");
    let (mut whole, mut changed) = (0, 0);
    for round in 0..100 {
        // All of it, and by blocks of what is there.
        this.options.whole = round % 2 == 0;
        let gate = |_: &Item| {
            // In three of four cases nothing happens.
            write_pages(choices.next().unwrap().saturating_sub(192) * 3);
            GO_ON
        };
        let outcome = this.run_until(gate).unwrap();
        if let Some(failure) = outcome.failed.first() {
            assert_eq!(failure.why.code, Code::Changed);
            changed += 1;
            continue;
        }
        whole += 1;
        let copy = fs::read(to.join("file")).unwrap();
        assert_eq!(copy.len(), PAGES * 4096);
        let numbers: Vec<u32> =
            copy.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect();
        let (first, last) = (numbers[0], numbers[numbers.len() - 1]);
        assert!(numbers.is_sorted_by(|one, next| one >= next), "a mixture");
        assert!(first - last <= 1, "a mixture");
    }
    assert!(whole > 10 && changed > 10, "{whole} whole, {changed} changed");
    assert!(partials(to.path()).len() <= 1);
}

/// A file whose time no new one has.
fn older(to: &Dir, path: &str, content: &[u8]) -> PathBuf {
    let path = to.write(path, content);
    fs::File::open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    path
}

#[test]
fn an_old_file_that_changes_after_its_signatures_were_given_is_sent_again_after_the_end() {
    for (dest, path) in [(".", "tree/file"), ("tree", "tree/file")] {
        let (from, to) = (Dir::new("from"), Dir::new("to"));
        let old = noise(3 << 20, 6);
        let mut new = old.clone();
        new[1_000_000..1_000_100].fill(7);
        from.write("tree/file", &new);
        let there = older(&to, path, &old);
        let (from_root, to_root) = (from.root(), to.root());
        let is_tree = dest == ".";
        let source = if is_tree { "tree" } else { "tree/file" };
        let mut this = Move::new(&from_root, source, &to_root, dest);
        this.pace = Pace::AtTheEnd;
        let mut is_changed = false;
        let outcome = this.run_until(|item| {
            // Everything was said, and nothing has been taken yet.
            if matches!(item, Item::Event(Event::Finish)) && !is_changed {
                fs::write(&there, noise(3 << 20, 8)).unwrap();
                is_changed = true;
            }
            GO_ON
        });
        let outcome = outcome.unwrap();
        let hows: Vec<How> = outcome.larges.iter().map(|(_, how)| *how).collect();
        assert!(matches!(hows[..], [How::Blocks { .. }, How::Whole]), "{hows:?}");
        assert_eq!(outcome.finishes, 2);
        // It was said that it comes once more, and it came: nothing failed.
        assert!(outcome.failed[0].again && outcome.failed[0].why.code == Code::Corrupt);
        assert_eq!((outcome.summary().files, outcome.failed.len()), (1, 1));
        assert_eq!(outcome.summary().failed, 0);
        assert!(fs::read(&there).unwrap() == new);
        assert_eq!(partials(to.path()), Vec::<PathBuf>::new());
    }
}

#[test]
fn a_file_that_came_out_wrong_and_is_gone_when_it_is_to_be_sent_again_fails_and_that_is_the_end() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    let old = noise(3 << 20, 9);
    let mut new = old.clone();
    new[5] ^= 1;
    let source = from.write("tree/file", &new);
    let there = older(&to, "tree/file", &old);
    let other = noise(3 << 20, 10);
    let (from_root, to_root) = (from.root(), to.root());
    let mut this = Move::new(&from_root, "tree", &to_root, ".");
    this.pace = Pace::AtTheEnd;
    let mut is_first = true;
    let outcome = this.run_until(|item| {
        if matches!(item, Item::Event(Event::Finish)) && std::mem::take(&mut is_first) {
            fs::write(&there, &other).unwrap();
            fs::remove_file(&source).unwrap();
        }
        GO_ON
    });
    let outcome = outcome.unwrap();
    let codes: Vec<Code> = outcome.failed.iter().map(|failure| failure.why.code).collect();
    assert_eq!(codes, [Code::Corrupt, Code::NotFound]);
    assert_eq!(outcome.summary().failed, 1);
    assert_eq!((outcome.finishes, outcome.summary().files), (2, 0));
    assert!(fs::read(&there).unwrap() == other);
}
