//! Resumable uploads from outside: what clients of tus rely on, and that a file appears whole or not
//! at all.

#![allow(clippy::unwrap_used, reason = "what a test can't do without has failed it")]

mod http;

use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{Answer, Visitor, cut, read};
use tow_testkit::{Machine, Node, Pair, mode_of, names_in, noise, until};

const TOW: &str = env!("CARGO_BIN_EXE_tow");
const CONTENT: (&str, &str) = ("Content-Type", "application/offset+octet-stream");
const ONE: (&str, &str) = ("Tus-Resumable", "1.0.0");

struct House {
    host: Machine,
    node: Node,
    me: Visitor,
}

fn house() -> House {
    let host = Machine::new(TOW);
    let node = host.serve(&[]);
    let me = Visitor::sign_in(&host, &node, &[]);
    House { host, node, me }
}

fn metadata(pairs: &[(&str, &[u8])]) -> String {
    let pairs = pairs.iter().map(|(key, value)| format!("{key} {}", STANDARD.encode(value)));
    pairs.collect::<Vec<_>>().join(",")
}

impl House {
    fn path(&self, name: impl AsRef<Path>) -> Vec<u8> {
        self.host.file(name).as_os_str().as_bytes().to_vec()
    }

    /// Begins the upload of a file of this size.
    fn create(&self, name: &str, len: usize, more: &[(&str, &[u8])]) -> Answer {
        let path = self.path(name);
        let mut pairs = vec![("path", &path[..])];
        pairs.extend(more);
        self.post(len, &metadata(&pairs), None)
    }

    fn post(&self, len: usize, metadata: &str, content: Option<&[u8]>) -> Answer {
        let len = len.to_string();
        let mut fields = vec![ONE, ("Upload-Length", &len), ("Upload-Metadata", metadata)];
        fields.extend(content.map(|_| CONTENT));
        self.me.ask("POST", "/tus/", &fields, content.unwrap_or_default())
    }

    fn begun(&self, name: &str, len: usize) -> String {
        location(&self.create(name, len, &[]).expect(201))
    }

    fn patch(&self, at: &str, from: usize, bytes: &[u8]) -> Answer {
        self.patch_with(at, from, bytes, &[])
    }

    fn patch_with(&self, at: &str, from: usize, bytes: &[u8], more: &[(&str, &str)]) -> Answer {
        let from = from.to_string();
        let mut fields = vec![ONE, CONTENT, ("Upload-Offset", &from)];
        fields.extend(more);
        self.me.ask("PATCH", at, &fields, bytes)
    }

    fn head(&self, at: &str) -> Answer {
        self.me.ask("HEAD", at, &[ONE], b"")
    }

    /// Where an upload stands, once nobody writes it any more.
    fn offset(&self, at: &str) -> usize {
        offset(&self.head(at).expect(200))
    }

    /// Sends a part of a body, and waits until `there` bytes of the upload are there.
    fn begin_part(&self, at: &str, from: usize, len: usize, part: &[u8]) -> std::net::TcpStream {
        let (from_text, len) = (from.to_string(), len.to_string());
        let fields = [ONE, CONTENT, ("Upload-Offset", &from_text), ("Content-Length", &len)];
        let mut stream = self.me.begin("PATCH", at, &fields);
        stream.write_all(part).unwrap();
        until("the bytes are there", || self.offset(at) == from + part.len());
        stream
    }
}

fn location(answer: &Answer) -> String {
    answer.field("location").unwrap().to_owned()
}

fn offset(answer: &Answer) -> usize {
    answer.field("upload-offset").unwrap().parse().unwrap()
}

#[test]
fn what_is_offered_is_said() {
    let house = house();
    let answer = house.me.ask("OPTIONS", "/tus/", &[], b"").expect(204);
    assert_eq!(answer.field("tus-version"), Some("1.0.0"));
    assert_eq!(answer.field("tus-resumable"), Some("1.0.0"));
    assert_eq!(answer.field("tus-checksum-algorithm"), Some("sha1,sha256"));
    let extensions: Vec<_> = answer.field("tus-extension").unwrap().split(',').collect();
    for extension in ["creation", "creation-with-upload", "expiration", "termination", "checksum"] {
        assert!(extensions.contains(&extension), "{extension}");
    }
    assert_eq!(answer.field("tus-max-size").unwrap().parse::<u64>().unwrap(), i64::MAX as u64);
}

