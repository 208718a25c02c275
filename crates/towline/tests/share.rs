//! App passwords and shares: who gets in by them, how far, and until when.

#![allow(clippy::unwrap_used, reason = "what a test can't do without has failed it")]

mod http;

use std::fs;

use http::Visitor;
use serde_json::{Value, json};
use tow_testkit::{Machine, Node, Pair};

const TOW: &str = env!("CARGO_BIN_EXE_tow");

/// A node and its machine.
fn node() -> (Machine, Node) {
    let host = Machine::new(TOW);
    let node = host.serve(&[]);
    (host, node)
}

/// Makes a share and gives its id and its visitor.
fn share(host: &Machine, node: &Node, args: &[&str]) -> (String, Visitor) {
    let made = host.tow(["share", "--json"]).args(args).run().ok().last_json();
    let link = made["link"].as_str().unwrap();
    let secret = link.split_once("#tows1.").unwrap().1;
    (made["id"].as_str().unwrap().to_owned(), Visitor::with(node, secret))
}

fn get(visitor: &Visitor, path: &str) -> u16 {
    visitor.ask("GET", path, &[], b"").status
}

fn post(visitor: &Visitor, path: &str, body: &Value) -> u16 {
    visitor.ask("POST", path, &[], body.to_string().as_bytes()).status
}

fn id_of(done: &tow_testkit::Done) -> String {
    done.out().trim().to_owned()
}

#[test]
fn an_app_password_gets_in_until_its_key_is_removed() {
    let (host, node) = node();
    let args = ["invite", "--token", "--json", "--may", "read", "--name", "backup"];
    let made = host.tow(args).run().ok().last_json();
    let token = made["token"].as_str().unwrap();
    assert!(token.starts_with("towt_"));
    let visitor = Visitor::with(&node, token);
    let me = visitor.ask("GET", "/api/v1/me", &[], b"").json();
    assert_eq!((&me["name"], &me["rights"]), (&json!("backup"), &json!(["read"])));
    assert_eq!(post(&visitor, "/api/v1/run", &json!({"argv": ["true"]})), 403);
    let keys = host.tow(["keys", "--json"]).run().ok().json();
    let key = keys.iter().find(|key| key["name"] == "backup").unwrap();
    assert_eq!(key["holder"], "token");
    let _ = host.tow(["keys", "rm", "backup"]).run().ok();
    assert_eq!(get(&visitor, "/api/v1/me"), 401);
    let log = format!("{}{:?}", node.log(), host.audit());
    assert!(!log.contains(token), "a password is told once, and never to a log");
}

#[test]
fn an_app_password_ends_with_its_time() {
    let (host, node) = node();
    let args = ["invite", "--token", "--json", "--for", "1s"];
    let made = host.tow(args).run().ok().last_json();
    let visitor = Visitor::with(&node, made["token"].as_str().unwrap());
    tow_testkit::until("the password has ended", || get(&visitor, "/api/v1/me") == 401);
}

#[test]
fn a_share_opens_one_directory_and_nothing_else() {
    let (host, node) = node();
    let inside = host.write("photos/a.txt", "inside");
    let _ = host.write("private.txt", "outside");
    let dir = inside.parent().unwrap().display().to_string();
    let (id, visitor) = share(&host, &node, &[&format!(".:{dir}")]);
    let me = visitor.ask("GET", "/api/v1/me", &[], b"").json();
    assert_eq!((&me["start"], &me["rights"]), (&json!("/"), &json!(["read"])));
    let read = visitor.ask("GET", "/api/v1/files/a.txt", &[], b"");
    assert_eq!((read.status, read.body.as_slice()), (200, b"inside".as_slice()));
    let list = visitor.ask("GET", "/api/v1/files/", &[], b"").json();
    assert_eq!(list["entries"].as_array().unwrap().len(), 1);
    for path in ["/api/v1/files/../private.txt", "/api/v1/files/%2e%2e/private.txt"] {
        assert_ne!(get(&visitor, path), 200, "{path}");
    }
    assert_eq!(visitor.ask("PUT", "/api/v1/files/b.txt", &[], b"x").status, 403);
    assert_eq!(visitor.ask("DELETE", "/api/v1/files/a.txt", &[], b"").status, 403);
    assert_eq!(post(&visitor, "/api/v1/run", &json!({"argv": ["true"]})), 403);
    assert_eq!(get(&visitor, "/api/v1/sessions"), 403);
    // It may not be passed on with more than it has, and who made it sees what it makes.
    let more = json!({"path": "/", "may": ["write"], "for_secs": 60});
    assert_eq!(post(&visitor, "/api/v1/shares", &more), 403);
    assert_eq!(fs::read(&inside).unwrap(), b"inside");
    let listed = host.tow(["share", "ls", ".", "--json"]).run().ok().json();
    assert_eq!((listed.len(), &listed[0]["path"]), (1, &json!(dir)));
    let _ = host.tow(["share", "rm", ".", &id[..9]]).run().ok();
    assert_eq!(get(&visitor, "/api/v1/files/a.txt"), 401);
}

