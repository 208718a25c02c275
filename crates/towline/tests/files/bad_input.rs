//! Paths that lead out, names that can't be, destinations and sources that misbehave: each a clear
//! error, and nothing lost.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::symlink;

use tow_testkit::{Cut, Direction, How, Machine, Mount, Pair, names_in, noise, until};

use super::pair;

/// A client that is confined to `inside` of the host's working directory, beside which is
/// `outside/secret`.
fn confined() -> Pair {
    let tow = env!("CARGO_BIN_EXE_tow");
    let host = Machine::new(tow);
    let _ = host.write("inside/file", "in");
    let _ = host.write("outside/secret", "out");
    symlink("../outside", host.file("inside/link")).unwrap();
    symlink("../outside/secret", host.file("inside/leaf")).unwrap();
    symlink(host.file("outside"), host.file("inside/absolute")).unwrap();
    symlink("loop", host.file("inside/loop")).unwrap();
    symlink("file", host.file("inside/good")).unwrap();
    let root = host.file("inside").display().to_string();
    let node = host.serve(&[]);
    let proxy = tow_testkit::Proxy::to(node.address());
    let pair = Pair { node, proxy, host, client: Machine::new(tow) };
    pair.join(&pair.client, &["--root", &root]);
    pair
}

#[test]
fn no_path_leads_out_of_the_root() {
    let pair = confined();
    let _ = pair.client.write("mine", "mine");
    let absolute = pair.host.file("outside/secret").display().to_string();
    for path in [
        "../outside/secret",
        "../../../../../../etc/passwd",
        "link/../../outside/secret",
        "link/secret",
        "absolute/secret",
        &absolute,
        "/etc/passwd",
        "leaf",
    ] {
        let remote = format!("box:{path}");
        let outside = "outside of";
        let _ = pair.client.tow(["get", &remote, "stolen"]).run().fails(1, &["box", outside]);
        let ls = pair.client.tow(["ls", &format!("{remote}/")]).run().fails(1, &["box"]);
        assert!(ls.stdout.is_empty(), "{ls}");
        let _ = pair.client.tow(["put", "mine", &remote]).run().fails(1, &["box", outside]);
    }
    assert_eq!(names_in(&pair.client.work()), ["mine"]);
    assert_eq!(names_in(&pair.host.file("outside")), ["secret"]);
    assert_eq!(fs::read(pair.host.file("outside/secret")).unwrap(), b"out");
    let _ = pair.client.tow(["get", "box:loop"]).run().fails(1, &["symbolic links"]);
    // What stays inside is fine, and a link that is written to is replaced, not followed.
    for path in ["good", "./file", ".//file"] {
        let _ = pair.client.tow(["get", &format!("box:{path}"), "got"]).run().ok();
        assert_eq!(fs::read(pair.client.file("got")).unwrap(), b"in", "{path}");
    }
    let _ = pair.client.tow(["put", "mine", "box:good"]).run().ok();
    assert!(fs::symlink_metadata(pair.host.file("inside/good")).unwrap().is_file());
    assert_eq!(fs::read(pair.host.file("inside/file")).unwrap(), b"in");
}

#[test]
fn names_that_are_not_there_or_can_not_be_are_errors_of_two_lines() {
    let pair = pair();
    let _ = pair.client.write("mine", "mine");
    let long = "x".repeat(300);
    let deep = "d/".repeat(3_000);
    for (path, words) in [
        (OsString::from("box:missing"), vec!["box", "missing", "no such file"]),
        (OsString::from_vec(b"box:\xff\xfe\n".to_vec()), vec!["\\xff\\xfe\\n", "no such file"]),
        (format!("box:{long}").into(), vec!["xxx", "can't be used"]),
        ("box:missing/deeper".into(), vec!["missing/deeper", "no such file"]),
    ] {
        let _ = pair.client.tow(["get"]).arg(&path).run().fails(1, &words);
        let _ = pair.client.tow(["ls"]).arg(&path).run().fails(1, &words);
    }
    for args in [["ls", "-a"], ["get", "-q"], ["put", "mine"]] {
        let done = pair.client.tow(args).arg(format!("box:{deep}x")).run();
        let _ = done.fails(2, &["d/d/d", "over a limit"]);
    }
    let done = pair.client.tow(["put", "mine", &format!("box:{long}")]).run();
    let _ = done.fails(1, &["can't be used"]);
    let _ =
        pair.client.tow(["put", "mine", "box:missing/deeper"]).run().fails(1, &["no such file"]);
    let _ =
        pair.client.tow(["put", "nothing", "box:"]).run().fails(1, &["nothing", "no such file"]);
    let _ = pair.client.tow(["put", &long, "box:"]).run().fails(1, &["can't be used"]);
    let _ =
        pair.client.tow(["put", "box", "box"]).run().fails_with_hint(2, &["`box`"], "HOST:PATH");
    let _ = pair.client.tow(["get", "box"]).run().fails_with_hint(2, &["`box`"], "box:box");
    let _ = pair.client.tow(["ls", "box"]).run().fails_with_hint(2, &["`box`"], "box:box");
    let _ = pair.client.tow(["get", "nobody:x"]).run().fails_with_hint(1, &["nobody"], "tow join");
    assert!(names_in(&pair.host.work()).is_empty());
    assert_eq!(names_in(&pair.client.work()), ["mine"]);
}

