//! `PUT`, and what is done to names: what is there afterwards, and that what is cut changes nothing.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::process::{Command, Stdio};

use serde_json::json;
use tow_testkit::{mode_of, names_in, noise, until};

use crate::http::{cut, read};
use crate::{Door, json};

#[test]
fn what_is_put_is_there_with_its_tag_mode_and_time() {
    for door in Door::both(&[]) {
        for len in [0, 5, 3_000_000] {
            let content = noise(len, 1);
            let made = door.put("a", &[], &content).expect(201);
            assert!(fs::read(door.host.file("a")).unwrap() == content);
            assert_eq!(made.field("etag"), door.get("a", &[]).field("etag"));
            let again = door.put("a", &[], b"x").expect(204);
            assert_ne!(again.field("etag"), made.field("etag"));
            fs::remove_file(door.host.file("a")).unwrap();
        }
        let url = format!("{}?parents&mode=640&mtime=1700000000.5", door.url("d/e/f"));
        let _ = door.put("d/e/f", &[], b"x").expect(404);
        let _ = door.me.ask("PUT", &url, &[], b"x").expect(201);
        let made = fs::metadata(door.host.file("d/e/f")).unwrap();
        assert_eq!(mode_of(&door.host.file("d/e/f")), 0o640);
        assert_eq!((made.mtime(), made.mtime_nsec()), (1_700_000_000, 500_000_000));
        for bad in ["mode=999", "mode=4755", "mtime=soon"] {
            let url = format!("{}?{bad}", door.url("bad"));
            let _ = door.me.ask("PUT", &url, &[], b"x").expect(400);
        }
        let part = door.put("d/e/f", &[("Content-Range", "bytes 0-0/9")], b"y").expect(400);
        assert_eq!(part.field("connection"), Some("close"));
        assert_eq!(door.put("d", &[], b"x").expect(409).refusal(), "IsADirectory");
        assert_eq!(fs::read(door.host.file("d/e/f")).unwrap(), b"x");
        assert_eq!(names_in(&door.host.work()), ["d"]);
    }
}

#[test]
fn a_condition_keeps_what_somebody_else_has_written() {
    for door in Door::both(&[]) {
        let nothing = ("If-None-Match", "*");
        let _ = door.put("a", &[nothing], b"1").expect(201);
        let _ = door.put("a", &[nothing], b"2").expect(412);
        let tag = door.get("a", &[]).field("etag").unwrap().to_owned();
        let _ = door.put("a", &[("If-Match", &tag)], b"3").expect(204);
        for stale in [&tag, "\"x\"", "W/\"x\""] {
            let _ = door.put("a", &[("If-Match", stale)], b"4").expect(412);
            let _ = door.me.ask("DELETE", &door.url("a"), &[("If-Match", stale)], b"").expect(412);
            let patch = b"{\"mode\":0}";
            let fields = [("If-Match", stale)];
            let _ = door.me.ask("PATCH", &door.url("a"), &fields, patch).expect(412);
        }
        let _ = door.put("b", &[("If-Match", "*")], b"5").expect(412);
        assert_eq!(fs::read(door.host.file("a")).unwrap(), b"3");
        assert_eq!(names_in(&door.host.work()), ["a"]);
        // Somebody is faster than the upload.
        let tag = door.get("a", &[]).field("etag").unwrap().to_owned();
        let fields = [("If-Match", tag.as_str()), ("Content-Length", "2")];
        let mut stream = door.me.begin("PUT", &door.url("a"), &fields);
        stream.write_all(b"6").unwrap();
        until("it has begun", || names_in(&door.host.work()).len() == 2);
        let _ = door.host.write("a", "7");
        stream.write_all(b"8").unwrap();
        let _ = read(stream, "PUT").expect(412);
        assert_eq!(fs::read(door.host.file("a")).unwrap(), b"7");
    }
}

#[test]
fn a_file_that_is_seen_through_a_link_is_written_through_it_where_it_is_the_one_meant() {
    for door in Door::both(&[]) {
        let _ = door.host.write("file", "1");
        symlink("file", door.host.file("link")).unwrap();
        let tag = door.get("link", &[]).field("etag").unwrap().to_owned();
        let _ = door.put("link", &[("If-Match", &tag)], b"2").expect(204);
        assert_eq!(fs::read(door.host.file("file")).unwrap(), b"2");
        assert!(door.host.file("link").is_symlink());
        let _ = door.put("link", &[], b"3").expect(204);
        assert!(!door.host.file("link").is_symlink());
        assert_eq!(fs::read(door.host.file("file")).unwrap(), b"2");
    }
}

