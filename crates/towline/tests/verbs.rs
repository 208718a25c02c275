//! `tow stat`, `cat`, `mkdir`, `mv` and `rm` from outside: what they do, what they refuse, what is
//! recorded.

#![allow(clippy::unwrap_used, reason = "what a test can't do without has failed it")]

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tow_testkit::{Done, Machine, Pair, names_in, noise};

const TOW: &str = env!("CARGO_BIN_EXE_tow");

fn tow(pair: &Pair, args: &[&str]) -> Done {
    pair.client.tow(args).run()
}

#[test]
fn stat_shows_what_is_known() {
    let pair = Pair::new(TOW);
    let file = pair.host.write("file", "12345");
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 5);
    File::open(&file).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o4755)).unwrap();
    symlink("file", pair.host.file("link")).unwrap();
    let out = tow(&pair, &["stat", "box:file"]).ok().out();
    let real = file.canonicalize().unwrap();
    assert!(out.starts_with(&format!("{}\n", real.display())), "{out}");
    for line in [
        "  type      file",
        "  size      5 bytes",
        "  mode      4755 -rwsr-xr-x",
        "  modified  2001-09-09T01:46:40.000000005Z",
    ] {
        assert!(out.lines().any(|one| one == line), "{line:?} is missing: {out}");
    }
    let shown = tow(&pair, &["stat", "--json", "box:link", "box:"]).ok().json();
    assert_eq!((&shown[0]["kind"], &shown[0]["target"]), (&json!("link"), &json!("file")));
    assert_eq!((&shown[1]["kind"], &shown[1]["target"]), (&json!("dir"), &Value::Null));
    let followed = tow(&pair, &["stat", "-L", "--json", "box:link"]).ok().last_json();
    assert_eq!((&followed["kind"], &followed["size"]), (&json!("file"), &json!(5)));
    assert_eq!(followed["mtime"], "2001-09-09T01:46:40.000000005Z");
    assert_eq!(followed["path"], real.to_str().unwrap());
    // One that is missing does not hide the other.
    let done = tow(&pair, &["stat", "--json", "box:none", "box:file"]);
    let done = done.fails(1, &["box: none", "no such file"]);
    assert_eq!(done.last_json()["size"], 5);
}

#[test]
fn cat_gives_every_byte_of_every_file() {
    let pair = Pair::new(TOW);
    let large = noise((3 << 20) + 7, 1);
    let _ = pair.host.write("large", &large);
    let _ = pair.host.write("empty", "");
    let _ = pair.host.write("text", "a line\n");
    assert_eq!(tow(&pair, &["cat", "box:text"]).ok().out(), "a line\n");
    assert!(tow(&pair, &["cat", "box:empty"]).ok().stdout.is_empty());
    let before = pair.proxy.connections();
    let all = tow(&pair, &["cat", "box:text", "box:large", "box:empty", "box:text"]).ok();
    assert_eq!(pair.proxy.connections() - before, 1);
    assert!(all.stdout == [b"a line\n", large.as_slice(), b"a line\n"].concat());
    let made_up = tow(&pair, &["cat", "box:/proc/version"]).ok();
    assert_eq!(made_up.stdout, fs::read("/proc/version").unwrap());
}

