//! One file from who has its bytes: the name shows the old file or the whole new one, and what was
//! begun under a name of its own goes on.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(clippy::print_stdout, reason = "a test that is skipped says so")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::Barrier;

use tow_host::beneath::Root;
use tow_host::files::{Links, Upload, stat};
use tow_proto::message::{Exists, Known, Mtime, Stored, UploadId, Write};
use tow_proto::{Code, Refusal};
use tow_testkit::{Mount, TempDir, mode_of, names_in, noise};

const OWNER: &str = "key";

fn place() -> (TempDir, Root) {
    let dir = TempDir::new();
    let root = Root::open(dir.path(), dir.path()).unwrap();
    (dir, root)
}

fn id(text: &str) -> UploadId {
    UploadId::try_from(text.to_owned()).unwrap()
}

/// A part of the upload `up`.
fn part(path: &str, from: u64) -> Write {
    Write { from, last: false, upload: Some(id("up")), ..Write::whole(path) }
}

fn begin(root: &Root, request: &Write) -> Result<Upload, Refusal> {
    Upload::begin(root, request, OWNER)
}

fn write(root: &Root, request: &Write, bytes: &[u8]) -> Result<Stored, Refusal> {
    let mut upload = begin(root, request)?;
    for portion in bytes.chunks(1_000) {
        upload.append(portion)?;
    }
    upload.publish()
}

#[track_caller]
fn code<T>(result: Result<T, Refusal>) -> Code {
    result.map(drop).unwrap_err().code
}

fn known(root: &Root, path: &str) -> Known {
    Known::from(&stat(root, &path.into(), Links::Show).unwrap())
}

#[test]
fn a_file_is_written_and_written_again() {
    let (dir, root) = place();
    let long = noise(100_000, 1);
    let stored = write(&root, &Write::whole("a"), &long).unwrap();
    assert!(stored.created);
    assert_eq!(stored.stat, stat(&root, &"a".into(), Links::Show).unwrap());
    assert_eq!(fs::read(dir.join("a")).unwrap(), long);
    let again = write(&root, &Write::whole("a"), b"short").unwrap();
    assert!(!again.created);
    assert_eq!(fs::read(dir.join("a")).unwrap(), b"short");
    assert!(write(&root, &Write::whole("empty"), b"").unwrap().created);
    assert_eq!(names_in(dir.path()), ["a", "empty"]);
    assert_eq!(code(begin(&root, &Write::whole("no/a"))), Code::NotFound);
    assert_eq!(code(begin(&root, &Write::whole("a/b"))), Code::NotADirectory);
    for path in ["a/", "new/"] {
        assert_eq!(code(begin(&root, &Write::whole(path))), Code::IsADirectory);
    }
    for path in ["", ".", "..", "a/.."] {
        assert_eq!(code(begin(&root, &Write::whole(path))), Code::BadName, "{path}");
    }
}

#[test]
fn an_interrupted_write_keeps_the_old_file_and_leaves_nothing() {
    let (dir, root) = place();
    fs::write(dir.join("a"), "old").unwrap();
    let mut upload = begin(&root, &Write::whole("a")).unwrap();
    upload.append(b"new").unwrap();
    assert_eq!(fs::read(dir.join("a")).unwrap(), b"old");
    assert_eq!(names_in(dir.path()).len(), 2, "beside it");
    drop(upload);
    let mut upload = begin(&root, &Write::whole("a")).unwrap();
    upload.append(b"new").unwrap();
    assert_eq!(upload.keep(), 3);
    assert_eq!(fs::read(dir.join("a")).unwrap(), b"old");
    assert_eq!(names_in(dir.path()), ["a"]);
}

#[test]
fn two_writers_of_one_name_are_not_in_each_others_way() {
    let (dir, root) = place();
    let [mut one, mut other] = [(); 2].map(|()| begin(&root, &Write::whole("a")).unwrap());
    one.append(b"one").unwrap();
    other.append(b"other").unwrap();
    assert!(other.publish().unwrap().created);
    assert!(!one.publish().unwrap().created);
    assert_eq!(fs::read(dir.join("a")).unwrap(), b"one", "the last that completes");
    assert_eq!(names_in(dir.path()), ["a"]);
}

