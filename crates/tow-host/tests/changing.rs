//! A source that changes while it is read is never mixed, and never waited for.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod filekit;

use std::fs;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt as _;

use filekit::{Dir, Move, noise, partials};
use tow_host::files::Item;
use tow_proto::Code;
use tow_proto::message::TransferEvent;

/// Runs `change` before every second chunk.
fn while_sending(this: &Move<'_>, mut change: impl FnMut(usize)) -> filekit::Outcome {
    let mut chunks = 0;
    let gate = |item: &Item| {
        if let Item::Data(_) = item {
            chunks += 1;
            if chunks % 2 == 0 {
                change(chunks);
            }
        }
        ControlFlow::Continue(())
    };
    this.run_until(gate).unwrap()
}

#[test]
fn a_file_that_changes_once_is_sent_again_and_arrives_as_it_is_now() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    let mut content = noise(2 << 20, 1);
    let file = from.write("file", &content);
    content[10] ^= 1;
    let open = fs::File::options().write(true).open(&file).unwrap();
    let mut is_changed = false;
    let (from_root, to_root) = (from.root(), to.root());
    let outcome = while_sending(&Move::new(&from_root, "file", &to_root, "."), |_| {
        if !std::mem::replace(&mut is_changed, true) {
            open.write_all_at(&content[10..11], 10).unwrap();
        }
    });
    assert_eq!((outcome.breaks, outcome.summary().files), (1, 1));
    assert_eq!(fs::read(to.join("file")).unwrap(), content);
    assert_eq!(outcome.progress.now().bytes_done, content.len() as u64);
}

#[test]
fn a_file_that_never_holds_still_fails_and_the_old_one_stays() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    let file = from.write("tree/file", &noise(2 << 20, 2));
    from.write("tree/next", b"next");
    to.write("tree/file", b"old");
    let open = fs::File::options().write(true).open(&file).unwrap();
    let (from_root, to_root) = (from.root(), to.root());
    let outcome = while_sending(&Move::new(&from_root, "tree", &to_root, "."), |count| {
        open.write_all_at(&[count as u8], 100).unwrap();
    });
    assert_eq!(outcome.breaks, 3);
    assert_eq!(outcome.code_of("file"), Some(Code::Changed));
    assert_eq!((outcome.summary().failed, outcome.summary().files), (1, 1));
    assert_eq!(fs::read(to.join("tree/file")).unwrap(), b"old");
    assert_eq!(fs::read(to.join("tree/next")).unwrap(), b"next");
}

#[test]
fn a_file_that_shrinks_is_not_padded() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    let content = noise(2 << 20, 3);
    let file = from.write("file", &content);
    let open = fs::File::options().write(true).open(&file).unwrap();
    let (from_root, to_root) = (from.root(), to.root());
    let outcome = while_sending(&Move::new(&from_root, "file", &to_root, "."), |_| {
        if open.metadata().unwrap().len() > 1_000_000 {
            open.set_len(1_000_000).unwrap();
        }
    });
    assert_eq!((outcome.breaks, outcome.summary().files), (1, 1));
    assert_eq!(fs::read(to.join("file")).unwrap(), &content[..1_000_000]);
}

#[test]
fn a_log_that_grows_arrives_as_it_was_when_it_was_opened() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    let content = noise(2 << 20, 4);
    let file = from.write("log", &content);
    let mut open = fs::File::options().append(true).open(&file).unwrap();
    let (from_root, to_root) = (from.root(), to.root());
    let outcome = while_sending(&Move::new(&from_root, "log", &to_root, "."), |_| {
        open.write_all(b"one more line\n").unwrap();
    });
    assert_eq!((outcome.breaks, outcome.failed), (0, vec![]));
    assert_eq!(fs::read(to.join("log")).unwrap(), content);
}

#[test]
fn a_file_that_is_gone_when_its_turn_comes_fails_by_name() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    from.write("tree/a", b"a");
    let gone = from.write("tree/b", b"b");
    from.write("tree/c", b"c");
    let (from_root, to_root) = (from.root(), to.root());
    let gate = |item: &Item| {
        if let Item::Event(TransferEvent::File { path, .. }) = item
            && *path == "a".into()
        {
            fs::remove_file(&gone).unwrap();
        }
        ControlFlow::Continue(())
    };
    let outcome = Move::new(&from_root, "tree", &to_root, ".").run_until(gate).unwrap();
    assert_eq!(outcome.code_of("b"), Some(Code::NotFound));
    assert_eq!((outcome.summary().files, outcome.summary().failed), (2, 1));
}

#[test]
fn a_file_that_turns_into_a_pipe_or_a_link_does_not_stop_the_sender() {
    let (from, to) = (Dir::new("from"), Dir::new("to"));
    for name in ["a", "b", "c", "d"] {
        from.write(format!("tree/{name}"), b"x");
    }
    let (from_root, to_root) = (from.root(), to.root());
    let mut is_first = true;
    let gate = |_: &Item| {
        if std::mem::replace(&mut is_first, false) {
            for name in ["b", "c"] {
                fs::remove_file(from.join(format!("tree/{name}"))).unwrap();
            }
            let pipe = from.join("tree/b");
            assert!(std::process::Command::new("mkfifo").arg(pipe).status().unwrap().success());
            std::os::unix::fs::symlink("/etc/passwd", from.join("tree/c")).unwrap();
        }
        ControlFlow::Continue(())
    };
    let outcome = Move::new(&from_root, "tree", &to_root, ".").run_until(gate).unwrap();
    assert_eq!(outcome.code_of("b"), Some(Code::SpecialFile));
    assert_eq!(outcome.code_of("c"), Some(Code::LinkLoop));
    assert_eq!(outcome.summary().files, 2);
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
    let this = Move::new(&from_root, "file", &to_root, ".");
    let (mut whole, mut changed) = (0, 0);
    for _ in 0..100 {
        let gate = |_: &Item| {
            // In three of four cases nothing happens.
            write_pages(choices.next().unwrap().saturating_sub(192) * 3);
            ControlFlow::Continue(())
        };
        let outcome = this.run_until(gate).unwrap();
        if let Some(code) = outcome.code_of("") {
            assert_eq!(code, Code::Changed);
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
    // What failed left its partial for another time, and no more than that one.
    assert!(partials(to.path()).len() <= 1);
}