#[test]
fn bodies_without_a_length_and_those_that_wait_are_taken() {
    for door in Door::both(&[]) {
        let fields = [("Transfer-Encoding", "chunked")];
        let mut stream = door.me.begin("PUT", &door.url("a"), &fields);
        stream.write_all(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").unwrap();
        let _ = read(stream, "PUT").expect(201);
        assert_eq!(fs::read(door.host.file("a")).unwrap(), b"abcde");
        let wait = [("Expect", "100-continue"), ("Content-Length", "1")];
        let mut stream = door.me.begin("PUT", &door.url("b"), &wait);
        let mut said = [0; 12];
        std::io::Read::read_exact(&mut stream, &mut said).unwrap();
        assert_eq!(&said, b"HTTP/1.1 100");
        stream.write_all(b"x").unwrap();
        until("it is there", || door.host.file("b").exists());
        // Refused before any of it is sent.
        let stream = door.me.begin("PUT", &door.url("no/where"), &wait);
        let mut said = Vec::new();
        let _ = std::io::Read::read_to_end(&mut &stream, &mut said);
        assert!(said.starts_with(b"HTTP/1.1 404"), "{}", String::from_utf8_lossy(&said));
    }
}

#[test]
fn a_put_that_is_cut_leaves_the_old_file_and_nothing_else() {
    for door in Door::both(&[]) {
        let old = noise(100_000, 1);
        let _ = door.host.write("a", &old);
        for chunked in [false, true] {
            let field = if chunked {
                ("Transfer-Encoding", "chunked")
            } else {
                ("Content-Length", "9000000")
            };
            let mut stream = door.me.begin("PUT", &door.url("a"), &[field]);
            let head: &[u8] = if chunked { b"895440\r\n" } else { b"" };
            stream.write_all(head).unwrap();
            stream.write_all(&vec![b'x'; 2_000_000]).unwrap();
            until("it has begun", || names_in(&door.host.work()).len() == 2);
            cut(stream);
            until("nothing stays", || names_in(&door.host.work()) == ["a"]);
            assert!(fs::read(door.host.file("a")).unwrap() == old);
        }
    }
}

#[test]
fn two_hundred_uploads_by_curl_that_are_killed_change_nothing() {
    let door = Door::here(&[]);
    let old = noise(50_000, 1);
    let _ = door.host.write("a", &old);
    let new = vec![b'x'; 4 << 20];
    let url = format!("https://{}{}", door.me.address, door.url("a"));
    for point in noise(400, 1).chunks(2) {
        let point = usize::from(u16::from_le_bytes([point[0], point[1]])) * 64;
        let mut curl = Command::new("curl")
            .args(["-skT", "-", "-H", &door.me.bearer(), &url])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = curl.stdin.take().unwrap();
        stdin.write_all(&new[..point]).unwrap();
        // Its stdin has not ended, so it has not either.
        curl.kill().unwrap();
        let _ = curl.wait().unwrap();
        assert!(fs::read(door.host.file("a")).unwrap() == old, "killed after {point} bytes");
    }
    until("nothing stays", || names_in(&door.host.work()) == ["a"]);
    assert!(fs::read(door.host.file("a")).unwrap() == old);
}

#[test]
fn names_are_made_moved_copied_changed_and_removed() {
    for door in Door::both(&[]) {
        let path = |name: &str| door.path(name);
        let _ = door.post("mkdir", &json!({"path": path("d/e")})).expect(404);
        let _ = door.post("mkdir", &json!({"path": path("d/e"), "parents": true})).expect(201);
        let _ = door.post("mkdir", &json!({"path": path("d/e"), "parents": true})).expect(204);
        let _ = door.post("mkdir", &json!({"path": path("d/e")})).expect(409);
        let _ = door.put("d/e/f", &[], b"f").expect(201);
        let (from, to) = (path("d"), path("c"));
        let copied = door.post("copy", &json!({"from": from, "to": to})).expect(200);
        assert_eq!(json(&copied), json!({"copied": 3, "failed": 0, "failures": []}));
        assert_eq!(
            door.post("copy", &json!({"from": from, "to": to})).expect(409).refusal(),
            "Exists"
        );
        let _ = door.post("move", &json!({"from": to, "to": path("m")})).expect(204);
        let into = door.post("move", &json!({"from": from, "to": path("d/e/d")})).expect(409);
        assert_eq!(into.refusal(), "IntoItself");
        let set = b"{\"mode\":384,\"mtime\":[1700000000,5]}";
        let known = json(&door.me.ask("PATCH", &door.url("m/e/f"), &[], set).expect(200));
        assert_eq!((&known["mode"], &known["mtime"]), (&384.into(), &json!([1_700_000_000, 5])));
        let delete = |query: &str| door.me.ask("DELETE", &(door.url("m") + query), &[], b"");
        let refused = delete("").expect(409);
        assert_eq!(json(&refused)["error"]["path"], path("m"));
        assert_eq!(json(&delete("?recursive").expect(200))["removed"], 3);
        let _ = delete("?recursive").expect(404);
        assert_eq!(names_in(&door.host.work()), ["d"]);
    }
}