#[test]
fn a_name_that_is_to_be_kept_is_given_to_exactly_one() {
    let (dir, root) = place();
    fs::write(dir.join("there"), "old").unwrap();
    let keep = |path: &str| Write { exists: Exists::Keep, ..Write::whole(path) };
    assert_eq!(code(begin(&root, &keep("there"))), Code::Exists);
    for round in 0..50 {
        let (name, start) = (format!("new{round}"), Barrier::new(2));
        let results = std::thread::scope(|scope| {
            let write = |bytes: &'static [u8]| {
                let mut upload = begin(&root, &keep(&name)).unwrap();
                upload.append(bytes).unwrap();
                start.wait();
                upload.publish().map(|stored| (stored.created, bytes))
            };
            let one = scope.spawn(move || write(b"one"));
            let other = write(b"other");
            [one.join().unwrap(), other]
        });
        let [won] = results.iter().flatten().collect::<Vec<_>>()[..] else {
            panic!("{results:?}");
        };
        assert!(won.0);
        assert_eq!(fs::read(dir.join(&name)).unwrap(), won.1);
        assert!(results.iter().flatten().count() == 1 && results.iter().any(Result::is_err));
        let lost = results.iter().find_map(|result| result.as_ref().err()).unwrap();
        assert_eq!(lost.code, Code::Exists);
    }
    assert_eq!(names_in(dir.path()).len(), 51, "and no partial");
    assert_eq!(fs::read(dir.join("there")).unwrap(), b"old");
}

#[test]
fn a_file_that_is_not_the_one_that_was_seen_stays() {
    let (dir, root) = place();
    fs::write(dir.join("a"), "old").unwrap();
    let seen = known(&root, "a");
    let unless = |known| Write { exists: Exists::If(known), ..Write::whole("a") };
    for wrong in [
        Known { inode: seen.inode + 1, ..seen },
        Known { device: seen.device + 1, ..seen },
        Known { size: 4, ..seen },
        Known { mtime: Mtime(1, 0), ..seen },
        Known { ctime: Mtime(1, 0), ..seen },
    ] {
        assert_eq!(code(begin(&root, &unless(wrong))), Code::Changed);
    }
    let gone = Write { path: "gone".into(), ..unless(seen) };
    assert_eq!(code(begin(&root, &gone)), Code::Changed);
    // It is changed while the new content arrives.
    let mut upload = begin(&root, &unless(seen)).unwrap();
    upload.append(b"new").unwrap();
    fs::write(dir.join("other"), "faster").unwrap();
    fs::rename(dir.join("other"), dir.join("a")).unwrap();
    assert_eq!(code(upload.publish()), Code::Changed);
    assert_eq!(fs::read(dir.join("a")).unwrap(), b"faster");
    assert!(!write(&root, &unless(known(&root, "a")), b"new").unwrap().created);
    assert_eq!(fs::read(dir.join("a")).unwrap(), b"new");
    assert_eq!(names_in(dir.path()), ["a"]);
}

#[test]
fn of_many_who_saw_the_same_file_exactly_one_replaces_it() {
    let (dir, root) = place();
    fs::write(dir.join("a"), "old").unwrap();
    for _ in 0..30 {
        let seen = Write { exists: Exists::If(known(&root, "a")), ..Write::whole("a") };
        let start = Barrier::new(4);
        let won: usize = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..4)
                .map(|number| {
                    let (root, seen, start) = (&root, &seen, &start);
                    scope.spawn(move || {
                        let mut upload = begin(root, seen).unwrap();
                        upload.append(format!("{number}").as_bytes()).unwrap();
                        start.wait();
                        usize::from(upload.publish().is_ok())
                    })
                })
                .collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).sum()
        });
        assert_eq!(won, 1);
    }
    assert_eq!(names_in(dir.path()), ["a"]);
}

#[test]
fn a_link_is_replaced_itself_and_a_directory_or_a_device_never() {
    let (dir, root) = place();
    fs::write(dir.join("target"), "old").unwrap();
    symlink("target", dir.join("link")).unwrap();
    symlink("nowhere", dir.join("dangling")).unwrap();
    fs::create_dir(dir.join("dir")).unwrap();
    for link in ["link", "dangling"] {
        assert!(!write(&root, &Write::whole(link), b"new").unwrap().created);
        assert!(!dir.join(link).is_symlink());
        assert_eq!(fs::read(dir.join(link)).unwrap(), b"new");
    }
    assert_eq!(fs::read(dir.join("target")).unwrap(), b"old");
    assert!(!dir.join("nowhere").exists());
    assert_eq!(code(begin(&root, &Write::whole("dir"))), Code::IsADirectory);
    let _socket = std::os::unix::net::UnixListener::bind(dir.join("socket")).unwrap();
    assert_eq!(code(begin(&root, &Write::whole("socket"))), Code::SpecialFile);
    // One that appears meanwhile.
    let mut upload = begin(&root, &Write::whole("late")).unwrap();
    upload.append(b"new").unwrap();
    fs::create_dir(dir.join("late")).unwrap();
    assert_eq!(code(upload.publish()), Code::IsADirectory);
    assert_eq!(names_in(dir.path()), ["dangling", "dir", "late", "link", "socket", "target"]);
}