#[test]
fn a_file_and_a_directory_do_not_replace_each_other() {
    let pair = pair();
    for machine in [&pair.host, &pair.client] {
        let _ = machine.write("file", "file");
        let _ = machine.write("dir/inner", "inner");
        let _ = machine.write("in/file/x", "a directory");
        let _ = machine.write("in/dir", "a file");
    }
    let _ = pair.client.tow(["get", "box:file", "in"]).run().fails(1, &["is a directory"]);
    let _ = pair.client.tow(["put", "file", "box:in"]).run().fails(1, &["is a directory"]);
    let _ = pair.client.tow(["get", "box:dir", "in"]).run().fails(1, &["not a directory"]);
    let _ = pair.client.tow(["put", "dir", "box:in"]).run().fails(1, &["not a directory"]);
    let _ =
        pair.client.tow(["get", "box:file", "file/deeper"]).run().fails(1, &["not a directory"]);
    let _ = pair.client.tow(["get", "box:file/"]).run().fails(1, &["not a directory"]);
    let _ = pair.client.tow(["get", "box:file", "new/"]).run().fails(1, &["no such file"]);
    for machine in [&pair.host, &pair.client] {
        assert_eq!(names_in(&machine.work()), ["dir", "file", "in"]);
        assert_eq!(fs::read(machine.file("in/file/x")).unwrap(), b"a directory");
        assert_eq!(fs::read(machine.file("in/dir")).unwrap(), b"a file");
    }
}

#[test]
fn a_read_only_destination_is_named() {
    let pair = pair();
    let _ = pair.host.write("file", "new");
    let _ = pair.client.write("file", "new");
    for machine in [&pair.host, &pair.client] {
        fs::create_dir(machine.file("fixed")).unwrap();
    }
    let mounts = [&pair.host, &pair.client].map(|machine| {
        let mount = Mount::tmpfs(&machine.file("fixed"), "size=1m")?;
        let _ = machine.write("fixed/file", "old");
        mount.make_read_only();
        Some(mount)
    });
    if mounts.iter().any(Option::is_none) {
        // Without the right to mount, a directory without the right to write does as well.
        for machine in [&pair.host, &pair.client] {
            let _ = machine.write("fixed/file", "old");
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o555);
            fs::set_permissions(machine.file("fixed"), mode).unwrap();
        }
    }
    let why = if mounts[0].is_some() { "read-only" } else { "permission denied" };
    let _ = pair.client.tow(["get", "box:file", "fixed"]).run().fails(1, &[why]);
    let _ = pair.client.tow(["put", "file", "box:fixed"]).run().fails(1, &[why]);
    for machine in [&pair.host, &pair.client] {
        assert_eq!(fs::read(machine.file("fixed/file")).unwrap(), b"old");
        assert_eq!(names_in(&machine.file("fixed")), ["file"]);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        let _ = fs::set_permissions(machine.file("fixed"), mode);
    }
}

#[test]
fn a_full_destination_is_named_and_the_old_file_stays() {
    let pair = pair();
    for machine in [&pair.host, &pair.client] {
        fs::create_dir(machine.file("small")).unwrap();
        let _ = machine.write("file", noise(4 << 20, 1));
    }
    let mounts =
        [&pair.host, &pair.client].map(|machine| Mount::tmpfs(&machine.file("small"), "size=1m"));
    if mounts.iter().any(Option::is_none) {
        return;
    }
    for machine in [&pair.host, &pair.client] {
        let _ = machine.write("small/file", "old");
    }
    let _ = pair.client.tow(["get", "box:file", "small"]).run().fails(1, &["no space left"]);
    let _ = pair.client.tow(["put", "file", "box:small"]).run().fails(1, &["no space left"]);
    for machine in [&pair.host, &pair.client] {
        assert_eq!(fs::read(machine.file("small/file")).unwrap(), b"old");
    }
    // When there is room, the same command does it.
    for machine in [&pair.host, &pair.client] {
        let _ = machine.write("file", noise(500_000, 2));
    }
    let _ = pair.client.tow(["get", "box:file", "small"]).run().ok();
    let _ = pair.client.tow(["put", "file", "box:small"]).run().ok();
    for machine in [&pair.host, &pair.client] {
        assert!(fs::read(machine.file("small/file")).unwrap() == noise(500_000, 2));
        assert_eq!(names_in(&machine.file("small")), ["file"]);
    }
}

/// Larger than everything that can be under way.
const LARGE: usize = 48 << 20;

