//! Archives from outside: that they are what was there, that other programs read them, and that a part
//! is a part of the same bytes.

#![allow(clippy::unwrap_used, reason = "what a test can't do without has failed it")]

mod http;

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use http::{Answer, Visitor, cut};
use tow_testkit::{Machine, Node, Pair, noise, until};

const TOW: &str = env!("CARGO_BIN_EXE_tow");

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

fn encode(path: &Path) -> String {
    path.as_os_str().as_bytes().iter().map(|byte| format!("%{byte:02x}")).collect()
}

impl House {
    /// The address of an archive of these names.
    fn address(&self, form: &str, names: &[&str]) -> String {
        let paths = names.iter().map(|name| format!("path={}", encode(&self.host.file(name))));
        format!("/api/v1/archive?{}&format={form}", paths.collect::<Vec<_>>().join("&"))
    }

    fn get(&self, address: &str, fields: &[(&str, &str)]) -> Answer {
        self.me.ask("GET", address, fields, b"")
    }

    /// Compares an archive with what it was made of; gives what it tells of errors.
    #[track_caller]
    fn check(&self, form: &str, archive: &[u8], names: &[&str]) -> String {
        let file = self.host.home().join(format!("archive.{form}"));
        fs::write(&file, archive).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/archive/check.py");
        let tops = names.iter().map(|name| self.host.file(name));
        let output = Command::new("python3").arg(script).arg(form).arg(&file).args(tops).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

fn set_time(path: &Path, secs: i64, nanos: u32) {
    let file = File::open(path).unwrap();
    let distance = Duration::new(secs.unsigned_abs(), 0);
    let epoch = SystemTime::UNIX_EPOCH;
    let time = if secs < 0 { epoch - distance } else { epoch + distance };
    file.set_modified(time + Duration::new(0, nanos)).unwrap();
}

/// A tree with whatever may be in one.
fn tree(top: &Path) {
    fs::create_dir_all(top.join("deep/er/est")).unwrap();
    fs::create_dir(top.join("empty")).unwrap();
    fs::write(top.join("deep/er/est/file"), noise(300_000, 1)).unwrap();
    fs::write(top.join("nothing"), "").unwrap();
    for name in [
        &b"caf\xe9"[..],
        b"new\nline",
        b"\"quote'",
        b"\xff\xfe",
        "ü".as_bytes(),
        b" ",
        b"-x",
        b"a\\b",
    ] {
        fs::write(top.join(OsStr::from_bytes(name)), name).unwrap();
    }
    fs::create_dir(top.join(OsStr::from_bytes(b"dir\xe9"))).unwrap();
    fs::write(top.join(OsStr::from_bytes(b"dir\xe9/inner")), "x").unwrap();
    let mut long = top.to_owned();
    for _ in 0..5 {
        long.push("l".repeat(200));
    }
    fs::create_dir_all(&long).unwrap();
    fs::write(long.join("m".repeat(255)), "long").unwrap();
    symlink("deep/er", top.join("link")).unwrap();
    symlink("no such", top.join("dangling")).unwrap();
    symlink("/etc/passwd", top.join("out")).unwrap();
    symlink(OsStr::from_bytes(b"\xff"), top.join("odd")).unwrap();
    fs::write(top.join("script"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(top.join("script"), Permissions::from_mode(0o4751)).unwrap();
    for (name, secs, nanos) in [
        ("script", 1_700_000_001, 123_456_789),
        ("nothing", -5, 250_000_000),
        ("-x", 5_000_000_000, 0),
    ] {
        set_time(&top.join(name), secs, nanos);
    }
    set_time(&top.join("empty"), 1_000_000_001, 0);
}

#[test]
fn an_archive_is_what_was_there() {
    let house = house();
    tree(&house.host.file("t"));
    fs::write(house.host.file("single"), "one").unwrap();
    for form in ["zip", "tar"] {
        let answer = house.get(&house.address(form, &["t", "single"]), &[]).expect(200);
        assert!(answer.is_whole);
        assert_eq!(
            answer.field("content-type"),
            Some(if form == "zip" { "application/zip" } else { "application/x-tar" })
        );
        assert_eq!(answer.field("content-length").is_some(), form == "zip");
        assert!(answer.field("content-disposition").unwrap().starts_with("attachment; filename="));
        assert_eq!(house.check(form, &answer.body, &["t", "single"]), "");
    }
    let at = format!("/api/v1/files/{}", encode(&house.host.file("t")));
    let zip = house.get(&format!("{at}?archive"), &[]).expect(200);
    assert_eq!(zip.field("content-disposition"), Some("attachment; filename=\"t.zip\""));
    assert_eq!(house.check("zip", &zip.body, &["t"]), "");
    assert_eq!(zip.body, house.get(&house.address("zip", &["t"]), &[]).expect(200).body);
    let tar = house.get(&format!("{at}?archive=tar"), &[]).expect(200);
    assert_eq!(house.check("tar", &tar.body, &["t"]), "");
}

#[test]
fn other_programs_take_it_out_as_it_was() {
    let house = house();
    tree(&house.host.file("t"));
    // Programs differ in what they make of names that are no text, or more than a line.
    for name in [&b"dir\xe9/inner"[..], b"caf\xe9", b"\xff\xfe", b"odd", b"new\nline"] {
        fs::remove_file(house.host.file("t").join(OsStr::from_bytes(name))).unwrap();
    }
    fs::remove_dir(house.host.file("t").join(OsStr::from_bytes(b"dir\xe9"))).unwrap();
    let mut count = 0;
    for (form, line) in [
        ("zip", "unzip -tq a.zip && unzip -q a.zip -d $OUT"),
        ("zip", "bsdtar -xf a.zip -C $OUT"),
        ("tar", "tar -xf a.tar -C $OUT"),
        ("tar", "bsdtar -xf a.tar -C $OUT"),
    ] {
        let program = line.split(' ').next().unwrap();
        if Command::new(program).arg("--help").stdout(Stdio::null()).status().is_err() {
            continue;
        }
        count += 1;
        let answer = house.get(&house.address(form, &["t"]), &[]).expect(200);
        house.host.write(format!("a.{form}"), &answer.body);
        let out = house.host.file(format!("out{count}"));
        fs::create_dir(&out).unwrap();
        let _ = house.host.sh(line).env("OUT", &out).run().ok();
        let same = house.host.sh("diff -r --no-dereference t $OUT/t").env("OUT", &out).run().ok();
        assert_eq!(same.out(), "", "{line}");
    }
    assert!(count > 0, "tar is everywhere");
}

#[test]
fn every_part_is_a_part_of_the_same_bytes() {
    let house = house();
    tree(&house.host.file("t"));
    fs::write(house.host.file("t/big"), noise(2_000_000, 9)).unwrap();
    let address = house.address("zip", &["t"]);
    let whole = house.get(&address, &[]).expect(200);
    let (etag, len) = (whole.field("etag").unwrap().to_owned(), whole.body.len());
    assert_eq!(whole.field("accept-ranges"), Some("bytes"));
    let mut host = house;
    let seeds = noise(30 * 8, 77);
    let points = seeds.chunks(8).map(|seed| u64::from_le_bytes(seed.try_into().unwrap()));
    let mut points: Vec<usize> = points.map(|point| point as usize % len).collect();
    points.extend([0, 1, len - 1, len - 22, len - 100]);
    for (round, from) in points.into_iter().enumerate() {
        if round % 10 == 0 {
            // One that has read nothing yet knows no checksum.
            drop(std::mem::replace(&mut host.node, Machine::new(TOW).serve(&[])));
            host.node = host.host.serve(&[]);
            host.me = host.me.at(&host.node);
        }
        let range = format!("bytes={from}-");
        let part = host.get(&address, &[("Range", &range), ("If-Range", &etag)]).expect(206);
        assert_eq!(part.field("content-range"), Some(&*format!("bytes {from}-{}/{len}", len - 1)));
        assert!(part.body == whole.body[from..], "from {from}");
        let to = (from + 5_000).min(len - 1);
        let part = host.get(&address, &[("Range", &format!("bytes={from}-{to}"))]).expect(206);
        assert!(part.body == whole.body[from..=to], "from {from} to {to}");
    }
    assert!(host.get(&address, &[]).expect(200).body == whole.body);
}

#[test]
fn a_download_that_was_cut_goes_on() {
    let house = house();
    fs::create_dir(house.host.file("t")).unwrap();
    for at in 0..5 {
        fs::write(house.host.file(format!("t/{at}")), noise(3_000_000, at)).unwrap();
    }
    let address = house.address("zip", &["t"]);
    let mut stream = house.me.begin("GET", &address, &[]);
    let mut begun = vec![0; 4_000_000];
    stream.read_exact(&mut begun).unwrap();
    cut(stream);
    let head_len = begun.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
    let mut bytes = begun.split_off(head_len);
    let range = format!("bytes={}-", bytes.len());
    bytes.extend(house.get(&address, &[("Range", &range)]).expect(206).body);
    assert_eq!(house.check("zip", &bytes, &["t"]), "");
}

#[test]
fn conditions_are_those_of_http() {
    let house = house();
    tree(&house.host.file("t"));
    let address = house.address("zip", &["t"]);
    let head = house.me.ask("HEAD", &address, &[], b"").expect(200);
    let whole = house.get(&address, &[]).expect(200);
    for field in ["content-length", "etag", "content-type", "accept-ranges"] {
        assert_eq!(head.field(field), whole.field(field), "{field}");
    }
    let etag = whole.field("etag").unwrap();
    let _ = house.get(&address, &[("If-None-Match", etag)]).expect(304);
    let _ = house.get(&address, &[("If-None-Match", "\"x\", *")]).expect(304);
    let _ = house.get(&address, &[("If-Match", "\"x\"")]).expect(412);
    let _ = house.get(&address, &[("If-Match", etag)]).expect(200);
    let beyond = house.get(&address, &[("Range", "bytes=99999999999-")]).expect(416);
    assert_eq!(beyond.field("content-range"), Some(&*format!("bytes */{}", whole.body.len())));
    let several = house.get(&address, &[("Range", "bytes=0-1,5-6")]).expect(200);
    assert_eq!(several.body, whole.body);
    // Another tree is another archive, of which a part is of no use.
    fs::write(house.host.file("t/more"), "x").unwrap();
    let fields = [("Range", "bytes=10-20"), ("If-Range", etag)];
    let other = house.get(&address, &fields).expect(200);
    assert_ne!(other.field("etag"), Some(etag));
    fs::write(house.host.file("t/more"), "y").unwrap();
    assert_ne!(house.get(&address, &[]).field("etag"), other.field("etag"), "as long, and another");
}

#[test]
fn what_can_t_be_read_is_told_and_what_changes_cuts() {
    let house = house();
    fs::create_dir(house.host.file("t")).unwrap();
    fs::write(house.host.file("t/good"), "good").unwrap();
    let made = house.host.sh("mkfifo t/pipe").run();
    let _ = made.ok();
    for form in ["zip", "tar"] {
        let answer = house.get(&house.address(form, &["t"]), &[]).expect(200);
        let told = house.check(form, &answer.body, &["t"]);
        assert_eq!(told, "t/pipe: neither a file, a directory nor a symbolic link\n");
    }
    fs::remove_file(house.host.file("t/pipe")).unwrap();
    // So long that it can't have been read when its head has come.
    File::create(house.host.file("t/large")).unwrap().set_len(100 << 20).unwrap();
    for form in ["zip", "tar"] {
        let mut stream = house.me.begin("GET", &house.address(form, &["t"]), &[]);
        let mut begun = vec![0; 100_000];
        stream.read_exact(&mut begun).unwrap();
        let mut large = File::options().append(true).open(house.host.file("t/large")).unwrap();
        large.write_all(b"more").unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        let is_ended = if form == "zip" {
            rest.windows(4).rev().take(100).any(|bytes| bytes == b"PK\x05\x06")
        } else {
            rest.ends_with(b"0\r\n\r\n")
        };
        assert!(!is_ended, "an archive that is not what was there does not look complete: {form}");
    }
}

#[test]
fn many_entries_and_a_file_beyond_four_gibibytes() {
    let house = house();
    let many = house.host.file("many");
    fs::create_dir(&many).unwrap();
    for at in 0..66_000 {
        File::create(many.join(format!("{at:05}"))).unwrap();
    }
    let answer = house.get(&house.address("zip", &["many"]), &[]).expect(200);
    assert_eq!(house.check("zip", &answer.body, &["many"]), "");
    drop(answer);
    fs::create_dir(house.host.file("h")).unwrap();
    let size: u64 = (4 << 30) + (1 << 20);
    File::create(house.host.file("h/large")).unwrap().set_len(size).unwrap();
    fs::write(house.host.file("h/next"), "behind it").unwrap();
    let address = house.address("zip", &["h"]);
    let part = |from: u64, to: u64| {
        let range = format!("bytes={from}-{to}");
        house.get(&address, &[("Range", &range)]).expect(206).body
    };
    // Behind the content are its checksum and lengths, and the next entry. It is read through for that.
    let head = part(0, 99);
    let begin = 30
        + u64::from(u16::from_le_bytes([head[26], head[27]]))
        + u64::from(u16::from_le_bytes([head[28], head[29]]));
    assert!(head.starts_with(b"PK\x03\x04\x14\0"), "the directory is the first");
    let begin = begin + part(begin, begin + 29).len() as u64 + {
        let head = part(begin, begin + 29);
        u64::from(u16::from_le_bytes([head[26], head[27]]))
            + u64::from(u16::from_le_bytes([head[28], head[29]]))
    };
    let behind = part(begin + size - 10, begin + size + 60);
    assert_eq!(behind[..14], *b"\0\0\0\0\0\0\0\0\0\0PK\x07\x08", "{behind:?}");
    assert_eq!(behind[18..34], [size.to_le_bytes(), size.to_le_bytes()].concat());
    assert_eq!(behind[34..38], *b"PK\x03\x04");
    // What Python reads of it at its end is enough to find and check the file behind the large one.
    let head = house.me.ask("HEAD", &address, &[], b"").expect(200);
    let whole: u64 = head.field("content-length").unwrap().parse().unwrap();
    let sparse: PathBuf = house.host.file("sparse.zip");
    let file = File::create(&sparse).unwrap();
    file.set_len(whole).unwrap();
    let from = begin + size;
    let tail = house.get(&address, &[("Range", &format!("bytes={from}-"))]).expect(206);
    std::os::unix::fs::FileExt::write_all_at(&file, &tail.body, from).unwrap();
    let read = "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); \
                print(z.getinfo('h/large').file_size, z.read('h/next').decode())";
    let output = Command::new("python3").args(["-c", read]).arg(&sparse).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("{size} behind it\n"),
        "{output:?}"
    );
}

#[test]
fn what_is_named_lies_within_the_grant_or_is_refused() {
    let host = Machine::new(TOW);
    fs::create_dir_all(host.file("own/dir")).unwrap();
    fs::create_dir(host.file("other")).unwrap();
    fs::write(host.file("other/secret"), "secret").unwrap();
    fs::write(host.file("own/dir/file"), "mine").unwrap();
    symlink(host.file("other"), host.file("own/out")).unwrap();
    symlink("../../other/secret", host.file("own/dir/link")).unwrap();
    let node = host.serve(&[]);
    let root = host.file("own");
    let me = Visitor::sign_in(&host, &node, &["--root", root.to_str().unwrap()]);
    let house = House { host, node, me };
    let get = |query: &str| house.get(&format!("/api/v1/archive{query}"), &[]);
    for outside in ["/..", "/../other", "/out", "/out/secret", "/dir/../../other", "/dir/link"] {
        let refused = get(&format!("?path={outside}")).expect(403);
        assert_eq!(refused.refusal(), "OutsideRoot", "{outside}");
    }
    for (query, status) in [
        ("", 400),
        ("?path=", 400),
        ("?path=dir", 400),
        ("?path=/%zz", 400),
        ("?path=/a%00b", 400),
        ("?path=/none", 404),
        ("?path=/dir&path=/none", 404),
        ("?path=/dir/file/x", 409),
        ("?path=/dir&path=/dir/../dir", 409),
        ("?path=/dir&format=rar", 400),
    ] {
        let _ = get(query).expect(status);
    }
    let whole = get("?path=/").expect(200);
    // Links are links: what they lead to is not in it.
    let listed = house.host.file("whole.zip");
    fs::write(&listed, &whole.body).unwrap();
    let names = "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); \
                 print([(n, z.read(n).decode()) for n in z.namelist() if n.endswith(('out', 'link', 'file'))])";
    let output = Command::new("python3").args(["-c", names]).arg(&listed).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("'own/dir/file', 'mine'") && text.contains("../../other/secret"),
        "{text}"
    );
    let writer = Visitor::sign_in(&house.host, &house.node, &["--may", "write"]);
    let refused = writer.ask("GET", "/api/v1/archive?path=/", &[], b"").expect(403);
    assert_eq!(refused.refusal(), "NoRight");
    until("it is written down", || {
        house.host.audit().iter().filter(|record| record["what"] == "archive").count() > 1
    });
}

#[test]
fn through_a_tunnel_it_is_the_same() {
    let pair = Pair::new(TOW);
    let tunnel = pair.client.tow(["open", "box", "--no-browser", "--json"]).start();
    let said: serde_json::Value = serde_json::from_str(&tunnel.line(0)).unwrap();
    let me = Visitor::open(said["link"].as_str().unwrap());
    let Pair { node, host, proxy, client } = pair;
    let house = House { host, node, me };
    tree(&house.host.file("t"));
    fs::set_permissions(house.host.file("t/nothing"), Permissions::from_mode(0o600)).unwrap();
    for form in ["zip", "tar"] {
        let answer = house.get(&house.address(form, &["t"]), &[]).expect(200);
        assert!(answer.is_whole);
        assert_eq!(house.check(form, &answer.body, &["t"]), "");
        if form == "zip" {
            let from = answer.body.len() / 2;
            let range = format!("bytes={from}-");
            let part = house.get(&house.address(form, &["t"]), &[("Range", &range)]).expect(206);
            assert!(part.body == answer.body[from..]);
        }
    }
    let _ = house.get(&house.address("zip", &["none"]), &[]).expect(404);
    drop((tunnel, proxy, client));
}
