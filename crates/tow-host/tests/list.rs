//! Listing: sorted, in batches that fit a head frame, with what a link is and not what it leads to.

mod filekit;

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use filekit::Dir;
use tow_host::files::{Show, list};
use tow_proto::message::{Entry, EntryKind};
use tow_proto::{Code, json};

fn batches(dir: &Dir, path: &str, show: Show) -> Result<Vec<Vec<Entry>>, Code> {
    let mut all = Vec::new();
    list(&dir.root(), &path.into(), show, &mut |batch| {
        all.push(batch);
        ControlFlow::Continue(())
    })
    .map(|()| all)
    .map_err(|refusal| refusal.code)
}

fn entries(dir: &Dir, path: &str, show: Show) -> Result<Vec<Entry>, Code> {
    batches(dir, path, show).map(|batches| batches.concat())
}

#[test]
fn every_entry_is_listed_once_sorted_by_the_bytes_of_its_name() {
    let dir = Dir::new("list");
    for name in ["b", "B", "a b", "\u{e9}", ".hidden", "z\n"] {
        dir.write(name, name.as_bytes());
    }
    dir.write(b"\xff", b"");
    fs::create_dir(dir.join("dir")).unwrap();
    symlink("b", dir.join("link")).unwrap();
    fs::set_permissions(dir.join("b"), fs::Permissions::from_mode(0o4751)).unwrap();
    let entries = entries(&dir, "", Show::Contents).unwrap();
    let names: Vec<&[u8]> = entries.iter().map(|entry| entry.name.as_bytes()).collect();
    let expected: [&[u8]; 9] =
        [b".hidden", b"B", b"a b", b"b", b"dir", b"link", b"z\n", b"\xc3\xa9", b"\xff"];
    assert_eq!(names, expected);
    let named = |name: &str| entries.iter().find(|entry| entry.name == name.into()).unwrap();
    assert_eq!((named("b").mode, named("b").size), (0o4751, 1));
    assert_eq!(named("dir").kind, EntryKind::Dir);
    assert_eq!(named("link").kind, EntryKind::Link);
    assert_eq!(named("link").target, Some("b".into()));
}

#[test]
fn a_file_or_a_link_or_a_directory_itself_is_one_entry() {
    let dir = Dir::new("list");
    dir.write("dir/file", b"123");
    symlink("dir/file", dir.join("link")).unwrap();
    symlink("dir", dir.join("dir link")).unwrap();
    symlink("nowhere", dir.join("dangling")).unwrap();
    let kinds = |path: &str, show| {
        entries(&dir, path, show).map(|entries| {
            entries.iter().map(|one| (one.name.to_string(), one.kind)).collect::<Vec<_>>()
        })
    };
    let one = |name: &str, kind| Ok(vec![(name.to_owned(), kind)]);
    assert_eq!(kinds("dir/file", Show::Contents), one("file", EntryKind::File));
    assert_eq!(kinds("dir", Show::Itself), one("dir", EntryKind::Dir));
    assert_eq!(kinds("dir/.", Show::Itself), one("dir", EntryKind::Dir));
    assert_eq!(kinds("link", Show::Contents), one("link", EntryKind::Link));
    assert_eq!(kinds("dangling", Show::Contents), one("dangling", EntryKind::Link));
    assert_eq!(kinds("dir link", Show::Contents), one("file", EntryKind::File));
    assert_eq!(kinds("dir link", Show::Itself), one("dir link", EntryKind::Link));
    assert_eq!(kinds("missing", Show::Contents), Err(Code::NotFound));
    assert_eq!(kinds("dir/file/", Show::Contents), Err(Code::NotADirectory));
    let top = dir.path().file_name().unwrap().to_str().unwrap();
    assert_eq!(kinds(dir.path().to_str().unwrap(), Show::Itself), one(top, EntryKind::Dir));
    let file = entries(&dir, "dir/file", Show::Itself).unwrap();
    assert_eq!(file[0].size, 3);
}

#[test]
fn a_large_directory_comes_in_batches_that_fit_a_head_frame() {
    let dir = Dir::new("list");
    for number in 0..2_500 {
        // Control characters take six times their room in JSON.
        let name =
            format!("{}{number:04}", if number < 1_200 { "\u{1}".repeat(240) } else { "x".into() });
        fs::File::create(dir.join(name)).unwrap();
    }
    let batches = batches(&dir, ".", Show::Contents).unwrap();
    assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), 2_500);
    assert!(batches.iter().all(|batch| batch.len() <= 1_000));
    assert!(batches.iter().any(|batch| batch.len() == 1_000));
    let largest = batches.iter().map(|batch| json::to_vec(batch).len()).max().unwrap();
    assert!(largest <= 512 << 10, "{largest}");
}

#[test]
fn who_has_seen_enough_stops_the_listing() {
    let dir = Dir::new("list");
    for number in 0..1_500 {
        fs::File::create(dir.join(format!("{number}"))).unwrap();
    }
    let mut count = 0;
    list(&dir.root(), &".".into(), Show::Contents, &mut |_| {
        count += 1;
        ControlFlow::Break(())
    })
    .unwrap();
    assert_eq!(count, 1);
}
