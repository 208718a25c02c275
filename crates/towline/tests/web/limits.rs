//! What is too long, too slow, too much or no HTTP.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use tow_testkit::Machine;

use crate::http::{Answer, Visitor, read};
use crate::{Door, TOW};

fn connect(door: &Door) -> TcpStream {
    let stream = TcpStream::connect(door.me.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    stream
}

fn raw(door: &Door, request: &[u8]) -> Answer {
    let mut stream = connect(door);
    let _ = stream.write_all(request);
    read(stream, "GET")
}

#[test]
fn a_head_has_a_length_a_number_of_fields_and_a_form() {
    let door = Door::here(&[]);
    let host = door.me.address;
    let start = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n");
    let field = |len: usize| format!("{start}X: {}\r\n\r\n", "x".repeat(len));
    let fields = |count: usize| format!("{start}{}\r\n", "X: x\r\n".repeat(count));
    for (request, status) in [
        (fields(60).replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"), 200),
        (field(20_000), 431),
        (fields(70), 431),
        (format!("GET /{} HTTP/1.1\r\nHost: {host}\r\n\r\n", "x".repeat(70_000)), 414),
        ("GET nonsense\r\n\r\n".to_owned(), 400),
        (format!("{start}Content-Length: 1\r\nContent-Length: 2\r\n\r\nx"), 400),
        (format!("{start}Content-Length: -1\r\n\r\n"), 400),
        (format!("{start}Bad Name: x\r\n\r\n"), 400),
    ] {
        let answer = raw(&door, request.as_bytes());
        let said = &request[..request.len().min(90)];
        let is_long = status == 414 && answer.status == 431;
        assert!(answer.status == status || is_long, "{}: {said}", answer.status);
    }
    let smuggled = format!(
        "POST /api/v1/run HTTP/1.1\r\nHost: {host}\r\n{}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        door.me.bearer()
    );
    assert_eq!(raw(&door, smuggled.as_bytes()).status, 400);
    let _ = door.get("", &[]).expect(200);
}

#[test]
fn a_head_that_never_ends_is_not_waited_for() {
    let door = Door::here(&[]);
    let host = door.me.address;
    let began = Instant::now();
    let mut stream = connect(&door);
    stream.write_all(format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n").as_bytes()).unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
    assert!(began.elapsed() >= Duration::from_secs(4), "too early");
    // Between two requests there is more time, and the next one is answered.
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let mut stream = connect(&door);
    stream.write_all(request.as_bytes()).unwrap();
    let mut buffer = [0; 4096];
    assert!(stream.read(&mut buffer).unwrap() > 0);
    stream.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    let waited = stream.read(&mut buffer);
    assert!(waited.is_err(), "closed within 8 s");
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    assert!(stream.read(&mut buffer).unwrap() > 0, "and used again");
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let door = Door::here(&[]);
    let mut stream = door.me.begin("PUT", &door.url("a"), &[("Content-Length", "9")]);
    stream.write_all(b"x").unwrap();
    let _ = read(stream, "PUT").expect(408);
    assert!(tow_testkit::names_in(&door.host.work()).is_empty());
}

#[test]
fn bodies_of_json_are_limited_and_told_what_is_wrong() {
    let door = Door::here(&[]);
    let post = |body: &[u8]| door.me.ask("POST", "/api/v1/mkdir", &[], body);
    for bad in ["", "x", "[]", "{}", "{\"path\":1}", "{\"path\":\"/a\",\"parent\":true}", "1e400"] {
        let answer = post(bad.as_bytes()).expect(400);
        let message = crate::json(&answer)["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("line 1"), "{bad}: {message}");
    }
    let deep = "[".repeat(100_000);
    let _ = post(deep.as_bytes()).expect(400);
    let long = json!({"path": "x".repeat(2 << 20)}).to_string();
    let _ = post(long.as_bytes()).expect(413);
    let mut chunked = door.me.begin("POST", "/api/v1/mkdir", &[("Transfer-Encoding", "chunked")]);
    let _ = chunked.write_all(format!("200000\r\n{}\r\n0\r\n\r\n", " ".repeat(2 << 20)).as_bytes());
    let answer = read(chunked, "POST");
    // What is not read to its end may end in a reset that overtakes the answer.
    assert!(matches!(answer.status, 413 | 0), "{answer:?}");
    for (method, path) in
        [("POST", "/api/v1/files/a"), ("GET", "/api/v1/mkdir"), ("BREW", "/api/v1/run")]
    {
        let answer = door.me.ask(method, path, &[], b"").expect(405);
        assert!(answer.field("allow").is_some_and(|allow| !allow.is_empty()), "{answer:?}");
    }
    let _ = door.me.ask("GET", "/api/v1/nothing", &[], b"").expect(404);
}

#[test]
fn ten_thousand_requests_leave_room_for_another_client() {
    let door = Door::here(&[]);
    let _ = door.host.write("a", "0123456789");
    let url = door.url("a");
    let request =
        format!("GET {url} HTTP/1.1\r\nHost: {}\r\n{}\r\n\r\n", door.me.address, door.me.bearer());
    let answered = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut stream = connect(&door);
                for _ in 0..REQUESTS / CLIENTS {
                    stream.write_all(request.as_bytes()).unwrap();
                    assert_eq!(one(&mut stream), 200);
                    answered.fetch_add(1, Relaxed);
                }
            });
        }
        while answered.load(Relaxed) < REQUESTS / 2 {
            let _ = door.get("a", &[]).expect(200);
        }
    });
    assert_eq!(answered.load(Relaxed), REQUESTS);
}

