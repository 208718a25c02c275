//! `GET` and `HEAD`: content, parts, conditions, listings.

use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

use tow_testkit::noise;

use crate::http::{Answer, read};
use crate::{Door, encoded, json};

const DESCRIBED: [&str; 6] = [
    "etag",
    "last-modified",
    "accept-ranges",
    "content-type",
    "content-disposition",
    "cache-control",
];

#[test]
fn content_comes_whole_or_in_any_part() {
    for door in Door::both(&[]) {
        for len in [1, 100, 64 << 10, (64 << 10) + 1, 3_000_000] {
            let content = noise(len, 1);
            let _ = door.host.write("file.bin", &content);
            let whole = door.get("file.bin", &[]).expect(200);
            assert!(whole.body == content && whole.is_whole);
            assert_eq!(whole.field("content-length").unwrap(), len.to_string());
            let head = door.me.ask("HEAD", &door.url("file.bin"), &[], b"").expect(200);
            for name in DESCRIBED.into_iter().chain(["content-length"]) {
                assert_eq!(head.field(name), whole.field(name), "{name}");
            }
            for (range, from, to) in [
                ("bytes=0-0".to_owned(), 0, 1),
                (format!("bytes={}-", len / 2), len / 2, len),
                ("bytes=-1".to_owned(), len - 1, len),
                (format!("bytes=0-{}", len * 2), 0, len),
            ] {
                let part = door.get("file.bin", &[("Range", &range)]).expect(206);
                assert_eq!(part.body, &content[from..to], "{range} of {len}");
                let expected = format!("bytes {from}-{}/{len}", to - 1);
                assert_eq!(part.field("content-range"), Some(expected.as_str()));
            }
        }
    }
}

#[test]
fn several_parts_come_in_one_body_of_the_length_that_is_said() {
    for door in Door::both(&[]) {
        let content = noise(1_000_000, 1);
        let _ = door.host.write("a.bin", &content);
        let answer = door.get("a.bin", &[("Range", "bytes=900000-,0-9,5-14")]).expect(206);
        assert!(answer.is_whole);
        let kind = answer.field("content-type").unwrap();
        let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
        let marker = format!("\r\n--{boundary}");
        let parts: Vec<_> = split(&answer.body, marker.as_bytes());
        assert_eq!(parts.len(), 4, "nothing, two parts, the end");
        for (part, range) in parts[1..3].iter().zip([0..15, 900_000..1_000_000]) {
            let at = part.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
            let head = String::from_utf8_lossy(&part[..at]);
            let said = format!("Content-Range: bytes {}-{}/1000000", range.start, range.end - 1);
            assert!(head.contains(&said), "{head}");
            assert!(part[at + 4..] == content[range]);
        }
        let many: Vec<_> = (0..17).map(|at| format!("{}-{}", at * 9, at * 9)).collect();
        let range = format!("bytes={}", many.join(","));
        assert!(door.get("a.bin", &[("Range", &range)]).expect(200).body == content);
    }
}

fn split<'a>(mut rest: &'a [u8], marker: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    while let Some(at) = rest.windows(marker.len()).position(|window| window == marker) {
        parts.push(&rest[..at]);
        rest = &rest[at + marker.len()..];
    }
    parts.push(rest);
    parts
}

#[test]
fn what_is_not_there_has_no_part_and_an_empty_file_no_bytes() {
    for door in Door::both(&[]) {
        let _ = door.host.write("a", "0123456789");
        let _ = door.host.write("empty", "");
        let answer = door.get("a", &[("Range", "bytes=10-")]).expect(416);
        assert_eq!(answer.field("content-range"), Some("bytes */10"));
        let empty = door.get("empty", &[]).expect(200);
        assert_eq!((empty.field("content-length"), empty.body.len()), (Some("0"), 0));
        let _ = door.get("empty", &[("Range", "bytes=0-")]).expect(416);
        assert_eq!(door.get("nothing", &[]).expect(404).refusal(), "NotFound");
        // It has content and does not say how much.
        let made_up = door.me.ask("GET", "/api/v1/files/proc/self/status", &[], b"").expect(200);
        assert!(made_up.is_whole && made_up.body.starts_with(b"Name:"));
        assert_eq!(made_up.field("etag"), None);
    }
}

#[test]
fn conditions_decide_whether_content_is_sent() {
    for door in Door::both(&[]) {
        let _ = door.host.write("a", "0123456789");
        let answer = door.get("a", &[]).expect(200);
        let (tag, date) = (answer.field("etag").unwrap(), answer.field("last-modified").unwrap());
        for (fields, status) in [
            (&[("If-None-Match", tag)][..], 304),
            (&[("If-None-Match", "\"x\""), ("If-Modified-Since", date)], 200),
            (&[("If-Modified-Since", date)], 304),
            (&[("If-Match", tag)], 200),
            (&[("If-Match", "\"x\"")], 412),
            (&[("If-Unmodified-Since", "Mon, 01 Jan 2001 00:00:00 GMT")], 412),
            (&[("Range", "bytes=1-2"), ("If-Range", tag)], 206),
            (&[("Range", "bytes=1-2"), ("If-Range", "\"x\"")], 200),
            (&[("Range", "bytes=1-2"), ("If-Match", "\"x\"")], 412),
        ] {
            let answer = door.get("a", fields).expect(status);
            assert!(status != 304 || answer.field("etag") == Some(tag));
        }
        let _ = door.host.write("a", "9876543210");
        let part = door.get("a", &[("Range", "bytes=1-2"), ("If-Range", tag)]).expect(200);
        assert_eq!(part.body, b"9876543210", "a part of another file is of no use");
    }
}

