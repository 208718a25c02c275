//! `tow sync` and the options of `get` and `put`, from outside.

#![allow(clippy::unwrap_used, reason = "what a test can't do without has failed it")]

use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use tow_testkit::{Cut, Direction, How, Pair, files_beneath, names_in, noise};

fn pair() -> Pair {
    Pair::new(env!("CARGO_BIN_EXE_tow"))
}

/// Which of the two sides is remote.
#[derive(Clone, Copy, Debug)]
enum Way {
    Up,
    Down,
    Here,
}

impl Way {
    const ALL: [Self; 3] = [Self::Up, Self::Down, Self::Here];

    /// Makes `dest` equal to `source`, both in the work directory of their machine.
    fn sync(self, pair: &Pair, options: &[&str]) -> Value {
        let done = pair.client.tow(self.args()).args(options).arg("--json").run().ok();
        done.last_json()
    }

    fn args(self) -> [&'static str; 3] {
        match self {
            Self::Up => ["sync", "source", "box:dest"],
            Self::Down => ["sync", "box:source", "dest"],
            Self::Here => ["sync", "source", "dest"],
        }
    }

    fn source(self, pair: &Pair) -> std::path::PathBuf {
        match self {
            Self::Up | Self::Here => pair.client.file("source"),
            Self::Down => pair.host.file("source"),
        }
    }

    fn dest(self, pair: &Pair) -> std::path::PathBuf {
        match self {
            Self::Up => pair.host.file("dest"),
            Self::Down | Self::Here => pair.client.file("dest"),
        }
    }
}

fn set_time(path: &Path, seconds: u64) {
    let times =
        FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    File::open(path).unwrap().set_times(times).unwrap();
}

