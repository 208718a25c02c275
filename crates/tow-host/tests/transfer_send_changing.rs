//! The sending end when the tree does not hold still, or can't be read as it should.
#![allow(clippy::unwrap_used, reason = "tests")]

mod filekit;
mod sendkit;

use std::io::Write as _;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use filekit::{Dir, noise};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use sendkit::{Fake, Gate, Node, Tree, load};
use tow_host::files::item::Item;
use tow_host::files::send::{Answer, Inbox};
use tow_host::files::{Progress, Source};
use tow_proto::Code;
use tow_proto::transfer::{How, Options};

const GO_ON: ControlFlow<()> = ControlFlow::Continue(());

/// Calls `act` before the first content is taken.
fn at_first_data(mut act: impl FnMut() + 'static) -> Gate {
    let mut is_done = false;
    Box::new(move |item| {
        if matches!(item, Item::Data(_)) && !is_done {
            is_done = true;
            act();
        }
        GO_ON
    })
}

fn pipe(path: &PathBuf) {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
}

#[test]
fn a_log_that_grows_is_sent_as_it_was_at_the_start() {
    let from = Dir::new("grows");
    let content = noise(1_000_000, 1);
    let path = from.write("t/log", &content);
    let mut fake = Fake::new(Tree::new(), Options::default());
    fake.gate = at_first_data(move || {
        let mut log = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        log.write_all(b"one more line").unwrap();
    });
    assert_eq!(fake.run(&from, "t").unwrap(), GO_ON);
    assert_eq!((fake.seen.ends, fake.seen.breaks), (1, 0));
    let Some(Node::File(_, arrived)) = fake.tree.get(b"log".as_slice()) else { panic!() };
    assert!(*arrived == content);
}

#[test]
fn a_file_that_changes_is_broken_off_and_sent_again() {
    let from = Dir::new("changes");
    let path = from.write("t/file", &noise(1_000_000, 2));
    let mut fake = Fake::new(Tree::new(), Options::default());
    let other = noise(900_000, 3);
    let new = other.clone();
    fake.gate = at_first_data(move || std::fs::write(&path, &new).unwrap());
    assert_eq!(fake.run(&from, "t").unwrap(), GO_ON);
    assert_eq!((fake.seen.ends, fake.seen.breaks), (1, 1));
    assert_eq!(fake.tree, load(&from.join("t")));
    assert_eq!(fake.progress.now().bytes_done, other.len() as u64);
}

#[test]
fn a_file_that_never_holds_still_fails_and_the_rest_goes_on() {
    let from = Dir::new("restless");
    let path = from.write("t/file", &noise(600_000, 4));
    from.write("t/next", b"next");
    let mut fake = Fake::new(Tree::new(), Options::default());
    let mut seed = 5;
    fake.gate = Box::new(move |item| {
        if matches!(item, Item::Data(_)) {
            seed += 1;
            std::fs::write(&path, noise(600_000, seed)).unwrap();
        }
        GO_ON
    });
    assert_eq!(fake.run(&from, "t").unwrap(), GO_ON);
    assert_eq!(fake.seen.failed, [("file".to_owned(), Code::Changed)]);
    assert_eq!((fake.seen.ends, fake.seen.breaks), (0, 3));
    assert!(fake.tree.contains_key(b"next".as_slice()));
    let now = fake.progress.now();
    assert_eq!((now.bytes_done, now.files_done), (4, 1));
}

#[test]
fn what_vanishes_or_becomes_something_else_fails_by_itself() {
    let from = Dir::new("vanishes");
    from.write("t/a", &noise(500_000, 6));
    for name in ["gone", "large", "pipe", "folder"] {
        from.write(format!("t/{name}"), &noise(if name == "large" { 400_000 } else { 10 }, 7));
    }
    from.write("t/z", b"z");
    let [gone, large, fifo, folder] =
        ["gone", "large", "pipe", "folder"].map(|name| from.join(format!("t/{name}")));
    let mut fake = Fake::new(Tree::new(), Options::default());
    fake.gate = at_first_data(move || {
        for path in [&gone, &large, &fifo, &folder] {
            std::fs::remove_file(path).unwrap();
        }
        pipe(&fifo);
        std::fs::create_dir(&folder).unwrap();
    });
    assert_eq!(fake.run(&from, "t").unwrap(), GO_ON);
    let expected = [
        ("folder", Code::IsADirectory),
        ("gone", Code::NotFound),
        ("large", Code::NotFound),
        ("pipe", Code::SpecialFile),
    ];
    assert_eq!(fake.seen.failed, expected.map(|(name, code)| (name.to_owned(), code)));
    let names: Vec<_> = fake.tree.keys().map(Vec::as_slice).collect();
    assert_eq!(names, [b"".as_slice(), b"a", b"z"]);
}