/// What comes of a file that is changed when the first bytes of it have arrived.
fn changed(door: &Door, change: impl Fn(&mut fs::File)) -> Answer {
    let path = door.host.write("large", vec![b'a'; 64 << 20]);
    let stream = door.me.begin("GET", &door.url("large"), &[]);
    // More than fits in between is on its way then.
    assert_eq!(stream.peek(&mut [0]).unwrap(), 1);
    change(&mut fs::OpenOptions::new().write(true).open(path).unwrap());
    read(stream, "GET").expect(200)
}

#[test]
fn a_file_that_changes_on_its_way_never_arrives_whole() {
    for door in Door::both(&[]) {
        for change in [
            |file: &mut fs::File| file.write_all(b"b").unwrap(),
            |file: &mut fs::File| file.set_len(1000).unwrap(),
            |file: &mut fs::File| file.set_len(100 << 20).unwrap(),
        ] {
            assert!(!changed(&door, change).is_whole);
        }
        assert!(changed(&door, |_| {}).is_whole);
    }
}

#[test]
fn content_is_shown_only_where_that_is_harmless() {
    let door = Door::here(&[]);
    for (name, kind, how) in [
        ("a.html", "text/html", "attachment"),
        ("a.svg", "image/svg+xml", "attachment"),
        ("a.png", "image/png", "inline"),
        ("a.txt", "text/plain; charset=utf-8", "inline"),
        ("a", "application/octet-stream", "attachment"),
    ] {
        let _ = door.host.write(name, "<script>");
        let url = format!("{}?inline", door.url(name));
        let answer = door.me.ask("GET", &url, &[], b"").expect(200);
        assert_eq!(answer.field("content-type"), Some(kind));
        let said = format!("{how}; filename=\"{name}\"");
        assert_eq!(answer.field("content-disposition"), Some(said.as_str()));
        let policy = answer.field("content-security-policy").unwrap();
        assert!(policy.starts_with("sandbox; default-src 'none'"), "{policy}");
        assert_eq!(answer.field("x-content-type-options"), Some("nosniff"));
        let saved = door.get(name, &[]).expect(200);
        assert!(saved.field("content-disposition").unwrap().starts_with("attachment"));
    }
}

#[test]
fn a_directory_is_listed_sorted_and_with_names_of_any_bytes() {
    for door in Door::both(&[]) {
        let dir = door.host.file("dir");
        fs::create_dir(&dir).unwrap();
        let strange: [&[u8]; 4] = [b"\xff\xfe", b"a\nb", b"\"><img onerror>", b"%2e%2e%2f"];
        for name in strange {
            fs::write(dir.join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
            let path = [dir.as_os_str().as_bytes(), b"/", name].concat();
            let url = format!("/api/v1/files{}", encoded(&path));
            let answer = door.me.ask("GET", &url, &[], b"").expect(200);
            assert_eq!(answer.body, name, "{url}");
        }
        for at in 0..2_500 {
            fs::write(dir.join(format!("f{at:05}")), "").unwrap();
        }
        symlink("f00000", dir.join("link")).unwrap();
        let answer = door.get("dir", &[]).expect(200);
        let list = json(&answer);
        let entries = list["entries"].as_array().unwrap();
        assert_eq!(entries.len(), 2_505);
        assert_eq!(entries[0]["name"], "\"><img onerror>");
        assert_eq!(entries[2504]["name"]["b64"], "//4=");
        let link = entries.iter().find(|entry| entry["name"] == "link").unwrap();
        assert_eq!((&link["kind"], &link["target"]), (&"link".into(), &"f00000".into()));
        assert_eq!(json(&door.get("", &[]).expect(200))["entries"][0]["kind"], "dir");
    }
}

#[test]
fn what_is_known_is_said_of_a_link_or_of_what_it_leads_to() {
    for door in Door::both(&[]) {
        let _ = door.host.write("a", "12345");
        symlink("a", door.host.file("link")).unwrap();
        let stat = |query: &str| {
            let url = format!("{}?{query}", door.url("link"));
            json(&door.me.ask("GET", &url, &[], b"").expect(200))
        };
        assert_eq!(stat("stat")["kind"], "link");
        let known = stat("stat&follow");
        assert_eq!((&known["kind"], &known["size"]), (&"file".into(), &5.into()));
        assert_eq!(known["etag"], door.get("a", &[]).field("etag").unwrap());
        assert_eq!(known["path"], door.path("a"));
    }
}