#[test]
fn mode_and_time_are_those_of_the_request_of_the_old_file_or_of_any_new_one() {
    let (dir, root) = place();
    let mtime = Some(Mtime(1_700_000_000, 5));
    let request = Write { mode: Some(0o640), mtime, ..Write::whole("a") };
    let stored = write(&root, &request, b"x").unwrap();
    assert_eq!((stored.stat.mode, stored.stat.mtime), (0o640, Mtime(1_700_000_000, 5)));
    // What was there is replaced: its permissions stay, what made it run as another does not.
    fs::set_permissions(dir.join("a"), Permissions::from_mode(0o4750)).unwrap();
    let stored = write(&root, &Write::whole("a"), b"y").unwrap();
    assert_eq!(stored.stat.mode, 0o750);
    assert!(stored.stat.mtime.0 > 1_700_000_000);
    fs::write(dir.join("plain"), "x").unwrap();
    let stored = write(&root, &Write::whole("new"), b"x").unwrap();
    assert_eq!(stored.stat.mode, mode_of(&dir.join("plain")), "as any new file");
    for mode in [0o4755, 0o2755, 0o1755, 0o10644, u32::MAX] {
        let request = Write { mode: Some(mode), ..Write::whole("bad") };
        assert_eq!(code(begin(&root, &request)), Code::BadArgument, "{mode:o}");
    }
    let request = Write { mtime: Some(Mtime(0, 1_073_741_823)), ..Write::whole("bad") };
    assert_eq!(code(begin(&root, &request)), Code::BadArgument);
    let request = Write { last: false, ..Write::whole("bad") };
    assert_eq!(code(begin(&root, &request)), Code::BadArgument);
    assert_eq!(names_in(dir.path()), ["a", "new", "plain"]);
}

#[test]
fn until_it_is_complete_it_is_for_its_owner_alone() {
    let (dir, root) = place();
    let mut upload = begin(&root, &Write { mode: Some(0o666), ..Write::whole("a") }).unwrap();
    upload.append(b"x").unwrap();
    let [partial] = &names_in(dir.path())[..] else { panic!("one file") };
    let name = partial.to_str().unwrap();
    assert!(name.starts_with(".a.") && name.ends_with(".tow-part"), "{name}");
    assert_eq!(mode_of(&dir.join(partial)), 0o600);
    assert_eq!(upload.publish().unwrap().stat.mode, 0o666);
}

#[test]
fn an_upload_goes_on_where_it_stands_and_nowhere_else() {
    let (dir, root) = place();
    fs::write(dir.join("a"), "old").unwrap();
    let at = |owner: &str| Upload::stat(&root, &"a".into(), &id("up"), owner);
    assert_eq!(code(at(OWNER)), Code::NotFound);
    let mut upload = begin(&root, &part("a", 0)).unwrap();
    assert_eq!(code(begin(&root, &part("a", 0))), Code::Busy);
    assert_eq!(code(Upload::remove(&root, &"a".into(), &id("up"), OWNER)), Code::Busy);
    upload.append(b"one ").unwrap();
    assert_eq!(at(OWNER), Ok(4), "while it is written");
    drop(upload);
    assert_eq!((at(OWNER), code(at("another"))), (Ok(4), Code::NotFound));
    for wrong in [0, 3, 5, u64::MAX] {
        let refused = begin(&root, &part("a", wrong)).map(drop).unwrap_err();
        assert_eq!((refused.code, refused.count), (Code::OutOfOrder, Some(4)), "{wrong}");
    }
    let other = Write { upload: Some(id("other")), ..part("a", 4) };
    let refused = begin(&root, &other).map(drop).unwrap_err();
    assert_eq!((refused.code, refused.count), (Code::OutOfOrder, Some(0)));
    let mut upload = begin(&root, &part("a", 4)).unwrap();
    upload.append(b"wrong").unwrap();
    upload.take_back();
    assert_eq!(at(OWNER), Ok(4));
    let mut upload = begin(&root, &Write { last: true, ..part("a", 4) }).unwrap();
    upload.append(b"two").unwrap();
    assert_eq!(fs::read(dir.join("a")).unwrap(), b"old");
    assert_eq!(upload.publish().unwrap().stat.size, 7);
    assert_eq!(fs::read(dir.join("a")).unwrap(), b"one two");
    assert_eq!(code(at(OWNER)), Code::NotFound);
    assert_eq!(names_in(dir.path()), ["a"]);
}