#[test]
fn a_directory_that_may_not_be_read_fails_and_nothing_in_it_is_deleted() {
    let from = Dir::new("locked");
    from.write("t/locked/inner", b"1");
    from.write("t/open", b"2");
    let tree = load(&from.join("t"));
    from.write("t/open", b"changed");
    let locked = from.join("t/locked");
    std::fs::set_permissions(&locked, PermissionsExt::from_mode(0o000)).unwrap();
    if std::fs::read_dir(&locked).is_ok() {
        // The superuser may read everything: what can't be opened is then one that is gone.
        std::fs::remove_dir_all(&locked).unwrap();
        pipe(&locked);
    }
    let mut fake = Fake::new(tree, Options { delete: true, ..Options::default() });
    assert_eq!(fake.run(&from, "t").unwrap(), GO_ON);
    assert!(matches!(&fake.seen.failed[..], [(path, _)] if path == "locked"));
    assert!(fake.seen.deleted.is_empty(), "{:?}", fake.seen.deleted);
    assert!(fake.tree.contains_key(b"locked/inner".as_slice()));
}

#[test]
fn pipes_are_sent_only_where_that_is_asked_for() {
    let from = Dir::new("pipes");
    from.write("t/file", b"1");
    pipe(&from.join("t/pipe"));
    let mut fake = Fake::new(Tree::new(), Options::default());
    assert_eq!(fake.run(&from, "t").unwrap(), GO_ON);
    assert_eq!(fake.seen.failed, [("pipe".to_owned(), Code::SpecialFile)]);
    let mut fake = Fake::new(Tree::new(), Options { special: true, ..Options::default() });
    assert_eq!(fake.run(&from, "t").unwrap(), GO_ON);
    assert!(fake.seen.failed.is_empty());
    assert_eq!(fake.tree, load(&from.join("t")));
}

#[test]
fn a_file_that_the_receiver_rejects_is_broken_off() {
    let from = Dir::new("rejects");
    from.write("t/big", &noise(10 << 20, 8));
    from.write("t/next", b"next");
    let mut fake = Fake::new(Tree::new(), Options::default());
    let inbox = fake.inbox.clone();
    fake.gate = at_first_data(move || {
        inbox.push(Answer::Failed { path: "big".into(), code: Code::NoSpace });
    });
    assert_eq!(fake.run(&from, "t").unwrap(), GO_ON);
    assert_eq!((fake.seen.breaks, fake.seen.ends), (1, 0));
    assert!(fake.seen.bytes < 1 << 20 && fake.tree.contains_key(b"next".as_slice()));
}

#[test]
fn many_files_of_which_something_is_there_are_asked_for_in_turn() {
    let from = Dir::new("asides");
    let mut tree = Tree::new();
    for number in 0..40 {
        from.write(format!("t/{number}"), &noise(300_000, number));
    }
    for (path, node) in load(&from.join("t")) {
        match node {
            Node::File(meta, mut content) => {
                content[7] ^= 1;
                let meta = tow_proto::transfer::Meta { mtime: Default::default(), ..meta };
                tree.insert(path, Node::File(meta, content));
            }
            node => drop(tree.insert(path, node)),
        }
    }
    let mut fake = Fake::new(tree, Options::default());
    assert_eq!(fake.run(&from, "t").unwrap(), GO_ON);
    assert_eq!(fake.tree, load(&from.join("t")));
    let is_patch = |(_, how): &(String, How)| matches!(how, How::Blocks { .. });
    assert!(fake.seen.large.len() == 40 && fake.seen.large.iter().all(is_patch));
    assert!(fake.seen.bytes < 40 * 3_000, "{}", fake.seen.bytes);
}

#[test]
fn a_limit_is_kept() {
    let from = Dir::new("limit");
    from.write("t/file", &noise(400_000, 9));
    let options = Options { bwlimit: Some(1_000_000), ..Options::default() };
    let mut fake = Fake::new(Tree::new(), options);
    let start = Instant::now();
    assert_eq!(fake.run(&from, "t").unwrap(), GO_ON);
    // 0.4 s, less a burst of 0.1 s and the last portion.
    assert!(start.elapsed().as_millis() >= 150, "{:?}", start.elapsed());
    assert_eq!(fake.tree, load(&from.join("t")));
}

#[test]
fn a_wide_directory_takes_up_little_more_than_its_names() {
    let from = Dir::new("wide");
    std::fs::create_dir(from.join("t")).unwrap();
    let (count, content) = (4_000, noise(16_000, 10));
    for number in 0..count {
        from.write(format!("t/file number {number}"), &content);
    }
    let source = Source::offer(&from.root(), &"t".into(), "box").unwrap();
    let progress = Arc::<Progress>::default();
    let outgoing = source.open(Options::default(), Arc::clone(&progress), Arc::new(())).unwrap();
    let inbox = Inbox::default();
    inbox.push(Answer::HaveEnd);
    let before = peak_kib();
    let mut bytes = 0;
    let flow = outgoing.send(&inbox, &mut |item| {
        if let Item::Pack(pack) = item {
            bytes += pack.len();
        }
        GO_ON
    });
    assert_eq!(flow.unwrap(), GO_ON);
    assert_eq!(progress.now().files_done, count);
    assert!(bytes > 16_000 * count as usize);
    let grown = peak_kib() - before;
    // A third of the content.
    assert!(grown < 20 << 10, "{grown} KiB");
}

/// Most memory that the process had so far.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