#[test]
fn cat_refuses_what_has_no_content_and_goes_on_with_the_rest() {
    let pair = Pair::new(TOW);
    fs::create_dir(pair.host.file("dir")).unwrap();
    let pipe = pair.host.file("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let _ = pair.host.write("text", "text");
    let done = tow(&pair, &["cat", "box:dir", "box:pipe", "box:none", "box:text"]).expect(1);
    assert_eq!(done.out(), "text");
    let err = done.err();
    for words in ["dir: is a directory", "pipe: neither a file", "none: no such file"] {
        assert!(err.contains(words), "{words:?} is missing: {done}");
    }
    assert_eq!(err.lines().filter(|line| line.starts_with("tow: error: ")).count(), 3, "{done}");
    let _ = tow(&pair, &["cat", "text"]).fails_with_hint(2, &["names no machine"], "box:text");
}

#[test]
fn cat_is_quiet_when_nobody_reads_on() {
    let pair = Pair::new(TOW);
    let _ = pair.host.write("large", noise(8 << 20, 2));
    let line = "\"$TOW\" cat box:large box:large | head -c 5 | wc -c; echo \"${PIPESTATUS[0]}\"";
    let done = pair.client.sh(&format!("exec bash -c '{line}'")).run().ok();
    let out = done.out();
    let words: Vec<_> = out.split_whitespace().collect();
    assert_eq!(words, ["5", "141"], "{done}");
    assert!(done.stderr.is_empty(), "{done}");
    let full = pair.client.sh("\"$TOW\" cat box:large > /dev/full").run();
    let _ = full.fails(1, &["No space left"]);
}

#[test]
fn mkdir_makes_one_or_all() {
    let pair = Pair::new(TOW);
    let _ = tow(&pair, &["mkdir", "box:a", "box:a/b"]).ok();
    assert!(pair.host.file("a/b").is_dir());
    let _ = tow(&pair, &["mkdir", "box:a"]).fails(1, &["box: a: exists already"]);
    let _ = tow(&pair, &["mkdir", "box:x/y"]).fails_with_hint(1, &["no such file"], "-p");
    let made = tow(&pair, &["mkdir", "-p", "--json", "box:x/y/z", "box:x/y"]).ok().json();
    let real = pair.host.file("x/y/z").canonicalize().unwrap();
    assert_eq!(made[0], json!({"path": real, "made": true}));
    assert_eq!(made[1]["made"], false);
    let _ = pair.host.write("file", "");
    let _ = tow(&pair, &["mkdir", "-p", "box:file/a"]).fails(1, &["not a directory"]);
    assert_eq!(names_in(&pair.host.work()), ["a", "file", "x"]);
}

#[test]
fn mv_renames_or_moves_into_a_directory() {
    let pair = Pair::new(TOW);
    for name in ["a", "b", "c"] {
        let _ = pair.host.write(name, name);
    }
    fs::create_dir(pair.host.file("dir")).unwrap();
    symlink("dir", pair.host.file("to dir")).unwrap();
    let _ = tow(&pair, &["mv", "box:a", "box:new"]).ok();
    let _ = tow(&pair, &["mv", "box:new", "box:dir"]).ok();
    let _ = tow(&pair, &["mv", "box:b", "box:c", "box:to dir/"]).ok();
    assert_eq!(names_in(&pair.host.file("dir")), ["b", "c", "new"]);
    let moved = tow(&pair, &["mv", "--json", "box:dir/b", "box:"]).ok().last_json();
    let real = pair.host.file("b").canonicalize().unwrap();
    assert_eq!(moved, json!({"from": "dir/b", "to": real, "moved": true}));
    let _ = tow(&pair, &["mv", "box:dir", "box:other"]).ok();
    assert_eq!(names_in(&pair.host.work()), ["b", "other", "to dir"]);
    let _ = tow(&pair, &["mv", "box:other", "box:other/in"]).fails(1, &["into itself"]);
    let _ = tow(&pair, &["mv", "box:b", "box:other", "box:none"]).fails(1, &["not a directory"]);
    let _ = tow(&pair, &["mv", "box:.", "box:x"]).fails(1, &["nothing that can be moved"]);
}

#[test]
fn mv_loses_nothing_unless_it_is_told_to() {
    let pair = Pair::new(TOW);
    let _ = pair.host.write("a", "a");
    let _ = pair.host.write("b", "b");
    let content = || fs::read_to_string(pair.host.file("b")).unwrap();
    let refused = tow(&pair, &["mv", "box:a", "box:b"]);
    let _ = refused.fails_with_hint(1, &["b: exists already"], "-f replaces");
    let kept = tow(&pair, &["mv", "-n", "--json", "box:a", "box:b"]).ok().last_json();
    assert_eq!((kept["moved"].clone(), content()), (json!(false), "b".to_owned()));
    let _ = tow(&pair, &["mv", "-f", "box:a", "box:b"]).ok();
    assert_eq!((content(), names_in(&pair.host.work())), ("a".to_owned(), vec!["b".into()]));
    let _ = tow(&pair, &["mv", "-f", "-n", "box:b", "box:c"]).fails(2, &["cannot be used with"]);
}

#[test]
fn mv_stays_on_one_machine() {
    let pair = Pair::new(TOW);
    let _ = pair.host.write("a", "a");
    let words = &["`there` names no machine"];
    let _ = tow(&pair, &["mv", "box:a", "there"]).fails_with_hint(2, words, "box:there");
    let _ = tow(&pair, &["mv", "a", "box:there"]).fails(2, &["`a` names no machine"]);
    let two = tow(&pair, &["mv", "box:a", ".:there"]);
    let _ = two.fails_with_hint(2, &["box and . are two machines"], "tow get");
    // Two ways to name one.
    let address = pair.proxy.address().to_string();
    let _ = tow(&pair, &["mv", "box:a", &format!("{address}:b")]).ok();
    assert_eq!(names_in(&pair.host.work()), ["b"]);
}

#[test]
fn rm_removes_what_it_is_told_to_and_no_more() {
    let pair = Pair::new(TOW);
    let outside = pair.client.write("keep/file", "keep");
    for name in ["a", "tree/b", "tree/sub/c"] {
        let _ = pair.host.write(name, name);
    }
    symlink(outside.parent().unwrap(), pair.host.file("tree/link")).unwrap();
    let _ = tow(&pair, &["rm", "box:tree"]).fails_with_hint(1, &["is a directory"], "-r");
    let done = tow(&pair, &["rm", "box:none", "box:a"]).fails(1, &["none: no such file"]);
    assert!(done.stdout.is_empty() && !pair.host.file("a").exists(), "{done}");
    let _ = tow(&pair, &["rm", "-f", "box:none", "box:none/none"]).ok();
    let removed = tow(&pair, &["rm", "-r", "--json", "box:tree"]).ok().last_json();
    assert_eq!(removed, json!({"event": "done", "path": "tree", "removed": 5, "failed": 0}));
    assert_eq!(names_in(&pair.host.work()), [""; 0]);
    assert!(outside.exists());
}

#[test]
fn rm_never_takes_the_top() {
    let pair = Pair::new(TOW);
    let root = Machine::new(TOW);
    let _ = pair.host.write("confined/file", "x");
    let confined = pair.host.file("confined").canonicalize().unwrap();
    pair.join(&root, &["--root", confined.to_str().unwrap()]);
    for path in ["", ".", "..", "./", "/", "//", "/.", "confined/.", "confined/..", "/tmp/../"] {
        let done = tow(&pair, &["rm", "-rf", &format!("box:{path}")]);
        let _ = done.fails_with_hint(1, &["is not removed"], "neither");
    }
    let top = root.tow(["rm", "-rf", &format!("box:{}", confined.display())]).run();
    let _ = top.fails_with_hint(1, &["can't be used"], "neither");
    let out = root.tow(["rm", "-rf", "box:../file", "box:/tmp/x"]).run().expect(1);
    assert_eq!(out.err().matches("outside of the directory").count(), 2, "{out}");
    assert_eq!(names_in(&confined), ["file"]);
}

#[test]
fn odd_names_are_made_moved_shown_and_removed() {
    let pair = Pair::new(TOW);
    let names: [&[u8]; 12] = [
        b"two words",
        b"new\nline",
        b"-rf",
        b"...",
        b"..a",
        b"$(touch x)",
        b"\\..\\",
        b"a:b",
        b"\xff\xfe",
        b"\x1b[31m",
        "\u{202e}\u{6f22}".as_bytes(),
        &[b'x'; 255],
    ];
    for name in names {
        let name = OsString::from_vec(name.to_vec());
        let remote = |above: &str| {
            let mut remote = OsString::from(format!("box:{above}"));
            remote.push(&name);
            remote
        };
        let run = |args: &[&OsStr]| pair.client.tow(args).run().ok();
        let _ = run(&["mkdir".as_ref(), &remote("")]);
        assert!(pair.host.file(&name).is_dir(), "{name:?}");
        let _ = pair.host.write(pair.host.file(&name).join(&name), "odd");
        let mut inner = remote("");
        inner.push("/");
        inner.push(&name);
        assert_eq!(run(&["cat".as_ref(), &inner]).out(), "odd", "{name:?}");
        let shown = run(&["stat".as_ref(), &inner]).out();
        assert!(!shown.contains('\u{1b}') && shown.lines().count() == 9, "{shown}");
        let _ = run(&["mkdir".as_ref(), "-p".as_ref(), "box:dir".as_ref()]);
        let _ = run(&["mv".as_ref(), &remote(""), "box:dir".as_ref()]);
        assert!(pair.host.file("dir").join(&name).join(&name).is_file(), "{name:?}");
        let _ = run(&["rm".as_ref(), "-r".as_ref(), &remote("dir/")]);
    }
    assert_eq!(names_in(&pair.host.work()), ["dir"]);
    assert_eq!(names_in(&pair.host.file("dir")), [""; 0]);
}

const VERBS: [(&str, &str, &[&str]); 5] = [
    ("read", "stat", &["stat", "box:file"]),
    ("read", "read", &["cat", "box:file"]),
    ("write", "mkdir", &["mkdir", "box:made"]),
    ("write", "move", &["mv", "box:file", "box:moved"]),
    ("write", "remove", &["rm", "-rf", "box:file"]),
];

#[test]
fn each_verb_needs_its_right_and_is_recorded() {
    let pair = Pair::new(TOW);
    let _ = pair.host.write("file", "content");
    for right in ["run", "read", "write", "forward", "admin", "watch"] {
        let client = Machine::new(TOW);
        pair.join(&client, &["--may", right]);
        for (needed, _, args) in VERBS.iter().filter(|(needed, ..)| *needed != right) {
            let words: &[&str] = match args[0] {
                // It looks first, where it may.
                "mv" => &["box", "does not allow"],
                _ => &["box", "does not allow", needed],
            };
            let done = client.tow(*args).run().fails(1, words);
            assert!(done.stdout.is_empty(), "{done}");
        }
    }
    assert_eq!(names_in(&pair.host.work()), ["file"]);
    let refused = pair.host.audit().into_iter().filter(|one| one["why"] == "NoRight");
    let refused: Vec<_> = refused.map(|one| one["what"].as_str().unwrap().to_owned()).collect();
    for (_, verb, _) in VERBS {
        assert!(refused.iter().any(|what| what == verb), "{verb}: {refused:?}");
    }
}

#[test]
fn who_may_write_and_not_read_can_do_so() {
    let pair = Pair::invited(TOW, &["--may", "write"]);
    let _ = pair.host.write("a", "a");
    let _ = tow(&pair, &["mkdir", "box:dir"]).ok();
    // It may not know that `dir` is a directory: only a slash says so.
    let _ = tow(&pair, &["mv", "box:a", "box:dir"]).fails(1, &["exists already"]);
    let _ = tow(&pair, &["mv", "box:a", "box:dir/"]).ok();
    assert_eq!(names_in(&pair.host.file("dir")), ["a"]);
    let _ = tow(&pair, &["rm", "-r", "box:dir"]).ok();
    assert_eq!(names_in(&pair.host.work()), [""; 0]);
}

#[test]
fn the_audit_log_says_what_was_done_to_what() {
    let pair = Pair::new(TOW);
    let _ = pair.host.write("file", "12345");
    let _ = tow(&pair, &["stat", "box:file"]).ok();
    let _ = tow(&pair, &["cat", "box:file"]).ok();
    let _ = tow(&pair, &["mkdir", "box:dir"]).ok();
    let _ = tow(&pair, &["mv", "box:file", "box:dir"]).ok();
    let _ = tow(&pair, &["rm", "-r", "box:dir"]).ok();
    let _ = tow(&pair, &["rm", "box:dir"]).expect(1);
    let log = pair.host.audit();
    let record = |what: &str, outcome: &str| {
        let found = log.iter().find(|one| one["what"] == what && one["outcome"] == outcome);
        found.unwrap_or_else(|| panic!("no {what} {outcome}: {log:?}"))
    };
    assert_eq!(record("stat", "ok")["detail"], json!(["file"]));
    let read = record("read", "ok");
    assert_eq!((&read["detail"], &read["bytes"]), (&json!(["file"]), &json!(5)));
    assert_eq!(record("mkdir", "ok")["detail"], json!(["dir"]));
    assert_eq!(record("move", "ok")["detail"], json!(["file", "dir/file"]));
    assert_eq!(record("remove", "ok")["detail"], json!(["dir"]));
    assert_eq!(record("remove", "refused")["why"], "NotFound");
}