#[test]
fn a_file_is_sent_in_parts_and_appears_with_the_last_one() {
    let house = house();
    let bytes = noise(300_000, 1);
    fs::write(house.host.file("a"), "old").unwrap();
    let more: [(&str, &[u8]); 2] = [("mtime", b"1700000000.123456789"), ("mode", b"640")];
    let created = house.create("a", bytes.len(), &more).expect(201);
    assert!(created.field("upload-expires").unwrap().ends_with(" GMT"));
    let at = location(&created);
    let head = house.head(&at).expect(200);
    assert_eq!((offset(&head), head.field("upload-length")), (0, Some("300000")));
    assert_eq!(head.field("cache-control"), Some("no-store"));
    for (from, to) in [(0, 100_000), (100_000, 299_999)] {
        let answer = house.patch(&at, from, &bytes[from..to]).expect(204);
        assert_eq!((offset(&answer), house.offset(&at)), (to, to));
        assert!(answer.field("upload-expires").is_some());
        assert_eq!(fs::read(house.host.file("a")).unwrap(), b"old");
    }
    assert_eq!(offset(&house.patch(&at, 299_999, &bytes[299_999..]).expect(204)), 300_000);
    let file = house.host.file("a");
    assert_eq!(fs::read(&file).unwrap(), bytes);
    let stat = fs::metadata(&file).unwrap();
    assert_eq!(
        (stat.mtime(), stat.mtime_nsec(), mode_of(&file)),
        (1_700_000_000, 123_456_789, 0o640)
    );
    assert_eq!(names_in(&house.host.work()), ["a"]);
}

#[test]
fn who_lost_the_last_answer_learns_that_it_is_done() {
    let mut house = house();
    for (name, more) in [("a", &[("mtime", &b"1700000000"[..])][..]), ("b", &[])] {
        let at = location(&house.create(name, 3, more).expect(201));
        let _ = house.patch(&at, 0, b"abc").expect(204);
        assert_eq!(house.offset(&at), 3);
        assert_eq!(offset(&house.patch(&at, 3, b"").expect(204)), 3);
        let _ = house.patch(&at, 1, b"bc").expect(409);
        drop(std::mem::replace(&mut house.node, Machine::new(TOW).serve(&[])));
        house.node = house.host.serve(&[]);
        house.me = house.me.at(&house.node);
        assert_eq!(house.offset(&at), 3, "a node that was started anew knows it too");
        fs::write(house.host.file(name), "xyz").unwrap();
        assert_eq!(house.offset(&at), 0, "another file is not this one");
    }
}

#[test]
fn an_empty_file_and_a_small_one_are_complete_at_once() {
    let house = house();
    let answer = house.create("empty", 0, &[]).expect(201);
    assert_eq!(offset(&answer), 0);
    assert_eq!(fs::read(house.host.file("empty")).unwrap(), b"");
    assert_eq!(house.offset(&location(&answer)), 0);
    let (small, half) = (house.path("small"), house.path("half"));
    let answer = house.post(5, &metadata(&[("path", &small)]), Some(b"hello")).expect(201);
    assert_eq!(offset(&answer), 5);
    assert_eq!(fs::read(house.host.file("small")).unwrap(), b"hello");
    let answer = house.post(5, &metadata(&[("path", &half)]), Some(b"he")).expect(201);
    assert_eq!((offset(&answer), house.offset(&location(&answer))), (2, 2));
    assert!(!house.host.file("half").exists());
    let _ = house.patch(&location(&answer), 2, b"llo").expect(204);
    assert_eq!(fs::read(house.host.file("half")).unwrap(), b"hello");
}

#[test]
fn a_cut_loses_nothing_and_neither_does_a_kill() {
    let mut house = house();
    let bytes = noise(3 << 20, 2);
    let at = house.begun("a", bytes.len());
    let mut from = 0;
    for part in [700_000, 1, 900_001] {
        cut(house.begin_part(&at, from, bytes.len() - from, &bytes[from..from + part]));
        from += part;
    }
    let part = 300_000;
    let stream = house.begin_part(&at, from, bytes.len() - from, &bytes[from..from + part]);
    let anew = Machine::new(TOW).serve(&[]);
    std::mem::replace(&mut house.node, anew).kill();
    drop(stream);
    house.node = house.host.serve(&[]);
    house.me = house.me.at(&house.node);
    assert_eq!(house.offset(&at), from + part);
    let _ = house.patch(&at, from + part, &bytes[from + part..]).expect(204);
    assert_eq!(fs::read(house.host.file("a")).unwrap(), bytes);
    assert_eq!(names_in(&house.host.work()), ["a"]);
}