fn write(path: &Path, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// A tree with something of everything.
fn a_tree(at: &Path) {
    for number in 0..50u64 {
        write(
            &at.join(format!("small/{}/{number}", number % 7)),
            noise(number as usize * 97, number),
        );
    }
    write(&at.join("large"), noise(3 << 20, 5));
    write(&at.join("empty"), "");
    fs::create_dir_all(at.join("nothing in it")).unwrap();
    symlink("large", at.join("link")).unwrap();
    fs::hard_link(at.join("large"), at.join("small/other name")).unwrap();
    fs::set_permissions(at.join("empty"), Permissions::from_mode(0o440)).unwrap();
    let sparse = File::create(at.join("sparse")).unwrap();
    sparse.set_len(16 << 20).unwrap();
    sparse.write_all_at(&noise(5_000, 1), 8 << 20).unwrap();
    drop(sparse);
    set_time(&at.join("large"), 1_000_000_000);
    set_time(&at.join("small"), 1_100_000_000);
}

#[test]
fn the_content_of_one_becomes_that_of_the_other_and_nothing_is_nested() {
    for way in Way::ALL {
        let pair = pair();
        let (source, dest) = (way.source(&pair), way.dest(&pair));
        a_tree(&source);
        write(&dest.join("stays"), "mine");
        write(&dest.join("small/1/1"), "old and shorter");
        let done = way.sync(&pair, &[]);
        assert_eq!((&done["failed"], &done["deleted"]), (&json!(0), &json!(0)), "{way:?}");
        assert_eq!(fs::read(dest.join("stays")).unwrap(), b"mine");
        fs::remove_file(dest.join("stays")).unwrap();
        assert!(files_beneath(&dest) == files_beneath(&source), "{way:?}");
        assert_eq!(fs::read_link(dest.join("link")).unwrap(), Path::new("large"));
        // A second time, nothing moves.
        let again = way.sync(&pair, &[]);
        assert_eq!((&again["bytes"], &again["files"]), (&json!(0), &json!(0)), "{way:?} {again}");
    }
}

#[test]
fn what_the_source_does_not_have_goes_only_when_that_is_asked_for() {
    for way in Way::ALL {
        let pair = pair();
        let (source, dest) = (way.source(&pair), way.dest(&pair));
        write(&source.join("kept/file"), "content");
        for extra in ["extra", "kept/extra", "gone/deep/er/file"] {
            write(&dest.join(extra), "extra");
        }
        let outside = pair.client.write("outside/file", "not to be touched");
        symlink(outside.parent().unwrap(), dest.join("gone/link")).unwrap();
        let _ = way.sync(&pair, &[]);
        assert!(dest.join("gone/deep/er/file").exists());
        let done = way.sync(&pair, &["--delete"]);
        assert!(files_beneath(&dest) == files_beneath(&source), "{way:?} {done}");
        assert!(done["deleted"].as_u64() >= Some(3), "{way:?} {done}");
        assert_eq!(fs::read(&outside).unwrap(), b"not to be touched");
    }
}

#[test]
fn an_empty_source_deletes_nothing_by_accident() {
    for way in Way::ALL {
        let pair = pair();
        fs::create_dir_all(way.source(&pair)).unwrap();
        write(&way.dest(&pair).join("file"), "content");
        let done = pair.client.tow(way.args()).arg("--delete").run();
        let _ = done.fails(1, &["empty"]);
        assert!(way.dest(&pair).join("file").exists(), "{way:?}");
        let _ = way.sync(&pair, &["--delete", "--delete-all"]);
        assert_eq!(names_in(&way.dest(&pair)).len(), 0, "{way:?}");
    }
}

#[test]
fn no_more_is_deleted_than_allowed() {
    for way in Way::ALL {
        let pair = pair();
        write(&way.source(&pair).join("file"), "content");
        for number in 0..10 {
            write(&way.dest(&pair).join(format!("extra{number}")), "x");
        }
        let done = pair.client.tow(way.args()).args(["--delete", "--max-delete", "4"]).run();
        assert_eq!(done.code(), 1, "{way:?}: {done}");
        assert_eq!(names_in(&way.dest(&pair)).len(), 7, "{way:?}: {done}");
    }
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    for way in Way::ALL {
        let pair = pair();
        let (source, dest) = (way.source(&pair), way.dest(&pair));
        write(&source.join("new"), "12345");
        write(&source.join("dir/new"), "1");
        write(&source.join("changed"), "longer than before");
        write(&source.join("large"), noise(1 << 20, 1));
        write(&dest.join("changed"), "before");
        write(&dest.join("extra"), "extra");
        let before = files_beneath(&dest);
        let done = pair.client.tow(way.args()).args(["--delete", "-n", "--json"]).run().ok();
        assert!(files_beneath(&dest) == before, "{way:?}");
        let items: Vec<_> =
            done.json().into_iter().filter(|line| line["event"] == "item").collect();
        for (change, path) in [
            ("new", "new"),
            ("new", "dir/new"),
            ("new", "large"),
            ("dir", "dir"),
            ("update", "changed"),
            ("delete", "extra"),
        ] {
            let is_it = |item: &&Value| item["change"] == change && item["path"] == path;
            assert_eq!(items.iter().filter(is_it).count(), 1, "{way:?} {change} {path}: {done}");
        }
        let text = pair.client.tow(way.args()).args(["--delete", "--dry-run"]).run().ok().out();
        assert!(text.lines().any(|line| line == "delete   extra"), "{way:?} {text}");
    }
}

#[test]
fn what_is_excluded_is_neither_sent_nor_deleted() {
    for way in Way::ALL {
        let pair = pair();
        let (source, dest) = (way.source(&pair), way.dest(&pair));
        for name in ["a.o", "a.c", "build/x", "keep/build/y", "sub/ignored", "sub/seen"] {
            write(&source.join(name), name);
        }
        write(&source.join("sub/.gitignore"), "ignored\n");
        write(&dest.join("old.o"), "protected");
        write(&dest.join("gone"), "gone");
        let _ = way
            .sync(&pair, &["--delete", "--exclude", "*.o", "--exclude", "/build", "--gitignore"]);
        for (name, is_there) in [
            ("a.o", false),
            ("a.c", true),
            ("build", false),
            ("keep/build/y", true),
            ("sub/ignored", false),
            ("sub/seen", true),
            ("old.o", true),
            ("gone", false),
        ] {
            assert_eq!(dest.join(name).exists(), is_there, "{way:?} {name}");
        }
    }
}

#[test]
fn a_change_that_size_and_time_hide_is_seen_by_checksum() {
    for way in Way::ALL {
        let pair = pair();
        let (source, dest) = (way.source(&pair), way.dest(&pair));
        for (tree, content) in [(&source, "right"), (&dest, "wrong")] {
            write(&tree.join("file"), content);
            write(&tree.join("same"), "same");
            set_time(&tree.join("file"), 1_000_000_000);
        }
        set_time(&source.join("same"), 1_200_000_000);
        let done = way.sync(&pair, &["--exclude", "same"]);
        assert_eq!(done["bytes"], 0, "{way:?}");
        assert_eq!(fs::read(dest.join("file")).unwrap(), b"wrong");
        let done = way.sync(&pair, &["--checksum"]);
        assert_eq!(fs::read(dest.join("file")).unwrap(), b"right");
        assert_eq!(done["bytes"], 5, "{way:?}: only what differs: {done}");
        let modified = fs::metadata(dest.join("same")).unwrap().modified().unwrap();
        assert_eq!(modified, SystemTime::UNIX_EPOCH + Duration::from_secs(1_200_000_000));
    }
}

#[test]
fn of_a_large_file_only_the_changes_travel() {
    for way in Way::ALL {
        let pair = pair();
        let (source, dest) = (way.source(&pair), way.dest(&pair));
        let old = noise(24 << 20, 3);
        let mut new = old.clone();
        new.splice(5_000_000..5_000_000, noise(1_000, 4));
        new.drain(9_000_000..9_000_100);
        new[15_000_000..15_004_096].copy_from_slice(&noise(4_096, 5));
        write(&source.join("file"), &new);
        write(&dest.join("file"), &old);
        set_time(&dest.join("file"), 1_000_000_000);
        let inode = fs::metadata(dest.join("file")).unwrap().ino();
        let done = way.sync(&pair, &[]);
        assert!(fs::read(dest.join("file")).unwrap() == new, "{way:?}");
        assert_ne!(
            fs::metadata(dest.join("file")).unwrap().ino(),
            inode,
            "replaced, not written into"
        );
        assert!(done["bytes"].as_u64() < Some(200_000), "{way:?} {done}");
        assert_eq!(done["patched"], 1, "{way:?} {done}");
        // Whole, where that is asked for.
        write(&dest.join("file"), &old);
        set_time(&dest.join("file"), 1_000_000_000);
        let done = way.sync(&pair, &["--whole"]);
        assert_eq!((&done["bytes"], &done["patched"]), (&json!(new.len()), &json!(0)), "{way:?}");
    }
}

#[test]
fn what_is_replaced_or_deleted_is_kept_where_that_is_asked_for() {
    for way in Way::ALL {
        let pair = pair();
        let (source, dest) = (way.source(&pair), way.dest(&pair));
        write(&source.join("dir/changed"), "new content");
        write(&dest.join("dir/changed"), "old");
        write(&dest.join("dir/extra/file"), "extra");
        let _ = way.sync(&pair, &["--delete", "--backup-dir", ".before"]);
        assert_eq!(fs::read(dest.join("dir/changed")).unwrap(), b"new content");
        assert_eq!(fs::read(dest.join(".before/dir/changed")).unwrap(), b"old", "{way:?}");
        assert_eq!(fs::read(dest.join(".before/dir/extra/file")).unwrap(), b"extra", "{way:?}");
        // The directory of backups is not deleted for not being in the source.
        let _ = way.sync(&pair, &["--delete", "--backup-dir", ".before"]);
        assert_eq!(fs::read(dest.join(".before/dir/changed")).unwrap(), b"old", "{way:?}");
    }
}

#[test]
fn links_holes_modes_and_times_are_as_rsync_wants_them() {
    for way in Way::ALL {
        let pair = pair();
        let (source, dest) = (way.source(&pair), way.dest(&pair));
        a_tree(&source);
        let _ = way.sync(&pair, &[]);
        let from = format!("{}/", source.display());
        let compare = Command::new("rsync")
            .args(["-aHni", "--checksum", "--delete"])
            .arg(from)
            .arg(&dest)
            .output();
        let compare = compare.expect("rsync");
        assert!(compare.status.success(), "{compare:?}");
        assert_eq!(String::from_utf8_lossy(&compare.stdout), "", "{way:?}");
        let blocks = fs::metadata(dest.join("sparse")).unwrap().blocks();
        assert!(blocks * 512 < 1 << 20, "{way:?}: {blocks} blocks");
    }
}

#[test]
fn hardly_anything_travels_where_nothing_has_changed() {
    let pair = pair();
    for number in 0..2_000 {
        let _ = pair.client.write(format!("source/{}/{number}", number % 100), number.to_string());
    }
    let _ = Way::Up.sync(&pair, &[]);
    let carried = || pair.proxy.carried(Direction::Up) + pair.proxy.carried(Direction::Down);
    let before = carried();
    let done = Way::Up.sync(&pair, &[]);
    assert_eq!((&done["same"], &done["bytes"]), (&json!(2_000), &json!(0)));
    let travelled = carried() - before;
    assert!(travelled < 16 << 10, "{travelled} bytes");
}

#[test]
fn a_sync_that_is_cut_again_and_again_ends_equal() {
    for way in [Way::Up, Way::Down] {
        let pair = pair();
        let (source, dest) = (way.source(&pair), way.dest(&pair));
        a_tree(&source);
        a_tree(&dest);
        for number in 0..20 {
            write(&source.join(format!("more/{number}")), noise(60_000 * number, number as u64));
        }
        write(&source.join("large"), noise(4 << 20, 9));
        write(&dest.join("extra/file"), "extra");
        let direction = if matches!(way, Way::Up) { Direction::Up } else { Direction::Down };
        for after in [900, 20_000, 300_000, 1 << 20, 3 << 20] {
            pair.proxy.cut(Cut { direction, after, how: How::Reset });
        }
        let done = way.sync(&pair, &["--delete"]);
        assert!(files_beneath(&dest) == files_beneath(&source), "{way:?} {done}");
    }
}

#[test]
fn a_kind_that_changed_is_replaced_only_when_deleting() {
    for way in Way::ALL {
        let pair = pair();
        let (source, dest) = (way.source(&pair), way.dest(&pair));
        write(&source.join("file"), "now a file");
        write(&source.join("dir/inner"), "now a directory");
        symlink("file", source.join("link")).unwrap();
        write(&dest.join("file/inner"), "was a directory");
        write(&dest.join("dir"), "was a file");
        write(&dest.join("link/inner"), "was a directory");
        let done = pair.client.tow(way.args()).run();
        assert_eq!(done.code(), 1, "{way:?}: {done}");
        assert!(dest.join("file/inner").exists(), "{way:?}: {done}");
        let _ = way.sync(&pair, &["--delete"]);
        assert!(files_beneath(&dest) == files_beneath(&source), "{way:?}");
        assert_eq!(fs::read_link(dest.join("link")).unwrap(), Path::new("file"));
    }
}

#[test]
fn a_rate_that_is_asked_for_is_kept() {
    let pair = pair();
    let _ = pair.client.write("source/file", noise(1 << 20, 1));
    let started = Instant::now();
    let _ = Way::Up.sync(&pair, &["--bwlimit", "512k"]);
    assert!(started.elapsed() > Duration::from_millis(1_200), "{:?}", started.elapsed());
}

#[test]
fn text_is_smaller_on_the_way_when_that_is_asked_for() {
    for way in [Way::Up, Way::Down] {
        let pair = pair();
        let text = "all work and no play makes jack a dull boy\n".repeat(50_000);
        write(&way.source(&pair).join("text"), &text);
        for number in 0..200 {
            write(&way.source(&pair).join(format!("small/{number}")), &text[..5_000]);
        }
        let carried = || pair.proxy.carried(Direction::Up) + pair.proxy.carried(Direction::Down);
        let before = carried();
        let _ = way.sync(&pair, &["--compress", "always"]);
        assert!(files_beneath(&way.dest(&pair)) == files_beneath(&way.source(&pair)));
        assert!(carried() - before < 200_000, "{way:?}: {} bytes", carried() - before);
    }
}

#[test]
fn every_way_to_be_durable_gives_the_same_files() {
    for durable in ["none", "batch", "file"] {
        let pair = pair();
        a_tree(&pair.client.file("source"));
        let _ = Way::Up.sync(&pair, &["--durable", durable]);
        assert!(
            files_beneath(&pair.host.file("dest")) == files_beneath(&pair.client.file("source")),
            "{durable}"
        );
    }
}

#[test]
fn a_single_file_is_made_equal_too() {
    for way in Way::ALL {
        let pair = pair();
        write(&way.source(&pair), "content");
        let _ = way.sync(&pair, &[]);
        assert_eq!(fs::read(way.dest(&pair)).unwrap(), b"content");
        write(&way.source(&pair), "other content");
        let _ = way.sync(&pair, &[]);
        assert_eq!(fs::read(way.dest(&pair)).unwrap(), b"other content", "{way:?}");
    }
}

#[test]
fn mistakes_are_explained() {
    let pair = pair();
    let _ = pair.client.write("source/file", "x");
    let tow = |args: &[&str]| pair.client.tow(args).run();
    let _ = tow(&["sync", "box:a", "box:b"]).fails_with_hint(2, &["one of the two"], "tow sync");
    let _ = tow(&["sync", "nowhere", "box:b"]).fails(1, &["nowhere", "no such file"]);
    let _ = tow(&["sync", "source", "box:b", "--backup-dir", "../out"]).fails(1, &["../out"]);
    let _ = tow(&["sync", "source", "box:b", "--max-delete", "3"]).expect(2);
    let _ = tow(&["sync", "source", "source/inner"]).fails(1, &["source/inner", "into itself"]);
}

#[test]
fn an_input_error_is_said_and_leaves_nothing() {
    let pair = pair();
    // The first page of a process's memory can be opened, but not read: EIO.
    let broken = format!("box:/proc/{}/mem", pair.node.pid());
    let _ =
        pair.client.tow(["get", &broken, "copy"]).run().fails(1, &["reading or writing failed"]);
    assert_eq!(names_in(&pair.client.work()), [""; 0]);
    write(&pair.client.file("copy"), "old");
    let _ =
        pair.client.tow(["get", &broken, "copy"]).run().fails(1, &["reading or writing failed"]);
    assert_eq!(fs::read(pair.client.file("copy")).unwrap(), b"old");
}

#[test]
fn of_many_failures_a_person_is_shown_some_and_a_script_all() {
    let pair = pair();
    for number in 0..30 {
        write(&pair.client.file(format!("source/{number:02}")), "new");
        write(&pair.client.file(format!("dest/{number:02}/inner")), "in the way");
    }
    let done = pair.client.tow(Way::Here.args()).run().expect(1);
    assert!(done.err().contains("tow: error: 10 more failed; "), "{done}");
    assert_eq!(done.err().lines().filter(|line| line.starts_with("tow: error: ")).count(), 21);
    let lines = pair.client.tow(Way::Here.args()).arg("--json").run().expect(1).json();
    assert_eq!(lines.iter().filter(|line| line["event"] == "failed").count(), 30);
}

#[test]
fn what_goes_wrong_is_said_in_the_words_of_the_command_line() {
    let pair = pair();
    let _ = pair.client.write("file", "x");
    let _ = pair.host.write("file", "x");
    for machine in [&pair.client, &pair.host] {
        fs::create_dir(machine.file("dir")).unwrap();
    }
    for (from, to) in [("file", "dir"), ("file", "box:dir"), ("box:file", "dir")] {
        let done = pair.client.tow(["sync", from, to]).run();
        let _ = done.fails_with_hint(1, &["is a directory"], "DIR/NAME");
    }
    let _ = pair.client.tow(["put", "file", "dir"]).run().fails_with_hint(2, &["dir"], "box:dir");
    let done = pair.client.tow(["put", "file", ":x"]).run();
    let done = done.fails_with_hint(2, &["`:x`"], "for example box:x");
    assert!(!done.err().contains("::"), "{done}");
}

#[test]
fn the_limit_on_what_is_removed_is_called_by_its_option() {
    for way in Way::ALL {
        let pair = pair();
        fs::create_dir_all(way.source(&pair)).unwrap();
        fs::write(way.source(&pair).join("kept"), "x").unwrap();
        for number in 0..3 {
            fs::create_dir_all(way.dest(&pair).join(number.to_string())).unwrap();
        }
        let done = pair.client.tow(way.args()).args(["--delete", "--max-delete", "1"]).run();
        let _ = done.fails(1, &["--max-delete 1 is reached"]);
    }
}

#[test]
fn a_dry_run_to_a_new_place_says_what_would_be_made() {
    for way in [Way::Down, Way::Here] {
        let pair = pair();
        fs::create_dir_all(way.source(&pair)).unwrap();
        fs::write(way.source(&pair).join("file"), "x").unwrap();
        for options in [["-n", "-q"], ["-v", "-q"]] {
            let done = pair.client.tow(way.args()).args(options).run().ok();
            assert_eq!(done.out(), "dir      .\nnew      file\n", "{way:?} {done}");
        }
    }
}