/// Reads one answer of a connection that stays, and gives its status.
fn one(stream: &mut TcpStream) -> u16 {
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !answer.ends_with(b"\r\n\r\n0123456789") {
        let len = stream.read(&mut buffer).unwrap();
        assert!(len > 0, "closed: {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..len]);
    }
    String::from_utf8_lossy(&answer[9..12]).parse().unwrap()
}

#[test]
fn a_key_that_has_its_connections_leaves_room_for_others_and_loses_them_with_its_end() {
    let host = Machine::new(TOW);
    let node = host.serve_with_descriptors(DESCRIPTORS);
    let me = Visitor::sign_in(&host, &node, &[]);
    let other = Visitor::sign_in(&host, &node, &[]);
    let door = Door { me, _tunnel: None, node, host };
    let _ = door.host.write("a", "0123456789");
    let ask = |stream: &mut TcpStream, visitor: &Visitor| {
        let head = format!("GET {} HTTP/1.1\r\nHost: {}", door.url("a"), visitor.address);
        write!(stream, "{head}\r\n{}\r\n\r\n", visitor.bearer()).unwrap();
    };
    let status = |stream: &mut TcpStream| {
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        status
    };
    let mut open = Vec::new();
    let refused = loop {
        let mut stream = connect(&door);
        ask(&mut stream, &door.me);
        let status = status(&mut stream);
        if &status != b"HTTP/1.1 200" {
            break status;
        }
        open.push(stream);
        assert!(open.len() <= OF_ONE_KEY, "nobody has kept them from it");
    };
    assert_eq!(&refused, b"HTTP/1.1 503");
    assert_eq!(open.len(), OF_ONE_KEY);
    let mut others = connect(&door);
    ask(&mut others, &other);
    assert_eq!(one(&mut others), 200, "they are another one's");
    ask(&mut others, &door.me);
    assert_eq!(&status(&mut others), b"HTTP/1.1 503", "nor may they come in by that");
    let keys = door.host.tow(["keys", "--json"]).run().ok().json();
    assert!(keys.iter().any(|key| key["links"] == 1), "it is still another one's");
    let full = keys.iter().find(|key| key["links"] == OF_ONE_KEY).unwrap();
    let _ = door.host.tow(["keys", "rm", full["id"].as_str().unwrap()]).run().ok();
    for mut stream in open {
        // Sooner than a connection ends that says nothing.
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let ended = stream.read_to_end(&mut Vec::new());
        assert!(ended.is_ok(), "{ended:?}");
    }
}

/// Open files of a node: half of what they allow is for strangers, half of the rest for proved
/// connections, and a quarter of those for one key.
const DESCRIPTORS: u32 = 256 + 80 * 2;
const OF_ONE_KEY: usize = 80 / 2 / 4;
const REQUESTS: usize = 10_000;
const CLIENTS: usize = 20;
