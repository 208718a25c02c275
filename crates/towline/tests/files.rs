//! `tow ls`, `tow get` and `tow put` from outside: what is shown, where things land, what is kept.

#![allow(clippy::unwrap_used, reason = "what a test can't do without has failed it")]

#[path = "files/bad_input.rs"]
mod bad_input;
#[path = "files/disk_errors.rs"]
mod disk_errors;
#[path = "files/kill.rs"]
mod kill;
#[path = "files/resume.rs"]
mod resume;

use std::ffi::OsString;
use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::json;
use tow_testkit::{Pair, files_beneath, mode_of, names_in, noise};

fn pair() -> Pair {
    Pair::new(env!("CARGO_BIN_EXE_tow"))
}

/// Names that break what is careless.
fn odd_names() -> Vec<OsString> {
    let mut names: Vec<Vec<u8>> = [
        "plain",
        " leading",
        "trailing ",
        "two words",
        "new\nline",
        "tab\t",
        "-n",
        "--json",
        "...",
        "..a",
        "document..pdf",
        "$(touch x)",
        "`id`",
        ";",
        "a;b",
        "%2e%2e%2f",
        "\\..\\",
        "ümlaut",
        "漢字",
        "\u{202e}fdp",
        "e\u{301}",
        "é",
        "\"><img onerror>",
        "~",
        "#",
        "box:file",
        "\u{1b}[31m",
        ".hidden",
    ]
    .iter()
    .map(|name| name.as_bytes().to_vec())
    .collect();
    names.extend([
        b"\xff\xfe".to_vec(),
        b"half \xe4\xbd".to_vec(),
        vec![b'x'; 255],
        "€".repeat(85).into_bytes(),
    ]);
    names.into_iter().map(OsString::from_vec).collect()
}

fn a_tree(at: &Path) {
    for (index, name) in odd_names().iter().enumerate() {
        fs::create_dir_all(at.join("deep").join(name)).unwrap();
        fs::write(at.join(name), index.to_string()).unwrap();
        fs::write(at.join("deep").join(name).join(name), noise(index * 1_000, 7)).unwrap();
    }
    fs::create_dir(at.join("nothing in it")).unwrap();
    fs::write(at.join("no content"), "").unwrap();
    fs::write(at.join("large"), noise(3 << 20, 3)).unwrap();
    symlink("plain", at.join("link")).unwrap();
    symlink("/no/such", at.join("dangling")).unwrap();
}

fn set_time(path: &Path, since_1970: Duration) {
    let times = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + since_1970);
    File::open(path).unwrap().set_times(times).unwrap();
}

fn time_of(path: &Path) -> SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

#[test]
fn ls_shows_names_safely_and_hidden_ones_only_when_asked() {
    let pair = pair();
    for name in [&b"a"[..], b".hidden", b"\xff", b"\x1b[31mred", b"two\nlines"] {
        let _ = pair.host.write(OsString::from_vec(name.to_vec()), "x");
    }
    fs::create_dir(pair.host.file("dir")).unwrap();
    let ls = |args: &[&str]| pair.client.tow(["ls"]).args(args).run().ok();
    let plain = ls(&["box:"]).out();
    let mut lines: Vec<_> = plain.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["\\u{1b}[31mred", "\\xff", "a", "dir/", "two\\nlines"]);
    assert!(ls(&["-a", "box:"]).out().lines().any(|line| line == ".hidden"));
    assert_eq!(ls(&["-d", "box:dir"]).out(), "dir/\n");
    assert_eq!(ls(&["box:a"]).out(), "a\n");
    assert_eq!(ls(&["box:dir"]).out(), "");
}

#[test]
fn a_long_listing_has_mode_size_time_and_target() {
    let pair = pair();
    let file = pair.host.write("file", "12345");
    fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    set_time(&file, Duration::new(1_000_000_000, 0));
    symlink("file", pair.host.file("link")).unwrap();
    let out = pair.client.tow(["ls", "-l", "box:"]).run().ok().out();
    let file = out.lines().find(|line| line.ends_with(" file")).unwrap();
    assert!(file.starts_with("-rw-r----- "), "{out}");
    assert!(file.contains(" 5 2001-09-09T01:46:40Z"), "{out}");
    assert!(
        out.lines().any(|line| line.starts_with('l') && line.ends_with("link -> file")),
        "{out}"
    );
}

#[test]
fn a_listing_as_json_has_every_byte_of_a_name() {
    let pair = pair();
    let names = odd_names();
    for name in &names {
        let _ = pair.host.write(name, "1234");
    }
    let listed = pair.client.tow(["ls", "--json", "box:"]).run().ok().json();
    let mut found: Vec<Vec<u8>> = listed.iter().map(|entry| bytes_of(&entry["name"])).collect();
    let mut expected: Vec<Vec<u8>> = names.into_iter().map(OsString::into_vec).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    for entry in listed {
        assert_eq!((&entry["kind"], &entry["size"]), (&json!("file"), &json!(4)), "{entry}");
    }
}