#[test]
fn a_node_that_was_killed_before_the_name_was_given_gives_it_when_it_is_asked() {
    let house = house();
    let at = house.begun("a", 6);
    let _ = house.patch(&at, 0, b"abc").expect(204);
    let partial = names_in(&house.host.work()).remove(0);
    let mut file = fs::OpenOptions::new().append(true).open(house.host.file(partial)).unwrap();
    file.write_all(b"def").unwrap();
    drop(file);
    assert_eq!(house.offset(&at), 6);
    assert_eq!(fs::read(house.host.file("a")).unwrap(), b"abcdef");
}

#[test]
fn one_writes_at_a_time_and_only_where_it_stands() {
    let house = house();
    let at = house.begun("a", 1_000);
    let mut stream = house.begin_part(&at, 0, 1_000, &[b'x'; 500]);
    let _ = house.patch(&at, 500, &[b'y'; 500]).expect(423);
    let _ = house.me.ask("DELETE", &at, &[ONE], b"").expect(423);
    stream.write_all(&[b'x'; 500]).unwrap();
    assert_eq!(offset(&read(stream, "PATCH").expect(204)), 1_000);
    assert_eq!(fs::read(house.host.file("a")).unwrap(), [b'x'; 1_000]);
    let at = house.begun("b", 10);
    for from in [1, 5, 10, 11] {
        let answer = house.patch(&at, from, b"").expect(if from > 10 { 413 } else { 409 });
        assert_eq!(answer.field("tus-resumable"), Some("1.0.0"), "{from}");
    }
    assert_eq!(house.offset(&at), 0);
}

#[test]
fn nothing_goes_beyond_the_length() {
    let house = house();
    let at = house.begun("a", 4);
    let _ = house.patch(&at, 0, b"12345").expect(413);
    assert_eq!(house.offset(&at), 0);
    // Without a length of its own it is seen as it comes.
    let chunked = [ONE, CONTENT, ("Upload-Offset", "0"), ("Transfer-Encoding", "chunked")];
    let mut stream = house.me.begin("PATCH", &at, &chunked);
    let _ = stream.write_all(b"5\r\n12345\r\n0\r\n\r\n");
    let _ = read(stream, "PATCH").expect(413);
    assert_eq!((house.offset(&at), house.host.file("a").exists()), (0, false));
    let mut stream = house.me.begin("PATCH", &at, &chunked);
    stream.write_all(b"2\r\n12\r\n2\r\n34\r\n0\r\n\r\n").unwrap();
    let _ = read(stream, "PATCH").expect(204);
    assert_eq!(fs::read(house.host.file("a")).unwrap(), b"1234");
    let _ = house.post(usize::MAX, &metadata(&[("path", b"/tmp/x")]), None).expect(413);
}