#[test]
fn a_drop_box_takes_and_tells_nothing() {
    let (host, node) = node();
    let there = host.write("drop/there.txt", "mine");
    let dir = there.parent().unwrap().display().to_string();
    let (_, visitor) = share(&host, &node, &[&format!(".:{dir}"), "--may", "write"]);
    let me = visitor.ask("GET", "/api/v1/me", &[], b"").json();
    assert_eq!(me["share"], json!({"drop": true}));
    assert_eq!(visitor.ask("PUT", "/api/v1/files/new.txt", &[], b"gift").status, 201);
    assert_eq!(fs::read(there.with_file_name("new.txt")).unwrap(), b"gift");
    for path in ["/", "/there.txt", "/there.txt?stat", "/missing.txt", "/?archive"] {
        assert_eq!(get(&visitor, &format!("/api/v1/files{path}")), 403, "{path}");
    }
    assert_eq!(get(&visitor, "/api/v1/archive?path=/"), 403);
    // What is there stays as it is, and tells nothing of itself.
    assert_eq!(visitor.ask("PUT", "/api/v1/files/there.txt", &[], b"mine now").status, 409);
    let file = "/api/v1/files/there.txt";
    assert_eq!(visitor.ask("PATCH", file, &[], b"{}").status, 403);
    assert_eq!(visitor.ask("DELETE", file, &[], b"").status, 403);
    let away = json!({"from": "/there.txt", "to": "/gone.txt"});
    assert_eq!(post(&visitor, "/api/v1/move", &away), 403);
    for method in ["DELETE", "PROPPATCH", "PUT"] {
        let body: &[u8] = if method == "DELETE" { b"" } else { b"x" };
        let answer = visitor.ask(method, "/dav/there.txt", &[], body);
        assert!(matches!(answer.status, 400..500), "{method}: {}", answer.status);
    }
    assert_eq!(fs::read(&there).unwrap(), b"mine");
}

#[test]
fn a_shared_session_is_seen_and_no_other() {
    let (host, node) = node();
    let start = |word: &str| {
        let line = format!("echo {word}; exec sleep 600");
        id_of(&host.tow(["run", ".", "-d", "--", "sh", "-c", &line]).run().ok())
    };
    let (shown, hidden) = (start("shown"), start("hidden"));
    let (_, visitor) = share(&host, &node, &[".", &shown]);
    let me = visitor.ask("GET", "/api/v1/me", &[], b"").json();
    assert_eq!(me["share"], json!({"session": shown}));
    let listed = visitor.ask("GET", "/api/v1/sessions", &[], b"").json();
    let ids: Vec<_> = listed["sessions"].as_array().unwrap().iter().map(|one| &one["id"]).collect();
    assert_eq!(ids, [&json!(shown)]);
    let log = |id: &str| visitor.ask("GET", &format!("/api/v1/sessions/{id}/log"), &[], b"");
    tow_testkit::until("it has written", || log(&shown).body == b"shown\n");
    assert_eq!(log(&hidden).status, 404);
    let kill = |id: &str| {
        post(&visitor, &format!("/api/v1/sessions/{id}/kill"), &json!({"signal": "KILL"}))
    };
    assert_eq!((kill(&shown), kill(&hidden)), (403, 403));
    assert_eq!(post(&visitor, "/api/v1/run", &json!({"argv": ["true"]})), 403);
    assert_eq!(get(&visitor, "/api/v1/files/etc/hostname"), 403);
    for id in [&shown, &hidden] {
        let _ = host.tow(["kill", ".", id]).run().ok();
    }
}

