//! What becomes of the entries of a tree at the receiving end.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod receivekit;

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use receivekit::*;
use tow_host::files::item::Change;
use tow_host::files::receive::Permits;
use tow_proto::Code;
use tow_proto::message::{EntryKind, Mtime};
use tow_proto::transfer::{Columns, Device, Durable, Meta, Options, Owner, Record, What};

fn mode_of(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn tree(end: &mut End2) {
    let read_only = Record::File { name: b"c", meta: mode(0o444), content: b"see" };
    let sealed = Record::Dir { path: b"sealed", meta: mode(0o555) };
    end.records(&[top(), file("a", b"one"), file("empty", b""), link("l", "a"), sealed]).unwrap();
    end.records(&[file("b", b"two"), read_only, dir("sealed/deep"), file("d", b"four")]).unwrap();
}

#[test]
fn a_tree_arrives_with_modes_times_and_links_however_safe_it_is_to_be() {
    for durable in [Durable::None, Durable::Batch, Durable::File] {
        let kit = Kit::with(Options { durable, ..Options::default() });
        let mut end = kit.open();
        tree(&mut end);
        let summary = end.finish_well();
        assert_eq!((summary.files, summary.dirs, summary.links), (5, 3, 1), "{durable:?}");
        assert_eq!(summary.bytes, 13);
        assert_eq!((kit.read("a"), kit.read("empty")), (b"one".to_vec(), Vec::new()));
        assert_eq!(
            (kit.read("sealed/b"), kit.read("sealed/deep/d")),
            ("two".into(), "four".into())
        );
        assert_eq!(fs::read_link(kit.at("l")).unwrap(), Path::new("a"));
        assert_eq!((mode_of(&kit.at("sealed")), mode_of(&kit.at("sealed/c"))), (0o555, 0o444));
        for name in ["a", "sealed", "sealed/c", "l", "sealed/deep"] {
            let meta = fs::symlink_metadata(kit.at(name)).unwrap();
            assert_eq!((meta.mtime(), meta.mtime_nsec()), (NOW.0, 5), "{name} {durable:?}");
        }
        assert_eq!(kit.leftovers(), Vec::<std::path::PathBuf>::new());

        // What is read-only is replaced all the same, and is read-only again.
        let mut end = kit.open();
        let other = Record::File { name: b"c", meta: mode(0o444), content: b"other" };
        let sealed = Record::Dir { path: b"sealed", meta: mode(0o555) };
        end.records(&[sealed, other]).unwrap();
        end.finish_well();
        assert_eq!(kit.read("sealed/c"), b"other");
        assert_eq!((mode_of(&kit.at("sealed")), mode_of(&kit.at("sealed/c"))), (0o555, 0o444));
    }
}

#[test]
fn what_was_read_only_is_so_again_however_the_transfer_ends() {
    for is_finished in [false, true] {
        let kit = Kit::new();
        kit.write("sealed/deep/a", b"old");
        for (name, bits) in [("sealed/deep", 0o500), ("sealed", 0o555)] {
            fs::set_permissions(kit.at(name), fs::Permissions::from_mode(bits)).unwrap();
        }
        let mut end = kit.open();
        end.records(&[enter("sealed"), file("b", b"new"), enter("sealed/deep")]).unwrap();
        end.records(&[file("a", b"new")]).unwrap();
        if is_finished {
            end.finish_well();
        } else {
            drop(end);
        }
        assert_eq!(kit.read("sealed/deep/a"), b"new");
        let modes = ["sealed/deep", "sealed"].map(|name| mode_of(&kit.at(name)));
        assert_eq!(modes, [0o500, 0o555], "finished: {is_finished}");
    }
}

#[test]
fn many_files_in_many_directories_arrive_in_batches() {
    let kit = Kit::new();
    let mut end = kit.open();
    end.records(&[top()]).unwrap();
    for number in 0..300 {
        let (path, name) = (format!("d{number}"), format!("f{number}"));
        end.records(&[dir(&path), file(&name, path.as_bytes()), file("x", b"x")]).unwrap();
    }
    assert_eq!(end.finish_well().files, 600);
    for number in 0..300 {
        let path = format!("d{number}");
        assert_eq!(kit.read(&format!("{path}/f{number}")), path.as_bytes());
    }
    assert_eq!(kit.leftovers(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn times_before_1970_and_after_2038_and_the_longest_names_are_kept() {
    let kit = Kit::new();
    let long = "é".repeat(127) + "x";
    assert_eq!(long.len(), 255);
    let mut end = kit.open();
    let old = Meta { mtime: Mtime(-86_400, 999_999_999), ..meta() };
    let new = Meta { mtime: Mtime(4_102_444_800, 1), ..meta() };
    let records = [
        top(),
        Record::File { name: b"old", meta: old, content: b"" },
        Record::File { name: b"new", meta: new, content: b"" },
        file(&long, b"long"),
        file("new\nline \x1b[1m", b""),
    ];
    end.records(&records).unwrap();
    assert_eq!(end.finish_well().files, 4);
    let time = |name: &str| {
        let meta = fs::metadata(kit.at(name)).unwrap();
        (meta.mtime(), meta.mtime_nsec())
    };
    assert_eq!((time("old"), time("new")), ((-86_400, 999_999_999), (4_102_444_800, 1)));
    assert_eq!(kit.read(&long), b"long");
    assert!(kit.at("new\nline \x1b[1m").exists());
}

#[test]
fn a_name_shows_the_old_file_until_the_new_one_is_whole() {
    let kit = Kit::new();
    kit.write("a", b"old");
    let before = fs::metadata(kit.at("a")).unwrap().ino();
    let held = fs::File::open(kit.at("a")).unwrap();
    let mut end = kit.open();
    end.records(&[enter(""), file("a", b"new")]).unwrap();
    assert_eq!(kit.read("a"), b"old");
    drop(end);
    assert_eq!(kit.read("a"), b"new", "what was complete is not given up");
    assert_ne!(fs::metadata(kit.at("a")).unwrap().ino(), before);
    assert_eq!(std::io::read_to_string(held).unwrap(), "old");
    assert_eq!(kit.leftovers(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_name_that_comes_twice_is_the_second_but_whole() {
    let kit = Kit::new();
    let mut end = kit.open();
    end.records(&[top(), file("a", b"one"), file("a", b"other"), link("l", "a")]).unwrap();
    end.records(&[link("a", "nowhere"), file("a", b"third"), link("l", "b")]).unwrap();
    end.finish_well();
    assert_eq!(kit.read("a"), b"third");
    assert_eq!(fs::read_link(kit.at("l")).unwrap(), Path::new("b"));
    assert_eq!(kit.leftovers(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_file_lands_under_the_name_that_was_decided_on() {
    for (exact, options) in [(false, Options::default()), (true, exact())] {
        let kit = Kit::with(options);
        let dir = kit.dir.path();
        let prepare = |path: &str| {
            let root = tow_host::beneath::Root::open(dir, dir).unwrap();
            let (name, source) = ("sent".into(), "box:/x".into());
            tow_host::files::receive::Destination::prepare(
                &root,
                &path.into(),
                EntryKind::File,
                &name,
                &source,
                "key",
                &kit.options,
            )
        };
        fs::create_dir(dir.join("sub")).unwrap();
        match prepare("sub") {
            Ok(destination) => {
                assert!(!exact && destination.path().to_string().ends_with("sub/sent"));
            }
            Err(refusal) => assert!(exact && refusal.code == Code::IsADirectory, "{refusal:?}"),
        }
        assert!(prepare("sub/other").unwrap().path().to_string().ends_with("sub/other"));
    }
}

fn exact() -> Options {
    Options { exact: true, ..Options::default() }
}

#[test]
fn with_exact_the_content_of_a_tree_is_that_of_the_path() {
    let kit = Kit::with(exact());
    let mut end = kit.open();
    end.records(&[top(), file("a", b"x")]).unwrap();
    end.finish_well();
    assert_eq!(fs::read(kit.dir.path().join("a")).unwrap(), b"x");
    assert!(!kit.at("").exists());
}

#[test]
fn one_file_may_be_sent_alone() {
    let kit = Kit::new();
    let mut end = kit.open_as(EntryKind::File, "alone");
    assert_eq!(end.have(), []);
    assert_eq!(end.list("").entries, []);
    end.records(&[enter(""), file("alone", b"one")]).unwrap();
    assert_eq!(end.finish_well().files, 1);
    let path = kit.dir.path().join("alone");
    assert_eq!((fs::read(&path).unwrap(), mode_of(&path)), (b"one".to_vec(), 0o644));
    let mut end = kit.open_as(EntryKind::File, "alone");
    assert_eq!(end.have(), [(String::new(), None)]);
    let listing = end.list("");
    assert!(!listing.is_complete, "nothing follows from what else is there");
    assert_eq!(&*listing.entries[0].name, b"alone");
    assert_eq!(listing.entries[0].what, What::File { size: 3, hash: None });
    end.records(&[file("alone", b"two")]).unwrap();
    end.finish_well();
    assert_eq!(fs::read(&path).unwrap(), b"two");
    assert_eq!(kit.leftovers(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn two_transfers_of_the_same_thing_may_run_at_once() {
    let kit = Kit::new();
    let (mut one, mut other) = (kit.open(), kit.open());
    one.records(&[top(), file("a", b"one"), file("b", b"one")]).unwrap();
    other.have();
    other.records(&[top(), file("a", b"other")]).unwrap();
    one.have();
    assert_eq!(other.finish_well().files, 1);
    assert_eq!(kit.read("a"), b"other");
    assert_eq!(one.finish_well().files, 2);
    assert_eq!((kit.read("a"), kit.read("b")), (b"one".to_vec(), b"one".to_vec()));
    assert_eq!(kit.leftovers(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn what_a_killed_transfer_left_is_removed_by_the_next_and_that_of_others_stays() {
    let kit = Kit::new();
    let mut end = kit.open();
    end.records(&[top(), dir("sub"), file("a", b"half")]).unwrap();
    let [lock, temp] = kit.leftovers().try_into().unwrap();
    let kept = fs::read(&temp).unwrap();
    drop(end);
    // As if it had been killed instead.
    fs::write(&temp, kept).unwrap();
    fs::write(&lock, b"").unwrap();
    let foreign = kit.write("sub/.x.0123456789abcdef.tow-part", b"");
    let mut dry = Kit { dir: kit.dir, options: dry_run(), ..Kit::new() };
    dry.open().have();
    assert_eq!(dry.leftovers().len(), 3, "only what would be done is found out");
    dry.options = Options::default();
    dry.open().have();
    assert_eq!(dry.leftovers(), [foreign]);
}

fn dry_run() -> Options {
    Options { dry_run: true, delete: true, special: true, ..Options::default() }
}

#[test]
fn the_digest_of_a_directory_is_that_of_its_listing_and_says_nothing_beside_a_partial() {
    let kit = Kit::new();
    kit.write("a", b"one");
    kit.write("sub/b", b"two");
    let mut end = kit.open();
    let digests = end.have();
    let listing = end.list("sub");
    let expected = listing.digest(Columns::default()).0;
    assert_eq!(digests.iter().find(|(path, _)| path == "sub").unwrap().1, Some(expected));
    assert_eq!(digests[0].0, "");
    let gone = end.list("gone");
    assert!(gone.entries.is_empty() && gone.is_complete);
    let names: Vec<_> = end.list("").entries.into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, [b"a".as_slice().into(), b"sub".as_slice().into()] as [Box<[u8]>; 2]);
    end.records(&[enter("sub"), large("sub/c", 9, tow_proto::transfer::How::Whole)]).unwrap();
    end.data(b"part").unwrap();
    drop(end);
    let mut end = kit.open();
    assert!(end.have().contains(&("sub".to_owned(), None)));
    let entries = end.list("sub").entries;
    assert_eq!(&*entries[1].name, b"c");
    assert_eq!(entries[1].what, What::Part { len: 4 });
    end.finish_well();
    assert_eq!(kit.leftovers(), Vec::<std::path::PathBuf>::new(), "the source has no c any more");
}

#[test]
fn a_listing_of_any_length_arrives_whole() {
    let kit = Kit::new();
    let name = |number: usize| format!("{number:05}{}", "n".repeat(200));
    for number in 0..3000 {
        kit.write(&name(number), b"");
    }
    let entries = kit.open().list("").entries;
    assert_eq!(entries.len(), 3000);
    assert!(entries.is_sorted_by(|one, other| one.name < other.name));
}

#[test]
fn further_names_are_given_at_the_end() {
    let kit = Kit::new();
    kit.write("sub/third", b"old");
    let mut end = kit.open();
    let records = [
        top(),
        hard("second", "first"),
        file("first", b"both"),
        enter("sub"),
        hard("third", "first"),
        hard("fourth", "nowhere"),
        hard("fifth", "sub"),
    ];
    end.records(&records).unwrap();
    assert!(!kit.at("second").exists());
    let (summary, failed) = end.finish();
    let expected = [("sub/fourth", Code::NotFound), ("sub/fifth", Code::SpecialFile)];
    assert_eq!(failed, failures(expected));
    assert_eq!(summary.hard_links, 2);
    let inode = |name: &str| fs::metadata(kit.at(name)).unwrap().ino();
    assert_eq!((inode("first"), inode("first")), (inode("second"), inode("sub/third")));
    let mut end = kit.open();
    end.records(&[enter(""), hard("second", "first")]).unwrap();
    assert_eq!(end.finish_well().hard_links, 0, "it is one already");
    assert_eq!(kit.leftovers(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn special_entries_are_made_where_they_are_asked_for_and_permitted() {
    let pipe = Record::Special { name: b"pipe", meta: mode(0o640), device: Device::Pipe };
    let null =
        Record::Special { name: b"null", meta: mode(0o666), device: Device::Character(1, 3) };
    let kit = Kit::new();
    assert_eq!(kit.open().records(&[top(), pipe.clone()]), Err(Code::OutOfOrder));
    let kit = Kit::with(Options { special: true, ..Options::default() });
    let mut end = kit.open();
    end.records(&[top(), pipe, null]).unwrap();
    let (summary, failed) = end.finish();
    assert_eq!(failed, failures([("null", Code::PermissionDenied)]));
    assert_eq!(summary.special, 1);
    let pipe = fs::symlink_metadata(kit.at("pipe")).unwrap();
    assert!(pipe.file_type().is_fifo());
    assert_eq!((pipe.permissions().mode() & 0o777, pipe.mtime()), (0o640, NOW.0));
    assert!(!kit.at("null").exists());
}

#[test]
fn special_bits_are_set_only_with_archive_and_the_callers_leave() {
    let owner = || {
        let meta = fs::metadata("/proc/self").unwrap();
        let owner = Owner { uid: meta.uid(), gid: meta.gid(), ..Owner::default() };
        Some(Box::new(owner))
    };
    let permits = Permits { special_bits: true, devices: false };
    for (archive, permits, expected) in
        [(false, permits, 0o755), (true, Permits::default(), 0o755), (true, permits, 0o4755)]
    {
        let mut kit = Kit::with(Options { archive, ..Options::default() });
        kit.permits = permits;
        let meta = Meta { mode: 0o4755, mtime: NOW, owner: owner().filter(|_| archive) };
        let record = Record::File { name: b"su", meta: meta.clone(), content: b"x" };
        let top = Record::Dir { path: b"", meta: Meta { mode: 0o755, ..meta } };
        let mut end = kit.open();
        end.records(&[top, record]).unwrap();
        end.finish_well();
        assert_eq!(mode_of(&kit.at("su")), expected, "{archive} {permits:?}");
    }
}

#[test]
fn meta_changes_what_is_beside_the_content_and_follows_no_link() {
    let kit = Kit::new();
    kit.write("a", b"same");
    fs::set_permissions(kit.at("a"), fs::Permissions::from_mode(0o200)).unwrap();
    let victim = kit.dir.path().join("victim");
    fs::write(&victim, b"").unwrap();
    let before = fs::metadata(&victim).unwrap();
    symlink("../victim", kit.at("l")).unwrap();
    let record = |name| Record::Meta { name, meta: mode(0o640) };
    let mut end = kit.open();
    end.records(&[enter(""), record(b"a"), record(b"l"), record(b"gone")]).unwrap();
    let (_, failed) = end.finish();
    assert_eq!(failed, failures([("gone", Code::NotFound)]));
    let after = fs::metadata(kit.at("a")).unwrap();
    assert_eq!((after.mode() & 0o7777, after.mtime()), (0o640, NOW.0));
    assert_eq!(fs::symlink_metadata(kit.at("l")).unwrap().mtime(), NOW.0);
    let victim = fs::metadata(&victim).unwrap();
    assert_eq!((victim.mode(), victim.mtime_nsec()), (before.mode(), before.mtime_nsec()));
}

#[test]
fn a_dry_run_changes_nothing_and_tells_everything() {
    let kit = Kit::with(dry_run());
    kit.write("a", b"old");
    kit.write("gone/x", b"x");
    let before = walk(kit.dir.path());
    let mut end = kit.open();
    let pipe = Record::Special { name: b"pipe", meta: meta(), device: Device::Pipe };
    end.records(&[enter(""), file("a", b""), file("b", b""), delete("gone"), link("l", "a"), pipe])
        .unwrap();
    end.records(&[hard("h", "a"), dir("new"), file("c", b""), dir("new/er"), file("d", b"")])
        .unwrap();
    end.records(&[large("new/big", 5 << 20, tow_proto::transfer::How::Whole)]).unwrap();
    end.event(tow_proto::transfer::Event::Break).unwrap();
    let summary = end.finish_well();
    assert_eq!((summary.files, summary.dirs, summary.links), (5, 2, 1));
    assert_eq!((summary.deleted, summary.special, summary.hard_links), (2, 1, 1));
    assert_eq!(walk(kit.dir.path()), before);
    assert_eq!(kit.read("a"), b"old");
    let told = kit.told();
    let told: Vec<_> = told.iter().map(|(change, path, size)| (*change, &**path, *size)).collect();
    let expected = [
        (Change::Content, "a", 0),
        (Change::New, "b", 0),
        (Change::Delete, "gone", 0),
        (Change::Hard, "h", 0),
        (Change::Link, "l", 0),
        (Change::Dir, "new", 0),
        (Change::New, "new/big", 5 << 20),
        (Change::New, "new/c", 0),
        (Change::Dir, "new/er", 0),
        (Change::New, "new/er/d", 0),
        (Change::Special, "pipe", 0),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_dry_run_into_nothing_makes_nothing() {
    let kit = Kit::with(dry_run());
    let mut end = kit.open();
    assert_eq!(end.have(), []);
    end.records(&[top(), file("a", b""), delete("x"), dir("sub"), file("b", b"")]).unwrap();
    assert_eq!(end.finish_well().files, 2);
    assert_eq!(walk(kit.dir.path()), Vec::<std::path::PathBuf>::new());
}