#[test]
fn bytes_that_are_not_those_of_their_checksum_do_not_count() {
    let house = house();
    let at = house.begun("a", 6);
    let _ = house.patch(&at, 0, b"abc").expect(204);
    let sum = ("Upload-Checksum", "sha1 qZk+NkcGgWq6PiVxeFDCbJzQ2J0=");
    let _ = house.patch_with(&at, 3, b"def", &[sum]).expect(460);
    assert_eq!(house.offset(&at), 3);
    // What can't be compared does not count either.
    let fields = [ONE, CONTENT, ("Upload-Offset", "3"), sum, ("Content-Length", "3")];
    let mut stream = house.me.begin("PATCH", &at, &fields);
    stream.write_all(b"ab").unwrap();
    until("they have come", || house.offset(&at) == 5);
    cut(stream);
    until("they are taken back", || house.offset(&at) == 3);
    for bad in ["md5 kAFQmDzST7DWlj99KOF/cg==", "sha1", "sha1 x"] {
        let _ = house.patch_with(&at, 3, b"abc", &[("Upload-Checksum", bad)]).expect(400);
    }
    let _ = house.patch_with(&at, 3, b"abc", &[sum]).expect(204);
    assert_eq!(fs::read(house.host.file("a")).unwrap(), b"abcabc");
    let long = ("Upload-Checksum", "sha256 ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    let at = house.begun("b", 3);
    let _ = house.patch_with(&at, 0, b"abd", &[long]).expect(460);
    assert!(!house.host.file("b").exists());
    let _ = house.patch_with(&at, 0, b"abc", &[long]).expect(204);
}

#[test]
fn a_file_that_is_there_is_kept_where_it_shall_be() {
    let house = house();
    let keep: [(&str, &[u8]); 1] = [("replace", b"false")];
    fs::write(house.host.file("a"), "mine").unwrap();
    assert_eq!(house.create("a", 4, &keep).expect(409).refusal(), "Exists");
    let path = house.path("a");
    let said = metadata(&[("path", &path), ("replace", b"false")]);
    assert_eq!(house.post(4, &said, Some(b"them")).expect(409).refusal(), "Exists");
    // Somebody is faster.
    let at = location(&house.create("b", 4, &keep).expect(201));
    let _ = house.patch(&at, 0, b"th").expect(204);
    fs::write(house.host.file("b"), "mine").unwrap();
    assert_eq!(house.patch(&at, 2, b"em").expect(409).refusal(), "Exists");
    for name in ["a", "b"] {
        assert_eq!(fs::read(house.host.file(name)).unwrap(), b"mine");
    }
    assert_eq!(names_in(&house.host.work()), ["a", "b"], "nothing else is left");
}

#[test]
fn an_upload_is_given_up() {
    let house = house();
    let at = house.begun("a", 4);
    let _ = house.patch(&at, 0, b"ab").expect(204);
    assert_eq!(names_in(&house.host.work()).len(), 1);
    let _ = house.me.ask("DELETE", &at, &[ONE], b"").expect(204);
    assert!(names_in(&house.host.work()).is_empty());
    let _ = house.head(&at).expect(410);
    let _ = house.patch(&at, 0, b"ab").expect(410);
    let _ = house.me.ask("DELETE", &at, &[ONE], b"").expect(410);
    let over = house.begun("b", 4);
    let post = [ONE, ("X-HTTP-Method-Override", "PATCH"), CONTENT, ("Upload-Offset", "0")];
    let _ = house.me.ask("POST", &over, &post, b"abcd").expect(204);
    assert_eq!(fs::read(house.host.file("b")).unwrap(), b"abcd");
}

#[test]
fn what_is_older_than_a_week_is_gone() {
    let house = house();
    let old = |at: &str, secs: u64| {
        let mut id = URL_SAFE_NO_PAD.decode(at.strip_prefix("/tus/").unwrap()).unwrap();
        let begun = u64::from_le_bytes(id[10..18].try_into().unwrap());
        id[10..18].copy_from_slice(&(begun - secs).to_le_bytes());
        format!("/tus/{}", URL_SAFE_NO_PAD.encode(id))
    };
    let at = house.begun("a", 4);
    let week = 7 * 24 * 3600;
    let (younger, older) = (old(&at, week - 600), old(&at, week + 600));
    assert_eq!(house.offset(&younger), 0);
    let _ = house.head(&older).expect(410);
    let _ = house.patch(&older, 0, b"abcd").expect(410);
    assert!(!house.host.file("a").exists());
    let _ = house.patch(&younger, 0, b"abcd").expect(204);
}

#[test]
fn requests_that_make_no_sense_are_refused_and_change_nothing() {
    let house = house();
    let path = house.path("a");
    let said = metadata(&[("path", &path)]);
    let post = |fields: &[(&str, &str)]| house.me.ask("POST", "/tus/", fields, b"").status;
    let len = ("Upload-Length", "4");
    let field = ("Upload-Metadata", said.as_str());
    assert_eq!(post(&[len, field]), 412);
    assert_eq!(post(&[("Tus-Resumable", "0.2.2"), len, field]), 412);
    let answer = house.me.ask("POST", "/tus/", &[("Tus-Resumable", "2.0.0"), len, field], b"");
    assert_eq!(answer.field("tus-version"), Some("1.0.0"));
    for bad in ["", "-1", "+4", "4.0", "0x4", "99999999999999999999", "4, 4"] {
        assert_eq!(post(&[ONE, ("Upload-Length", bad), field]), 400, "{bad}");
    }
    assert_eq!(post(&[ONE, field]), 400);
    assert_eq!(post(&[ONE, len, len, field]), 400);
    assert_eq!(post(&[ONE, len]), 400);
    assert_eq!(post(&[ONE, len, ("Upload-Metadata", "path !!")]), 400);
    assert_eq!(post(&[ONE, ("Upload-Defer-Length", "1"), field]), 400);
    assert_eq!(post(&[ONE, len, field, ("Upload-Concat", "partial")]), 400);
    let at = house.begun("a", 4);
    let patch = |fields: &[(&str, &str)]| house.me.ask("PATCH", &at, fields, b"abcd").status;
    assert_eq!(patch(&[CONTENT, ("Upload-Offset", "0")]), 412);
    assert_eq!(patch(&[ONE, ("Content-Type", "text/plain"), ("Upload-Offset", "0")]), 415);
    assert_eq!(patch(&[ONE, ("Upload-Offset", "0")]), 415);
    assert_eq!(patch(&[ONE, CONTENT]), 400);
    assert_eq!(patch(&[ONE, CONTENT, ("Upload-Offset", "x")]), 400);
    for bad in ["/tus/x", "/tus/AAAA", "/tus/..", "/tus/%2e%2e", &at[..at.len() - 8], "/tus/a/b"] {
        let status = house.me.ask("HEAD", bad, &[ONE], b"").status;
        let is_shorter = at.starts_with(bad) && status == 200;
        assert!(status == 404 || is_shorter, "{bad}: {status}");
    }
    for method in ["GET", "PUT"] {
        let _ = house.me.ask(method, &at, &[ONE], b"").expect(405);
    }
    assert!(names_in(&house.host.work()).is_empty());
}

#[test]
fn a_folder_brings_its_directories_and_does_not_lead_out() {
    let house = house();
    let dir = house.path("in");
    fs::create_dir(house.host.file("in")).unwrap();
    let post = |inner: &[u8], key: &str| {
        let said = metadata(&[("dir", &dir), (key, inner)]);
        house.post(2, &said, Some(b"hi"))
    };
    let _ = post(b"a/b/c.txt", "relativePath").expect(201);
    let _ = post(b"a/b/d.txt", "relativePath").expect(201);
    let _ = post(b"e.txt", "filename").expect(201);
    for name in ["in/a/b/c.txt", "in/a/b/d.txt", "in/e.txt"] {
        assert_eq!(fs::read(house.host.file(name)).unwrap(), b"hi");
    }
    for bad in [&b"../x"[..], b"a/../../x", b"/x", b"a//x", b"./x", b"a/..", b"a/x\0", b""] {
        let _ = post(bad, "relativePath").expect(400);
    }
    for bad in [&b"../x"[..], b"..", b".", b"a/x"] {
        let _ = post(bad, "filename").expect(400);
    }
    let above = post(b"e.txt/below", "relativePath");
    assert_eq!(above.expect(409).refusal(), "NotADirectory");
    assert_eq!(names_in(&house.host.work()), ["in"]);
    assert_eq!(names_in(&house.host.file("in")), ["a", "e.txt"]);
}

#[test]
fn nothing_outside_of_the_grant_is_written() {
    let host = Machine::new(TOW);
    fs::create_dir(host.file("own")).unwrap();
    fs::create_dir(host.file("other")).unwrap();
    fs::write(host.file("other/file"), "kept").unwrap();
    symlink(host.file("other"), host.file("own/out")).unwrap();
    symlink("../other/file", host.file("own/link")).unwrap();
    symlink("loop", host.file("own/loop")).unwrap();
    fs::create_dir(host.file("own/dir")).unwrap();
    let node = host.serve(&[]);
    let root = host.file("own");
    let me = Visitor::sign_in(&host, &node, &["--root", root.to_str().unwrap()]);
    let house = House { host, node, me };
    let post = |path: &[u8]| house.post(2, &metadata(&[("path", path)]), Some(b"hi"));
    for bad in
        [&b"/out/file"[..], b"/out/new", b"/../other/file", b"/../../x", b"/dir/../../other/new"]
    {
        assert_eq!(post(bad).expect(403).refusal(), "OutsideRoot", "{}", bad.escape_ascii());
    }
    for bad in [&b"/dir"[..], b"/dir/", b"/new/", b"/"] {
        assert_eq!(post(bad).expect(409).refusal(), "IsADirectory", "{}", bad.escape_ascii());
    }
    for bad in [&b"/.."[..], b"/.", &[&b"/"[..], &[b'x'; 256]].concat()] {
        assert_eq!(post(bad).expect(400).refusal(), "BadName", "{}", bad.escape_ascii());
    }
    let _ = post(&[b'/'; 5000]).expect(400);
    let _ = post(b"/missing/x").expect(404);
    let _ = post(b"/loop/x").expect(409);
    // A link of that name is replaced itself.
    let _ = post(b"/link").expect(201);
    assert_eq!(fs::read(house.host.file("other/file")).unwrap(), b"kept");
    assert_eq!(names_in(&house.host.file("other")), ["file"]);
    // Names are bytes.
    for name in [
        &b"..."[..],
        b"a..pdf",
        b"-rf",
        b" x",
        b"\xff\xfe",
        b"\n\t\x1b[31m",
        b"%2e%2e%2fx",
        b"..%c0%af",
        b"\\..\\",
        b"\"><img onerror>",
        "\u{202e}".as_bytes(),
        &[b'y'; 255],
    ] {
        let _ = post(&[b"/dir/", name].concat()).expect(201);
        let file = house.host.file("own/dir").join(std::ffi::OsStr::from_bytes(name));
        assert_eq!(fs::read(file).unwrap(), b"hi", "{}", name.escape_ascii());
    }
    assert_eq!(fs::read(house.host.file("own/link")).unwrap(), b"hi");
}

#[test]
fn who_may_not_write_uploads_nothing_and_an_upload_is_its_keys_own() {
    let house = house();
    let reader = Visitor::sign_in(&house.host, &house.node, &["--may", "read"]);
    let path = house.path("a");
    let said = metadata(&[("path", &path)]);
    let fields = [ONE, ("Upload-Length", "2"), ("Upload-Metadata", &said), CONTENT];
    let refused = reader.ask("POST", "/tus/", &fields, b"hi").expect(403);
    assert_eq!(refused.refusal(), "NoRight");
    let at = house.begun("a", 4);
    let _ = house.patch(&at, 0, b"ab").expect(204);
    let _ = reader.ask("HEAD", &at, &[ONE], b"").expect(403);
    let other = Visitor::sign_in(&house.host, &house.node, &[]);
    assert_eq!(offset(&other.ask("HEAD", &at, &[ONE], b"").expect(200)), 0);
    let _ = other.ask("DELETE", &at, &[ONE], b"");
    assert_eq!(names_in(&house.host.work()).len(), 1, "the other's bytes are still there");
    for method in ["HEAD", "PATCH", "DELETE"] {
        let mut stream = std::net::TcpStream::connect(house.me.address).unwrap();
        let head = format!(
            "{method} {at} HTTP/1.1\r\nHost: {}\r\nTus-Resumable: 1.0.0\r\n\r\n",
            house.me.address
        );
        stream.write_all(head.as_bytes()).unwrap();
        let _ = read(stream, "HEAD").expect(401);
    }
    let written = house.host.audit().into_iter().filter(|record| record["what"] == "write").count();
    assert!(written >= 2, "what is written is recorded");
}

#[test]
fn through_a_tunnel_it_is_the_same() {
    let pair = Pair::new(TOW);
    let tunnel = pair.client.tow(["open", "box", "--no-browser", "--json"]).start();
    let said: serde_json::Value = serde_json::from_str(&tunnel.line(0)).unwrap();
    let me = Visitor::open(said["link"].as_str().unwrap());
    let Pair { node, host, proxy, client } = pair;
    let house = House { host, node, me };
    let bytes = noise(2_000_000, 3);
    let at = location(&house.create("a", bytes.len(), &[("mtime", b"1700000000.5")]).expect(201));
    let _ = house.patch(&at, 0, &bytes[..700_000]).expect(204);
    cut(house.begin_part(&at, 700_000, 1_300_000, &bytes[700_000..1_000_000]));
    let sum = ("Upload-Checksum", "sha1 qZk+NkcGgWq6PiVxeFDCbJzQ2J0=");
    let mut wrong = house.patch_with(&at, 1_000_000, b"abd", &[sum]);
    // The request that was cut may still be wound up.
    until("it is free", || {
        let is_free = wrong.status != 423;
        if !is_free {
            wrong = house.patch_with(&at, 1_000_000, b"abd", &[sum]);
        }
        is_free
    });
    let _ = wrong.expect(460);
    assert_eq!(house.offset(&at), 1_000_000);
    let _ = house.patch(&at, 3, b"x").expect(409);
    assert_eq!(offset(&house.patch(&at, 1_000_000, &bytes[1_000_000..]).expect(204)), 2_000_000);
    assert_eq!(fs::read(house.host.file("a")).unwrap(), bytes);
    assert_eq!(house.offset(&at), 2_000_000, "who asks again learns that it is done");
    let answer = house.create("a", 2, &[("replace", b"false")]);
    assert_eq!(answer.expect(409).refusal(), "Exists");
    let _ = house.create("empty", 0, &[]).expect(201);
    assert_eq!(names_in(&house.host.work()), ["a", "empty"]);
    drop((tunnel, proxy, client));
}