/// A byte string of JSON output; base64 by hand, as there is little of it.
fn bytes_of(value: &serde_json::Value) -> Vec<u8> {
    if let Some(text) = value.as_str() {
        return text.as_bytes().to_vec();
    }
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::new());
    for digit in value["b64"].as_str().expect("a byte string").bytes().filter(|byte| *byte != b'=')
    {
        let value = DIGITS.iter().position(|one| *one == digit).expect("base64");
        bits = bits << 6 | u32::try_from(value).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

#[test]
fn ls_of_several_paths_uses_one_connection() {
    let pair = pair();
    let _ = pair.host.write("a/one", "");
    let _ = pair.host.write("b/two", "");
    let before = pair.proxy.connections();
    let done = pair.client.tow(["ls", "box:a", "box:b", "box:a"]).run().ok();
    assert_eq!(done.out(), "box:a:\none\n\nbox:b:\ntwo\n\nbox:a:\none\n");
    assert_eq!(pair.proxy.connections() - before, 1);
}

#[test]
fn a_tree_with_every_kind_of_name_goes_there_and_back() {
    let pair = pair();
    let tree = pair.client.file("tree");
    fs::create_dir(&tree).unwrap();
    a_tree(&tree);
    let done = pair.client.tow(["put", "--json", "tree", "box:"]).run().ok().last_json();
    assert_eq!((&done["event"], &done["failed"]), (&json!("done"), &json!(0)));
    assert!(files_beneath(&pair.host.file("tree")) == files_beneath(&tree));
    let done = pair.client.tow(["get", "--json", "box:tree", "back"]).run().ok().last_json();
    assert_eq!((&done["links"], &done["failed"]), (&json!(2), &json!(0)));
    assert!(files_beneath(&pair.client.file("back/tree")) == files_beneath(&tree));
    assert_eq!(
        fs::read_link(pair.client.file("back/tree/dangling")).unwrap(),
        Path::new("/no/such")
    );
    // Once more: nothing moves.
    let again = pair.client.tow(["get", "--json", "box:tree", "back"]).run().ok().last_json();
    assert_eq!((&again["bytes"], &again["same"]), (&json!(0), &done["files"]), "{again}");
}

#[test]
fn single_files_with_odd_names_go_there_and_back() {
    let pair = pair();
    for name in odd_names() {
        let content = name.as_bytes().repeat(3);
        let _ = pair.client.write(&name, &content);
        let source = Path::new(".").join(&name);
        let _ = pair.client.tow(["put"]).arg(&source).arg("box:").run().ok();
        assert_eq!(fs::read(pair.host.file(&name)).unwrap(), content, "{name:?}");
        let _ = pair.client.tow(["get"]).arg(pair.remote(&name)).arg("back").run().ok();
        assert_eq!(fs::read(pair.client.file("back")).unwrap(), content, "{name:?}");
    }
}

#[test]
fn mode_and_time_are_kept() {
    let pair = pair();
    for (name, mode) in [("private", 0o600), ("script", 0o755), ("read-only", 0o444)] {
        let path = pair.client.write(format!("tree/{name}"), name);
        set_time(&path, Duration::new(1_234_567_890, 123_456_789));
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }
    let tree = pair.client.file("tree");
    fs::set_permissions(&tree, Permissions::from_mode(0o750)).unwrap();
    set_time(&tree, Duration::new(987_654_321, 0));
    let _ = pair.client.tow(["put", "tree", "tree/script", "box:"]).run().ok();
    let _ = pair.client.tow(["get", "box:tree", "box:script", "back"]).run().ok();
    for back in [pair.host.work(), pair.client.file("back")] {
        for path in ["tree", "tree/private", "tree/script", "tree/read-only", "script"] {
            let original = pair.client.file(if path == "script" { "tree/script" } else { path });
            assert_eq!(mode_of(&back.join(path)), mode_of(&original), "{path}");
            assert_eq!(time_of(&back.join(path)), time_of(&original), "{path}");
        }
    }
}

#[test]
fn a_file_lands_in_a_directory_or_under_the_name_given() {
    let pair = pair();
    let _ = pair.host.write("file", "content");
    fs::create_dir(pair.client.file("dir")).unwrap();
    for (destination, lands) in [
        (None, "file"),
        (Some("."), "file"),
        (Some("dir"), "dir/file"),
        (Some("dir/"), "dir/file"),
        (Some("other"), "other"),
        (Some("dir/other"), "dir/other"),
        (Some("dir/../up"), "up"),
    ] {
        let _ = pair.client.tow(["get", "box:file"]).args(destination).run().ok();
        assert_eq!(fs::read(pair.client.file(lands)).unwrap(), b"content", "{destination:?}");
        fs::remove_file(pair.client.file(lands)).unwrap();
    }
    let _ = pair.client.write("mine", "mine");
    fs::create_dir(pair.host.file("dir")).unwrap();
    let absolute = pair.host.file("absolute").display().to_string();
    for (destination, lands) in
        [("", "mine"), ("dir", "dir/mine"), ("theirs", "theirs"), (&absolute, "absolute")]
    {
        let _ = pair.client.tow(["put", "mine", &format!("box:{destination}")]).run().ok();
        assert_eq!(fs::read(pair.host.file(lands)).unwrap(), b"mine", "{destination:?}");
    }
}

#[test]
fn a_directory_lands_in_the_destination_under_its_own_name_each_time() {
    let pair = pair();
    let _ = pair.host.write("dir/file", "content");
    for _ in 0..2 {
        let _ = pair.client.tow(["get", "box:dir"]).run().ok();
        let _ = pair.client.tow(["get", "box:dir/", "made"]).run().ok();
        assert_eq!(names_in(&pair.client.work()), ["dir", "made"]);
        assert_eq!(names_in(&pair.client.file("made")), ["dir"]);
        assert_eq!(names_in(&pair.client.file("made/dir")), ["file"]);
        let _ = pair.client.tow(["put", "made", "box:there"]).run().ok();
        assert_eq!(names_in(&pair.host.file("there")), ["made"]);
        assert_eq!(names_in(&pair.host.file("there/made")), ["dir"]);
    }
    // What was there besides stays.
    let _ = pair.host.write("there/made/other", "stays");
    let _ = pair.client.tow(["put", "made", "box:there"]).run().ok();
    assert_eq!(names_in(&pair.host.file("there/made")), ["dir", "other"]);
}

#[test]
fn several_sources_go_to_one_place() {
    let pair = pair();
    for name in ["a", "b", "tree/c"] {
        let _ = pair.host.write(name, name);
        let _ = pair.client.write(name, name);
    }
    fs::create_dir(pair.client.file("in")).unwrap();
    fs::create_dir(pair.host.file("in")).unwrap();
    let _ = pair.client.tow(["get", "box:a", "box:b", "box:tree", "in"]).run().ok();
    let _ = pair.client.tow(["put", "a", "b", "tree", "box:in"]).run().ok();
    for dir in [pair.client.file("in"), pair.host.file("in")] {
        assert_eq!(names_in(&dir), ["a", "b", "tree"]);
        assert_eq!(fs::read(dir.join("tree/c")).unwrap(), b"tree/c");
    }
}

#[test]
fn one_bad_source_does_not_hide_the_others() {
    let pair = pair();
    let _ = pair.host.write("tree/good", "good");
    let fifo = pair.host.file("tree/pipe");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let done = pair.client.tow(["get", "box:tree"]).run().fails(1, &["pipe", "neither a file"]);
    assert!(done.stdout.is_empty(), "{done}");
    assert_eq!(fs::read(pair.client.file("tree/good")).unwrap(), b"good");
    let lines = pair.client.tow(["get", "--json", "box:tree"]).run().expect(1).json();
    assert_eq!((&lines[0]["event"], &lines[0]["path"]), (&json!("failed"), &json!("pipe")));
    assert_eq!((&lines[1]["event"], &lines[1]["failed"]), (&json!("done"), &json!(1)));
}

#[test]
fn quiet_and_unwatched_transfers_print_nothing() {
    let pair = pair();
    let _ = pair.host.write("file", noise(100_000, 1));
    for args in
        [&["get", "box:file"][..], &["get", "-q", "box:file"], &["put", "-q", "file", "box:x"]]
    {
        let done = pair.client.tow(args).run().ok();
        assert!(done.stdout.is_empty() && done.stderr.is_empty(), "{done}");
    }
}

#[test]
fn the_own_node_is_asked_through_its_socket() {
    let pair = pair();
    let _ = pair.host.write("file", "content");
    let socket = format!("unix:{}", pair.host.home().join("node.sock").display());
    let _ = pair.host.tow(["get", ".:file", "by dot"]).run().ok();
    let _ = pair.host.tow(["get", &format!("{socket}:file"), "by path"]).run().ok();
    let _ = pair.host.tow(["put", "by dot", ".:put"]).run().ok();
    for name in ["by dot", "by path", "put"] {
        assert_eq!(fs::read(pair.host.file(name)).unwrap(), b"content", "{name}");
    }
    assert_eq!(pair.host.tow(["run", &socket, "echo", "in"]).run().ok().out(), "in\n");
}