/// Starts `tow get` or `tow put` of `tree`, and waits until it is stuck in the middle of `tree/a`.
fn start_and_stall(pair: &Pair, args: [&str; 3], direction: Direction) -> tow_testkit::Running {
    pair.proxy.cut(Cut { direction, after: 1 << 20, how: How::Stall });
    let before = pair.proxy.carried(direction);
    let running = pair.client.tow(args).start();
    until("it is stuck", || pair.proxy.carried(direction) - before >= 1 << 20);
    running
}

#[test]
fn a_source_that_shrinks_while_it_is_read_never_arrives_padded() {
    for (args, direction) in
        [(["get", "box:tree", "."], Direction::Down), (["put", "tree", "box:"], Direction::Up)]
    {
        let pair = pair();
        let (from, to) = match direction {
            Direction::Down => (&pair.host, &pair.client),
            Direction::Up => (&pair.client, &pair.host),
        };
        let content = noise(LARGE, 1);
        let _ = from.write("tree/a", &content);
        let running = start_and_stall(&pair, args, direction);
        let file = fs::File::options().write(true).open(from.file("tree/a")).unwrap();
        file.set_len(2 << 20).unwrap();
        pair.proxy.release();
        let done = running.wait();
        // Either it was sent again, or it failed; what is there is what the file is now.
        match done.code() {
            0 => assert!(fs::read(to.file("tree/a")).unwrap() == content[..2 << 20]),
            _ => {
                assert!(!to.file("tree/a").exists());
                let _ = done.fails(1, &["a", "changed"]);
            }
        }
    }
}

#[test]
fn a_source_that_vanishes_while_another_is_read_fails_by_its_name() {
    for (args, direction) in
        [(["get", "box:tree", "."], Direction::Down), (["put", "tree", "box:"], Direction::Up)]
    {
        let pair = pair();
        let (from, to) = match direction {
            Direction::Down => (&pair.host, &pair.client),
            Direction::Up => (&pair.client, &pair.host),
        };
        let content = noise(LARGE, 2);
        let _ = from.write("tree/a", &content);
        let _ = from.write("tree/z", "soon gone");
        let running = start_and_stall(&pair, args, direction);
        fs::remove_file(from.file("tree/z")).unwrap();
        pair.proxy.release();
        let _ = running.wait().fails(1, &["z", "no such file"]);
        assert!(fs::read(to.file("tree/a")).unwrap() == content);
        assert_eq!(names_in(&to.file("tree")), ["a"]);
    }
}

#[test]
fn a_file_that_is_removed_while_it_is_read_arrives_whole_or_not_at_all() {
    let pair = pair();
    let content = noise(LARGE, 3);
    let _ = pair.host.write("tree/a", &content);
    let running = start_and_stall(&pair, ["get", "box:tree", "."], Direction::Down);
    fs::remove_file(pair.host.file("tree/a")).unwrap();
    pair.proxy.release();
    let done = running.wait();
    match done.code() {
        0 => assert!(fs::read(pair.client.file("tree/a")).unwrap() == content),
        _ => {
            assert!(!pair.client.file("tree/a").exists());
            let _ = done.fails(1, &["a"]);
        }
    }
}

#[test]
fn special_files_are_refused_and_never_waited_for() {
    let pair = pair();
    let pipe = pair.host.file("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let _ = pair.client.write("mine", "mine");
    let _ = pair.client.tow(["get", "box:pipe"]).run().fails(1, &["pipe", "neither a file"]);
    let _ = pair.client.tow(["get", "box:/dev/zero"]).run().fails(1, &["neither a file"]);
    let _ =
        pair.client.tow(["put", "mine", "box:pipe"]).run().fails(1, &["pipe", "neither a file"]);
    let _ = pair.client.tow(["get", "box:pipe", "/dev/null"]).run().fails(1, &["neither a file"]);
}

#[test]
fn a_closed_or_full_stdout_is_no_reason_to_lose_anything() {
    let pair = pair();
    for number in 0..2_000 {
        let _ = pair.host.write(format!("many/{number}"), "");
    }
    let _ = pair.host.write("file", "content");
    let done = pair.client.sh(r#"{ "$TOW" ls box:many; echo $? >code; } | head -n 1"#).run().ok();
    assert_eq!((done.out().lines().count(), done.err().as_str()), (1, ""));
    until("ls has ended", || fs::read(pair.client.file("code")).is_ok_and(|code| !code.is_empty()));
    let code = fs::read_to_string(pair.client.file("code")).unwrap();
    assert!(["0\n", "141\n"].contains(&code.as_str()), "{code}");
    let done = pair.client.sh(r#"exec "$TOW" ls box:many >/dev/full"#).run();
    let _ = done.fails(1, &["No space left"]);
    let _ = pair.client.sh(r#"exec "$TOW" get box:file got <&- >&- 2>&-"#).run().ok();
    assert_eq!(fs::read(pair.client.file("got")).unwrap(), b"content");
}