#[test]
fn an_upload_can_be_forgotten_and_one_of_nothing_leaves_nothing() {
    let (dir, root) = place();
    let forget = || Upload::remove(&root, &"a".into(), &id("up"), OWNER);
    assert_eq!(code(forget()), Code::NotFound);
    assert_eq!(begin(&root, &part("a", 0)).unwrap().keep(), 0);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    let mut upload = begin(&root, &part("a", 0)).unwrap();
    upload.append(b"x").unwrap();
    assert_eq!(upload.keep(), 1);
    assert_eq!(forget(), Ok(()));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_size_that_is_not_the_real_one_shows_nothing() {
    let (dir, root) = place();
    let sized = |size| Write { size: Some(size), last: true, ..part("a", 0) };
    let mut upload = begin(&root, &sized(3)).unwrap();
    let refused = upload.append(b"four").unwrap_err();
    assert_eq!((refused.code, refused.count), (Code::TooLong, Some(3)));
    upload.append(b"two").unwrap();
    assert_eq!(code(upload.append(b"x")), Code::TooLong);
    drop(upload);
    let short = Write { from: 3, ..sized(5) };
    let refused = begin(&root, &short).unwrap().publish().unwrap_err();
    assert_eq!((refused.code, refused.count), (Code::Corrupt, Some(2)));
    assert_eq!(Upload::stat(&root, &"a".into(), &id("up"), OWNER), Ok(3), "the partial stays");
    assert_eq!(code(begin(&root, &Write { from: 3, ..sized(2) })), Code::TooLong);
    assert!(!dir.join("a").exists());
    assert_eq!(
        begin(&root, &Write { from: 3, ..sized(3) }).unwrap().publish().unwrap().stat.size,
        3
    );
    // Without a name, not even a part stays.
    let refused = write(&root, &Write { size: Some(9), ..Write::whole("b") }, b"four");
    assert_eq!(code(refused), Code::Corrupt);
    assert_eq!(names_in(dir.path()), ["a"]);
}

#[test]
fn directories_are_made_when_the_first_byte_arrives() {
    let (dir, root) = place();
    let deep = |path: &str| Write { parents: true, ..Write::whole(path) };
    let mut upload = begin(&root, &deep("x/y/a")).unwrap();
    assert!(!dir.join("x").exists());
    upload.append(b"deep").unwrap();
    assert!(dir.join("x/y").is_dir());
    upload.publish().unwrap();
    assert_eq!(fs::read(dir.join("x/y/a")).unwrap(), b"deep");
    write(&root, &deep("x/z/empty"), b"").unwrap();
    assert_eq!(fs::read(dir.join("x/z/empty")).unwrap(), b"");
    drop(begin(&root, &deep("q/a")).unwrap());
    assert!(!dir.join("q").exists());
    let refused = begin(&root, &Write { parents: true, ..part("q/a", 7) }).map(drop).unwrap_err();
    assert_eq!((refused.code, refused.count), (Code::OutOfOrder, Some(0)));
    assert_eq!(code(begin(&root, &deep("x/y/a/b"))), Code::NotADirectory);
}

#[test]
fn what_stands_under_the_name_of_the_partial_is_not_written_into() {
    let (dir, root) = place();
    fs::write(dir.join("victim"), "old").unwrap();
    drop({
        let mut upload = begin(&root, &part("a", 0)).unwrap();
        upload.append(b"mine").unwrap();
        upload
    });
    let partial = names_in(dir.path()).remove(0);
    fs::remove_file(dir.join(&partial)).unwrap();
    symlink("victim", dir.join(&partial)).unwrap();
    assert_eq!(code(Upload::stat(&root, &"a".into(), &id("up"), OWNER)), Code::NotFound);
    let mut upload = begin(&root, &part("a", 0)).unwrap();
    upload.append(b"new").unwrap();
    // Somebody exchanges it while it is written.
    fs::remove_file(dir.join(&partial)).unwrap();
    fs::write(dir.join(&partial), "theirs").unwrap();
    assert_eq!(code(upload.publish()), Code::Changed);
    assert!(!dir.join("a").exists());
    assert_eq!(fs::read(dir.join("victim")).unwrap(), b"old");
}

#[test]
fn room_is_taken_first_and_a_disk_that_is_full_keeps_the_old_file() {
    let (dir, root) = place();
    let Some(_mount) = Mount::tmpfs(dir.path(), "size=1m") else {
        println!("skipped: a small file system can only be mounted by root");
        return;
    };
    // The root was opened before the mount: what is seen there now is another directory.
    drop(root);
    let root = Root::open(dir.path(), dir.path()).unwrap();
    fs::write(dir.join("a"), "old").unwrap();
    let large = Write { size: Some(4 << 20), ..Write::whole("a") };
    let refused = begin(&root, &large).map(drop).unwrap_err();
    assert_eq!(refused.code, Code::NoSpace);
    assert!(refused.count.is_some_and(|missing| missing >= 3 << 20), "{refused:?}");
    let mut upload = begin(&root, &part("a", 0)).unwrap();
    let piece = noise(100_000, 1);
    let refused = (0..20).find_map(|_| upload.append(&piece).err()).expect("it is full");
    assert_eq!(refused.code, Code::NoSpace);
    let at = upload.keep();
    assert!((900_000..1 << 20).contains(&at), "what could be written counts: {at}");
    assert_eq!(fs::read(dir.join("a")).unwrap(), b"old");
    assert_eq!(Upload::stat(&root, &"a".into(), &id("up"), OWNER), Ok(at));
    Upload::remove(&root, &"a".into(), &id("up"), OWNER).unwrap();
    write(&root, &Write::whole("a"), &piece).unwrap();
    assert_eq!(names_in(dir.path()), ["a"]);
}

#[test]
fn room_that_was_taken_does_not_make_a_file_longer() {
    let (dir, root) = place();
    let bytes = noise(300_000, 3);
    let request = Write { size: Some(300_000), last: true, ..part("a", 0) };
    let mut upload = begin(&root, &request).unwrap();
    upload.append(&bytes[..100_000]).unwrap();
    drop(upload);
    assert_eq!(Upload::stat(&root, &"a".into(), &id("up"), OWNER), Ok(100_000));
    write(&root, &Write { from: 100_000, ..request }, &bytes[100_000..]).unwrap();
    assert_eq!(fs::read(dir.join("a")).unwrap(), bytes);
    assert_eq!(fs::metadata(dir.join("a")).unwrap().nlink(), 1);
}

#[test]
fn nothing_outside_is_written() {
    let dir = TempDir::new();
    fs::create_dir_all(dir.join("outside")).unwrap();
    fs::create_dir_all(dir.join("root/inside")).unwrap();
    symlink("../../outside", dir.join("root/inside/up")).unwrap();
    symlink(dir.join("outside"), dir.join("root/absolute")).unwrap();
    let root = Root::open(&dir.join("root"), &dir.join("root")).unwrap();
    let real = dir.path().canonicalize().unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    for path in [
        "../new".to_owned(),
        "inside/../../outside/new".to_owned(),
        "inside/up/new".to_owned(),
        "absolute/new".to_owned(),
        "/etc/new".to_owned(),
        text(&real.join("outside/new")),
        text(&real.join("root/../outside/new")),
    ] {
        for parents in [false, true] {
            let request = Write { parents, ..Write::whole(path.as_str()) };
            assert_eq!(code(begin(&root, &request)), Code::OutsideRoot, "{path}");
        }
        let stat = Upload::stat(&root, &path.as_str().into(), &id("up"), OWNER);
        assert_eq!(code(stat), Code::OutsideRoot, "{path}");
        let remove = Upload::remove(&root, &path.as_str().into(), &id("up"), OWNER);
        assert_eq!(code(remove), Code::OutsideRoot, "{path}");
    }
    assert_eq!(fs::read_dir(dir.join("outside")).unwrap().count(), 0);
}
