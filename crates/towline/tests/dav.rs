//! WebDAV from outside: what its clients rely on, what it refuses, and that nothing of a file is lost
//! by a request that fails.

#![allow(clippy::unwrap_used, reason = "what a test can't do without has failed it")]

mod http;

#[path = "dav/locks.rs"]
mod locks;
#[path = "dav/peers.rs"]
mod peers;
#[path = "dav/replace.rs"]
mod replace;

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, symlink};

use http::{Answer, Visitor, cut};
use tow_testkit::{Machine, Node, files_beneath, names_in, noise, until};

const TOW: &str = env!("CARGO_BIN_EXE_tow");
const METHODS: [&str; 11] = [
    "GET",
    "HEAD",
    "PUT",
    "DELETE",
    "MKCOL",
    "COPY",
    "MOVE",
    "PROPFIND",
    "PROPPATCH",
    "LOCK",
    "UNLOCK",
];
const DEAD: &str =
    "<propertyupdate xmlns='DAV:'><set><prop><x xmlns='urn:x'/></prop></set></propertyupdate>";
const DAY: &str = "Tue, 14 Nov 2023 22:13:20 GMT";

/// A machine with a visitor who may use its working directory and nothing else.
struct House {
    host: Machine,
    node: Node,
    me: Visitor,
}

fn house() -> House {
    let host = Machine::new(TOW);
    let node = host.serve(&[]);
    let me = visitor(&host, &node, "read,write");
    House { host, node, me }
}

fn visitor(host: &Machine, node: &Node, may: &str) -> Visitor {
    let root = host.work().to_str().unwrap().to_owned();
    Visitor::sign_in(host, node, &["--root", &root, "--may", may])
}

impl House {
    fn ask(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> Answer {
        self.me.ask(method, &format!("/dav{path}"), fields, body.as_bytes())
    }

    /// The body of `PROPFIND`.
    fn find(&self, path: &str, depth: &str, body: &str) -> String {
        let answer = self.ask("PROPFIND", path, &[("Depth", depth)], body).expect(207);
        assert_eq!(answer.field("content-type"), Some("application/xml; charset=utf-8"));
        assert!(answer.is_whole);
        String::from_utf8(answer.body).unwrap()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.host.file(name)).unwrap()
    }
}

/// Whether there is time for more than what every run does.
fn is_thorough() -> bool {
    std::env::var_os("TOW_THOROUGH").is_some()
}

fn prop(inner: &str) -> String {
    format!("<propfind xmlns='DAV:'><prop>{inner}</prop></propfind>")
}

