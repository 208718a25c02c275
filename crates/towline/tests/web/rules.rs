//! Whose request it is: hosts, origins, cookies, tokens, and the end of a key.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::json;

use crate::http::{Answer, Visitor, read};
use crate::{Door, json};

/// A request as it stands.
fn raw(door: &Door, request: &str) -> Answer {
    let mut stream = TcpStream::connect(door.me.address).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
    let _ = stream.write_all(request.replace('\n', "\r\n").as_bytes());
    read(stream, "GET")
}

/// The cookie of a new browser and the token of its page.
fn browser(door: &Door) -> (String, String) {
    let invited = door.host.invite(&[]);
    let ticket = invited["ticket"].as_str().unwrap();
    let secret = ticket.rsplit('.').next().unwrap();
    let body = json!({"secret": secret, "name": "page"}).to_string();
    let stranger = Visitor::stranger(&door.node);
    let answer = stranger.ask("POST", "/api/v1/signin", &[], body.as_bytes()).expect(200);
    let again = stranger.ask("POST", "/api/v1/signin", &[], body.as_bytes()).expect(401);
    assert_eq!(again.refusal(), "UsedCode", "a link that is used twice");
    let cookie = answer.field("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    (cookie, json(&answer)["token"].as_str().unwrap().to_owned())
}

#[test]
fn a_request_names_this_machine_once() {
    let door = Door::here(&[]);
    let (address, bearer) = (door.me.address, door.me.bearer());
    let port = address.port();
    let end = format!("{bearer}\nConnection: close\n\n");
    for (head, status) in [
        (format!("GET /healthz HTTP/1.1\nHost: {address}\n"), 200),
        (format!("GET /healthz HTTP/1.1\nHost: localhost:{port}\n"), 200),
        (format!("GET http://{address}/healthz HTTP/1.1\nHost: {address}\n"), 200),
        ("GET /healthz HTTP/1.1\nHost: evil.example\n".to_owned(), 421),
        (format!("GET http://evil.example/healthz HTTP/1.1\nHost: {address}\n"), 421),
        (format!("GET /healthz HTTP/1.1\nHost: {address}\nHost: {address}\n"), 400),
        (format!("GET /healthz HTTP/1.1\nHost: {address}\nHost: evil.example\n"), 400),
        ("GET /healthz HTTP/1.1\n".to_owned(), 400),
    ] {
        assert_eq!(raw(&door, &(head.clone() + &end)).status, status, "{head}");
    }
}

#[test]
fn a_page_of_somebody_else_gets_nothing() {
    let door = Door::here(&[]);
    let _ = door.host.write("a", "a");
    let own = format!("http://{}", door.me.address);
    for foreign in [
        ("Origin", "https://evil.example"),
        ("Origin", "null"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
    ] {
        let _ = door.get("a", &[foreign]).expect(403);
        let _ = door.put("a", &[foreign], b"b").expect(403);
    }
    let _ = door.get("a", &[("Origin", &own), ("Sec-Fetch-Site", "same-origin")]).expect(200);
    let (cookie, token) = browser(&door);
    let stranger = Visitor::stranger(&door.node);
    let cookie = ("Cookie", cookie.as_str());
    let (token, wrong) = (("X-Tow-Token", token.as_str()), ("X-Tow-Token", "AAAA"));
    let site = ("Sec-Fetch-Site", "same-origin");
    for (method, fields, status) in [
        ("GET", &[cookie, site][..], 200),
        ("GET", &[cookie, token], 200),
        ("GET", &[cookie], 403),
        ("GET", &[cookie, token, ("Origin", "https://evil.example")], 403),
        ("GET", &[], 401),
        ("PUT", &[cookie, site], 403),
        ("PUT", &[cookie, site, wrong], 403),
        ("PUT", &[cookie, token, ("Sec-Fetch-Site", "cross-site")], 403),
        ("DELETE", &[cookie, site], 403),
        ("PUT", &[token], 401),
        ("PUT", &[cookie, token, ("Origin", &own)], 204),
    ] {
        let answer = stranger.ask(method, &door.url("a"), fields, b"");
        assert_eq!(answer.status, status, "{method} {fields:?}");
        assert!(answer.field("access-control-allow-origin").is_none());
        let may = door.get("a", &[]).expect(200).body;
        assert!(status == 204 || may == b"a", "{method} {fields:?}");
    }
}

#[test]
fn a_key_that_is_removed_ends_at_once_and_so_does_what_it_fetches() {
    let door = Door::here(&[]);
    let _ = door.host.write("large", vec![0; 64 << 20]);
    let (cookie, token) = browser(&door);
    let keys = door.host.tow(["keys", "--json"]).run().ok().json();
    let stranger = Visitor::stranger(&door.node);
    let fields = [("Cookie", cookie.as_str()), ("X-Tow-Token", token.as_str())];
    let mut stream = stranger.begin("GET", &door.url("large"), &fields);
    assert_eq!(stream.peek(&mut [0]).unwrap(), 1);
    for key in keys.iter().filter(|key| key["name"] == "page") {
        let _ = door.host.tow(["keys", "rm", key["id"].as_str().unwrap()]).run().ok();
    }
    let mut came = Vec::new();
    let _ = stream.read_to_end(&mut came);
    assert!(came.len() < 64 << 20, "it went on to its end");
    let answer = stranger.ask("GET", &door.url("large"), &fields, b"").expect(401);
    assert_eq!(answer.refusal(), "RemovedKey");
}

#[test]
fn a_cookie_that_another_port_put_before_ours_keeps_nobody_out() {
    let door = Door::here(&[]);
    let _ = door.host.write("a", "a");
    let ((cookie, token), (other, _)) = (browser(&door), browser(&door));
    let both = format!("{other}; {cookie}");
    let stranger = Visitor::stranger(&door.node);
    let fields = [("Cookie", both.as_str()), ("X-Tow-Token", token.as_str())];
    let _ = stranger.ask("PUT", &door.url("a"), &fields, b"b").expect(204);
}

#[test]
fn what_a_stranger_says_is_short() {
    let door = Door::here(&[]);
    let body = json!({"secret": "x", "name": "n".repeat(5_000)}).to_string();
    let stranger = Visitor::stranger(&door.node);
    let _ = stranger.ask("POST", "/api/v1/signin", &[], body.as_bytes()).expect(413);
}
