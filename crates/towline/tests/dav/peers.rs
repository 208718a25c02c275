//! Other people's clients.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use tow_testkit::{Machine, Node, files_beneath, names_in, noise};

use super::{TOW, Visitor, is_thorough};

fn served() -> (Machine, Node, Visitor) {
    let host = Machine::new(TOW);
    fs::create_dir(host.file("shared")).unwrap();
    let node = host.serve(&[]);
    let root = host.file("shared").to_str().unwrap().to_owned();
    let me = Visitor::sign_in(&host, &node, &["--root", &root]);
    (host, node, me)
}

#[test]
fn cadaver_puts_locks_copies_moves_and_gets() {
    let (host, _node, me) = served();
    host.write("up.txt", "content");
    let ip = me.address.ip();
    host.write(".netrc", format!("machine {ip} login me password {}\n", me.password()));
    let script = "mkcol d\ncd d\nput up.txt a.txt\nlock a.txt\nput up.txt a.txt\ndiscover a.txt\n\
        unlock a.txt\ncopy a.txt b.txt\nmove b.txt c.txt\nls\nget c.txt down.txt\ndelete a.txt\nquit\n";
    let done = host
        .sh(r#"chmod 600 .netrc && exec cadaver "$URL""#)
        .env("URL", format!("http://{}/dav/", me.address))
        .stdin(script)
        .run()
        .ok();
    let out = done.out();
    assert!(!out.contains("failed") && !out.contains("could not"), "{out}");
    assert_eq!(out.matches("succeeded.").count(), 10, "{out}");
    assert!(out.contains("Lock token <opaquelocktoken:"), "{out}");
    assert_eq!(names_in(&host.file("shared/d")), ["c.txt"]);
    assert_eq!(fs::read_to_string(host.file("down.txt")).unwrap(), "content");
}

#[test]
fn rclone_keeps_files_the_same_both_ways() {
    let (host, _node, me) = served();
    let files: u64 = if is_thorough() { 2_000 } else { 100 };
    for index in 0..files {
        let name = if index % 7 == 0 { format!("f {index} ü%.txt") } else { format!("f{index}") };
        let len = [0, 1, 100, 5_000, 40_000][usize::try_from(index % 5).unwrap()];
        host.write(format!("here/d{}/e{}/{name}", index % 37, index % 3), noise(len, index));
    }
    let rclone = |line: &str| {
        let done = host
            .sh(&format!(
                r#"export RCLONE_CONFIG_T_PASS="$(rclone obscure "$PASSWORD")" && {line}"#
            ))
            .env("PASSWORD", me.password())
            .env("RCLONE_CONFIG", "/dev/null")
            .env("RCLONE_CONFIG_T_TYPE", "webdav")
            .env("RCLONE_CONFIG_T_URL", format!("http://{}/dav", me.address))
            .env("RCLONE_CONFIG_T_USER", "me")
            // The one of rclone's kinds that sends times.
            .env("RCLONE_CONFIG_T_VENDOR", "owncloud")
            .patience(Duration::from_secs(900))
            .run()
            .ok();
        done.err()
    };
    rclone("rclone sync here t:there --transfers 8");
    let checked = rclone("rclone check here t:there --download");
    assert!(checked.contains(&format!("{files} matching files")), "{checked}");
    let contents = |name: &str| files_beneath(&host.file(name));
    assert!(contents("here") == contents("shared/there"));
    let time = |name: &str| fs::metadata(host.file(name)).unwrap().mtime();
    assert_eq!(time("here/d1/e1/f1"), time("shared/there/d1/e1/f1"));
    rclone("rclone sync t:there back");
    assert!(contents("here") == contents("back"));
    fs::remove_dir_all(host.file("here/d3")).unwrap();
    host.write("here/new/name", "new");
    rclone("rclone sync here t:there");
    assert!(contents("here") == contents("shared/there"));
}
