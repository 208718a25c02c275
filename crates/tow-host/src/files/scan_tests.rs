//! A tree is scanned whole, parents first, in bounded memory.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

use super::*;

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tow-scan-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, content: &[u8]) {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn open(path: &Path) -> OwnedFd {
    std::fs::File::open(path).unwrap().into()
}

fn list(place: &Place, options: &Options, specials: Specials) -> Scanned {
    let filter = Filter::new(options).unwrap();
    Look::new(options, specials).list(&open(&place.0), b"", Meta::default(), filter)
}

fn names(scanned: &Scanned) -> Vec<String> {
    let name = |entry: &Entry| String::from_utf8_lossy(&entry.name).into_owned();
    scanned.listing.entries.iter().map(name).collect()
}

#[test]
fn a_listing_is_sorted_and_says_what_everything_is() {
    let place = Place::new("kinds");
    place.write("b", b"four");
    place.write("c/inner", b"");
    place.write(".b.0123456789abcdef.tow-part", b"par");
    std::os::unix::fs::symlink("nowhere", place.0.join("a")).unwrap();
    std::fs::hard_link(place.0.join("b"), place.0.join("d")).unwrap();
    let scanned = list(&place, &Options::default(), Specials::Failed);
    assert_eq!(names(&scanned), ["a", "b", "c", "d"]);
    let whats: Vec<_> = scanned.listing.entries.iter().map(|entry| entry.what.clone()).collect();
    let file = What::File { size: 4, hash: None };
    let link = What::Link { target: b"nowhere".as_slice().into() };
    assert_eq!(whats, [link, file.clone(), What::Dir, file]);
    assert!(scanned.listing.is_complete && scanned.failed.is_empty());
    assert!(scanned.file_id(b"b").is_some());
    assert_eq!(scanned.file_id(b"b"), scanned.file_id(b"d"));
    assert_eq!(scanned.file_id(b"a"), None);
    assert_eq!(scanned.partials, [(b".b.0123456789abcdef.tow-part".as_slice().into(), 3)]);
}

#[test]
fn hashes_and_owners_are_there_where_they_are_asked_for() {
    let place = Place::new("hash");
    place.write("x", b"content");
    let options = Options { checksum: true, archive: true, ..Options::default() };
    let scanned = list(&place, &options, Specials::Failed);
    let What::File { hash: Some(hash), .. } = &scanned.listing.entries[0].what else { panic!() };
    assert_eq!(hash.0, *blake3::hash(b"content").as_bytes());
    let owner = scanned.listing.entries[0].meta.owner.as_ref().unwrap();
    assert_eq!(owner.uid, rustix::process::geteuid().as_raw());
}

#[test]
fn what_is_special_is_listed_or_reported() {
    let place = Place::new("special");
    let _socket = std::os::unix::net::UnixListener::bind(place.0.join("s")).unwrap();
    let scanned = list(&place, &Options::default(), Specials::Failed);
    assert_eq!(scanned.failed, [(b"s".to_vec(), Code::SpecialFile)]);
    assert!(scanned.listing.entries.is_empty() && scanned.listing.is_complete);
    let scanned = list(&place, &Options::default(), Specials::Listed);
    assert_eq!(scanned.listing.entries[0].what, What::Special(Device::Socket));
}

#[test]
fn the_scanner_gives_every_directory_once_and_parents_first() {
    let place = Place::new("tree");
    for number in 0..300 {
        place.write(&format!("{}/{}/{number}", number % 7, number % 31), b"xy");
    }
    let (top, progress) = (open(&place.0), Progress::default());
    let options = Options { exclude: vec!["/3".into()], ..Options::default() };
    let look = Look::new(&options, Specials::Failed);
    let mut seen: Vec<Vec<u8>> = Vec::new();
    let mut files = 0;
    let filter = Filter::new(&options).unwrap();
    let flow = scan_tree(&top, look, filter, &progress, &mut |scanned| {
        let path = scanned.listing.path.clone();
        let (parent, _) = crate::beneath::split_last(&path);
        assert!(path.is_empty() || seen.iter().any(|known| known == parent));
        assert!(!seen.contains(&path) && !path.starts_with(b"3"));
        let is_file = |entry: &&Entry| matches!(entry.what, What::File { .. });
        files += scanned.listing.entries.iter().filter(is_file).count() as u64;
        seen.push(path);
        ControlFlow::Continue(())
    });
    assert!(flow.is_continue());
    let expected = (0..300).filter(|number| number % 7 != 3).count() as u64;
    assert_eq!((files, progress.now().files_total), (expected, expected));
    assert_eq!(progress.now().bytes_total, 2 * expected);
}

#[test]
fn the_scanner_waits_for_its_taker_and_ends_with_it() {
    let place = Place::new("bounded");
    let per_dir = 10;
    for dir in 0..60 {
        for number in 0..per_dir {
            place.write(&format!("{dir}/{number}"), b"");
        }
    }
    let (top, progress) = (open(&place.0), Progress::default());
    let options = Options::default();
    let look = Look::new(&options, Specials::Failed);
    let mut scanner = Scanner::new(&top, look, Filter::new(&options).unwrap(), &progress, &|| {});
    scanner.room = 5 * (per_dir + 1);
    std::thread::scope(|scope| {
        for _ in 0..SCANNERS {
            scope.spawn(|| scanner.work());
        }
        let mut files = 0;
        for _ in 0..30 {
            let entries = scanner.next().unwrap().listing.entries;
            files += entries.iter().filter(|entry| entry.what != What::Dir).count();
            // What waits, what each thread has just read, and one more on its way in.
            let most = files + scanner.room + (2 * SCANNERS + 1) * per_dir;
            let found = progress.now().files_total;
            assert!(found <= most as u64, "{found} of {most}");
        }
        scanner.close();
    });
    assert!(progress.now().files_total < 60 * per_dir as u64);
}

#[test]
fn a_directory_that_cannot_be_read_is_reported_and_known_to_be_incomplete() {
    let place = Place::new("unreadable");
    place.write("a/x", b"");
    let (top, progress) = (open(&place.0), Progress::default());
    let options = Options::default();
    let look = Look::new(&options, Specials::Failed);
    let gone = place.0.join("a");
    let remove = || drop(std::fs::remove_dir_all(&gone));
    let scanner = Scanner::new(&top, look, Filter::new(&options).unwrap(), &progress, &remove);
    scanner.work();
    let (first, second) = (scanner.take().unwrap(), scanner.take().unwrap());
    assert_eq!((first.refused(), names(&first)), (None, vec!["a".to_owned()]));
    assert_eq!(second.refused(), Some(Code::NotFound));
    assert!(first.listing.is_complete && !second.listing.is_complete);
    assert!(scanner.is_done());
}

#[test]
fn what_lies_too_deep_is_reported_and_not_entered() {
    let place = Place::new("deep");
    let path = vec!["d"; DEPTH_MAX + 3].join("/");
    std::fs::create_dir_all(place.0.join(path)).unwrap();
    let (top, progress) = (open(&place.0), Progress::default());
    let options = Options::default();
    let look = Look::new(&options, Specials::Failed);
    let (mut dirs, mut failed) = (0, Vec::new());
    let _ = scan_tree(&top, look, Filter::new(&options).unwrap(), &progress, &mut |scanned| {
        dirs += 1;
        assert_eq!(scanned.listing.is_complete, scanned.failed.is_empty());
        failed.extend(scanned.failed);
        ControlFlow::Continue(())
    });
    assert_eq!(dirs, DEPTH_MAX + 1);
    let too_deep = vec!["d"; DEPTH_MAX + 1].join("/").into_bytes();
    assert_eq!(failed, [(too_deep, Code::TooDeep)]);
}

#[test]
fn nothing_is_hashed_for_nobody() {
    let place = Place::new("stopped");
    std::fs::write(place.0.join("a"), b"a").unwrap();
    let options = Options { checksum: true, ..Options::default() };
    let stop = Arc::new(AtomicBool::new(false));
    let look = Look::new(&options, Specials::Failed).until(Arc::clone(&stop));
    let list = || {
        let filter = Filter::new(&options).unwrap();
        look.list(&open(&place.0), b"", Meta::default(), filter)
    };
    assert_eq!(list().listing.entries.len(), 1);
    stop.store(true, Relaxed);
    let stopped = list();
    assert_eq!(stopped.failed, [(b"a".to_vec(), Code::Stopping)]);
    assert!(!stopped.listing.is_complete && stopped.listing.entries.is_empty());
}