/// Has litmus ask everything that it knows, and checks that it liked every answer.
fn check_litmus(host: &Machine, me: &Visitor, base: &str) {
    let done = host
        .sh(r#"exec litmus -k "$URL" me "$PASSWORD""#)
        .env("URL", format!("http://{}{base}", me.address))
        .env("PASSWORD", me.password())
        .cwd(host.home())
        .run()
        .ok();
    let out = done.out();
    let summaries: Vec<_> = out.lines().filter(|line| line.contains("<- summary for")).collect();
    let suites = [("basic", 16), ("copymove", 13), ("props", 30), ("locks", 41), ("http", 4)];
    assert_eq!(summaries.len(), suites.len(), "{out}");
    for ((suite, count), summary) in suites.iter().zip(summaries) {
        let all = format!("`{suite}': of {count} tests run: {count} passed, 0 failed. 100.0%");
        assert!(summary.contains(&all), "{out}");
    }
    assert!(!out.contains("SKIPPED") && !out.contains("FAIL"), "{out}");
}

#[test]
fn litmus_likes_every_answer() {
    let house = house();
    check_litmus(&house.host, &house.me, "/dav/");
}

#[test]
fn litmus_likes_every_answer_over_a_link_to_another_machine() {
    let pair = tow_testkit::Pair::new(TOW);
    fs::create_dir(pair.host.file("dir")).unwrap();
    let tunnel = pair.client.tow(["open", "box", "--no-browser", "--json"]).start();
    let ready: serde_json::Value = serde_json::from_str(&tunnel.line(0)).unwrap();
    let me = Visitor::open(ready["link"].as_str().unwrap());
    let dir = pair.host.file("dir");
    check_litmus(&pair.client, &me, &format!("/dav{}/", dir.display()));
    assert_eq!(names_in(&dir), ["litmus"]);
}

#[test]
fn a_password_is_asked_for_here_and_what_can_be_done_is_said_to_everybody() {
    let house = house();
    let stranger = Visitor::stranger(&house.node);
    for method in METHODS {
        let answer = stranger.ask(method, "/dav/a", &[], b"").expect(401);
        let basic = answer.field("www-authenticate").unwrap();
        assert_eq!(basic, "Basic realm=\"towline\", charset=\"UTF-8\"", "{method}");
    }
    let elsewhere = stranger.ask("GET", "/api/v1/files/", &[], b"").expect(401);
    assert_eq!(elsewhere.field("www-authenticate"), None);
    for path in ["/dav", "/dav/", "/dav/not/there"] {
        let answer = stranger.ask("OPTIONS", path, &[], b"").expect(200);
        assert_eq!(
            (answer.field("dav"), answer.field("ms-author-via")),
            (Some("1, 2"), Some("DAV"))
        );
        assert!(METHODS.iter().all(|method| answer.field("allow").unwrap().contains(method)));
    }
    house.ask("PATCH", "/a", &[], "").expect(405);
    house.ask("BREW", "/a", &[], "").expect(405);
}

#[test]
fn no_path_leads_out_by_any_method() {
    let house = house();
    let outside = house.host.file("../outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "outside").unwrap();
    symlink(&outside, house.host.file("out")).unwrap();
    symlink("/etc/hostname", house.host.file("etc")).unwrap();
    house.host.write("a", "a");
    let before = files_beneath(&outside);
    let long = format!("/{}", "n".repeat(300));
    let deep = "/d".repeat(4_000);
    let paths = [
        "/../outside/file",
        "/%2e%2e/outside/file",
        "/%2e%2e%2foutside%2ffile",
        "/a/../../outside/file",
        "/..%2f..",
        "/out/file",
        "/out/new",
        "/out%2f%2ffile",
        "/a%00b",
        "/%zz",
        &long,
        &deep,
    ];
    for method in METHODS {
        for path in paths {
            let to = format!("/dav{path}");
            for fields in [
                [("Destination", "/dav/b"), ("Depth", "0")],
                [("Destination", &to), ("Depth", "0")],
            ] {
                let from = if fields[0].1 == to { "/a" } else { path };
                let is_other = from == "/a" && !matches!(method, "COPY" | "MOVE");
                let answer = if is_other { continue } else { house.ask(method, from, &fields, "") };
                assert!((400..500).contains(&answer.status), "{method} {path}: {answer:?}");
            }
        }
        // A link itself is ours; what it leads to is not.
        let _ = house.ask("PROPFIND", "//", &[("Depth", "0")], "").expect(207);
        let raw = house.me.ask(method, "//", &[], b"");
        assert!([404, 405].contains(&raw.status), "{method} //: {raw:?}");
    }
    for method in ["GET", "HEAD", "COPY", "PROPFIND", "PROPPATCH"] {
        let fields = [("Destination", "/dav/b"), ("Depth", "0")];
        let body = if method == "PROPPATCH" { DEAD } else { "" };
        house.ask(method, "/etc", &fields, body).expect(403);
    }
    for (method, status) in [("DELETE", 204), ("MOVE", 201)] {
        symlink(&outside, house.host.file("link")).unwrap();
        house.ask(method, "/link", &[("Destination", "/dav/moved")], "").expect(status);
    }
    assert_eq!(files_beneath(&outside), before);
    assert_eq!(house.read("a"), "a");
}

#[test]
fn xml_is_refused_before_it_can_do_harm() {
    let house = house();
    let deep = format!("<a xmlns='DAV:'>{}{}</a>", "<b>".repeat(40), "</b>".repeat(40));
    let laughs = "<!DOCTYPE l [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;\">]>\
        <propfind xmlns='DAV:'><prop><x>&b;</x></prop></propfind>";
    let outside = "<!DOCTYPE l [<!ENTITY a SYSTEM \"file:///etc/passwd\">]>\
        <propfind xmlns='DAV:'><prop><x>&a;</x></prop></propfind>";
    let long = format!("<propfind xmlns='DAV:'><!--{}--></propfind>", " ".repeat(1 << 20));
    for method in ["PROPFIND", "PROPPATCH", "LOCK"] {
        for (body, status) in [
            (deep.as_str(), 400),
            (laughs, 400),
            (outside, 400),
            ("<propfind", 400),
            ("nothing", 400),
            ("<other xmlns='DAV:'/>", 400),
            (&long, 413),
        ] {
            house.ask(method, "/", &[("Depth", "0")], body).expect(status);
        }
    }
    for method in ["DELETE", "MKCOL", "COPY", "MOVE"] {
        house.ask(method, "/a", &[("Destination", "/dav/b")], "<x/>").expect(415);
    }
    assert_eq!(names_in(&house.host.work()), [""; 0]);
}

#[test]
fn a_listing_has_one_level_and_says_what_is_not_known() {
    let house = house();
    house.host.write("dir/a <b>.txt", "12345");
    house.host.write("dir/sub/deep", "");
    fs::write(house.host.file("dir").join(OsStr::from_bytes(b"\xff")), "").unwrap();
    symlink("a <b>.txt", house.host.file("dir/link")).unwrap();
    symlink("nowhere", house.host.file("dir/dangling")).unwrap();
    for fields in [&[("Depth", "infinity")][..], &[]] {
        let refused = house.ask("PROPFIND", "/dir", fields, "").expect(403);
        assert!(String::from_utf8_lossy(&refused.body).contains("<D:propfind-finite-depth/>"));
    }
    house.ask("PROPFIND", "/dir", &[("Depth", "2")], "").expect(400);
    house.ask("PROPFIND", "/none", &[("Depth", "0")], "").expect(404);
    for body in ["", &prop("<getetag/><x xmlns='urn:x'/>")] {
        let found = house.find("/dir", "1", body);
        let hrefs: Vec<_> =
            found.split("<D:href>").skip(1).filter_map(|part| part.split('<').next()).collect();
        let expected = [
            "/dav/dir/",
            "/dav/dir/a%20%3Cb%3E.txt",
            "/dav/dir/link",
            "/dav/dir/sub/",
            "/dav/dir/%FF",
        ];
        assert_eq!(hrefs, expected, "{found}");
    }
    let found =
        house.find("/dir/link", "0", &prop("<getcontentlength/><getetag/><x xmlns='urn:x'/>"));
    assert!(found.contains("<D:getcontentlength>5<"), "{found}");
    let (known, missing) = found.split_once("HTTP/1.1 200 OK").unwrap();
    assert!(known.contains("<D:getetag>&quot;") && missing.contains("urn:x"), "{found}");
    assert!(missing.contains("HTTP/1.1 404 Not Found"), "{found}");
    let tag = house.ask("HEAD", "/dir/link", &[], "").expect(200).field("etag").unwrap().to_owned();
    assert!(found.contains(&tag.replace('"', "&quot;")), "{tag}: {found}");
    let all = house.find("/dir", "0", "<propfind xmlns='DAV:'><propname/></propfind>");
    assert!(all.contains("<D:resourcetype/>") && !all.contains("getcontentlength"), "{all}");
    let names = house.ask("GET", "/dir/", &[], "").expect(200);
    assert_eq!(names.body, b"a%20%3Cb%3E.txt\ndangling\nlink\nsub/\n%FF\n");
}

#[test]
fn a_large_directory_is_listed_to_its_end() {
    let house = house();
    fs::create_dir(house.host.file("dir")).unwrap();
    for index in 0..3_000 {
        fs::write(house.host.file("dir").join(index.to_string()), "").unwrap();
    }
    for body in ["", &prop("<getlastmodified/>")] {
        let found = house.find("/dir", "1", body);
        assert_eq!(found.matches("<D:response>").count(), 3_001);
        assert!(found.ends_with("</D:multistatus>"));
    }
}

#[test]
fn a_put_that_is_cut_keeps_the_old_file() {
    let house = house();
    let old = noise(300_000, 1);
    house.host.write("a", &old);
    let new = noise(400_000, 2);
    let cuts: u64 = if is_thorough() { 200 } else { 20 };
    for seed in 0..cuts {
        let at = noise(4, seed + 3).iter().fold(0, |sum, byte| sum * 256 + usize::from(*byte))
            % new.len();
        let body = &new[..at];
        let stream = if seed % 2 == 0 {
            let mut stream = house.me.begin("PUT", "/dav/a", &[("Content-Length", "400000")]);
            let _ = stream.write_all(body);
            stream
        } else {
            let mut stream = house.me.begin("PUT", "/dav/a", &[("Transfer-Encoding", "chunked")]);
            let _ = stream.write_all(format!("{at:x}\r\n").as_bytes());
            let _ = stream.write_all(body);
            let _ = stream.write_all(b"\r\n");
            stream
        };
        cut(stream);
        until("nothing of it is left", || names_in(&house.host.work()) == ["a"]);
        assert!(fs::read(house.host.file("a")).unwrap() == old, "cut after {at} bytes");
    }
    let whole = house.me.ask("PUT", "/dav/a", &[], &new).expect(204);
    assert!(whole.field("etag").is_some());
    assert!(fs::read(house.host.file("a")).unwrap() == new);
    let part = [("Content-Range", "bytes 0-2/5")];
    house.ask("PUT", "/a", &part, "abc").expect(400);
    house.ask("PUT", "/none/a", &[], "abc").expect(409);
    assert!(fs::read(house.host.file("a")).unwrap() == new);
}

#[test]
fn content_is_read_in_parts_and_on_conditions() {
    let house = house();
    house.host.write("a", "0123456789");
    let part = house.ask("GET", "/a", &[("Range", "bytes=2-4")], "").expect(206);
    assert_eq!(
        (part.body.as_slice(), part.field("content-range")),
        (&b"234"[..], Some("bytes 2-4/10"))
    );
    let tag = part.field("etag").unwrap();
    house.ask("GET", "/a", &[("If-None-Match", tag)], "").expect(304);
    for (method, fields) in [
        ("DELETE", [("If-Match", "\"x\""), ("Depth", "infinity")]),
        ("PUT", [("If-None-Match", "*"), ("If", "([\"x\"])")]),
    ] {
        house.ask(method, "/a", &fields, "").expect(412);
    }
    assert_eq!(house.read("a"), "0123456789");
}

#[test]
fn times_are_set_as_windows_and_synchronising_programs_set_them() {
    let house = house();
    house.host.write("a", "a");
    let windows = format!(
        "<D:propertyupdate xmlns:D='DAV:' xmlns:Z='urn:schemas-microsoft-com:'><D:set><D:prop>\
        <Z:Win32CreationTime>{DAY}</Z:Win32CreationTime><Z:Win32LastModifiedTime>{DAY}</Z:Win32LastModifiedTime>\
        <Z:Win32FileAttributes>00000020</Z:Win32FileAttributes></D:prop></D:set></D:propertyupdate>"
    );
    let set = house.ask("PROPPATCH", "/a", &[], &windows).expect(207);
    assert_eq!(String::from_utf8_lossy(&set.body).matches("HTTP/1.1 200 OK").count(), 3, "{set:?}");
    assert_eq!(fs::metadata(house.host.file("a")).unwrap().mtime(), 1_700_000_000);
    assert!(house.find("/a", "0", "").contains(&format!("<D:getlastmodified>{DAY}<")));
    let put = house.ask("PUT", "/b", &[("X-OC-Mtime", "1600000000")], "b").expect(201);
    assert_eq!(put.field("x-oc-mtime"), Some("accepted"));
    assert_eq!(fs::metadata(house.host.file("b")).unwrap().mtime(), 1_600_000_000);
}

#[test]
fn who_may_only_read_changes_nothing_and_locks_nobody_out() {
    let house = house();
    house.host.write("a", "a");
    let reader = visitor(&house.host, &house.node, "read");
    let lock = locks::lockinfo("exclusive");
    for (method, body) in [
        ("PUT", "b"),
        ("DELETE", ""),
        ("MKCOL", ""),
        ("COPY", ""),
        ("MOVE", ""),
        ("PROPPATCH", DEAD),
        ("LOCK", &lock),
    ] {
        let path = if method == "MKCOL" { "/dav/new" } else { "/dav/a" };
        let fields = [("Destination", "/dav/b")];
        let refused = reader.ask(method, path, &fields, body.as_bytes()).expect(403);
        assert_eq!(refused.refusal(), "NoRight", "{method}");
    }
    let found = reader.ask("PROPFIND", "/dav/a", &[("Depth", "0")], b"").expect(207);
    let found = String::from_utf8(found.body).unwrap();
    assert!(!found.contains("urn:x") && !found.contains("activelock"), "{found}");
    assert_eq!(names_in(&house.host.work()), ["a"]);
}