#[test]
fn whoever_may_type_into_a_session_starts_no_other_program() {
    let (host, node) = node();
    let id = id_of(&host.tow(["run", ".", "-d", "--", "sleep", "600"]).run().ok());
    let (_, visitor) = share(&host, &node, &[".", &id, "--may", "type"]);
    let me = visitor.ask("GET", "/api/v1/me", &[], b"").json();
    assert_eq!(me["rights"], json!(["run"]));
    assert_eq!(post(&visitor, "/api/v1/run", &json!({"argv": ["true"]})), 403);
    let end = json!({"signal": "KILL"});
    assert_eq!(post(&visitor, &format!("/api/v1/sessions/{id}/kill"), &end), 403);
    let _ = host.tow(["kill", ".", &id]).run().ok();
}

#[test]
fn a_share_ends_with_the_key_that_made_it() {
    let pair = Pair::new(TOW);
    let _ = pair.host.write("shared/a.txt", "a");
    let dir = pair.host.file("shared").display().to_string();
    let (_, visitor) = share(&pair.client, &pair.node, &[&format!("box:{dir}")]);
    assert_eq!(get(&visitor, "/api/v1/files/a.txt"), 200);
    let keys = pair.host.tow(["keys", "--json"]).run().ok().json();
    let device = keys.iter().find(|key| key["holder"] == "device").unwrap();
    let _ = pair.host.tow(["keys", "rm", device["id"].as_str().unwrap()]).run().ok();
    assert_eq!(get(&visitor, "/api/v1/files/a.txt"), 401);
    let left = pair.host.tow(["share", "ls", ".", "--json"]).run().ok().json();
    assert_eq!(left.len(), 0);
}

#[test]
fn nobody_shares_more_than_they_have() {
    let pair = Pair::invited(TOW, &["--may", "read"]);
    let _ = pair.host.write("shared/a.txt", "a");
    let at = format!("box:{}", pair.host.file("shared").display());
    let _ = pair.client.tow(["share", &at, "--may", "write"]).run().fails(1, &["write"]);
    let (_, visitor) = share(&pair.client, &pair.node, &[&at]);
    assert_eq!(get(&visitor, "/api/v1/files/a.txt"), 200);
    let others = pair.client.tow(["share", "box", "nosuchsessio"]).run();
    let _ = others.fails(1, &["`run` is missing"]);
}

#[test]
fn another_directory_of_the_same_name_is_not_the_one_that_was_shared() {
    let (host, node) = node();
    let _ = host.write("photos/a.txt", "meant");
    let dir = host.file("photos");
    let (_, visitor) = share(&host, &node, &[&format!(".:{}", dir.display())]);
    assert_eq!(get(&visitor, "/api/v1/files/a.txt"), 200);
    fs::rename(&dir, host.file("photos-2025")).unwrap();
    let _ = host.write("photos/a.txt", "not meant");
    assert_eq!(get(&visitor, "/api/v1/files/a.txt"), 404);
}

#[test]
fn what_can_not_be_shared_is_said() {
    let (host, _node) = node();
    let file = host.write("a.txt", "a");
    let at = |path: &str| format!(".:{path}");
    let _ =
        host.tow(["share", &at(&file.display().to_string())]).run().fails(1, &["not a directory"]);
    let _ = host.tow(["share", &at("/nowhere")]).run().fails(1, &["no such file"]);
    let _ = host.tow(["share", &at("/"), "--may", "read,type"]).run().fails_with_hint(
        2,
        &["session to watch or type"],
        "--may",
    );
    let _ = host.tow(["share", "box"]).run().fails_with_hint(2, &["box"], "HOST:PATH");
    let _ = host.tow(["share", "rm", ".", "zzzz"]).run().fails_with_hint(1, &["zzzz"], "ls");
}
